//! The timeline's picture against a naive one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod common;

use gpumemprof_viewer::prepare::{AxisKind, Document, KeyColumn, KeyKind, Mask};
use gpumemprof_viewer::strip::NOBODY;
use gpumemprof_viewer::timeline::{Frame, Picture, Source, draw};
use gpumemprof_viewer::tokens::DARK;
use proptest::prelude::*;

fn picture(document: &Document, device: usize, axis: AxisKind, frame: Frame) -> Picture {
    let keys = KeyColumn::new(document, device, KeyKind::Site);
    let source = Source {
        replay: &document.replay.devices[device],
        prepared: &document.devices[device],
        axis: document.devices[device].axis(axis),
        keys: &keys,
        mask: None,
        only_kept: false,
        selected: None,
        theme: DARK,
    };
    draw(&source, frame, &|| false).unwrap()
}

/// Checks every column and every pixel by walking all moments and all allocations.
fn check(document: &Document, device: usize, axis_kind: AxisKind, frame: Frame) {
    let drawn = picture(document, device, axis_kind, frame);
    let replay = &document.replay.devices[device];
    let axis = document.devices[device].axis(axis_kind);
    let mut shown = vec![false; replay.allocations.len()];
    for column in 0..frame.columns {
        let (from, to) = frame.stretch(column);
        let (first, last) = axis.moments_in(from, to);
        let mut best = (first, replay.requested.at(first));
        for moment in first..=last {
            let bytes = replay.requested.at(moment);
            if bytes > best.1 {
                best = (moment, bytes);
            }
        }
        assert_eq!(drawn.moments[column], best.0, "column {column}");
        let live = replay.live_at(best.0);
        let mut edges = vec![0_u64];
        for &id in &live {
            shown[id.index()] = true;
            edges.push(edges.last().unwrap() + replay.allocations.get(id).requested);
        }
        for row in 0..frame.rows {
            let up = (frame.rows - 1 - row) as f64 + 0.5;
            let bytes = frame.low + up * frame.bytes_per_row();
            let near = edges
                .iter()
                .any(|&edge| (edge as f64 - bytes).abs() < frame.bytes_per_row() * 1e-6);
            if near {
                continue;
            }
            let at = edges.partition_point(|&edge| (edge as f64) < bytes);
            let expected = at.checked_sub(1).and_then(|at| live.get(at)).copied();
            assert_eq!(
                drawn.allocation_at(column, row),
                expected,
                "column {column}, row {row}"
            );
        }
    }
    let (a, b) = (drawn.moments[0], *drawn.moments.last().unwrap());
    let unseen = replay
        .allocations
        .ids()
        .filter(|&id| {
            let born = replay.allocations.get(id).born;
            born > a && born <= b && !shown[id.index()]
        })
        .count() as u64;
    assert_eq!(drawn.unseen_births, unseen);
}

fn whole(document: &Document, device: usize, axis: AxisKind, columns: usize) -> Frame {
    let prepared = &document.devices[device];
    let length = prepared.axis(axis).length();
    Frame {
        from: 0.0,
        per_column: length / columns as f64,
        columns,
        low: 0.0,
        high: prepared.highest(&document.replay.devices[device]).max(1) as f64 * 1.05,
        rows: 97,
    }
}

#[test]
fn real_recordings_are_drawn_as_they_are() {
    for name in [
        "oom-variable-length.pickle",
        "two-streams-expandable.pickle.xz",
        "ring-buffer.pickle",
    ] {
        let Some(document) = common::real_document(name) else {
            continue;
        };
        let device = document.busiest();
        for axis in [AxisKind::Events, AxisKind::Clock] {
            let frame = whole(&document, device, axis, 211);
            check(&document, device, axis, frame);
            let near = Frame {
                from: frame.per_column * 100.3,
                per_column: frame.per_column / 40.0,
                low: frame.high * 0.2,
                high: frame.high * 0.4,
                ..frame
            };
            check(&document, device, axis, near);
        }
    }
}

#[test]
fn the_bands_reach_the_curve_of_requested_bytes() {
    for name in [
        "oom-variable-length.pickle",
        "two-devices.pickle.gz",
        "late-start-torch-2.6.pickle",
    ] {
        let Some(document) = common::real_document(name) else {
            continue;
        };
        for replay in &document.replay.devices {
            for moment in (0..=replay.event_count()).step_by(97) {
                let live = replay.live_at(moment);
                let sum: u64 = live
                    .iter()
                    .map(|&id| replay.allocations.get(id).requested)
                    .sum();
                assert_eq!(
                    sum,
                    replay.requested.at(moment),
                    "{name} after {moment} events"
                );
            }
        }
    }
}

/// A large picture is drawn by two threads, and its halves alone by one each.
#[test]
fn a_large_picture_is_its_two_halves() {
    let name = "oom-variable-length.pickle";
    let Some(document) = common::real_document(name) else {
        return;
    };
    let device = document.busiest();
    // A power of two: the halves' edges are the same numbers then. So small that columns repeat.
    for per_column in [0.25, 8.0] {
        let frame = Frame {
            per_column,
            ..whole(&document, device, AxisKind::Events, 700)
        };
        let half = Frame {
            columns: 350,
            ..frame
        };
        let draw = |frame| picture(&document, device, AxisKind::Events, frame);
        let large = draw(frame);
        assert!(large.pixels.len() >= 1 << 16);
        let right = Frame {
            from: per_column * 350.0,
            ..half
        };
        let halves = [draw(half), draw(right)];
        for (number, half) in halves.iter().enumerate() {
            let first = number * 350;
            assert_eq!(large.moments[first..first + 350], half.moments);
            for row in 0..frame.rows {
                let (at, alone) = (row * 700 + first, row * 350);
                assert_eq!(large.who[at..at + 350], half.who[alone..alone + 350]);
                assert_eq!(large.pixels[at..at + 350], half.pixels[alone..alone + 350]);
            }
        }
    }
}

#[test]
fn the_filter_greys_out_or_takes_out() {
    let snapshot = common::made(&[(100, 50), (200, 50), (300, 50)]);
    let document = Document::new("made".to_owned(), None, snapshot);
    let keys = KeyColumn::new(&document, 0, KeyKind::Size);
    let mask = Mask::new(3, |id| id.0 == 1);
    let mut source = Source {
        replay: &document.replay.devices[0],
        prepared: &document.devices[0],
        axis: document.devices[0].axis(AxisKind::Events),
        keys: &keys,
        mask: Some(&mask),
        only_kept: false,
        selected: None,
        theme: DARK,
    };
    // One column on moment 3, when all three are live; one pixel is 10 bytes.
    let frame = Frame {
        from: 3.0,
        per_column: 1.0,
        columns: 1,
        low: 0.0,
        high: 700.0,
        rows: 70,
    };
    let grey = draw(&source, frame, &|| false).unwrap();
    assert_eq!(grey.pixels[69 - 5], DARK.excluded);
    assert_ne!(grey.pixels[69 - 15], DARK.excluded);
    assert_eq!(grey.who[69 - 45], 2);
    source.only_kept = true;
    let alone = draw(&source, frame, &|| false).unwrap();
    assert_eq!(alone.who[69 - 5], 1);
    assert_eq!(alone.who[69 - 25], NOBODY);
    source.selected = Some(profiler_core::replay::AllocationId(1));
    let chosen = draw(&source, frame, &|| false).unwrap();
    assert_eq!(chosen.selected, [Some((0, 200))]);
    assert!(
        draw(&source, frame, &|| true).is_none(),
        "a stale picture is given up"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_recording_is_drawn_as_it_is(
        allocations in proptest::collection::vec((1_u64..5000, 0_usize..40), 1..150),
        columns in 1_usize..80,
        start in 0.0_f64..0.9,
        span in 0.01_f64..1.0,
        low in 0.0_f64..0.5,
    ) {
        let document = Document::new("made".to_owned(), None, common::made(&allocations));
        let frame = whole(&document, 0, AxisKind::Events, columns);
        check(&document, 0, AxisKind::Events, frame);
        let near = Frame {
            from: frame.per_column * columns as f64 * start,
            per_column: frame.per_column * span,
            low: frame.high * low,
            ..frame
        };
        check(&document, 0, AxisKind::Events, near);
    }

    /// From column to column only what has changed is painted again; a column alone is painted
    /// whole.
    #[test]
    fn a_column_alone_looks_the_same(
        allocations in proptest::collection::vec((1_u64..5000, 0_usize..60), 1..200),
        first in 0_u32..100,
        per_column in proptest::sample::select(vec![0.25, 1.0, 4.0]),
        low in 0.0_f64..0.5,
        high in 0.55_f64..1.1,
        mask in 0_u32..3,
    ) {
        let document = Document::new("made".to_owned(), None, common::made(&allocations));
        let keys = KeyColumn::new(&document, 0, KeyKind::Size);
        let kept = Mask::new(document.replay.devices[0].allocations.len(), |id| id.0 % 3 != 1);
        let source = Source {
            replay: &document.replay.devices[0],
            prepared: &document.devices[0],
            axis: document.devices[0].axis(AxisKind::Events),
            keys: &keys,
            mask: (mask > 0).then_some(&kept),
            only_kept: mask > 1,
            selected: None,
            theme: DARK,
        };
        let whole = whole(&document, 0, AxisKind::Events, 64);
        // Powers of two: edges are the same numbers however they are found.
        let frame = Frame {
            from: f64::from(first),
            per_column,
            low: if low < 0.1 { 0.0 } else { whole.high * low },
            high: whole.high * high,
            ..whole
        };
        let together = draw(&source, frame, &|| false).unwrap();
        for column in 0..frame.columns {
            let alone = Frame { from: frame.stretch(column).0, columns: 1, ..frame };
            let alone = draw(&source, alone, &|| false).unwrap();
            prop_assert_eq!(together.moments[column], alone.moments[0]);
            for row in 0..frame.rows {
                let at = row * frame.columns + column;
                prop_assert_eq!(together.who[at], alone.who[row], "column {}, row {}", column, row);
                prop_assert_eq!(together.pixels[at], alone.pixels[row], "column {}, row {}", column, row);
            }
        }
    }
}
