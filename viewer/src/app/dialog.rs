//! Asking for a path. A line to type it works everywhere, over remote desktops too; the
//! system's own dialog is a button away where there is one.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use egui::{Key, Modal, ScrollArea};

use super::Viewer;

/// What the path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Open,
    SaveCsv,
    SavePng,
    SaveHtml,
}

/// A path being asked for.
pub(super) struct Dialog {
    purpose: Purpose,
    text: String,
    wants_focus: bool,
    /// What the system's dialog gave.
    chosen: Option<Receiver<Vec<PathBuf>>>,
}

impl Dialog {
    fn new(purpose: Purpose, text: &str) -> Self {
        Self {
            purpose,
            text: text.to_owned(),
            wants_focus: true,
            chosen: None,
        }
    }

    /// For files to open.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn open() -> Self {
        Self::new(Purpose::Open, "")
    }

    /// For where to put the table's rows.
    pub(super) fn save_csv() -> Self {
        Self::new(Purpose::SaveCsv, "allocations.csv")
    }

    /// For where to put a picture of the window.
    pub(super) fn save_png() -> Self {
        Self::new(Purpose::SavePng, "gpumemprof.png")
    }

    /// For where to put the report.
    pub(super) fn save_html() -> Self {
        Self::new(Purpose::SaveHtml, "gpumemprof.html")
    }

    /// Lets the system ask, without stopping the window meanwhile.
    fn browse(&mut self, context: &egui::Context) {
        let (sender, chosen) = channel();
        let context = context.clone();
        let purpose = self.purpose;
        let ask = move || {
            sender.send(ask_system(purpose)).ok();
            context.request_repaint();
        };
        #[cfg(not(target_arch = "wasm32"))]
        drop(
            std::thread::Builder::new()
                .name("file dialog".to_owned())
                .spawn(ask),
        );
        #[cfg(target_arch = "wasm32")]
        ask();
        self.chosen = Some(chosen);
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn ask_system(purpose: Purpose) -> Vec<PathBuf> {
    let dialog = rfd::FileDialog::new();
    match purpose {
        Purpose::Open => dialog
            .set_title("Open memory snapshots")
            .pick_files()
            .unwrap_or_default(),
        Purpose::SaveCsv => dialog
            .set_file_name("allocations.csv")
            .save_file()
            .into_iter()
            .collect(),
        Purpose::SavePng => dialog
            .set_file_name("gpumemprof.png")
            .save_file()
            .into_iter()
            .collect(),
        Purpose::SaveHtml => dialog
            .set_file_name("gpumemprof.html")
            .save_file()
            .into_iter()
            .collect(),
    }
}

#[cfg(target_arch = "wasm32")]
fn ask_system(_purpose: Purpose) -> Vec<PathBuf> {
    Vec::new()
}

impl Viewer {
    pub(super) fn dialog_ui(&mut self, context: &egui::Context) {
        let Some(mut dialog) = self.dialog.take() else {
            return;
        };
        let (title, verb) = match dialog.purpose {
            Purpose::Open => ("Open memory snapshots", "Open"),
            Purpose::SaveCsv => ("Save the allocations as CSV", "Save"),
            Purpose::SavePng => ("Save a picture of the window", "Save"),
            Purpose::SaveHtml => ("Save the HTML report", "Save"),
        };
        let mut paths: Option<Vec<PathBuf>> = dialog
            .chosen
            .as_ref()
            .and_then(|chosen| chosen.try_recv().ok());
        if paths.as_ref().is_some_and(Vec::is_empty) {
            (paths, dialog.chosen) = (None, None);
        }
        let mut is_cancelled = false;
        let recent = self.recent.clone();
        let response = Modal::new(egui::Id::unique("path")).show(context, |ui| {
            ui.set_width(520.0);
            ui.heading(title);
            let label = ui.label("Path");
            let edit = egui::TextEdit::singleline(&mut dialog.text).desired_width(f32::INFINITY);
            let response = ui.add(edit).labelled_by(label.id);
            if std::mem::take(&mut dialog.wants_focus) {
                response.request_focus();
            }
            let enter = ui.input(|input| input.key_pressed(Key::Enter));
            let is_given = !dialog.text.trim().is_empty();
            ui.horizontal(|ui| {
                let clicked = ui.add_enabled(is_given, egui::Button::new(verb)).clicked();
                if is_given && (clicked || enter) {
                    paths = Some(vec![PathBuf::from(dialog.text.trim())]);
                }
                if cfg!(not(target_arch = "wasm32")) && ui.button("Browse…").clicked() {
                    dialog.browse(context);
                }
                is_cancelled = ui.button("Cancel").clicked();
            });
            if dialog.purpose == Purpose::Open && !recent.is_empty() {
                ui.separator();
                ui.weak("Opened before");
                ScrollArea::vertical().max_height(220.0).show(ui, |ui| {
                    for path in &recent {
                        if ui.button(path.display().to_string()).clicked() {
                            paths = Some(vec![path.clone()]);
                        }
                    }
                });
            }
        });
        match paths {
            Some(paths) => match dialog.purpose {
                Purpose::Open => self.open_paths(paths),
                Purpose::SaveCsv => paths.into_iter().for_each(|path| self.save_csv(path)),
                Purpose::SavePng => paths.into_iter().for_each(|path| self.save_png(path)),
                Purpose::SaveHtml => paths.into_iter().for_each(|path| self.save_html(path)),
            },
            None if is_cancelled || response.should_close() => {}
            None => self.dialog = Some(dialog),
        }
    }
}
