//! The window: tracks, panes and what links them.

mod dialog;
mod export;
mod files;
mod filter_bar;
mod help;
mod layout;
mod navigate;
mod palette;
mod session;
mod toolbar;
#[cfg(not(target_arch = "wasm32"))]
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use egui::{CentralPanel, Panel, Ui};

use crate::ask::{Asked, Subject};
use crate::commands::{self, Command};
use crate::flame::FlamePane;
use crate::load::{Loading, Origin};
use crate::memory_map::MapPane;
use crate::narrow::{self, Narrowed};
use crate::panes::{DetailsPane, FragmentationPane, OomPane, Pane};
use crate::prepare::Mask;
use crate::selection::{History, Selection};
use crate::table::TableState;
use crate::timeline::{Hover, Track};
use crate::what_if::WhatIfPane;

use dialog::Dialog;
use filter_bar::FilterText;
use palette::Palette;
pub use session::Session;

/// The viewer as a widget: give it a whole [`Ui`].
pub struct Viewer {
    context: egui::Context,
    /// What is shown, above each other.
    pub tracks: Vec<Track>,
    /// What is being opened.
    pub loading: Vec<Loading>,
    /// What did not go well, and why, for the user to see.
    pub failures: Vec<(String, String)>,
    /// What the user looks at.
    pub selection: Selection,
    /// The pane below the timeline.
    pub pane: Pane,
    /// Files opened before, the latest first.
    pub recent: Vec<PathBuf>,
    /// What the pointer was on in the last frame.
    pub hover: Option<Hover>,
    /// How much of the height the timeline has, from 0 to 1.
    pub timeline_share: f32,
    narrowed: Vec<Asked<narrow::Question, Narrowed>>,
    history: History,
    table: TableState,
    flame: FlamePane,
    map: MapPane,
    fragmentation: FragmentationPane,
    oom: OomPane,
    /// The pane of other settings.
    pub what_if: WhatIfPane,
    details: DetailsPane,
    filter_text: FilterText,
    palette: Palette,
    dialog: Option<Dialog>,
    is_help_open: bool,
    /// Files being written; what goes wrong comes from here.
    saving: Vec<std::sync::mpsc::Receiver<(String, String)>>,
    #[cfg(not(target_arch = "wasm32"))]
    watch: watch::Watch,
    /// Names and bytes of files that the browser reads.
    #[cfg(target_arch = "wasm32")]
    dropped: (
        std::sync::mpsc::Sender<Dropped>,
        std::sync::mpsc::Receiver<Dropped>,
    ),
}

/// A dropped file's name, and its bytes or why there are none.
#[cfg(target_arch = "wasm32")]
pub(crate) type Dropped = (String, Result<Vec<u8>, String>);

impl Viewer {
    /// A viewer without a file.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        crate::tokens::apply(context);
        Self {
            context: context.clone(),
            tracks: Vec::new(),
            loading: Vec::new(),
            failures: Vec::new(),
            selection: Selection::default(),
            pane: Pane::default(),
            recent: Vec::new(),
            hover: None,
            timeline_share: session::TIMELINE_SHARE,
            narrowed: Vec::new(),
            history: History::default(),
            table: TableState::default(),
            flame: FlamePane::new(context),
            map: MapPane::new(context),
            fragmentation: FragmentationPane::new(context),
            oom: OomPane::new(context),
            what_if: WhatIfPane::new(context),
            details: DetailsPane::new(context),
            filter_text: FilterText::default(),
            palette: Palette::default(),
            dialog: None,
            is_help_open: false,
            saving: Vec::new(),
            #[cfg(not(target_arch = "wasm32"))]
            watch: watch::Watch::new(context),
            #[cfg(target_arch = "wasm32")]
            dropped: std::sync::mpsc::channel(),
        }
    }

    /// Where files that the browser has read are sent.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn dropped_sender(&self) -> std::sync::mpsc::Sender<Dropped> {
        self.dropped.0.clone()
    }

    /// Starts opening `origin`.
    pub fn open(&mut self, origin: Origin) {
        let context = self.context.clone();
        self.loading
            .push(Loading::start(origin, move || context.request_repaint()));
    }

    /// Whether nothing is being read or drawn in the background.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.loading.is_empty()
            && self
                .tracks
                .iter()
                .all(|it| it.is_settled() && !it.awaits_picture())
            && self
                .narrowed
                .iter()
                .all(|it| it.is_asked() && !it.is_busy())
            && !self.map.is_busy()
            && !self.flame.is_busy()
            && !self.fragmentation.is_busy()
            && !self.oom.is_busy()
            && !self.what_if.is_busy()
            && !self.details.is_busy()
    }

    /// Shows one frame.
    pub fn ui(&mut self, ui: &mut Ui) {
        self.collect_files(ui.ctx());
        self.collect_failures();
        self.narrow();
        let is_typing = ui.ctx().egui_wants_keyboard_input();
        for command in commands::pressed(ui.ctx(), is_typing) {
            self.run(command);
        }
        Panel::top("toolbar").show(ui, |ui| self.toolbar_ui(ui));
        self.failures_ui(ui);
        Panel::bottom("status").show(ui, |ui| self.status_ui(ui));
        if self.tracks.is_empty() {
            CentralPanel::default().show(ui, |ui| self.welcome_ui(ui));
        } else {
            self.panes_ui(ui);
            self.go_on_loading();
            let now = ui.input(|input| input.time);
            self.history.note(&self.selection, now);
        }
        if let Some(command) = self.palette.ui(ui.ctx()) {
            self.run(command);
        }
        self.dialog_ui(ui.ctx());
        help::help_ui(ui.ctx(), &mut self.is_help_open);
    }

    /// Asks what the filter keeps of each track.
    fn narrow(&mut self) {
        let question = narrow::Question {
            filter: self.selection.filter.clone(),
            sort: self.table.sort,
        };
        for (number, asked) in self.narrowed.iter_mut().enumerate() {
            // Stacks and layers are numbered in each file on its own.
            let mut question = question.clone();
            if number != self.selection.track {
                (question.filter.stack, question.filter.layer) = (None, None);
                (question.filter.live_at, question.filter.born_in) = (None, None);
            }
            if self.tracks.get(number).is_some_and(Track::awaits_picture) {
                continue;
            }
            asked.want(question);
        }
    }

    /// What the filter keeps of each track; None for all, or while it is being found out.
    fn masks(&self) -> Vec<Option<Arc<Mask>>> {
        let mask = |asked: &Asked<_, Narrowed>| asked.answer().and_then(|it| it.mask.clone());
        self.narrowed.iter().map(mask).collect()
    }

    /// The active device.
    fn subject(&self) -> Option<Subject> {
        let track = self.tracks.get(self.selection.track)?;
        Some(Subject {
            document: Arc::clone(&track.document),
            device: track.device,
        })
    }

    /// The rows of the active track's table.
    #[must_use]
    pub fn rows(&self) -> Option<&Narrowed> {
        self.narrowed
            .get(self.selection.track)
            .and_then(Asked::answer)
    }

    /// Does `command`.
    pub fn run(&mut self, command: Command) {
        if self.navigate(command) {
            return;
        }
        match command {
            #[cfg(not(target_arch = "wasm32"))]
            Command::Open => self.dialog = Some(Dialog::open()),
            #[cfg(target_arch = "wasm32")]
            Command::Open => crate::web::choose_files(),
            Command::Reload => self.reload(),
            Command::Close => self.close(),
            Command::Undo => {
                self.history.undo(&mut self.selection);
            }
            Command::Redo => {
                self.history.redo(&mut self.selection);
            }
            Command::FocusFilter => self.filter_text.wants_focus = true,
            Command::ColorBy(kind) => self.selection.keys = kind,
            Command::Show(pane) => self.pane = pane,
            Command::ToggleTheme => {
                let is_dark = self.context.global_style().visuals.dark_mode;
                let theme = if is_dark {
                    egui::Theme::Light
                } else {
                    egui::Theme::Dark
                };
                self.context.set_theme(theme);
            }
            Command::CopyCsv => self.copy_csv(),
            Command::ExportCsv => self.dialog = Some(Dialog::save_csv()),
            Command::ExportHtml => self.dialog = Some(Dialog::save_html()),
            Command::ExportPng => self.dialog = Some(Dialog::save_png()),
            Command::Palette => self.palette.open(),
            Command::Help => self.is_help_open = !self.is_help_open,
            _ => {}
        }
    }
}
