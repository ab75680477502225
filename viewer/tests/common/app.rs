//! The window in a harness, and what tests do to it.

#![allow(dead_code, reason = "each test program uses its part")]

use std::path::Path;
use std::time::{Duration, Instant};

use egui::{Event, Key, Modifiers, Pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use gpumemprof_viewer::app::Viewer;

pub(crate) const SAMPLE: &str = "oom-variable-length.pickle";
pub(crate) const TIMELINE: &str = "Timeline of oom-variable-length.pickle · device 0";

pub(crate) type App = Harness<'static, Option<Viewer>>;

pub(crate) fn window() -> App {
    Harness::builder()
        .with_size(vec2(1280.0, 720.0))
        .build_ui_state(
            |ui, viewer: &mut Option<Viewer>| {
                let context = ui.ctx().clone();
                viewer.get_or_insert_with(|| Viewer::new(&context)).ui(ui);
            },
            None,
        )
}

pub(crate) fn viewer(app: &App) -> &Viewer {
    app.state().as_ref().unwrap()
}

pub(crate) fn viewer_mut(app: &mut App) -> &mut Viewer {
    app.state_mut().as_mut().unwrap()
}

/// Runs frames until nothing is being read or drawn.
pub(crate) fn settle(app: &mut App) {
    let began = Instant::now();
    app.run_steps(2);
    loop {
        app.step();
        if viewer(app).is_settled() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "still busy");
        std::thread::sleep(Duration::from_millis(2));
    }
    app.run_steps(3);
}

pub(crate) fn opened(path: &Path) -> App {
    let mut app = window();
    app.step();
    viewer_mut(&mut app).open_paths([path.to_owned()]);
    settle(&mut app);
    app
}

pub(crate) fn sample() -> Option<App> {
    crate::common::real(SAMPLE).map(|path| opened(&path))
}

pub(crate) fn rect_of(app: &App, label: &str) -> egui::Rect {
    app.get_by_label(label).rect()
}

pub(crate) fn press(app: &mut App, key: Key) {
    app.key_press(key);
    settle(app);
}

pub(crate) fn click_at(app: &mut App, at: Pos2) {
    app.hover_at(at);
    app.step();
    for pressed in [true, false] {
        app.event(Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        });
        app.step();
    }
    settle(app);
}

pub(crate) fn wait_for_label(app: &mut App, label: &str) {
    let began = Instant::now();
    while app.query_by_label(label).is_none() {
        app.step();
        assert!(began.elapsed() < Duration::from_secs(60), "no {label}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
