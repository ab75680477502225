//! Attribution on made-up snapshots: no input panics, sums stay exact, and stack cleaning agrees
//! with a naive one.

#![allow(clippy::unwrap_used, reason = "tests")]

use profiler_core::attribution::{Attribution, By, Evidence};
use profiler_core::replay::Replay;
use profiler_core::snapshot::{
    Action, Annotation, DeviceId, Event, Frame, FrameId, Snapshot, StackId, Stage, Trace,
};
use proptest::prelude::*;

const MODULE: &str = "/v/site-packages/torch/nn/modules/module.py";

/// Frames of all kinds: (name, file).
const FRAMES: [(&str, &str); 22] = [
    ("forward", "/srv/model.py"),
    ("forward", "/v/site-packages/torch/nn/modules/linear.py"),
    ("forward", "/v/site-packages/torch/nn/modules/container.py"),
    ("_call_impl", MODULE),
    ("_wrapped_call_impl", MODULE),
    ("_apply", MODULE),
    ("apply", "/v/site-packages/torch/autograd/function.py"),
    ("step", "/v/site-packages/torch/optim/adam.py"),
    ("_init_group", "/v/site-packages/torch/optim/adam.py"),
    ("zero_grad", "/v/site-packages/torch/optim/optimizer.py"),
    ("closure", "/srv/train.py"),
    ("<module>", "/srv/train.py"),
    ("backward", "/v/site-packages/torch/_tensor.py"),
    ("__init__", "/srv/model.py"),
    ("at::_ops::bmm::call(int)", "??"),
    ("at::native::bmm(int)", "??"),
    ("torch::autograd::generated::BmmBackward0::apply(int)", ""),
    ("torch::autograd::AccumulateGrad::apply(int)", ""),
    ("at::cuda::getNewWorkspace()", ""),
    ("_PyEval_EvalFrameDefault", "??"),
    ("??", "/lib/libtorch.so"),
    ("", ""),
];

const TEXTS: [&str; 8] = [
    "",
    "step=3",
    r#"{"module":"blocks.1.attn","step":2,"category":"activation"}"#,
    "blocks.0.attn.in_proj_weight",
    "blocks.1.weight",
    "head.weight",
    "backward",
    "{]",
];

#[derive(Clone, Debug)]
struct Made {
    stacks: Vec<Vec<(usize, u64)>>,
    /// (action, address, size, stack, text)
    events: Vec<(u8, u64, u64, usize, usize)>,
    annotations: Vec<(bool, i64)>,
}

fn made() -> impl Strategy<Value = Made> {
    let frame = (0..FRAMES.len(), 0_u64..4);
    let stacks = prop::collection::vec(prop::collection::vec(frame, 0..12), 1..8);
    let size = prop_oneof![0_u64..4, Just(33_554_432_u64), Just(u64::MAX / 4)];
    let event = (0_u8..12, 0_u64..6, size, 0_usize..8, 0..TEXTS.len());
    let events = prop::collection::vec(event, 0..120);
    let annotations = prop::collection::vec((any::<bool>(), 0_i64..120), 0..6);
    (stacks, events, annotations).prop_map(|(stacks, events, annotations)| Made {
        stacks,
        events,
        annotations,
    })
}

fn snapshot(made: &Made) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut stacks = Vec::new();
    for frames in &made.stacks {
        let ids: Vec<FrameId> = frames
            .iter()
            .map(|&(kind, line)| {
                let (name, file) = FRAMES[kind];
                let frame = Frame {
                    name: snapshot.strings.intern(name),
                    filename: snapshot.strings.intern(file),
                    line,
                    fx: 0,
                };
                snapshot.frames.intern(frame)
            })
            .collect();
        stacks.push(snapshot.stacks.intern(&ids));
    }
    let mut trace = Trace::default();
    for (row, &(action, address, size, stack, text)) in made.events.iter().enumerate() {
        let action = match action {
            0..4 => Action::Alloc,
            4..6 => Action::FreeRequested,
            6..8 => Action::FreeCompleted,
            8 => Action::Oom,
            9 => Action::Annotate,
            10 => Action::SegmentAlloc,
            _ => Action::Snapshot,
        };
        trace.events.push(&Event {
            action,
            address: address * 0x1000,
            size,
            time_us: row as i64,
            stack: stacks.get(stack).copied().unwrap_or(StackId::EMPTY),
            user_metadata: snapshot.strings.intern(TEXTS[text]),
            ..Event::default()
        });
    }
    snapshot.traces.push(trace);
    for (at, &(starts, time_us)) in made.annotations.iter().enumerate() {
        snapshot.annotations.push(Annotation {
            name: snapshot.strings.intern(&format!("step#{}", at % 3)),
            stage: if starts { Stage::Start } else { Stage::End },
            device: DeviceId(0),
            time_us,
        });
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sums_are_exact_on_anything(made in made()) {
        let snapshot = snapshot(&made);
        let replay = Replay::new(&snapshot);
        let attribution = Attribution::new(&snapshot, &replay);
        for device in &replay.devices {
            let steps = &attribution.device(device.device).unwrap().steps;
            for step in &steps.steps {
                prop_assert!(step.start < step.end);
                let moments = step.start..=step.end;
                let peak = moments.map(|moment| device.requested.at(moment)).max();
                prop_assert_eq!(peak, Some(step.peak_bytes));
            }
            for moment in [0, device.peak_moment(), device.event_count()] {
                let live = device.live_at(moment);
                let sizes = live.iter().map(|id| device.allocations.get(*id).requested);
                let bytes = sizes.fold(0_u64, u64::saturating_add);
                for (by, _) in By::NAMES {
                    let breakdown = attribution.breakdown(&snapshot, device, &live, by);
                    prop_assert_eq!(breakdown.total.requested, bytes);
                    let counts = breakdown.groups.iter().map(|group| group.sums.count);
                    prop_assert_eq!(counts.sum::<u64>(), live.len() as u64);
                }
                for flame in [
                    attribution.flame_by_stack(&snapshot, device, &live),
                    attribution.flame_by_layer(device, &live),
                ] {
                    prop_assert_eq!(flame.nodes[0].total.count, live.len() as u64);
                }
                for id in live {
                    let (layer, evidence) = attribution.device(device.device).unwrap().layer(id);
                    prop_assert_eq!(layer.0 == 0, evidence == Evidence::Unknown);
                }
            }
        }
    }

    #[test]
    fn cleaning_agrees_with_a_naive_one(made in made()) {
        let mut snapshot = snapshot(&made);
        let replay = Replay::new(&snapshot);
        let clean = Attribution::new(&snapshot, &replay).clean;
        let ids: Vec<Vec<FrameId>> = made
            .stacks
            .iter()
            .map(|frames| {
                let ids = frames.iter().map(|&(kind, line)| {
                    let (name, file) = FRAMES[kind];
                    let name = snapshot.strings.intern(name);
                    let filename = snapshot.strings.intern(file);
                    snapshot.frames.intern(Frame { name, filename, line, fx: 0 })
                });
                ids.collect()
            })
            .collect();
        for frames in ids {
            let stack = snapshot.stacks.intern(&frames);
            // Outermost first: what is not folded, repeats and implementations left out.
            let mut shown: Vec<(String, String, u64)> = Vec::new();
            for &id in frames.iter().rev() {
                let frame = snapshot.frames.get(id);
                let name = snapshot.strings.get(frame.name).to_owned();
                let file = snapshot.strings.get(frame.filename).to_owned();
                let folded = matches!(
                    name.as_str(),
                    "_call_impl" | "_wrapped_call_impl" | "_PyEval_EvalFrameDefault" | "??" | ""
                );
                let is_cpp = name.contains("::");
                let line = if is_cpp { 0 } else { frame.line };
                let own = (name, file, line);
                let same_operator = own.0.starts_with("at::native::bmm")
                    && shown.last().is_some_and(|last| last.0.starts_with("at::_ops::bmm"));
                if !folded && !same_operator && shown.last() != Some(&own) {
                    shown.push(own);
                }
            }
            shown.reverse();
            let found: Vec<_> = clean
                .clean_frames(clean.of(stack))
                .map(|id| {
                    let frame = snapshot.frames.get(id);
                    let name = snapshot.strings.get(frame.name).to_owned();
                    let line = if name.contains("::") { 0 } else { frame.line };
                    (name, snapshot.strings.get(frame.filename).to_owned(), line)
                })
                .collect();
            prop_assert_eq!(found, shown);
        }
    }
}

#[test]
fn a_hundred_thousand_frames_are_no_problem() {
    let mut snapshot = Snapshot::default();
    let frames: Vec<FrameId> = (0..100_000)
        .map(|row| {
            let (name, file) = FRAMES[row % FRAMES.len()];
            let frame = Frame {
                name: snapshot.strings.intern(name),
                filename: snapshot.strings.intern(file),
                line: row as u64,
                fx: 0,
            };
            snapshot.frames.intern(frame)
        })
        .collect();
    let stack = snapshot.stacks.intern(&frames);
    let mut trace = Trace::default();
    for action in [Action::Alloc, Action::FreeRequested, Action::FreeCompleted] {
        for row in 0..1_000 {
            trace.events.push(&Event {
                action,
                address: 0x10_0000 + row * 0x1000,
                size: 512,
                stack,
                ..Event::default()
            });
        }
    }
    snapshot.traces.push(trace);
    let replay = Replay::new(&snapshot);
    let attribution = Attribution::new(&snapshot, &replay);
    let device = &replay.devices[0];
    let live = device.live_at(device.peak_moment());
    assert_eq!(live.len(), 1_000);
    let flame = attribution.flame_by_stack(&snapshot, device, &live);
    assert_eq!(flame.nodes[0].total.requested, 512_000);
    let breakdown = attribution.breakdown(&snapshot, device, &live, By::Stack);
    assert_eq!(breakdown.groups.len(), 1);
}
