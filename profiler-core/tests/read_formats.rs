//! One small snapshot per format version, and the same snapshot by every route.
//!
//! The fixtures in `data/` tell one story (see `data/make_fixtures.py`); what is expected of them
//! is written out here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::tree::Tree;
use common::{assert_same, assert_tells, encode, naive, stack_text};
use profiler_core::read::read;
use profiler_core::snapshot::{
    Action, BlockState, DeviceId, NO_TIME, SegmentKind, Snapshot, Stage, WarningKind,
};
use std::io::Write as _;

const BASE: u64 = 0x7f00_0000_0000;
const MIB: u64 = 1 << 20;
const TIME: i64 = 1_700_000_000_000_000;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn version(version: &str) -> Snapshot {
    let snapshot = read(&fixture(&format!("torch-{version}.pickle"))).unwrap();
    assert!(
        snapshot.warnings.all().is_empty(),
        "{version}: {:?}",
        snapshot.warnings
    );
    snapshot
}

/// What all versions say: one segment with two blocks, the first allocated in forward().
fn check_segments(snapshot: &Snapshot, name: &str) {
    let segments: Vec<_> = snapshot.segments.of_device(DeviceId(0)).collect();
    assert_eq!(segments.len(), 1, "{name}");
    let segment = segments[0];
    assert_eq!((segment.address, segment.total_size), (BASE, 2 * MIB));
    assert_eq!(segment.allocated_size, Some(1024));
    assert_eq!(segment.active_size, Some(1024));
    assert_eq!(segment.kind, SegmentKind::Small);
    assert!(!segment.is_expandable);
    assert_eq!(snapshot.pools.id(segment.pool), (0, 0));
    let blocks = snapshot.segments.blocks(segment);
    assert_eq!(blocks.len(), 2, "{name}");
    assert_eq!((blocks[0].address, blocks[0].size), (BASE, 1024), "{name}");
    assert_eq!(blocks[0].requested_size, 1000, "{name}");
    assert_eq!(blocks[0].state, BlockState::Allocated, "{name}");
    let frames = stack_text(snapshot, blocks[0].stack);
    assert_eq!(frames.len(), 2, "{name}");
    assert!(frames[0].starts_with("forward /home/train.py:20"), "{name}");
    assert!(frames[1].starts_with("main /home/train.py:10"), "{name}");
    assert_eq!(blocks[1].address, BASE + 1024, "{name}: added up or read");
    assert_eq!(blocks[1].size, 2 * MIB - 1024);
    assert_eq!(blocks[1].state, BlockState::Inactive);
    assert!(blocks[1].stack.is_empty());
}

#[test]
fn torch_1_13_is_a_list_of_segments() {
    let snapshot = version("1.13");
    check_segments(&snapshot, "1.13");
    assert_eq!(snapshot.features.torch_format(), "1.13");
    assert!(snapshot.features.bare_list && snapshot.features.block_history);
    assert!(snapshot.traces.is_empty() && snapshot.settings.is_none());
    assert_eq!(snapshot.segments.all()[0].requested_size, None);
}

#[test]
fn every_version_since_2_0() {
    let versions = [
        ("2.0", "2.0"),
        ("2.1", "2.1+"),
        ("2.2", "2.2+"),
        ("2.3", "2.3+"),
        ("2.5", "2.5+"),
        ("2.8", "2.8+"),
        ("2.9", "2.9+"),
        ("2.10", "2.10+"),
        ("2.11", "2.11+"),
        ("2.12", "2.12+"),
        ("2.13", "2.13+"),
        ("2.14", "2.14+"),
        ("2.15", "2.15+"),
    ];
    for (row, (name, format)) in versions.into_iter().enumerate() {
        let since = |other: &str| row >= versions.iter().position(|v| v.0 == other).unwrap();
        let snapshot = version(name);
        check_segments(&snapshot, name);
        assert_eq!(snapshot.features.torch_format(), format);
        assert_eq!(snapshot.segments.all()[0].requested_size, Some(1000));
        assert_eq!(!snapshot.segments.all()[0].stack.is_empty(), since("2.1"));

        let trace = snapshot.trace(DeviceId(0)).unwrap();
        let events = &trace.events;
        let mut actions = vec![
            Action::SegmentAlloc,
            Action::Alloc,
            Action::Alloc,
            Action::FreeRequested,
            Action::FreeCompleted,
            Action::Oom,
        ];
        if since("2.14") {
            actions.insert(2, Action::Annotate);
        }
        assert_eq!(events.actions(), actions, "{name}");
        let alloc = events.get(1);
        assert_eq!((alloc.address, alloc.size), (BASE, 1000), "{name}");
        assert_eq!(events.has_times(), since("2.2"), "{name}");
        assert_eq!(alloc.time_us, if since("2.2") { TIME + 2 } else { NO_TIME });
        let text = |id| snapshot.strings.get(id);
        let when = |version, value| if since(version) { value } else { "" };
        assert_eq!(
            text(alloc.compile_context),
            when("2.8", "Region 0/0"),
            "{name}"
        );
        assert_eq!(text(alloc.user_metadata), when("2.10", "step=0"), "{name}");
        assert_eq!(
            text(alloc.internal_metadata),
            when("2.15", "mallocWithAddress")
        );
        assert_eq!(events.has_pools(), since("2.12"), "{name}");
        let last = events.get(events.len() - 1);
        assert_eq!((last.address, last.size), (12 * MIB, 64 * MIB), "{name}");
        assert_eq!(text(last.compile_context), "", "N/A is none");
        let free = events.get(events.len() - 3);
        let lines = "train.py:20, in forward\n\ntrain.py:10, in main\n";
        assert_eq!(text(free.forward_frames), when("2.11", lines), "{name}");
        assert_eq!(free.stack, events.get(events.len() - 2).stack);
        assert_eq!(snapshot.stacks.depth(free.stack), 2);
        // The block was allocated by the event, with the same stack.
        let block = snapshot.segments.blocks(&snapshot.segments.all()[0])[0];
        assert_eq!(alloc.stack, block.stack, "{name}");
        let innermost = snapshot.stacks.node(alloc.stack).unwrap().frame;
        let fx = snapshot.frames.fx(snapshot.frames.get(innermost));
        assert_eq!(fx.map_or("", |fx| text(fx.name)), when("2.10", "addmm"));
        if since("2.14") {
            assert_eq!(text(events.get(2).user_metadata), "fc.weight");
        }

        let host = snapshot.trace(DeviceId::HOST);
        assert_eq!(
            host.map(|trace| trace.events.len()),
            since("2.14").then_some(1)
        );
        let pinned = snapshot.segments.of_device(DeviceId::HOST).count();
        assert_eq!(pinned, usize::from(since("2.14")));
        let devices = if since("2.14") {
            vec![-1, 0, 1]
        } else {
            vec![0, 1]
        };
        let found: Vec<i32> = snapshot.devices().iter().map(|device| device.0).collect();
        assert_eq!(found, devices, "{name}: idle devices have their entry");

        assert_eq!(snapshot.settings.is_some(), since("2.3"), "{name}");
        if let Some(settings) = &snapshot.settings {
            assert_eq!(settings.conf, "max_split_size_mb:64");
            assert_eq!(settings.max_split_size, Some(64 * MIB));
            assert_eq!(settings.garbage_collection_threshold, 0.8);
            assert_eq!(settings.expandable_segments, Some(false));
            assert_eq!(settings.roundup_power2_divisions, [(1, 0), (2, 4), (64, 8)]);
            let entry = |key: &str| {
                let mut entries = settings.entries.iter();
                entries
                    .find(|(name, _)| name == key)
                    .map(|(_, text)| &**text)
            };
            assert_eq!(entry("max_split_size"), Some("67108864"));
            assert_eq!(
                entry("roundup_power2_divisions"),
                Some("{\"1\":0,\"2\":4,\"64\":8}")
            );
            assert_eq!(entry("max_round_threshold"), since("2.13").then_some("-1"));
        }
        let stages: Vec<Stage> = snapshot.annotations.iter().map(|a| a.stage).collect();
        let expected: &[Stage] = if since("2.5") {
            &[Stage::Start, Stage::End]
        } else {
            &[]
        };
        assert_eq!(stages, expected, "{name}");
    }
}

#[test]
fn fixtures_equal_the_plain_unpickler() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let plain = name.starts_with("torch-") || *name >= *"protocol-2";
        if path
            .extension()
            .is_some_and(|extension| extension == "pickle")
            && plain
        {
            let bytes = std::fs::read(&path).unwrap();
            assert_tells(&read(&bytes).unwrap(), &naive::unpickle(&bytes), &name);
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    common::xz(bytes)
}

fn html(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    // The viewer pads to a multiple of three with NULs, and pages have other long texts.
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(3) + 3, 0);
    let data = base64::engine::general_purpose::STANDARD.encode(padded);
    let hash = "0123456789abcdef".repeat(8);
    format!(
        "<!DOCTYPE html>\n<script integrity=\"sha512-{hash}\">\nconst local_files = \
         [{{\"name\": \"snapshot.pickle\", \"base64\": \"{data}\"}}]\n</script>"
    )
    .into_bytes()
}

#[test]
fn every_route_gives_the_same() {
    let reference = version("2.15");
    for protocol in 0..6 {
        let snapshot = read(&fixture(&format!("protocol-{protocol}.pickle"))).unwrap();
        assert_same(&snapshot, &reference);
    }
    assert_same(&read(&fixture("snapshot.json")).unwrap(), &reference);
    let pickle = fixture("torch-2.15.pickle");
    let json = fixture("snapshot.json");
    let routes = [
        gzip(&pickle),
        zstd(&pickle),
        xz(&pickle),
        html(&pickle),
        gzip(&html(&pickle)),
        gzip(&json),
        [gzip(&pickle[..100]), gzip(&pickle[100..])].concat(),
        [zstd(&pickle[..100]), zstd(&pickle[100..])].concat(),
        [&b"\xef\xbb\xbf \n"[..], &json].concat(),
        [&pickle[..], b"\0\0\0"].concat(),
    ];
    for bytes in routes {
        assert_same(&read(&bytes).unwrap(), &reference);
    }
    let trailing = read(&[&pickle[..], b"more"].concat()).unwrap();
    let warning = &trailing.warnings.all()[0];
    assert_eq!(warning.kind, WarningKind::TrailingBytes);
    assert!(warning.message.contains("4 bytes"), "{}", warning.message);
    // A dict some program put around it.
    let tree = Tree::dict([
        ("rank", Tree::Int(3)),
        ("snapshot", naive::unpickle(&pickle)),
    ]);
    assert_same(&read(&encode::cpython(&tree, 4)).unwrap(), &reference);
    assert_same(&read(&encode::cpp(&tree)).unwrap(), &reference);
}

/// A list of events of more than one batch, with its lists shared as PyTorch shares them.
fn long_history(events: i128) -> Tree {
    let frame = |line| {
        Tree::dict([
            ("name", Tree::text("step")),
            ("filename", Tree::text("train.py")),
            ("line", Tree::Int(line)),
        ])
    };
    let frames: Vec<Tree> = (0..300).map(frame).collect();
    let mut last = Tree::list(vec![]);
    let mut trace = Vec::new();
    for at in 0..events {
        if at % 3 != 2 {
            // The same frame dicts in a list of its own.
            let start = (at % 290) as usize;
            last = Tree::list(frames[start..start + 4].to_vec());
        }
        let action = ["alloc", "free_requested", "free_completed"][(at % 3) as usize];
        let mut entry = vec![
            ("action", Tree::text(action)),
            ("addr", Tree::Int(0x7f00_0000_0000 + at * 512)),
            ("size", Tree::Int(at)),
            ("stream", Tree::Int(0)),
            ("time_us", Tree::Int(1_700_000_000_000_000 + at)),
            ("pool_id", Tree::pair(0, at % 2)),
            ("frames", last.clone()),
        ];
        // Keys in another order.
        let turn = (at % 7) as usize;
        entry.rotate_left(turn);
        trace.push(Tree::pairs(entry));
    }
    let block = Tree::dict([
        ("address", Tree::Int(0)),
        ("size", Tree::Int(512)),
        ("requested_size", Tree::Int(500)),
        ("state", Tree::text("active_allocated")),
        ("frames", last),
    ]);
    let segment = Tree::dict([
        ("blocks", Tree::list(vec![block])),
        ("device", Tree::Int(1)),
        ("total_size", Tree::Int(512)),
        ("stream", Tree::Int(0)),
    ]);
    let second = trace.split_off(trace.len() / 2);
    Tree::dict([
        (
            "device_traces",
            Tree::list(vec![
                Tree::list(trace),
                Tree::list(vec![]),
                Tree::list(second),
            ]),
        ),
        ("segments", Tree::list(vec![segment])),
    ])
}

#[test]
fn lists_longer_than_a_batch() {
    for events in [1, 999, 1000, 1001, 2000, 2001, 5003] {
        let tree = long_history(events);
        for protocol in 0..6 {
            let snapshot = read(&encode::cpython(&tree, protocol)).unwrap();
            assert_tells(&snapshot, &tree, &format!("{events}, protocol {protocol}"));
        }
        let snapshot = read(&encode::cpp(&tree)).unwrap();
        assert_tells(&snapshot, &tree, &format!("{events}, C++"));
        let snapshot = read(tree.json().as_bytes()).unwrap();
        assert_tells(&snapshot, &tree, &format!("{events}, JSON"));
    }
}

/// Events with what other writers and later versions may do.
#[test]
fn oddities_are_lived_with_and_counted() {
    let event = |items: Vec<(&'static str, Tree)>| {
        let mut all = vec![("action", Tree::text("alloc"))];
        all.extend(items);
        Tree::pairs(all)
    };
    let huge = (1_i128 << 63) + 5;
    let metadata = Tree::dict([
        ("stage", Tree::Int(2)),
        ("name", Tree::text("blocks.0")),
        ("frames", Tree::list(vec![])),
        ("ratio", Tree::Float(0.5)),
        ("none", Tree::None),
        ("ok", Tree::Bool(true)),
        ("segments", Tree::pair(1, 2)),
        ("text", Tree::text("a \"b\"\n\u{e9}")),
    ]);
    let events = vec![
        event(vec![
            ("addr", Tree::Int(huge)),
            ("size", Tree::Int(1 << 70)),
        ]),
        event(vec![("size", Tree::Int(-1)), ("stream", Tree::Int(huge))]),
        event(vec![
            ("time_us", Tree::Float(12.0)),
            ("size", Tree::Bool(true)),
        ]),
        event(vec![
            ("time_us", Tree::Float(f64::NAN)),
            ("size", Tree::Float(64.0)),
        ]),
        event(vec![
            ("user_metadata", metadata.clone()),
            ("size", Tree::None),
        ]),
        event(vec![("addr", Tree::Int(-4096)), ("frames", Tree::None)]),
        event(vec![
            ("addr", Tree::text("0x10")),
            ("colour", Tree::text("red")),
        ]),
        Tree::dict([("action", Tree::text("defragment")), ("size", Tree::Int(7))]),
        Tree::None,
    ];
    let tree = Tree::dict([
        ("device_traces", Tree::list(vec![Tree::list(events)])),
        ("version", Tree::Int(9)),
    ]);
    let snapshot = read(&encode::cpython(&tree, 4)).unwrap();
    let events = &snapshot.trace(DeviceId(0)).unwrap().events;
    assert_eq!(events.len(), 8, "None is no event");
    assert_eq!(events.address(0), huge as u64);
    assert_eq!(events.size(0), u64::MAX);
    assert_eq!(events.size(1), 0);
    assert_eq!(
        snapshot.streams.pointer(events.stream(1)),
        huge as u64 as i64
    );
    assert_eq!((events.time_us(2), events.size(2)), (12, 1));
    assert_eq!((events.time_us(3), events.size(3)), (NO_TIME, 64));
    assert_eq!(
        snapshot.strings.get(events.user_metadata(4)),
        metadata.json()
    );
    assert_eq!(events.address(5), -4096_i64 as u64);
    assert_eq!(events.address(6), 0);
    assert_eq!(events.action_name(7, &snapshot.strings), "defragment");
    let count = |kind| -> u64 {
        let all = snapshot.warnings.all().iter();
        all.filter(|w| w.kind == kind).map(|w| w.count).sum()
    };
    assert_eq!(count(WarningKind::OutOfRange), 2, "{:?}", snapshot.warnings);
    assert_eq!(count(WarningKind::UnknownKey), 2, "colour, version");
    assert_eq!(count(WarningKind::UnknownAction), 1);
    assert!(count(WarningKind::UnexpectedType) >= 3);
}

/// What `_memory_viz.profile_plot` and main builds of spring 2024 add.
#[test]
fn profiler_categories_and_user_defined_events() {
    let tree = Tree::dict([
        ("segments", Tree::list(vec![])),
        (
            "device_traces",
            Tree::list(vec![Tree::list(vec![
                Tree::dict([
                    ("action", Tree::text("alloc")),
                    ("category", Tree::text("parameter")),
                ]),
                Tree::dict([("action", Tree::text("user_defined"))]),
            ])]),
        ),
    ]);
    for bytes in [encode::cpython(&tree, 5), encode::cpp(&tree)] {
        let snapshot = read(&bytes).unwrap();
        assert_tells(&snapshot, &tree, "categories");
        assert!(snapshot.features.profiler_categories);
        let events = &snapshot.traces[0].events;
        assert_eq!(snapshot.strings.get(events.category(0)), "parameter");
        assert_eq!(events.action(1), Action::UserDefined);
        assert!(snapshot.warnings.all().is_empty());
    }
}

/// C++ picklers and JSON writers of the 2.0 days: blocks without addresses, two kinds of frames.
#[test]
fn cpp_frames_stand_in() {
    let frame = |name: &str| {
        Tree::list(vec![Tree::dict([
            ("name", Tree::text(name)),
            ("filename", Tree::text("a.cpp")),
            ("line", Tree::Int(0)),
        ])])
    };
    let history = |items: Vec<(&'static str, Tree)>| {
        let mut all = vec![("addr", Tree::Int(4096)), ("real_size", Tree::Int(100))];
        all.extend(items);
        Tree::list(vec![Tree::pairs(all)])
    };
    let block = |history| {
        Tree::dict([
            ("size", Tree::Int(512)),
            ("state", Tree::text("active_pending_free")),
            ("history", history),
        ])
    };
    let tree = Tree::list(vec![Tree::dict([
        ("address", Tree::Int(4096)),
        ("total_size", Tree::Int(1024)),
        ("segment_type", Tree::text("large")),
        (
            "blocks",
            Tree::list(vec![
                block(history(vec![("cpp_frames", frame("malloc"))])),
                block(history(vec![
                    ("frames", frame("forward")),
                    ("cpp_frames", frame("malloc")),
                ])),
            ]),
        ),
    ])]);
    let snapshot = read(&encode::cpp(&tree)).unwrap();
    let blocks = snapshot.segments.blocks(&snapshot.segments.all()[0]);
    let name = |at: usize| stack_text(&snapshot, blocks[at].stack)[0].clone();
    assert!(name(0).starts_with("malloc ") && name(1).starts_with("forward "));
    assert_eq!((blocks[0].address, blocks[1].address), (4096, 4608));
    assert_eq!(blocks[1].requested_size, 100);
    assert_eq!(blocks[1].state, BlockState::PendingFree);
    let warnings = snapshot.warnings.all();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].kind, WarningKind::Inconsistent);
}
