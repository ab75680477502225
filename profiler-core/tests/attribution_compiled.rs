//! Attribution of made-up recordings: compiled regions, forward tracebacks, ranges, and loops that
//! only their repetition tells.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use profiler_core::attribution::{Attribution, Breakdown, By, Evidence, Phase};
use profiler_core::replay::{AllocationId, Replay};
use profiler_core::snapshot::{
    Action, Annotation, DeviceId, Event, Frame, FxNode, Snapshot, StackId, Stage, Trace,
};

const MODULE: &str = "/v/lib/python3.11/site-packages/torch/nn/modules/module.py";
const LINEAR: &str = "/v/lib/python3.11/site-packages/torch/nn/modules/linear.py";
const ENGINE: &str = "torch::autograd::Engine::thread_main(int)";

/// A recording in the making: every allocation has an address of its own.
#[derive(Default)]
struct Recording {
    snapshot: Snapshot,
    trace: Trace,
    allocated: u64,
}

impl Recording {
    /// Frames innermost first: function, file, line.
    fn stack(&mut self, frames: &[(&str, &str, u64)]) -> StackId {
        let snapshot = &mut self.snapshot;
        let ids: Vec<_> = frames
            .iter()
            .map(|&(name, file, line)| {
                let frame = Frame {
                    name: snapshot.strings.intern(name),
                    filename: snapshot.strings.intern(file),
                    line,
                    fx: 0,
                };
                snapshot.frames.intern(frame)
            })
            .collect();
        snapshot.stacks.intern(&ids)
    }

    /// A stack of a line of `model.py`, called from `train.py`, inside of `inner`.
    fn in_model(&mut self, line: u64, inner: &[(&str, &str, u64)]) -> StackId {
        let mut frames = inner.to_vec();
        frames.extend([
            ("forward", "/srv/model.py", line),
            ("_call_impl", MODULE, 1),
            ("main", "/srv/train.py", 37),
        ]);
        self.stack(&frames)
    }

    fn push(&mut self, event: Event) {
        let time_us = 1000 + self.trace.events.len() as i64;
        self.trace.events.push(&Event { time_us, ..event });
    }

    /// Allocates `size` bytes; the rest of the event as in `like`. Returns the address.
    fn alloc_like(&mut self, stack: StackId, size: u64, like: Event) -> u64 {
        self.allocated += 1;
        let address = self.allocated << 24;
        self.push(Event {
            action: Action::Alloc,
            address,
            size,
            stack,
            ..like
        });
        address
    }

    fn alloc(&mut self, stack: StackId, size: u64) -> u64 {
        self.alloc_like(stack, size, Event::default())
    }

    fn free(&mut self, address: u64, size: u64, stack: StackId) {
        for action in [Action::FreeRequested, Action::FreeCompleted] {
            self.push(Event {
                action,
                address,
                size,
                stack,
                ..Event::default()
            });
        }
    }

    fn done(mut self) -> Done {
        self.snapshot.traces.push(self.trace);
        let replay = Replay::new(&self.snapshot);
        let attribution = Attribution::new(&self.snapshot, &replay);
        Done {
            snapshot: self.snapshot,
            replay,
            attribution,
        }
    }
}

struct Done {
    snapshot: Snapshot,
    replay: Replay,
    attribution: Attribution,
}

impl Done {
    fn layer(&self, row: u32) -> (String, Evidence) {
        let device = self.attribution.device(DeviceId(0)).unwrap();
        let (layer, evidence) = device.layer(AllocationId(row));
        (self.attribution.layers.path(layer), evidence)
    }

    fn all_by(&self, by: By) -> Breakdown {
        let device = self.replay.device(DeviceId(0)).unwrap();
        let all: Vec<_> = device.allocations.ids().collect();
        self.attribution.breakdown(&self.snapshot, device, &all, by)
    }

    fn groups(&self, by: By) -> Vec<(String, u64)> {
        let groups = self.all_by(by).groups.into_iter();
        groups.map(|g| (g.label, g.sums.requested)).collect()
    }

    fn steps(&self) -> (Vec<(u32, u32)>, Evidence, &str) {
        let steps = &self.attribution.device(DeviceId(0)).unwrap().steps;
        let ranges = steps.steps.iter().map(|s| (s.start, s.end)).collect();
        (ranges, steps.evidence, &steps.source)
    }
}

#[test]
fn a_compiled_region_stands_in_for_layers_not_told() {
    let mut recording = Recording::default();
    let train = recording.stack(&[("main", "/srv/train.py", 37)]);
    let linear = recording.in_model(9, &[("forward", LINEAR, 125), ("_call_impl", MODULE, 1)]);
    let mut strings = |text| recording.snapshot.strings.intern(text);
    let first = strings("Torch-Compiled Region: 0/0");
    let second = strings("Torch-Compiled Region: 1/0");
    for (context, size) in [(first, 512), (second, 1024), (first, 2048)] {
        let like = Event {
            compile_context: context,
            ..Event::default()
        };
        recording.alloc_like(train, size, like);
    }
    recording.alloc(linear, 4096);
    recording.alloc(train, 8192);
    let done = recording.done();
    let region = |name: &str| (format!("compiled region ‹{name}›"), Evidence::Recorded);
    assert_eq!(done.layer(0), region("0/0"));
    assert_eq!(done.layer(1), region("1/0"));
    assert_eq!(done.layer(3).1, Evidence::Inferred);
    assert_eq!(done.layer(4).1, Evidence::Unknown);
    assert_eq!(
        done.groups(By::CompileContext),
        [
            ("(not in a compiled region)".to_owned(), 12_288),
            ("Torch-Compiled Region: 0/0".to_owned(), 2_560),
            ("Torch-Compiled Region: 1/0".to_owned(), 1_024),
        ]
    );
}

#[test]
fn source_lines_of_generated_code_tell_the_layer() {
    let mut recording = Recording::default();
    let text = "File \"/srv/model.py\", line 31, in forward\n    x = self.blocks[0](x)\n\
                File \"/srv/model.py\", line 12, in forward\n    x = x + self.attn(x)\n\
                File \"/srv/model.py\", line 20, in forward\n    return attend(q, k)\n";
    let untold = "File \"/srv/model.py\", line 31, in forward\n    x = block(x)\n\
                  File \"/srv/block.py\", line 7, in forward\n    return F.relu(x)\n";
    let mut frame = |text: &str| {
        let snapshot = &mut recording.snapshot;
        let fx = snapshot.frames.intern_fx(FxNode {
            original_trace: snapshot.strings.intern(text),
            ..FxNode::default()
        });
        let frame = Frame {
            name: snapshot.strings.intern("call"),
            filename: snapshot.strings.intern("/tmp/torchinductor_me/ab/cab.py"),
            line: 99,
            fx,
        };
        let frame = snapshot.frames.intern(frame);
        snapshot.stacks.intern(&[frame])
    };
    let (told, place) = (frame(text), frame(untold));
    recording.alloc(told, 512);
    recording.alloc(place, 512);
    let done = recording.done();
    let inferred = |path: &str| (path.to_owned(), Evidence::Inferred);
    assert_eq!(done.layer(0), inferred("blocks.0.attn"));
    assert_eq!(done.layer(1), inferred("block@31"));
}

#[test]
fn forward_tracebacks_tell_the_layer_of_the_backward() {
    let mut recording = Recording::default();
    let inner = [("forward", LINEAR, 125), ("_call_impl", MODULE, 1)];
    let first = recording.in_model(9, &inner);
    let second = recording.in_model(10, &inner);
    let engine = recording.stack(&[(ENGINE, "", 0)]);
    recording.alloc(first, 512);
    recording.alloc(second, 512);
    let traceback = |line: u64| {
        format!(
            "  File \"/srv/train.py\", line 37, in main\n    model(x)\n\
             \x20 File \"{MODULE}\", line 1, in _call_impl\n\
             \x20 File \"/srv/model.py\", line {line}, in forward\n    x = self.a(x)\n\
             \x20 File \"{MODULE}\", line 1, in _call_impl\n\
             \x20 File \"{LINEAR}\", line 125, in forward\n    return F.linear(x)\n"
        )
    };
    for line in [10, 9] {
        let forward_frames = recording.snapshot.strings.intern(&traceback(line));
        let like = Event {
            forward_frames,
            ..Event::default()
        };
        recording.alloc_like(engine, 1024, like);
    }
    // A traceback that no recorded stack follows.
    let like = Event {
        forward_frames: recording.snapshot.strings.intern("/srv/x.py:1, in f"),
        ..Event::default()
    };
    recording.alloc_like(engine, 1024, like);
    let done = recording.done();
    assert_ne!(done.layer(0), done.layer(1));
    assert_eq!(done.layer(2), done.layer(1));
    assert_eq!(done.layer(3), done.layer(0));
    assert_eq!(done.layer(4).1, Evidence::Unknown);
}

#[test]
fn allocations_are_grouped_by_range() {
    let mut recording = Recording::default();
    let train = recording.stack(&[("main", "/srv/train.py", 37)]);
    // Events at 1000, 1001, 1002, 1003.
    for size in [512, 1024, 2048, 4096] {
        recording.alloc(train, size);
    }
    for (name, stage, time_us) in [
        ("outer", Stage::Start, 1001),
        ("<img onerror=x>", Stage::Start, 1002),
        ("<img onerror=x>", Stage::End, 1002),
        ("outer", Stage::End, 1002),
    ] {
        let name = recording.snapshot.strings.intern(name);
        recording.snapshot.annotations.push(Annotation {
            name,
            stage,
            device: DeviceId(0),
            time_us,
        });
    }
    let done = recording.done();
    let group = |name: &str, bytes| (name.to_owned(), bytes);
    assert_eq!(
        done.groups(By::Range),
        [
            group("(in no range)", 4608),
            group("<img onerror=x>", 2048),
            group("outer", 1024)
        ]
    );
    let breakdown = done.all_by(By::Range);
    assert_eq!((breakdown.recorded, breakdown.unknown), (3072, 4608));
}

#[test]
fn a_phase_that_metadata_names_is_recorded() {
    let mut recording = Recording::default();
    let linear = recording.in_model(9, &[]);
    let like = Event {
        user_metadata: recording.snapshot.strings.intern("{\"phase\":\"forward\"}"),
        ..Event::default()
    };
    recording.alloc_like(linear, 512, like);
    recording.alloc(linear, 1024);
    let done = recording.done();
    let device = done.attribution.device(DeviceId(0)).unwrap();
    assert_eq!(device.phase(AllocationId(0)), Phase::Forward);
    assert_eq!(device.phase(AllocationId(1)), Phase::Forward);
    let breakdown = done.all_by(By::Phase);
    assert_eq!((breakdown.recorded, breakdown.inferred), (512, 1024));
    // The layer's evidence is beside it and stays its own.
    assert_eq!(done.layer(0).1, Evidence::Inferred);
}

/// A forward of an embedding, `blocks` blocks and a head, and its frees.
fn infer(recording: &mut Recording, blocks: usize) {
    let block = [("forward", "/srv/block.py", 5), ("_call_impl", MODULE, 1)];
    let wide = [("forward", "/srv/block.py", 6), ("_call_impl", MODULE, 1)];
    let mut stacks = vec![recording.in_model(8, &[])];
    for _ in 0..blocks {
        stacks.push(recording.in_model(9, &block));
        stacks.push(recording.in_model(9, &wide));
    }
    stacks.push(recording.in_model(10, &[]));
    let mut live = Vec::new();
    for (at, stack) in stacks.into_iter().enumerate() {
        let size = 512 * (1 + at as u64 % 2);
        live.push((recording.alloc(stack, size), size));
    }
    let train = recording.stack(&[("main", "/srv/train.py", 38)]);
    for (address, size) in live {
        recording.free(address, size, train);
    }
}

#[test]
fn a_loop_of_inference_is_steps() {
    let mut recording = Recording::default();
    let weights = recording.stack(&[("convert", MODULE, 1), ("main", "/srv/train.py", 5)]);
    for size in [4096, 8192, 512] {
        recording.alloc(weights, size);
    }
    for _ in 0..5 {
        infer(&mut recording, 4);
    }
    let done = recording.done();
    let (steps, evidence, source) = done.steps();
    // Ten allocations and twice as many free events each.
    let expected: Vec<_> = (0..5).map(|n| (3 + 30 * n, 33 + 30 * n)).collect();
    assert_eq!(steps, expected);
    assert_eq!(evidence, Evidence::Inferred);
    assert!(
        source.starts_with("the same 10 allocations, 5 times in a row"),
        "{source}"
    );
}

#[test]
fn blocks_of_one_forward_are_no_steps() {
    let mut recording = Recording::default();
    infer(&mut recording, 40);
    let done = recording.done();
    let (steps, evidence, source) = done.steps();
    assert_eq!(steps, []);
    assert_eq!(evidence, Evidence::Unknown);
    assert!(source.starts_with("none told"), "{source}");
    // Nor are two forwards.
    let mut recording = Recording::default();
    infer(&mut recording, 40);
    infer(&mut recording, 40);
    assert_eq!(recording.done().steps().0, []);
}

#[test]
fn without_stacks_no_repetition_is_taken_for_steps() {
    let mut recording = Recording::default();
    for _ in 0..10 {
        for size in [512, 1024, 2048] {
            recording.alloc(StackId::EMPTY, size);
        }
    }
    let done = recording.done();
    assert_eq!(done.steps().0, []);
    assert!(done.steps().2.contains("without stacks"));
}
