//! From a sidecar into a snapshot's columns.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde_json::{Map, Value};

use crate::snapshot::{Action, DeviceId, Event, NO_TIME, Snapshot, StringId, Trace, WarningKind};

use super::spans::Running;
use super::{Sidecar, Tensor};

/// What a sidecar added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that got a label from the spans.
    pub labelled_events: u64,
    /// Allocations that were told to be a named tensor.
    pub named_allocations: u64,
    /// Addresses at which a walk saw a tensor and the trace had nothing any more.
    pub not_found: u64,
    /// The sidecar contradicts the snapshot, so that nothing of it was used: it belongs to another
    /// one.
    pub is_of_another: bool,
}

impl Sidecar {
    /// Writes what the sidecar knows into `snapshot`:
    ///
    /// * an event without `user_metadata` gets the label of the span that it lies in: the last of a
    ///   thread that began at or before it. Events do not say which thread they are of, so where
    ///   threads ran different things, only what all of their labels say is taken;
    /// * the `alloc` event of a tensor that a walk saw gets its category, and its module and name
    ///   besides what the metadata says already;
    /// * a tensor that was there before the recording is annotated at the end of the trace, as
    ///   `torch.cuda.memory._annotate_tensor` does;
    /// * what was seen of the devices from outside becomes [`Snapshot::watches`], and what is told
    ///   of the run [`Snapshot::context`].
    ///
    /// A sidecar of another snapshot ([`Sidecar::ends`]) changes nothing and adds a warning.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Applied {
        let mut applied = Applied::default();
        if let Some(problem) = self.contradiction(snapshot) {
            applied.is_of_another = true;
            snapshot.warnings.add(WarningKind::Inconsistent, problem);
            return applied;
        }
        let mut texts = Texts::default();
        snapshot.watches = self.watches();
        snapshot.context = self.run_context().map(Box::new);
        // The device whose trace is worked on is taken out, so that strings can be added.
        for index in 0..snapshot.traces.len() {
            let Some(slot) = snapshot.traces.get_mut(index) else {
                continue;
            };
            let mut trace = std::mem::take(slot);
            if trace.device != DeviceId::HOST {
                self.label(snapshot, &mut trace, &mut applied);
                self.name(snapshot, &mut trace, &mut texts, &mut applied);
            }
            if let Some(slot) = snapshot.traces.get_mut(index) {
                *slot = trace;
            }
        }
        applied
    }

    /// Why this cannot be the sidecar of `snapshot`, if so.
    fn contradiction(&self, snapshot: &Snapshot) -> Option<String> {
        self.ends.iter().find_map(|end| {
            let device = DeviceId(end.device);
            let trace = snapshot.trace(device);
            let events = trace.map_or(0, |trace| trace.events.len());
            let last = events.checked_sub(1).zip(trace);
            let time = last.map(|(row, trace)| trace.events.time_us(row));
            let time = time.filter(|&time| time != NO_TIME);
            let what = if events as u64 != end.events {
                format!("{} events, not {events}", end.events)
            } else if end.time_us.is_some() && end.time_us != time {
                "the same number of events, of another time".to_owned()
            } else {
                return None;
            };
            Some(format!(
                "the sidecar of this snapshot is not used, because it belongs to another one: its \
                 device {device} has {what}"
            ))
        })
    }

    fn label(&self, snapshot: &mut Snapshot, trace: &mut Trace, applied: &mut Applied) {
        let spans = &self.spans;
        if spans.time_us.is_empty() || !trace.events.has_times() {
            return;
        }
        let labels: Vec<StringId> = (self.labels.iter())
            .map(|text| snapshot.strings.intern(text))
            .collect();
        let mut starts = spans.in_order().peekable();
        let mut running = Running::default();
        let mut rows: Vec<(i64, usize)> = (0..trace.events.len())
            .map(|row| (trace.events.time_us(row), row))
            .filter(|&(time, _)| time != NO_TIME)
            .collect();
        rows.sort_unstable();
        for (time, row) in rows {
            while let Some(start) = starts.next_if(|start| start.time_us <= time) {
                running.start(start.thread, start.label);
            }
            if trace.events.user_metadata(row) != StringId::EMPTY {
                continue;
            }
            if let Some(label) = running.label(snapshot, &labels) {
                trace.events.set_user_metadata(row, label);
                applied.labelled_events += 1;
            }
        }
    }

    fn name(
        &self,
        snapshot: &mut Snapshot,
        trace: &mut Trace,
        texts: &mut Texts,
        applied: &mut Applied,
    ) {
        let sightings = self.sightings(trace);
        applied.not_found += sightings.not_found;
        for (row, at) in sightings.rows {
            let Some(tensor) = self.tensors.get(at as usize) else {
                continue;
            };
            let before = trace.events.user_metadata(row);
            let text = texts.merged(snapshot, before, at, tensor);
            trace.events.set_user_metadata(row, text);
            let category = snapshot.strings.intern(&tensor.category);
            trace.events.set_category(row, category);
            applied.named_allocations += 1;
        }
        let time_us = last_time(trace);
        for at in sightings.older {
            let Some(tensor) = self.tensors.get(at as usize) else {
                continue;
            };
            let user_metadata = texts.merged(snapshot, StringId::EMPTY, at, tensor);
            let pushed = trace.events.push(&Event {
                action: Action::Annotate,
                address: tensor.address,
                time_us,
                user_metadata,
                ..Event::default()
            });
            applied.named_allocations += u64::from(pushed);
        }
    }
}

/// The time of the last event that has one.
fn last_time(trace: &Trace) -> i64 {
    let times = (0..trace.events.len()).rev();
    times
        .map(|row| trace.events.time_us(row))
        .find(|&time| time != NO_TIME)
        .unwrap_or(NO_TIME)
}

/// Metadata with a tensor's own added, each made once.
#[derive(Default)]
struct Texts {
    merged: HashMap<(StringId, u32), StringId, FixedState>,
}

impl Texts {
    /// What `before` says, with the tensor's module, name and category added. The tensor's module
    /// wins: a gradient belongs to its parameter's owner, wherever the backward pass made it.
    fn merged(
        &mut self,
        snapshot: &mut Snapshot,
        before: StringId,
        at: u32,
        tensor: &Tensor,
    ) -> StringId {
        if let Some(&known) = self.merged.get(&(before, at)) {
            return known;
        }
        let text = snapshot.strings.get(before);
        let mut object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            _ => Map::new(),
        };
        for (key, value) in [
            ("category", &tensor.category),
            ("module", &tensor.module),
            ("name", &tensor.name),
        ] {
            if !value.is_empty() {
                object.insert(key.to_owned(), Value::String(value.clone()));
            }
        }
        let id = snapshot.strings.intern(&Value::Object(object).to_string());
        self.merged.insert((before, at), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, Sidecar, Spans, Tensor, Walk};
    use super::*;
    use crate::snapshot::Events;

    const ADDRESS: u64 = 0x7f00_0000_0000;

    fn snapshot(events: &[(Action, u64, i64)]) -> Snapshot {
        let mut columns = Events::default();
        for &(action, address, time_us) in events {
            columns.push(&Event {
                action,
                address,
                size: 512,
                time_us,
                ..Event::default()
            });
        }
        let mut snapshot = Snapshot::default();
        snapshot.traces.push(Trace {
            device: DeviceId(0),
            events: columns,
        });
        snapshot
    }

    fn tensor(address: u64, category: &str) -> Tensor {
        Tensor {
            device: 0,
            address,
            category: category.to_owned(),
            module: "blocks.0".to_owned(),
            name: "blocks.0.weight".to_owned(),
        }
    }

    fn metadata(snapshot: &Snapshot, row: usize) -> &str {
        let events = &snapshot.traces[0].events;
        snapshot.strings.get(events.user_metadata(row))
    }

    #[test]
    fn a_walk_names_what_was_live_then() {
        let mut snapshot = snapshot(&[
            (Action::Alloc, ADDRESS, 10),
            (Action::FreeRequested, ADDRESS, 20),
            (Action::FreeCompleted, ADDRESS, 20),
            (Action::Alloc, ADDRESS, 30),
        ]);
        let sidecar = Sidecar {
            tensors: vec![
                tensor(ADDRESS, "gradient"),
                tensor(ADDRESS + 512, "parameter"),
            ],
            walks: vec![
                Walk {
                    time_us: Some(15),
                    tensors: vec![0, 9],
                    set: None,
                },
                Walk {
                    time_us: Some(25),
                    set: Some(0),
                    ..Walk::default()
                },
                Walk {
                    time_us: None,
                    tensors: vec![1],
                    set: None,
                },
            ],
            tensor_sets: vec![vec![0]],
            ..Sidecar::default()
        };
        let applied = sidecar.apply(&mut snapshot);
        assert_eq!((applied.named_allocations, applied.not_found), (2, 1));
        let text = r#"{"category":"gradient","module":"blocks.0","name":"blocks.0.weight"}"#;
        assert_eq!(metadata(&snapshot, 0), text);
        assert_eq!(metadata(&snapshot, 3), "", "the second use was never seen");
        // The parameter is older than the trace: annotated at its end.
        let events = &snapshot.traces[0].events;
        assert_eq!(
            (events.action(4), events.address(4)),
            (Action::Annotate, ADDRESS + 512)
        );
    }

    #[test]
    fn the_sidecar_of_another_snapshot_changes_nothing() {
        let events = [
            (Action::Alloc, ADDRESS, 10),
            (Action::Alloc, ADDRESS + 512, 20),
        ];
        let sidecar = |device, events, time_us| Sidecar {
            tensors: vec![tensor(ADDRESS, "parameter")],
            walks: vec![Walk {
                tensors: vec![0],
                ..Walk::default()
            }],
            ends: vec![End {
                device,
                events,
                time_us,
            }],
            rank: Some(3),
            ..Sidecar::default()
        };
        for of_this in [
            sidecar(0, 2, Some(20)),
            sidecar(0, 2, None),
            sidecar(7, 0, None),
        ] {
            let mut snapshot = snapshot(&events);
            assert!(!of_this.apply(&mut snapshot).is_of_another);
            assert_eq!(snapshot.context.as_ref().unwrap().rank, Some(3));
            assert_ne!(metadata(&snapshot, 0), "");
            assert!(snapshot.warnings.all().is_empty());
        }
        for of_another in [
            sidecar(0, 3, Some(20)),
            sidecar(0, 2, Some(21)),
            sidecar(1, 1, None),
        ] {
            let mut snapshot = snapshot(&events);
            assert!(of_another.apply(&mut snapshot).is_of_another);
            assert_eq!(metadata(&snapshot, 0), "");
            assert!(snapshot.context.is_none() && snapshot.watches.is_empty());
            let message = &snapshot.warnings.all()[0].message;
            assert!(message.contains("belongs to another one"), "{message}");
        }
    }

    #[test]
    fn spans_label_what_has_no_metadata() {
        let mut snapshot = snapshot(&[
            (Action::Alloc, ADDRESS, 5),
            (Action::Alloc, ADDRESS + 512, 10),
            (Action::Alloc, ADDRESS + 1024, 20),
        ]);
        let sidecar = Sidecar {
            labels: vec!["blocks.0".to_owned()],
            spans: Spans {
                time_us: vec![20, 10],
                label: vec![-1, 0],
                thread: Vec::new(),
            },
            ..Sidecar::default()
        };
        assert_eq!(sidecar.apply(&mut snapshot).labelled_events, 1);
        let texts = [0, 1, 2].map(|row| metadata(&snapshot, row));
        assert_eq!(texts, ["", "blocks.0", ""]);
    }

    #[test]
    fn threads_that_differ_leave_what_they_agree_on() {
        let mut snapshot = snapshot(&[
            (Action::Alloc, ADDRESS, 10),
            (Action::Alloc, ADDRESS + 512, 20),
            (Action::Alloc, ADDRESS + 1024, 30),
            (Action::Alloc, ADDRESS + 1536, 40),
        ]);
        let forward = r#"{"module":"a","phase":"forward","step":3}"#;
        let backward = r#"{"module":"b","phase":"backward","step":3}"#;
        let sidecar = Sidecar {
            labels: vec![forward.to_owned(), backward.to_owned(), "x".to_owned()],
            spans: Spans {
                time_us: vec![10, 20, 30, 40],
                label: vec![0, 1, -1, 2],
                thread: vec![7, 8, 7, 9],
            },
            ..Sidecar::default()
        };
        assert_eq!(sidecar.apply(&mut snapshot).labelled_events, 3);
        let texts = [0, 1, 2, 3].map(|row| metadata(&snapshot, row));
        assert_eq!(texts, [forward, r#"{"step":3}"#, backward, ""]);
    }
}
