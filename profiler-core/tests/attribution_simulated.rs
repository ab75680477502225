//! Attribution against programs whose memory is known: a GPT of six blocks trained with AdamW, run
//! by the real PyTorch (`programs.py` beside the snapshots).

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::PathBuf;

use profiler_core::attribution::{Attribution, By, Category, Evidence, Phase};
use profiler_core::read::read;
use profiler_core::replay::{DeviceReplay, Moment, Replay};
use profiler_core::snapshot::{DeviceId, Snapshot};

/// Bytes of the model's parameters, all float32: vocabulary 8000, width 512, 2048 positions, six
/// blocks of two norms, an attention and a four times wider MLP.
fn parameter_bytes() -> u64 {
    let (vocabulary, positions, width, blocks) = (8_000, 2_048, 512, 6);
    let norm = 2 * width;
    let linear = |from: u64, to: u64| from * to + to;
    let attention = linear(width, 3 * width) + linear(width, width);
    let block = 2 * norm + attention + linear(width, 4 * width) + linear(4 * width, width);
    let embeddings = (vocabulary + positions) * width;
    4 * (embeddings + blocks * block + norm + vocabulary * width)
}

struct Case {
    name: String,
    snapshot: Snapshot,
    replay: Replay,
    attribution: Attribution,
}

impl Case {
    fn new(path: &PathBuf) -> Self {
        Self::of(
            common::name(path),
            read(&std::fs::read(path).unwrap()).unwrap(),
        )
    }

    fn of(name: &str, snapshot: Snapshot) -> Self {
        let replay = Replay::new(&snapshot);
        let attribution = Attribution::new(&snapshot, &replay);
        Self {
            name: name.to_owned(),
            snapshot,
            replay,
            attribution,
        }
    }

    fn device(&self) -> &DeviceReplay {
        self.replay.device(DeviceId(0)).unwrap()
    }

    fn bytes(&self, moment: Moment, category: Category) -> u64 {
        let device = self.device();
        let live = device.live_at(moment);
        let by = By::Category;
        let breakdown = self
            .attribution
            .breakdown(&self.snapshot, device, &live, by);
        let group = breakdown.groups.iter().find(|g| g.label == category.name());
        group.map_or(0, |group| group.sums.requested)
    }

    /// Requested bytes at the peak by layer path.
    fn layers_at_peak(&self) -> Vec<(String, u64)> {
        let device = self.device();
        let live = device.live_at(device.peak_moment());
        let breakdown = self
            .attribution
            .breakdown(&self.snapshot, device, &live, By::Layer);
        let groups = breakdown.groups.into_iter();
        groups.map(|g| (g.label, g.sums.requested)).collect()
    }
}

fn simulated(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Some(shared) = common::shared() else {
        return Vec::new();
    };
    let mut files = common::snapshot_files(&shared.join("simulated"));
    files.retain(|path| wanted(common::name(path)));
    files
}

/// Recorded from the first allocation on.
fn is_complete(name: &str) -> bool {
    !name.contains("late") && !name.contains("ring")
}

#[test]
fn parameters_and_optimizer_state_are_exact() {
    for path in simulated(is_complete) {
        let case = Case::new(&path);
        let spans = &case.attribution.device(DeviceId(0)).unwrap().phases;
        let steps = spans.iter().filter(|span| span.phase == Phase::Optimizer);
        for span in steps {
            let found = (
                case.bytes(span.end, Category::Parameter),
                case.bytes(span.end, Category::OptimizerState),
            );
            let expected = (parameter_bytes(), 2 * parameter_bytes());
            assert_eq!(found, expected, "{} at {}", case.name, span.end);
        }
    }
}

#[test]
fn gradients_are_exact_at_the_end_of_each_backward() {
    for path in simulated(|_| true) {
        let case = Case::new(&path);
        let spans = &case.attribution.device(DeviceId(0)).unwrap().phases;
        let mut seen = 0;
        // Whole backwards: not one that the ring buffer has lost the start of, nor one that an
        // OOM ended.
        let whole = [Phase::Forward, Phase::Backward, Phase::Optimizer];
        for three in spans.windows(3) {
            if three.iter().map(|span| span.phase).eq(whole) {
                let end = three[1].end;
                let found = case.bytes(end, Category::Gradient);
                assert_eq!(found, parameter_bytes(), "{} at {end}", case.name);
                seen += 1;
            }
        }
        assert!(seen > 0, "{}", case.name);
    }
}

#[test]
fn python_stacks_tell_what_cpp_stacks_tell() {
    for (python, cpp) in [
        ("sim15-var", "sim15-var-cpp"),
        ("sim26-var", "sim26-var-cpp"),
    ] {
        let both: Vec<Case> = [python, cpp]
            .iter()
            .flat_map(|name| simulated(|file| file == format!("{name}.pickle")))
            .map(|path| Case::new(&path))
            .collect();
        let [python, cpp] = both.as_slice() else {
            return;
        };
        for category in Category::ALL {
            let at_peak = |case: &Case| case.bytes(case.device().peak_moment(), category);
            assert_eq!(at_peak(python), at_peak(cpp), "{}: {category:?}", cpp.name);
        }
    }
}

#[test]
fn the_six_blocks_are_told_apart() {
    for path in simulated(is_complete) {
        let case = Case::new(&path);
        let device = case.device();
        let attribution = case.attribution.device(DeviceId(0)).unwrap();
        let first = attribution
            .phases
            .iter()
            .find(|s| s.phase == Phase::Backward);
        let Some(forward_end) = first.map(|span| span.start) else {
            continue;
        };
        let live = device.live_at(forward_end);
        let mut blocks = std::collections::BTreeMap::new();
        for id in live {
            if attribution.category(id).0 != Category::Activation {
                continue;
            }
            let (layer, _) = attribution.layer(id);
            // model › block or blocks.n
            let ancestry = case.attribution.layers.ancestry(layer);
            let path = ancestry
                .get(1)
                .map(|layer| case.attribution.layers.path(*layer));
            if let Some(path) = path.filter(|p| p.contains("@16[") || p.starts_with("blocks.")) {
                *blocks.entry(path).or_insert(0) += device.allocations.get(id).requested;
            }
        }
        assert_eq!(blocks.len(), 6, "{}: {blocks:?}", case.name);
        let mut bytes: Vec<u64> = blocks.values().copied().collect();
        bytes.sort_unstable();
        bytes.dedup();
        assert_eq!(
            bytes.len(),
            1,
            "{}: blocks are alike: {blocks:?}",
            case.name
        );
    }
}

#[test]
fn annotated_parameters_name_the_layers() {
    for path in simulated(|name| name.starts_with("sim15-annot")) {
        let case = Case::new(&path);
        let layers = case.layers_at_peak();
        for block in 0..6 {
            let attention = format!("blocks.{block}.attn");
            let found = layers.iter().find(|(path, _)| *path == attention);
            let bytes = found.map_or(0, |(_, bytes)| *bytes);
            // Parameters once, two optimizer states, and at least the saved query, key and
            // value of 8 × 512 positions.
            let parameters = 4 * (512 * 3 * 512 + 3 * 512);
            let saved = 3 * 8 * 512 * 512 * 4;
            assert!(bytes > 3 * parameters + saved, "{}: {layers:?}", case.name);
        }
    }
}

#[test]
fn steps_are_found_with_and_without_annotations() {
    for path in simulated(|name| is_complete(name) && !name.contains("oom")) {
        let mut case = Case::new(&path);
        let steps = |case: &Case| case.attribution.device(DeviceId(0)).unwrap().steps.clone();
        let recorded = steps(&case);
        // Runs that met an out-of-memory error are shorter.
        let ooms = case.snapshot.trace(DeviceId(0)).map_or(0, |trace| {
            let actions = trace.events.actions().iter();
            actions.filter(|a| a.name() == "oom").count()
        });
        let expected = if case.name.contains("var") { 10 } else { 4 };
        assert_eq!(recorded.evidence, Evidence::Recorded, "{}", case.name);
        if ooms == 0 {
            assert_eq!(recorded.steps.len(), expected, "{}", case.name);
            let highest = recorded.highest().map(|at| &recorded.steps[at]).unwrap();
            let (moment, bytes) = case.device().requested.peak();
            assert_eq!((highest.peak_moment, highest.peak_bytes), (moment, bytes));
        }
        let name = case.name.clone();
        let mut snapshot = std::mem::take(&mut case.snapshot);
        snapshot.annotations.clear();
        let bare = Case::of(&name, snapshot);
        let inferred = steps(&bare);
        if ooms == 0 && !name.contains("annot") {
            assert_eq!(inferred.evidence, Evidence::Inferred, "{name}");
            // A forward captured into a graph after the training counts as one more.
            let expected = expected + usize::from(name.contains("graph"));
            assert_eq!(inferred.steps.len(), expected, "{name}");
        }
    }
}

/// `_set_memory_metadata` numbers the steps where it is there (PyTorch 2.10 and later).
#[test]
fn steps_are_read_from_metadata() {
    for path in simulated(|name| name.starts_with("sim15-annot")) {
        let mut snapshot = read(&std::fs::read(&path).unwrap()).unwrap();
        snapshot.annotations.clear();
        let case = Case::of(common::name(&path), snapshot);
        let steps = &case.attribution.device(DeviceId(0)).unwrap().steps;
        let numbers: Vec<u64> = steps.steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3], "{}", case.name);
        assert_eq!(steps.evidence, Evidence::Recorded);
    }
}

/// `bytes` with every `from` replaced by `to`, of the same length.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut at = 0;
    while let Some(part) = bytes.get_mut(at..at + from.len()) {
        if part == from {
            part.copy_from_slice(to);
        }
        at += 1;
    }
    bytes
}

/// The recorded steps are found again with their names and the optimizer's made unrecognisable:
/// all that is left is that the work repeats. The first makes the optimizer's state, so it is not
/// one of them.
#[test]
fn steps_without_names_are_told_by_repetition() {
    for path in simulated(|name| name.ends_with("-base") || name.ends_with("-ctxalloc")) {
        let named = Case::new(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        for (from, to) in [
            ("torch/optim/adam", "torch/other/work"),
            ("torch/optim/optimizer", "torch/other/otherwise"),
            ("zero_grad", "zero_work"),
            ("train_step#", "train_step_"),
        ] {
            bytes = replaced(bytes, from.as_bytes(), to.as_bytes());
        }
        let bare = Case::of(&named.name, read(&bytes).unwrap());
        let steps = |case: &Case| {
            let device = case.attribution.device(DeviceId(0)).unwrap();
            device.steps.clone()
        };
        let (recorded, found) = (steps(&named), steps(&bare));
        assert_eq!(recorded.evidence, Evidence::Recorded, "{}", named.name);
        assert_eq!(found.evidence, Evidence::Inferred, "{}", named.name);
        assert!(found.source.contains("times in a row"), "{}", found.source);
        let last = |count: usize| recorded.steps.iter().rev().take(count).rev();
        for (recorded, found) in last(found.steps.len()).zip(&found.steps) {
            assert_eq!(recorded.peak_bytes, found.peak_bytes, "{}", named.name);
            assert_eq!(recorded.peak_moment, found.peak_moment, "{}", named.name);
        }
        assert!(found.steps.len() + 1 >= recorded.steps.len());
    }
}
