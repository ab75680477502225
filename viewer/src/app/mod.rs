//! The window: tracks, panes and what links them.

mod files;
mod navigate;
mod toolbar;

use std::sync::Arc;

use egui::{CentralPanel, Panel, Ui};

use crate::commands::{self, Command};
use crate::load::{Loading, Origin};
use crate::panes::Pane;
use crate::prepare::Mask;
use crate::selection::{History, Selection};
use crate::timeline::{Hover, Track, timeline_ui};

/// The viewer as a widget: give it a whole [`Ui`].
pub struct Viewer {
    context: egui::Context,
    /// What is shown, above each other.
    pub tracks: Vec<Track>,
    /// What is being opened.
    pub loading: Vec<Loading>,
    /// What did not open, and why.
    pub failures: Vec<(String, String)>,
    /// What the user looks at.
    pub selection: Selection,
    /// The pane below the timeline.
    pub pane: Pane,
    masks: Vec<Option<Arc<Mask>>>,
    history: History,
    hover: Option<Hover>,
    /// Files chosen in a dialog that is open.
    chosen: Option<std::sync::mpsc::Receiver<Vec<std::path::PathBuf>>>,
}

impl Viewer {
    /// A viewer without a file.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        Self {
            context: context.clone(),
            tracks: Vec::new(),
            loading: Vec::new(),
            failures: Vec::new(),
            selection: Selection::default(),
            pane: Pane::default(),
            masks: Vec::new(),
            history: History::default(),
            hover: None,
            chosen: None,
        }
    }

    /// Starts opening `origin`.
    pub fn open(&mut self, origin: Origin) {
        let context = self.context.clone();
        self.loading
            .push(Loading::start(origin, move || context.request_repaint()));
    }

    /// Shows one frame.
    pub fn ui(&mut self, ui: &mut Ui) {
        self.collect_files(ui.ctx());
        let is_typing = ui.ctx().egui_wants_keyboard_input();
        for command in commands::pressed(ui.ctx(), is_typing) {
            self.run(command);
        }
        Panel::top("toolbar").show(ui, |ui| self.toolbar_ui(ui));
        Panel::bottom("status").show(ui, |ui| self.status_ui(ui));
        CentralPanel::no_frame().show(ui, |ui| {
            if self.tracks.is_empty() {
                self.welcome_ui(ui);
            } else {
                self.hover = timeline_ui(ui, &mut self.tracks, &self.masks, &mut self.selection);
            }
        });
        let now = ui.input(|input| input.time);
        if !self.tracks.is_empty() {
            self.history.note(&self.selection, now);
        }
    }

    /// Does `command`.
    pub fn run(&mut self, command: Command) {
        if self.navigate(command) {
            return;
        }
        match command {
            Command::Open => self.ask_for_files(),
            Command::Undo => {
                self.history.undo(&mut self.selection);
            }
            Command::Redo => {
                self.history.redo(&mut self.selection);
            }
            Command::ColorBy(kind) => self.selection.keys = kind,
            Command::Show(pane) => self.pane = pane,
            Command::ToggleTheme => {
                let dark = self.context.global_style().visuals.dark_mode;
                let theme = if dark {
                    egui::Theme::Light
                } else {
                    egui::Theme::Dark
                };
                self.context.set_theme(theme);
            }
            _ => {}
        }
    }
}
