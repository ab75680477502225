//! Every interaction, by the label that screen readers get, on a real recording.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

#[path = "common/app.rs"]
mod app;
mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::{Event, Key, Modifiers, MouseWheelUnit, vec2};
use egui_kittest::kittest::Queryable as _;
use gpumemprof_viewer::commands::Command;
use gpumemprof_viewer::panes::Pane;
use gpumemprof_viewer::prepare::{AxisKind, KeyKind};

use app::*;

#[test]
fn a_file_opens_at_its_peak() {
    let Some(app) = sample() else { return };
    let viewer = viewer(&app);
    let replay = viewer.tracks[0].replay();
    assert_eq!(viewer.selection.moment, replay.peak_moment());
    let (drawn, _) = viewer.tracks[0].drawn().unwrap();
    let highest = drawn
        .picture
        .moments
        .iter()
        .map(|&moment| replay.requested.at(moment))
        .max();
    assert_eq!(
        highest,
        Some(replay.requested.peak().1),
        "the true peak is in the picture"
    );
    app.get_by_label("Overview");
    app.get_by_label(TIMELINE);
}

#[test]
fn pointing_and_clicking_in_the_timeline_chooses() {
    let Some(mut app) = sample() else { return };
    let rect = rect_of(&app, TIMELINE);
    let at = rect.left_bottom() + vec2(rect.width() * 0.6, -rect.height() * 0.05);
    app.hover_at(at);
    app.run_steps(3);
    let hover = viewer(&app).hover.unwrap();
    assert!(hover.allocation.is_some());
    click_at(&mut app, at);
    let selection = &viewer(&app).selection;
    assert_eq!(selection.allocation, hover.allocation);
    assert_eq!(selection.moment, hover.moment);
    let (drawn, _) = viewer(&app).tracks[0].drawn().unwrap();
    assert!(
        drawn.picture.selected.iter().any(Option::is_some),
        "its band is outlined"
    );
    app.get_by_label("as recorded");
    press(&mut app, Key::Escape);
    assert_eq!(viewer(&app).selection.allocation, None);
}

#[test]
fn the_wheel_zooms_to_single_events_and_undo_goes_back() {
    let Some(mut app) = sample() else { return };
    let whole = viewer(&app).selection.view;
    let at = rect_of(&app, TIMELINE).center();
    app.hover_at(at);
    app.step();
    for _ in 0..60 {
        app.event(Event::MouseWheel {
            unit: MouseWheelUnit::Point,
            source: egui::MouseWheelSource::Wheel,
            delta: vec2(0.0, 120.0),
            modifiers: Modifiers::NONE,
            phase: egui::TouchPhase::Move,
        });
        app.run_steps(2);
    }
    settle(&mut app);
    let near = viewer(&app).selection.view;
    assert!(near.span() < 8.0, "{near:?}");
    app.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    settle(&mut app);
    assert_eq!(viewer(&app).selection.view, whole);
    app.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    settle(&mut app);
    assert_eq!(viewer(&app).selection.view, near);
    press(&mut app, Key::Num0);
    assert_eq!(viewer(&app).selection.view, whole);
}

#[test]
fn dragging_pans_and_shift_dragging_chooses_a_range() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::W);
    let before = viewer(&app).selection.view;
    let from = rect_of(&app, TIMELINE).center();
    let drag = |app: &mut App, by: f32, modifiers: Modifiers| {
        app.event(Event::ModifiersChanged(modifiers));
        app.hover_at(from);
        app.step();
        let button = egui::PointerButton::Primary;
        app.event(Event::PointerButton {
            pos: from,
            button,
            pressed: true,
            modifiers,
        });
        app.step();
        for part in 1..=4 {
            app.hover_at(from + vec2(by * part as f32 / 4.0, 0.0));
            app.step();
        }
        let pos = from + vec2(by, 0.0);
        app.event(Event::PointerButton {
            pos,
            button,
            pressed: false,
            modifiers,
        });
        app.event(Event::ModifiersChanged(Modifiers::NONE));
        settle(app);
    };
    drag(&mut app, 80.0, Modifiers::NONE);
    let after = viewer(&app).selection.view;
    assert!(after.from < before.from && (after.span() - before.span()).abs() < 1e-6);
    drag(&mut app, 120.0, Modifiers::SHIFT);
    let (from, to) = viewer(&app).selection.range.unwrap();
    assert!(from < to);
    press(&mut app, Key::Z);
    let view = viewer(&app).selection.view;
    assert!((view.from - f64::from(from)).abs() < 3.0 && (view.to - f64::from(to)).abs() < 3.0);
}

#[test]
fn keys_jump_to_the_peak_the_failure_and_the_steps() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::Home);
    assert_eq!(viewer(&app).selection.moment, 0);
    press(&mut app, Key::ArrowRight);
    assert_eq!(viewer(&app).selection.moment, 1);
    press(&mut app, Key::P);
    assert_eq!(
        viewer(&app).selection.moment,
        viewer(&app).tracks[0].replay().peak_moment()
    );
    press(&mut app, Key::Home);
    press(&mut app, Key::O);
    assert_eq!(
        viewer(&app).selection.moment,
        viewer(&app).tracks[0].prepared().ooms[0]
    );
    press(&mut app, Key::Home);
    let mut visited = Vec::new();
    for _ in 0..3 {
        press(&mut app, Key::CloseBracket);
        visited.push(viewer(&app).selection.moment);
    }
    let steps = &viewer(&app).tracks[0].document.attribution.devices[0]
        .steps
        .steps;
    let peaks: Vec<u32> = steps.iter().take(3).map(|step| step.peak_moment).collect();
    assert_eq!(visited, peaks);
    press(&mut app, Key::OpenBracket);
    assert_eq!(viewer(&app).selection.moment, peaks[1]);
}

#[test]
fn the_filter_narrows_the_table_and_the_timeline() {
    let Some(mut app) = sample() else { return };
    let all = viewer(&app).rows().unwrap().order.len();
    press(&mut app, Key::Slash);
    app.get_by_label("Filter").type_text("optimizer");
    settle(&mut app);
    let rows = viewer(&app).rows().unwrap();
    assert!(rows.order.len() < all && rows.mask.is_some());
    viewer_mut(&mut app).run(Command::ClearFilter);
    settle(&mut app);
    assert_eq!(viewer(&app).rows().unwrap().order.len(), all);
    viewer_mut(&mut app).run(Command::ToggleNeverFreed);
    settle(&mut app);
    let viewer = viewer(&app);
    let replay = viewer.tracks[0].replay();
    let expected: Vec<u32> = replay
        .allocations
        .ids()
        .filter(|&id| replay.allocations.get(id).died == profiler_core::replay::NEVER)
        .map(|id| id.0)
        .collect();
    assert_eq!(viewer.rows().unwrap().order, expected);
}

#[test]
fn the_table_sorts_and_a_row_is_chosen() {
    let Some(mut app) = sample() else { return };
    app.get_by_label("Sort by requested").click();
    settle(&mut app);
    let replay = viewer(&app).tracks[0].replay();
    let bytes: Vec<u64> = viewer(&app)
        .rows()
        .unwrap()
        .order
        .iter()
        .map(|&row| replay.allocations.requested()[row as usize])
        .collect();
    assert!(bytes.is_sorted_by(|a, b| a >= b));
    let first = viewer(&app).rows().unwrap().order[0];
    let label = format!("Allocation {first}:");
    app.get_by_label_contains(&label).click();
    settle(&mut app);
    assert_eq!(
        viewer(&app).selection.allocation.map(|id| id.0),
        Some(first)
    );
    let row = app.get_by_label_contains(&label).rect();
    app.event(Event::PointerMoved(row.center()));
    app.run_steps(60);
    // The layer does not fit at this width: the pointer tells it.
    app.get_by_label_contains("layer: ");
    app.get_by_label("Sort by requested").click();
    settle(&mut app);
    let last = viewer(&app).rows().unwrap().order[0];
    let replay = viewer(&app).tracks[0].replay();
    let smallest = replay.allocations.requested().iter().min();
    assert_eq!(
        Some(&replay.allocations.requested()[last as usize]),
        smallest
    );
}

#[test]
fn every_pane_shows() {
    let Some(mut app) = sample() else { return };
    for (pane, label) in [
        (Pane::Map, "Memory map"),
        (Pane::Flame, "Flame graph"),
        (Pane::Fragmentation, "Fragmentation over time"),
        (Pane::Table, "Allocations"),
    ] {
        press(&mut app, pane.key().unwrap());
        std::thread::sleep(Duration::from_millis(200));
        settle(&mut app);
        assert_eq!(viewer(&app).pane, pane);
        assert!(app.query_all_by_label(label).count() >= 1, "{label}");
    }
    press(&mut app, Key::Num5);
    wait_for_label(&mut app, "Go there");
    app.get_by_label("Go there").click();
    settle(&mut app);
    assert_eq!(
        viewer(&app).selection.moment,
        viewer(&app).tracks[0].prepared().ooms[0]
    );
    press(&mut app, Key::Num7);
    app.get_by_label("Allocator settings");
}

#[test]
fn the_flame_graph_narrows_every_pane() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::Num3);
    wait_for_label(&mut app, "By stack");
    let began = Instant::now();
    while app.query_all_by_label("Flame graph").count() < 2 {
        app.step();
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    let canvas = app.get_all_by_label("Flame graph").last().unwrap().rect();
    click_at(&mut app, canvas.left_top() + vec2(40.0, 27.0));
    let filter = &viewer(&app).selection.filter;
    assert!(filter.stack.is_some());
    assert!(viewer(&app).rows().unwrap().mask.is_some());
    app.get_by_label("Show all again").click();
    settle(&mut app);
    assert_eq!(viewer(&app).selection.filter.stack, None);
    app.get_by_label("Tree").click();
    app.run_steps(3);
    assert!(app.query_all_by_label_contains("everything:").count() == 1);
}

#[test]
fn the_memory_map_chooses_blocks() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::Num2);
    std::thread::sleep(Duration::from_millis(300));
    settle(&mut app);
    let canvas = app.get_all_by_label("Memory map").last().unwrap().rect();
    click_at(&mut app, canvas.left_top() + vec2(20.0, 8.0));
    let selection = &viewer(&app).selection;
    let id = selection
        .allocation
        .expect("a block at the start of the first segment");
    let block = viewer(&app).tracks[0].replay().allocations.get(id);
    assert!(block.is_live_at(selection.moment));
}

#[test]
fn the_palette_finds_and_runs_commands() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::Home);
    app.key_press_modifiers(Modifiers::COMMAND, Key::K);
    app.run_steps(3);
    app.get_by_label("Command").type_text("jump peak");
    app.run_steps(2);
    app.key_press(Key::Enter);
    settle(&mut app);
    assert_eq!(
        viewer(&app).selection.moment,
        viewer(&app).tracks[0].replay().peak_moment()
    );
    press(&mut app, Key::F1);
    app.get_by_label("What a pixel means");
}

#[test]
fn clock_colours_and_theme_change() {
    let Some(mut app) = sample() else { return };
    press(&mut app, Key::T);
    assert_eq!(viewer(&app).selection.view.axis, AxisKind::Clock);
    let (drawn, _) = viewer(&app).tracks[0].drawn().unwrap();
    assert_eq!(drawn.axis, AxisKind::Clock);
    for kind in KeyKind::ALL {
        viewer_mut(&mut app).run(Command::ColorBy(kind));
        settle(&mut app);
        let (drawn, _) = viewer(&app).tracks[0].drawn().unwrap();
        let counted: u64 = drawn.keys.entries.iter().map(|entry| entry.count).sum();
        let all = viewer(&app).tracks[0].replay().allocations.len() as u64;
        assert_eq!(counted, all, "{kind:?}");
    }
    let was_dark = app.ctx.global_style().visuals.dark_mode;
    press(&mut app, Key::D);
    assert_ne!(app.ctx.global_style().visuals.dark_mode, was_dark);
}

#[test]
fn several_files_share_the_axis_and_close() {
    let (Some(first), Some(second)) = (
        common::real(SAMPLE),
        common::real("late-start-torch-2.6.pickle"),
    ) else {
        return;
    };
    let mut app = opened(&first);
    viewer_mut(&mut app).open_paths([second.clone(), first]);
    settle(&mut app);
    assert_eq!(
        viewer(&app).tracks.len(),
        2,
        "the same file is read again, not added"
    );
    app.get_by_label("Timeline of late-start-torch-2.6.pickle · device 0");
    press(&mut app, Key::N);
    assert_eq!(viewer(&app).selection.track, 1);
    app.key_press_modifiers(Modifiers::COMMAND, Key::W);
    settle(&mut app);
    assert_eq!(viewer(&app).tracks.len(), 1);
    assert_eq!(
        viewer(&app)
            .recent
            .iter()
            .filter(|path| **path == second)
            .count(),
        1
    );
    viewer_mut(&mut app).run(Command::Close);
    settle(&mut app);
    app.get_by_label("Nothing leaves this machine.");
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gpumemprof-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn broken_and_hostile_files_are_told_and_the_window_lives_on() {
    let Some(good) = common::real(SAMPLE) else {
        return;
    };
    let folder = Folder::new("hostile");
    let bytes = std::fs::read(&good).unwrap();
    let files: [(&str, Vec<u8>); 5] = [
        ("empty.pickle", Vec::new()),
        (
            "noise.pickle",
            (0..4096_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
        ),
        ("cut.pickle", bytes[..bytes.len() / 2].to_vec()),
        (
            "runs-code.pickle",
            b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.".to_vec(),
        ),
        ("deep.json", "[".repeat(100_000).into_bytes()),
    ];
    let mut app = window();
    app.step();
    for (name, bytes) in &files {
        let path = folder.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        viewer_mut(&mut app).open_paths([path]);
        settle(&mut app);
        app.get_by_label(&format!("{name} did not open"));
    }
    viewer_mut(&mut app).open_paths([folder.0.clone(), folder.0.join("not there")]);
    settle(&mut app);
    assert_eq!(viewer(&app).failures.len(), files.len() + 2);
    viewer_mut(&mut app).open_paths([good]);
    settle(&mut app);
    app.get_by_label(TIMELINE);
    let before = viewer(&app).failures.len();
    app.get_all_by_label("Dismiss").next().unwrap().click();
    app.run_steps(2);
    assert_eq!(viewer(&app).failures.len(), before - 1);
}

#[test]
fn a_file_written_again_is_read_again() {
    let (Some(first), Some(second)) = (
        common::real(SAMPLE),
        common::real("late-start-torch-2.6.pickle"),
    ) else {
        return;
    };
    let folder = Folder::new("reload");
    let path = folder.0.join("live.pickle");
    std::fs::copy(first, &path).unwrap();
    let mut app = opened(&path);
    let before = viewer(&app).tracks[0].replay().event_count();
    std::fs::write(&path, std::fs::read(second).unwrap()).unwrap();
    let began = Instant::now();
    while viewer(&app).tracks[0].replay().event_count() == before {
        app.step();
        assert!(began.elapsed() < Duration::from_secs(60), "not read again");
        std::thread::sleep(Duration::from_millis(20));
    }
    settle(&mut app);
    assert_eq!(viewer(&app).tracks.len(), 1);
}

#[test]
fn rows_go_out_as_csv() {
    let Some(mut app) = sample() else { return };
    let folder = Folder::new("csv");
    let path = folder.0.join("rows.csv");
    viewer_mut(&mut app).run(Command::ExportCsv);
    app.run_steps(2);
    let field = app.get_by_label("Path");
    field.focus();
    app.key_press_modifiers(Modifiers::COMMAND, Key::A);
    app.run_steps(2);
    app.get_by_label("Path").type_text(path.to_str().unwrap());
    app.run_steps(2);
    app.get_by_label("Save").click();
    let began = Instant::now();
    let rows = viewer(&app).rows().unwrap().order.len();
    loop {
        app.step();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.lines().count() == rows + 1 && text.ends_with('\n') {
            assert!(text.starts_with("address,requested_bytes,"));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not written");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_session_is_kept() {
    let Some(mut app) = sample() else { return };
    viewer_mut(&mut app).run(Command::Show(Pane::Flame));
    viewer_mut(&mut app).run(Command::ColorBy(KeyKind::Category));
    viewer_mut(&mut app).selection.filter.min_bytes = Some(4096);
    settle(&mut app);
    let session = viewer(&app).session();
    let mut next = window();
    next.step();
    viewer_mut(&mut next).restore(session.clone());
    next.step();
    assert_eq!(viewer(&next).session(), session);
    assert_eq!(viewer(&next).pane, Pane::Flame);
    assert_eq!(viewer(&next).recent.len(), 1);
}

/// Runs frames until the pane of other settings has its answer and its maps.
fn settle_what_if(app: &mut App) {
    let began = Instant::now();
    loop {
        app.run_steps(2);
        if !viewer(app).what_if.is_busy() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "still busy");
        std::thread::sleep(Duration::from_millis(2));
    }
    app.run_steps(3);
}

#[test]
fn other_settings_are_tried_with_sliders() {
    let Some(mut app) = sample() else { return };
    viewer_mut(&mut app).run(Command::Show(Pane::WhatIf));
    settle_what_if(&mut app);
    let outcome = std::sync::Arc::clone(viewer(&app).what_if.outcome().unwrap());
    let simulation = &outcome.simulation;
    assert!(
        outcome.question.conf.is_none(),
        "the recorded settings first"
    );
    assert!(simulation.fidelity.is_exact());
    assert_eq!(simulation.recorded, simulation.simulated);
    app.get_by_label("Reserved bytes, recorded and simulated");
    app.get_by_label("Memory map, recorded");
    app.get_by_label("Memory map, simulated");
    // The device as it was, with the setting that the command simulates too.
    app.get_by_label("expandable segments").click();
    app.run_steps(2);
    settle_what_if(&mut app);
    let outcome = std::sync::Arc::clone(viewer(&app).what_if.outcome().unwrap());
    assert_eq!(
        outcome.question.conf.as_deref(),
        Some("expandable_segments:True")
    );
    let expected = profiler_core::allocator::simulate(
        &viewer(&app).tracks[0].document.snapshot,
        &profiler_core::allocator::WhatIf {
            conf: Some("expandable_segments:True".to_owned()),
            ..Default::default()
        },
        &mut |_, _| std::ops::ControlFlow::Continue(()),
    )
    .unwrap();
    assert_eq!(outcome.simulation.simulated, expected.devices[0].simulated);
    app.get_by_label("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True");
    // What PyTorch refuses is told, and nothing is made up.
    viewer_mut(&mut app).what_if.wish.conf = "max_split_size_mb:3".to_owned();
    app.run_steps(2);
    settle_what_if(&mut app);
    assert!(viewer(&app).what_if.outcome().is_none());
    app.get_by_label("As recorded").click();
    app.run_steps(2);
    settle_what_if(&mut app);
    assert_eq!(viewer(&app).what_if.wish.conf, "");
    assert!(viewer(&app).what_if.outcome().is_some());
    // A smaller device runs out.
    let peak = viewer(&app).tracks[0].replay().reserved.peak().1;
    viewer_mut(&mut app).what_if.wish.capacity =
        profiler_core::allocator::Capacity::Bytes(peak / 2);
    app.run_steps(2);
    settle_what_if(&mut app);
    let outcome = viewer(&app).what_if.outcome().unwrap();
    assert!(outcome.simulation.simulated.oom_event.is_some());
}

#[test]
fn the_best_settings_are_searched_and_tried() {
    let Some(mut app) = sample() else { return };
    viewer_mut(&mut app).run(Command::Show(Pane::WhatIf));
    settle_what_if(&mut app);
    app.get_by_label("Find the best settings").click();
    app.run_steps(2);
    settle_what_if(&mut app);
    let conf = "expandable_segments:True,roundup_power2_divisions:8";
    app.get_by_label(conf).click();
    app.run_steps(2);
    settle_what_if(&mut app);
    let outcome = viewer(&app).what_if.outcome().unwrap();
    assert_eq!(outcome.question.conf.as_deref(), Some(conf));
}

#[test]
fn a_draft_comes_before_the_whole_document() {
    let Some(path) = common::real(SAMPLE) else {
        return;
    };
    let loading =
        gpumemprof_viewer::load::Loading::start(gpumemprof_viewer::load::Origin::Path(path), || {});
    let began = Instant::now();
    let mut documents = Vec::new();
    while documents.len() < 2 {
        documents.extend(loading.result().map(Result::unwrap));
        assert!(began.elapsed() < Duration::from_secs(120), "not opened");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (draft, whole) = (&documents[0], &documents[1]);
    assert!(!draft.is_attributed && whole.is_attributed);
    assert!(draft.is_same_reading(whole));
    // What was done while reading is what would have been done afterwards.
    let replay = profiler_core::replay::Replay::new(&whole.snapshot);
    assert_eq!(format!("{:?}", whole.replay), format!("{replay:?}"));
    // Colours by line and the numbers of stacks do not change when the whole document comes.
    let colours = |document| {
        gpumemprof_viewer::prepare::KeyColumn::new(document, 0, KeyKind::Site).of_allocation
    };
    assert_eq!(colours(draft), colours(whole));
    assert!(draft.lanes[0].lane("steps").is_none());
    assert!(whole.lanes[0].lane("steps").is_some());
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

#[test]
fn dropped_files_open_side_by_side() {
    let names = [
        SAMPLE,
        "late-start-torch-2.6.pickle",
        "two-devices.pickle.gz",
    ];
    let paths: Vec<PathBuf> = names.iter().filter_map(|name| common::real(name)).collect();
    let mut app = window();
    app.step();
    for path in &paths {
        let file = std::sync::Arc::new(Dropped(path.clone()));
        app.input_mut().dropped_files.push(file);
    }
    settle(&mut app);
    assert_eq!(viewer(&app).tracks.len(), paths.len());
    for track in &viewer(&app).tracks {
        let (drawn, _) = track.drawn().expect("each has its picture");
        let replay = track.replay();
        let highest = drawn
            .picture
            .moments
            .iter()
            .map(|&moment| replay.requested.at(moment));
        // At any height of the track the picture has its true peak.
        assert_eq!(highest.max(), Some(replay.requested.peak().1));
    }
}

#[test]
fn the_report_is_saved() {
    let Some(mut app) = sample() else { return };
    let folder = Folder::new("report");
    let path = folder.0.join("report.html");
    viewer_mut(&mut app).run(Command::ExportHtml);
    app.run_steps(2);
    app.get_by_label("Path").focus();
    app.key_press_modifiers(Modifiers::COMMAND, Key::A);
    app.run_steps(2);
    app.get_by_label("Path").type_text(path.to_str().unwrap());
    app.run_steps(2);
    app.get_by_label("Save").click();
    let began = Instant::now();
    loop {
        app.step();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.trim_end().ends_with("</html>") {
            assert!(text.contains("oom-variable-length.pickle"));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not written");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What cannot be written is told.
    let nowhere = folder.0.join("not there").join("report.html");
    viewer_mut(&mut app).run(Command::ExportHtml);
    app.run_steps(2);
    app.get_by_label("Path").focus();
    app.key_press_modifiers(Modifiers::COMMAND, Key::A);
    app.run_steps(2);
    app.get_by_label("Path")
        .type_text(nowhere.to_str().unwrap());
    app.run_steps(2);
    app.get_by_label("Save").click();
    let began = Instant::now();
    while viewer(&app).failures.is_empty() {
        app.step();
        assert!(began.elapsed() < Duration::from_secs(60), "not told");
        std::thread::sleep(Duration::from_millis(10));
    }
}
