//! The bars at the top and the bottom, and the page without a file.

use std::sync::Arc;

use egui::{RichText, Ui};
use profiler_core::units;

use crate::commands::Command;
use crate::load::Step;
use crate::prepare::{AxisKind, Document, KeyKind};
use crate::selection::Selection;
use crate::timeline::Track;

use super::Viewer;

/// From one look at how far a file is to the next, and from its opening to the first. Frames in
/// between would take time from the core that follows the reading, and the frame that shows the
/// file would have to wait for them: for three in a row, since egui makes two more wherever
/// something new can be clicked.
const PROGRESS: std::time::Duration = std::time::Duration::from_millis(100);

impl Viewer {
    pub(super) fn toolbar_ui(&mut self, ui: &mut Ui) {
        let mut chosen = None;
        let mut add_device = None;
        ui.horizontal_wrapped(|ui| {
            let mut button = |ui: &mut Ui, text: &str, command: Command| {
                let key = command.shortcut().map(|key| ui.ctx().format_shortcut(&key));
                let hint = match key {
                    Some(key) => format!("{} ({key})", command.title()),
                    None => command.title(),
                };
                if ui.button(text).on_hover_text(hint).clicked() {
                    chosen = Some(command);
                }
            };
            button(ui, "Open…", Command::Open);
            if self.tracks.is_empty() {
                return;
            }
            ui.separator();
            add_device = devices_ui(ui, &self.tracks, &mut self.selection);
            ui.separator();
            button(ui, "All", Command::FitAll);
            button(ui, "Peak", Command::JumpToPeak);
            if self
                .tracks
                .iter()
                .any(|track| !track.prepared().ooms.is_empty())
            {
                button(ui, "OOM", Command::JumpToOom);
            }
            button(ui, "‹ Step", Command::PreviousStep);
            button(ui, "Step ›", Command::NextStep);
            ui.separator();
            let axis = match self.selection.view.axis {
                AxisKind::Events => "Events",
                AxisKind::Clock => "Clock",
            };
            button(ui, axis, Command::ToggleAxis);
            egui::ComboBox::from_id_salt("keys")
                .selected_text(format!("Colour by {}", self.selection.keys.title()))
                .show_ui(ui, |ui| {
                    for kind in KeyKind::ALL {
                        ui.selectable_value(&mut self.selection.keys, kind, kind.title());
                    }
                });
            ui.separator();
            self.filter_ui(ui);
            ui.separator();
            for (text, command) in [
                ("Commands", Command::Palette),
                ("Theme", Command::ToggleTheme),
                ("?", Command::Help),
            ] {
                button(ui, text, command);
            }
        });
        if let Some((document, device)) = add_device {
            self.add_track(document, device);
        }
        if let Some(command) = chosen {
            self.run(command);
        }
    }

    pub(super) fn status_ui(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let now = ui.input(|input| input.time);
            for loading in &mut self.loading {
                let seen_at = *loading.seen_at.get_or_insert(now);
                let until = PROGRESS.as_secs_f64() - (now - seen_at);
                if until > 0.0 {
                    ui.ctx().request_repaint_after_secs(until as f32);
                    continue;
                }
                ui.ctx().request_repaint_after(PROGRESS);
                let name = loading.origin.name();
                let text = match loading.step() {
                    Step::Reading(done, total) if total > 0 => {
                        format!("{name}: {} of {}", units::bytes(done), units::bytes(total))
                    }
                    Step::Reading(..) => format!("{name}: opening"),
                    Step::Replaying => format!("{name}: replaying the history"),
                    Step::Attributing => format!("{name}: attributing allocations"),
                };
                if let Step::Reading(done, total) = loading.step() {
                    let share = done as f32 / total.max(1) as f32;
                    ui.add(egui::ProgressBar::new(share).desired_width(120.0));
                }
                ui.label(text);
                if ui.button("Cancel").clicked() {
                    loading.cancel();
                }
            }
            let Some(track) = self.tracks.get(self.selection.track) else {
                return;
            };
            if self.loading.is_empty() && !track.document.is_attributed {
                ui.label("layers, categories and steps are unknown: attributing was stopped");
                ui.separator();
            }
            let moment = self.selection.moment;
            let replay = track.replay();
            ui.label(format!(
                "after {} of {} events: {} requested, {} allocated, {} reserved",
                crate::text::count(u64::from(moment)),
                crate::text::count(u64::from(track.prepared().last)),
                units::bytes(replay.requested.at(moment)),
                units::bytes(track.prepared().allocated_curve.at(moment)),
                units::bytes(replay.reserved.at(moment)),
            ));
        });
    }

    /// What did not go well, until it is put away.
    pub(super) fn failures_ui(&mut self, ui: &mut Ui) {
        if self.failures.is_empty() {
            return;
        }
        let theme = crate::tokens::Theme::of(ui.visuals());
        let mut put_away = None;
        egui::Panel::top("failures").show(ui, |ui| {
            for (at, (name, why)) in self.failures.iter().enumerate() {
                ui.horizontal_wrapped(|ui| {
                    if ui.button("Dismiss").clicked() {
                        put_away = Some(at);
                    }
                    ui.label(RichText::new(name).strong().color(theme.oom));
                    ui.label(why);
                });
            }
        });
        if let Some(at) = put_away {
            self.failures.remove(at);
        }
    }

    pub(super) fn welcome_ui(&mut self, ui: &mut Ui) {
        let mut open = None;
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() * 0.25);
            ui.label(RichText::new("gpumemprof").size(28.0).strong());
            ui.label("Drop memory snapshots here, or open them with Ctrl+O.");
            ui.label("Nothing leaves this machine.");
            ui.add_space(12.0);
            for path in self.recent.iter().take(8) {
                if ui.button(path.display().to_string()).clicked() {
                    open = Some(path.clone());
                }
            }
        });
        self.open_paths(open);
    }
}

/// The tracks, to make one the active one, and the devices that are no track yet, to add one.
fn devices_ui(
    ui: &mut Ui,
    tracks: &[Track],
    selection: &mut Selection,
) -> Option<(Arc<Document>, usize)> {
    let mut add = None;
    let title = tracks
        .get(selection.track)
        .map_or_else(String::new, Track::title);
    egui::ComboBox::from_id_salt("devices")
        .selected_text(title)
        .show_ui(ui, |ui| {
            for (number, track) in tracks.iter().enumerate() {
                if ui
                    .selectable_label(selection.track == number, track.title())
                    .clicked()
                {
                    selection.track = number;
                    (selection.allocation, selection.range) = (None, None);
                    selection.moment = track.prepared().peak.0;
                }
            }
            let mut documents: Vec<&Arc<Document>> = Vec::new();
            for track in tracks {
                if !documents
                    .iter()
                    .any(|known| Arc::ptr_eq(known, &track.document))
                {
                    documents.push(&track.document);
                }
            }
            for document in documents {
                for (device, prepared) in document.devices.iter().enumerate() {
                    let is_shown = tracks.iter().any(|track| {
                        Arc::ptr_eq(&track.document, document) && track.device == device
                    });
                    let text = format!("Add {} · device {}", document.name, prepared.device);
                    if !is_shown && ui.button(text).clicked() {
                        add = Some((Arc::clone(document), device));
                    }
                }
            }
        });
    add
}
