//! What a recorder told of a failure: where the program was, with which batch, what was different
//! from the step before, and what became of it.

use serde::Serialize;

use crate::snapshot::{
    Action, Batch, DeviceId, FailedInputs, Outcome, Pass, RunContext, RunFailure, RunPlace,
    Snapshot,
};
use crate::units;

/// How a step of training differs from the one before, at the same micro-batch of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinceStep {
    /// The step before.
    pub step: i64,
    /// What went into the same modules then, where it was of other shapes or types.
    pub inputs_before: Vec<Pass>,
    /// What was allocated on the device when its micro-batch began, bytes.
    pub allocated_before_bytes: Option<u64>,
    /// The same for the one of the failure.
    pub allocated_bytes: Option<u64>,
}

/// What is told of one failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OomContext {
    /// What became of it.
    pub outcome: Outcome,
    /// How many failures the process had had when it ended or went on.
    pub count: Option<u64>,
    /// What ran.
    #[serde(flatten)]
    pub place: RunPlace,
    /// What had gone into the model that ran.
    pub inputs: Vec<Pass>,
    /// What was different one step before.
    pub since: Option<SinceStep>,
    /// `file:line function` of the program's frames, innermost first.
    pub python_stack: Vec<String>,
}

impl OomContext {
    /// What is told of the `oom` event at `row` of `device`; None if the recorder tells of another
    /// failure, or of none.
    ///
    /// A recorder is told of a failure right after its event, so it is the last event with the free
    /// bytes that the recorder was told.
    #[must_use]
    pub fn of(snapshot: &Snapshot, device: DeviceId, row: u32) -> Option<Self> {
        let context = snapshot.context.as_deref()?;
        let failure = context.failure.as_ref()?;
        let is_it =
            failure.device == Some(device.0) && failed_at(snapshot, device, failure) == Some(row);
        is_it.then(|| Self::new(context, failure, device))
    }

    /// What is told of a failure that no event of the snapshot is of: one that PyTorch's allocator
    /// did not raise, or older than the history.
    #[must_use]
    pub fn elsewhere(snapshot: &Snapshot) -> Option<(Self, &RunFailure)> {
        let context = snapshot.context.as_deref()?;
        let failure = context.failure.as_ref()?;
        let device = failure.device.map(DeviceId);
        let known = device.and_then(|device| failed_at(snapshot, device, failure));
        let told = Self::new(context, failure, device.unwrap_or_default());
        known.is_none().then_some((told, failure))
    }

    fn new(context: &RunContext, failure: &RunFailure, device: DeviceId) -> Self {
        let place = failure.current.as_ref().unwrap_or(&context.current);
        let inputs = failure.inputs.as_ref();
        Self {
            outcome: failure.outcome,
            count: failure.count,
            place: place.clone(),
            inputs: inputs.map_or_else(Vec::new, |inputs| inputs.passes.clone()),
            since: inputs.and_then(|inputs| since(&context.batches, inputs, device)),
            python_stack: failure.python_stack.clone(),
        }
    }

    /// The program's own line that asked: the innermost frame that is of no installed package, or
    /// the innermost if all are.
    #[must_use]
    pub fn line(&self) -> Option<&str> {
        let is_library = |frame: &str| {
            frame.starts_with('<')
                || frame.contains("site-packages")
                || frame.contains("dist-packages")
        };
        let mut frames = self.python_stack.iter().map(String::as_str);
        let innermost = frames.clone().next();
        frames.find(|frame| !is_library(frame)).or(innermost)
    }

    /// What is told, as names and sentences, the most telling first.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let mut add = |name, text: Option<String>| {
            rows.extend(
                text.filter(|text| !text.is_empty())
                    .map(|text| (name, text)),
            );
        };
        let place = &self.place;
        add("line", self.line().map(str::to_owned));
        add("layer", place.module.clone());
        add("phase", place.phase.clone());
        let micro = place.micro_batch.filter(|&micro| micro > 0);
        let micro = micro.map_or(String::new(), |micro| format!(", micro-batch {micro}"));
        add("step", place.step.map(|step| format!("{step}{micro}")));
        add("batch", Some(words(&self.inputs)));
        if let Some(since) = &self.since {
            let sentence = since.sentence();
            let sentence = sentence.map(|text| format!("step {}: {text}", since.step));
            add("since the last step", sentence);
        }
        let again = self
            .count
            .filter(|&count| count > 1)
            .map_or(String::new(), |count| {
                format!("; {} such errors in this process", units::count(count))
            });
        add(
            "outcome",
            Some(format!("{}{again}", self.outcome.sentence())),
        );
        rows
    }
}

impl SinceStep {
    /// What is known to be different, and what was allocated; None where nothing is.
    fn sentence(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.inputs_before.is_empty() {
            parts.push(format!("its batch was {}", words(&self.inputs_before)));
        }
        match (self.allocated_before_bytes, self.allocated_bytes) {
            (Some(before), Some(now)) if before == now => {
                parts.push(format!(
                    "{} allocated at the start of both",
                    units::bytes(now)
                ));
            }
            (Some(before), Some(now)) => parts.push(format!(
                "{} allocated at its start, {} at the start of this one",
                units::bytes(before),
                units::bytes(now)
            )),
            _ => {}
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// The `oom` event that the recorder was told of.
fn failed_at(snapshot: &Snapshot, device: DeviceId, failure: &RunFailure) -> Option<u32> {
    let events = &snapshot.trace(device)?.events;
    let actions = events.actions().iter().enumerate().rev();
    let mut failures = actions
        .filter(|(_, action)| **action == Action::Oom)
        .map(|(row, _)| row);
    let row = failures.find(|&row| {
        // The event keeps the free bytes where others have their address.
        let free = events.address(row);
        failure.device_free_bytes.is_none_or(|told| told == free)
    })?;
    u32::try_from(row).ok()
}

/// What went into modules; their names only where there are several.
fn words(passes: &[Pass]) -> String {
    let one = |pass: &Pass| {
        let inputs = pass.inputs.join(", ");
        let module = pass.module.as_deref().filter(|_| passes.len() > 1);
        module.map_or_else(|| inputs.clone(), |module| format!("{module} {inputs}"))
    };
    passes.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// How the step of the newest micro-batch differs from the last before it.
fn since(batches: &[Batch], inputs: &FailedInputs, device: DeviceId) -> Option<SinceStep> {
    let now = batches.last().filter(|_| inputs.is_training)?;
    let before = batches
        .iter()
        .rev()
        .find(|one| one.step < now.step && one.micro_batch == now.micro_batch)?;
    let other = |pass: &Pass| {
        // Of modules that share a name, or run several times, only what is common is known.
        pass.module.as_ref()?;
        let mut fed = before.passes.iter().filter(|one| one.module == pass.module);
        let first = fed.next()?;
        let is_told = first.inputs != pass.inputs && fed.all(|one| one.inputs == first.inputs);
        is_told.then(|| first.clone())
    };
    Some(SinceStep {
        step: before.step,
        inputs_before: inputs.passes.iter().filter_map(other).collect(),
        allocated_before_bytes: before.allocated_on(device),
        allocated_bytes: now.allocated_on(device),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Event, Events, Trace};

    const DEVICE: DeviceId = DeviceId(1);

    fn pass(inputs: &str) -> Pass {
        Pass {
            module: Some("GPT".to_owned()),
            inputs: vec![inputs.to_owned()],
        }
    }

    fn batch(step: i64, micro_batch: i64, inputs: &str, bytes: u64) -> Batch {
        Batch {
            step,
            micro_batch,
            passes: vec![pass(inputs)],
            allocated_bytes: [(DEVICE.to_string(), bytes)].into(),
        }
    }

    fn snapshot(free: Option<u64>) -> Snapshot {
        let mut events = Events::default();
        for address in [7, 9, 8] {
            events.push(&Event {
                action: Action::Oom,
                address,
                size: 512,
                ..Event::default()
            });
        }
        let mut snapshot = Snapshot::default();
        snapshot.traces.push(Trace {
            device: DEVICE,
            events,
        });
        snapshot.context = Some(Box::new(RunContext {
            current: RunPlace {
                module: Some("blocks.3".to_owned()),
                step: Some(5),
                micro_batch: Some(1),
                ..RunPlace::default()
            },
            batches: vec![
                batch(3, 1, "(1, 8)int64", 1 << 20),
                batch(4, 0, "(8, 8)int64", 2 << 20),
                batch(4, 1, "(8, 8)int64", 3 << 20),
                batch(5, 0, "(8, 8)int64", 4 << 20),
                batch(5, 1, "(8, 16)int64", 5 << 20),
            ],
            failure: Some(RunFailure {
                device: Some(DEVICE.0),
                device_free_bytes: free,
                outcome: Outcome::Recovered,
                inputs: Some(FailedInputs {
                    is_training: true,
                    passes: vec![pass("(8, 16)int64")],
                }),
                count: Some(3),
                python_stack: vec![
                    "/venv/lib/site-packages/torch/nn/functional.py:9 linear".to_owned(),
                    "train.py:7 step".to_owned(),
                ],
                ..RunFailure::default()
            }),
            ..RunContext::default()
        }));
        snapshot
    }

    #[test]
    fn a_failure_is_told_by_its_free_bytes() {
        for (free, row) in [(Some(9), Some(1)), (None, Some(2)), (Some(6), None)] {
            let snapshot = snapshot(free);
            let found = |at| OomContext::of(&snapshot, DEVICE, at).is_some();
            assert_eq!((0..3).find(|&at| found(at)), row);
            assert!(OomContext::of(&snapshot, DeviceId(0), 1).is_none());
            assert_eq!(OomContext::elsewhere(&snapshot).is_some(), row.is_none());
        }
    }

    #[test]
    fn a_step_is_compared_at_the_same_pass() {
        let snapshot = snapshot(None);
        let told = OomContext::of(&snapshot, DEVICE, 2).unwrap();
        let since = told.since.as_ref().unwrap();
        assert_eq!(since.step, 4);
        assert_eq!(since.inputs_before, [pass("(8, 8)int64")]);
        assert_eq!(since.allocated_before_bytes, Some(3 << 20));
        let rows = told.rows();
        let of = |name| rows.iter().find(|row| row.0 == name).unwrap().1.as_str();
        assert_eq!(of("line"), "train.py:7 step");
        assert_eq!(of("step"), "5, micro-batch 1");
        assert_eq!(of("batch"), "(8, 16)int64");
        assert_eq!(
            of("since the last step"),
            "step 4: its batch was (8, 8)int64; 3.00 MiB allocated at its start, 5.00 MiB at the \
             start of this one"
        );
        assert!(of("outcome").ends_with("; 3 such errors in this process"));
        // Outside of training there is nothing to compare to.
        let mut snapshot = snapshot;
        let context = snapshot.context.as_mut().unwrap();
        let inputs = context.failure.as_mut().unwrap().inputs.as_mut().unwrap();
        inputs.is_training = false;
        let told = OomContext::of(&snapshot, DEVICE, 2).unwrap();
        assert!(told.since.is_none() && !told.inputs.is_empty());
    }
}
