//! The smaller interactions, by the label that screen readers get, on real recordings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

#[path = "common/app.rs"]
mod app;
mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use app::*;
use egui::{Event, Key, vec2};
use egui_kittest::kittest::Queryable as _;
use gpumemprof_viewer::load::Origin;
use gpumemprof_viewer::prepare::Document;
use profiler_core::replay::{Allocation, NEVER};

/// Leaves the pointer at `at` for long enough for a tooltip.
fn point(app: &mut App, at: egui::Pos2) {
    app.event(Event::PointerMoved(at));
    app.run_steps(60);
}

#[test]
fn the_overview_moves_the_view() {
    let Some(mut app) = sample() else { return };
    for _ in 0..3 {
        press(&mut app, Key::W);
    }
    let span = viewer(&app).selection.view.span();
    let overview = rect_of(&app, "Overview");
    let at = overview.left_center() + vec2(overview.width() * 0.25, 0.0);
    click_at(&mut app, at);
    let view = viewer(&app).selection.view;
    let length = f64::from(viewer(&app).tracks[0].prepared().last) + 1.0;
    let middle = (view.from + view.to) / 2.0;
    assert!((middle / length - 0.25).abs() < 0.02, "{view:?}");
    assert!((view.span() - span).abs() < 1e-6);
}

#[test]
fn the_pointer_tells_what_it_is_on() {
    let Some(mut app) = sample() else { return };
    let rect = rect_of(&app, TIMELINE);
    point(
        &mut app,
        rect.left_bottom() + vec2(rect.width() * 0.6, -8.0),
    );
    app.get_by_label("click for details");
    press(&mut app, Key::Num2);
    std::thread::sleep(Duration::from_millis(300));
    settle(&mut app);
    let canvas = app.get_all_by_label("Memory map").last().unwrap().rect();
    point(&mut app, canvas.left_top() + vec2(20.0, 8.0));
    app.get_by_label_contains(" events old");
}

#[test]
fn the_map_follows_the_moment() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::Num2);
    let mut legends = Vec::new();
    for key in [Key::Home, Key::P, Key::End] {
        press(&mut app, key);
        std::thread::sleep(Duration::from_millis(300));
        settle(&mut app);
        let legend = app.get_by_label_contains("free between live blocks: ");
        legends.push(format!("{legend:?}"));
    }
    assert!(
        legends[0] != legends[1] && legends[1] != legends[2],
        "{legends:?}"
    );
}

#[test]
fn the_flame_graph_is_of_the_peak_of_growth_and_by_layer() {
    let Some(mut app) = sample() else { return };
    let peak = viewer(&app).tracks[0].prepared().peak.0;
    let live = |app: &App, keep: &dyn Fn(&Allocation) -> bool| {
        let allocations = &viewer(app).tracks[0].replay().allocations;
        let all = allocations.ids().map(|id| allocations.get(id));
        all.filter(|block| keep(block)).count()
    };
    let told = |count: usize| {
        let count = gpumemprof_viewer::text::count(count as u64);
        format!(" in {count} allocations")
    };
    press(&mut app, Key::Num3);
    wait_for_label(&mut app, "By stack");
    press(&mut app, Key::Home);
    app.get_by_label("At the peak").click();
    settle(&mut app);
    let expected = told(live(&app, &|block| block.is_live_at(peak)));
    app.get_by_label_contains(&expected);
    viewer_mut(&mut app).selection.range = Some((100, peak));
    app.run_steps(2);
    app.get_by_label("Growth over the range").click();
    settle(&mut app);
    let grown = |block: &Allocation| block.is_live_at(peak) && block.born > 100;
    app.get_by_label_contains(&told(live(&app, &grown)));
    app.get_by_label("By layer").click();
    settle(&mut app);
    app.get_by_label("Tree").click();
    settle(&mut app);
    // The first below everything, but for what has no layer.
    for item in 1..8 {
        {
            let mut items = app.get_all_by_role(egui::Role::TreeItem);
            let Some(item) = items.nth(item) else { break };
            item.click();
        }
        settle(&mut app);
        if viewer(&app).selection.filter.layer.is_some() {
            break;
        }
    }
    let filter = &viewer(&app).selection.filter;
    assert!(filter.layer.is_some() && filter.stack.is_none());
}

/// Chooses the first allocation that `is_it`.
fn choose(app: &mut App, is_it: impl Fn(&Allocation) -> bool) -> Allocation {
    let allocations = &viewer(app).tracks[0].replay().allocations;
    let found = allocations.ids().find(|&id| is_it(&allocations.get(id)));
    let id = found.expect("such an allocation");
    let block = allocations.get(id);
    viewer_mut(app).selection.allocation = Some(id);
    settle(app);
    block
}

#[test]
fn details_show_raw_stacks_and_other_users_of_the_address() {
    let Some(mut app) = sample() else { return };
    let block = choose(&mut app, |block| {
        block.use_index > 0 && block.died != NEVER && !block.stack.is_empty()
    });
    app.get_by_label("To death").click();
    settle(&mut app);
    assert_eq!(viewer(&app).selection.moment, block.died);
    app.get_by_label("To birth").click();
    settle(&mut app);
    assert_eq!(viewer(&app).selection.moment, block.born);
    let snapshot = &viewer(&app).tracks[0].document.snapshot;
    let innermost = snapshot.stacks.frames(block.stack).next().unwrap();
    let frame = snapshot.frames.get(innermost);
    let raw = format!(
        "{}\n    {}:{}",
        snapshot.strings.get(frame.name),
        snapshot.strings.get(frame.filename),
        frame.line
    );
    assert_eq!(app.query_all_by_label(&raw).count(), 0);
    app.get_by_label("as recorded").click();
    app.run_steps(3);
    assert!(app.query_all_by_label(&raw).count() > 0);
    let others = viewer(&app).tracks[0].replay().allocations.addresses();
    let others = others.iter().filter(|&&address| address == block.address);
    let others = gpumemprof_viewer::text::count(others.count() as u64 - 1);
    app.get_by_label(&format!("Users of the address: {others} others"));
}

/// Writes `text` in the field called `name` of the filter's menu.
fn write(app: &mut App, name: &str, text: &str) {
    app.get_by_label(name).focus();
    app.run_steps(2);
    app.get_by_label(name).type_text(text);
    app.run_steps(2);
}

#[test]
fn the_menu_filters_by_size_lifetime_stream_and_pool() {
    let Some(mut app) = sample() else { return };
    app.get_by_label("More…").click();
    app.run_steps(3);
    for (name, text, chip) in [
        ("At least", "1 MiB", "at least 1.00 MiB ×"),
        ("At most", "20 MiB", "at most 20.00 MiB ×"),
        ("Lives at least (events)", "3", "lives at least 3 events ×"),
        (
            "Lives at most (events)",
            "4000",
            "lives at most 4\u{a0}000 events ×",
        ),
        ("Stream", "0", "stream 0 ×"),
        ("Pool", "0", "pool 0 ×"),
    ] {
        write(&mut app, name, text);
        settle(&mut app);
        app.get_by_label(chip);
    }
    let replay = viewer(&app).tracks[0].replay();
    let rows = &viewer(&app).rows().unwrap().order;
    let kept = |block: &Allocation| {
        let lifetime = block.died.saturating_sub(block.born);
        (1 << 20..=20 << 20).contains(&block.requested)
            && block.died != NEVER
            && (3..=4000).contains(&lifetime)
            && (block.stream.0, block.pool.0) == (0, 0)
    };
    let all = replay.allocations.ids();
    let expected = all.filter(|&id| kept(&replay.allocations.get(id)));
    assert_eq!(rows.len(), expected.count());
    assert!(!rows.is_empty());
    // A condition is taken out by its button, and the menu follows.
    press(&mut app, Key::Escape);
    app.get_by_label("at least 1.00 MiB ×").click();
    settle(&mut app);
    assert_eq!(viewer(&app).selection.filter.min_bytes, None);
    assert!(viewer(&app).selection.filter.max_bytes.is_some());
}

#[test]
fn opening_the_menu_changes_no_condition() {
    let Some(mut app) = sample() else { return };
    let filter = &mut viewer_mut(&mut app).selection.filter;
    // As a kept session brings them.
    (filter.min_bytes, filter.max_events) = (Some(1_234_567), Some(77));
    let filter = filter.clone();
    app.run_steps(2);
    app.get_by_label("More…").click();
    app.run_steps(4);
    app.get_by_label("Never freed");
    assert_eq!(viewer(&app).selection.filter, filter);
}

#[test]
fn a_file_being_read_is_cancelled() {
    let mut app = window();
    app.step();
    let mut text = String::from("{\"segments\": [], \"device_traces\": [[");
    for row in 0..400_000_u64 {
        let comma = if row == 0 { "" } else { "," };
        let address = row * 512;
        write!(
            text,
            "{comma}{{\"action\": \"alloc\", \"addr\": {address}, \"size\": 512, \"stream\": 0, \
             \"time_us\": {row}, \"frames\": []}}"
        )
        .unwrap();
    }
    text.push_str("]]}");
    let origin = Origin::Bytes("long.json".to_owned(), text.into_bytes().into());
    viewer_mut(&mut app).open(origin);
    // Progress is shown when it takes longer than a moment.
    app.run_steps(3);
    app.get_by_label("Cancel").click();
    let began = Instant::now();
    while !viewer(&app).loading.is_empty() {
        app.step();
        assert!(began.elapsed() < Duration::from_secs(60), "not cancelled");
        std::thread::sleep(Duration::from_millis(1));
    }
    let viewer = viewer(&app);
    assert!(viewer.tracks.is_empty() && viewer.failures.is_empty());
}

#[test]
fn recent_files_open_with_a_click() {
    let Some(path) = common::real(SAMPLE) else {
        return;
    };
    let mut app = opened(&path);
    app.key_press_modifiers(egui::Modifiers::COMMAND, Key::W);
    app.run_steps(3);
    assert!(viewer(&app).tracks.is_empty());
    let recent = viewer(&app).recent[0].display().to_string();
    app.get_by_label(&recent).click();
    settle(&mut app);
    app.get_by_label(TIMELINE);
}

#[test]
fn devices_of_a_file_are_added_and_visited() {
    let Some(path) = common::real("two-devices.pickle.gz") else {
        return;
    };
    let mut app = opened(&path);
    let shown = |document: &Document, device: usize| {
        let device = document.devices[device].device;
        format!("two-devices.pickle.gz · device {device}")
    };
    let track = &viewer(&app).tracks[0];
    let (first, document) = (track.device, track.document.clone());
    let other = (0..document.devices.len()).find(|&device| device != first);
    let other = other.unwrap();
    let mut boxes = app.get_all_by_role(egui::Role::ComboBox);
    boxes.next().unwrap().click();
    drop(boxes);
    app.run_steps(3);
    let name = shown(&document, other);
    app.get_by_label(&format!("Add {name}")).click();
    settle(&mut app);
    app.get_by_label(&format!("Timeline of {name}"));
    assert_eq!(viewer(&app).selection.track, 0);
    press(&mut app, Key::N);
    assert_eq!(viewer(&app).selection.track, 1);
}

#[test]
fn the_view_zooms_to_the_chosen_allocation() {
    let Some(mut app) = sample() else { return };
    let block = choose(&mut app, |block| {
        block.born > 500 && block.died != NEVER && block.died - block.born > 40
    });
    press(&mut app, Key::A);
    let view = viewer(&app).selection.view;
    let (born, died) = (f64::from(block.born), f64::from(block.died));
    assert!(view.from <= born && died <= view.to, "{view:?}");
    assert!(view.span() < 3.0 * (died - born) + 8.0, "{view:?}");
}

#[test]
fn source_lines_are_shown_where_the_file_is() {
    let folder = std::env::temp_dir().join(format!("gpumemprof-lines-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("train.py");
    std::fs::write(&path, "one = 1\nhidden = model(batch)\nthree = 3\n").unwrap();
    let name = path.to_str().unwrap();
    let text = format!(
        "{{\"segments\": [], \"device_traces\": [[{{\"action\": \"alloc\", \"addr\": 512, \"size\": 512, \
         \"stream\": 0, \"time_us\": 1, \"frames\": [{{\"filename\": \"{name}\", \"line\": 2, \
         \"name\": \"step\"}}]}}]]}}"
    );
    let mut app = window();
    app.step();
    let origin = Origin::Bytes("lines.json".to_owned(), text.into_bytes().into());
    viewer_mut(&mut app).open(origin);
    settle(&mut app);
    choose(&mut app, |_| true);
    let title = format!("Source: {name}");
    wait_for_label(&mut app, &title);
    app.get_by_label(&title).click();
    app.run_steps(20);
    app.get_by_label("    1  one = 1");
    app.get_by_label("    2  hidden = model(batch)");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_legend_tells_of_a_group_what_its_row_has_no_room_for() {
    let Some(mut app) = sample() else { return };
    let (label, count) = {
        let (drawn, _) = viewer(&app).tracks[0].drawn().unwrap();
        let mut shown = drawn.keys.entries.iter().filter(|entry| entry.count > 0);
        let first = shown.next().unwrap();
        (first.label.clone(), first.count)
    };
    let told = format!(
        "{label}\n{} allocations",
        gpumemprof_viewer::text::count(count)
    );
    assert_eq!(app.query_all_by_label(&told).count(), 0);
    let at = app.get_all_by_label(&label).next().unwrap().rect().center();
    point(&mut app, at);
    app.get_by_label(&told);
}
