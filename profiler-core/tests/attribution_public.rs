//! Attribution on every public snapshot: sums are exact, stacks stay whole, results repeat.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use profiler_core::attribution::{Attribution, By, Category, FrameOrigin, frame_label};
use profiler_core::read::read;
use profiler_core::replay::{AllocationId, DeviceReplay, Replay};
use profiler_core::snapshot::{Snapshot, StackId};

fn each_file(check: impl Fn(&str, &Snapshot, &Replay, &Attribution)) {
    let Some(shared) = common::shared() else {
        return;
    };
    for folder in ["public", "simulated"] {
        for path in common::snapshot_files(&shared.join(folder)) {
            let snapshot = read(&std::fs::read(&path).unwrap()).unwrap();
            let replay = Replay::new(&snapshot);
            let attribution = Attribution::new(&snapshot, &replay);
            check(common::name(&path), &snapshot, &replay, &attribution);
        }
    }
}

fn requested(device: &DeviceReplay, ids: &[AllocationId]) -> u64 {
    let sizes = ids.iter().map(|id| device.allocations.get(*id).requested);
    sizes.sum()
}

#[test]
fn the_groups_of_every_breakdown_sum_to_what_is_live() {
    each_file(|name, snapshot, replay, attribution| {
        for device in &replay.devices {
            let end = device.event_count();
            for moment in [0, end / 2, device.peak_moment(), end] {
                let live = device.live_at(moment);
                let bytes = requested(device, &live);
                assert_eq!(bytes, device.requested.at(moment), "{name} at {moment}");
                for (by, _) in By::NAMES {
                    let breakdown = attribution.breakdown(snapshot, device, &live, by);
                    let what = format!("{name} device {} at {moment} {by:?}", device.device);
                    let groups = &breakdown.groups;
                    assert_eq!(breakdown.total.requested, bytes, "{what}");
                    assert_eq!(breakdown.total.count, live.len() as u64, "{what}");
                    let sum = |part: fn(&profiler_core::attribution::Group) -> u64| {
                        groups.iter().map(part).sum::<u64>()
                    };
                    assert_eq!(sum(|g| g.sums.requested), bytes, "{what}");
                    assert_eq!(sum(|g| g.sums.count), live.len() as u64, "{what}");
                    assert_eq!(sum(|g| g.sums.block), breakdown.total.block, "{what}");
                    assert_eq!(sum(|g| g.inferred), breakdown.inferred, "{what}");
                    let told = breakdown.recorded + breakdown.inferred + breakdown.unknown;
                    assert_eq!(told, bytes, "{what}");
                    let unknown = groups.iter().filter(|g| g.is_unknown);
                    let unknown: u64 = unknown.map(|g| g.sums.requested).sum();
                    assert_eq!(unknown, breakdown.unknown, "{what}");
                    let falls = |pair: &[profiler_core::attribution::Group]| {
                        pair[0].sums.requested >= pair[1].sums.requested
                    };
                    assert!(groups.windows(2).all(falls), "{what}");
                    assert!(groups.iter().all(|g| !g.label.is_empty()), "{what}");
                }
            }
        }
    });
}

#[test]
fn flame_graphs_sum_to_what_is_live() {
    each_file(|name, snapshot, replay, attribution| {
        for device in &replay.devices {
            let live = device.live_at(device.peak_moment());
            let bytes = requested(device, &live);
            for flame in [
                attribution.flame_by_stack(snapshot, device, &live),
                attribution.flame_by_layer(device, &live),
            ] {
                let nodes = &flame.nodes;
                assert_eq!(nodes[0].total.requested, bytes, "{name}");
                assert_eq!(nodes.iter().map(|n| n.own.requested).sum::<u64>(), bytes);
                let mut below: Vec<u64> = nodes.iter().map(|n| n.own.requested).collect();
                for (at, node) in nodes.iter().enumerate().skip(1).rev() {
                    assert!((node.parent as usize) < at, "{name}");
                    assert_eq!(node.depth, nodes[node.parent as usize].depth + 1);
                    below[node.parent as usize] += below[at];
                    assert_eq!(node.total.requested, below[at], "{name}");
                }
            }
        }
    });
}

#[test]
fn cleaned_stacks_stand_for_all_recorded_frames() {
    each_file(|name, snapshot, replay, attribution| {
        let clean = &attribution.clean;
        let mut stacks: Vec<StackId> = Vec::new();
        for device in &replay.devices {
            stacks.extend(device.allocations.stacks());
        }
        stacks.sort_unstable();
        stacks.dedup();
        for stack in stacks {
            let frames = clean.frames(&snapshot.stacks, stack);
            let mut next = 0;
            for frame in &frames {
                assert_eq!(frame.recorded.start, next, "{name}");
                assert!(frame.recorded.end > next, "{name}");
                next = frame.recorded.end;
                let label = frame_label(snapshot, frame.frame);
                for noise in [
                    "PyEval",
                    "unwind::",
                    "CachingAllocator",
                    "_call_impl",
                    "redispatch",
                ] {
                    assert!(!label.contains(noise), "{name}: {label}");
                }
            }
            if !frames.is_empty() {
                assert_eq!(next, snapshot.stacks.depth(stack), "{name}");
            }
            let shown: Vec<_> = frames.iter().map(|frame| frame.frame).collect();
            let cleaned: Vec<_> = clean.clean_frames(clean.of(stack)).collect();
            assert_eq!(shown, cleaned, "{name}");
            // C++ is inside of the Python that called it; only autograd's threads start in C++.
            let any_python = frames.iter().any(|f| f.origin != FrameOrigin::Native);
            if let Some(outermost) = frames.last().filter(|_| any_python)
                && outermost.origin == FrameOrigin::Native
            {
                let label = frame_label(snapshot, outermost.frame);
                assert_eq!(label, "autograd engine", "{name}");
            }
        }
    });
}

#[test]
fn attribution_repeats_itself() {
    let Some(shared) = common::shared() else {
        return;
    };
    for name in ["kk-memory-ctx128-fullstep-b1a7", "nesta-memory-snapshot"] {
        let path = shared.join("public").join(format!("{name}.pickle"));
        let bytes = std::fs::read(path).unwrap();
        let outcome = || {
            let snapshot = read(&bytes).unwrap();
            let replay = Replay::new(&snapshot);
            let attribution = Attribution::new(&snapshot, &replay);
            let device = &replay.devices[0];
            let live = device.live_at(device.peak_moment());
            let groups =
                By::NAMES.map(|(by, _)| attribution.breakdown(&snapshot, device, &live, by));
            (groups, attribution.flame_by_stack(&snapshot, device, &live))
        };
        assert_eq!(outcome(), outcome(), "{name}");
    }
}

/// Real training steps with Adam: its state is two tensors for each parameter, and there is one
/// gradient for each. The programs' own optimizers (the first two) are not PyTorch's.
#[test]
fn real_adam_steps_have_two_states_for_each_gradient() {
    let Some(shared) = common::shared() else {
        return;
    };
    for name in [
        "kk-memory-ctx128-fullstep-b1a7",
        "wed-medium-128-training",
        "npu-snapshot-1768383987920985470",
        "a0kuma-gpu-adam",
    ] {
        let path = shared.join("public").join(format!("{name}.pickle"));
        let snapshot = read(&std::fs::read(path).unwrap()).unwrap();
        let replay = Replay::new(&snapshot);
        let attribution = Attribution::new(&snapshot, &replay);
        let device = &replay.devices[0];
        let live = device.live_at(device.peak_moment());
        let breakdown = attribution.breakdown(&snapshot, device, &live, By::Category);
        let bytes = |category: Category| -> f64 {
            let found = breakdown.groups.iter().find(|g| g.label == category.name());
            found.map_or(0, |group| group.sums.requested) as f64
        };
        let gradient = bytes(Category::Gradient);
        assert!(gradient > 0.0, "{name}");
        for (category, times) in [(Category::Parameter, 1.0), (Category::OptimizerState, 2.0)] {
            let ratio = bytes(category) / gradient;
            // Buffers count as parameters, and gradients of scalars may be temporary.
            assert!(
                (ratio - times).abs() < 0.03 * times,
                "{name}: {category:?} is {ratio} times the gradients"
            );
        }
    }
}
