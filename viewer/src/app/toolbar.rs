//! The bars at the top and the bottom, and the page without a file.

use egui::{RichText, Ui};
use profiler_core::units;

use crate::commands::Command;
use crate::load::Step;
use crate::prepare::{AxisKind, KeyKind};

use super::Viewer;

impl Viewer {
    pub(super) fn toolbar_ui(&mut self, ui: &mut Ui) {
        let mut chosen = None;
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
            button(ui, "Whole", Command::FitAll);
            button(ui, "Peak", Command::JumpToPeak);
            if self
                .tracks
                .iter()
                .any(|track| !track.prepared().ooms.is_empty())
            {
                button(ui, "OOM", Command::JumpToOom);
            }
            button(ui, "◀ Step", Command::PreviousStep);
            button(ui, "Step ▶", Command::NextStep);
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
            button(ui, "Commands", Command::Palette);
            button(ui, "Light/dark", Command::ToggleTheme);
            button(ui, "Keys", Command::Help);
        });
        if let Some(command) = chosen {
            self.run(command);
        }
    }

    pub(super) fn status_ui(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            for loading in &self.loading {
                ui.spinner();
                let name = loading.origin.name();
                let text = match loading.step() {
                    Step::Reading(done, total) if total > 0 => {
                        format!("{name}: {} of {}", units::bytes(done), units::bytes(total))
                    }
                    Step::Reading(..) => format!("{name}: opening"),
                    Step::Replaying => format!("{name}: replaying the history"),
                    Step::Preparing => format!("{name}: attributing allocations"),
                };
                ui.label(text);
                if ui.button("Cancel").clicked() {
                    loading.cancel();
                }
            }
            let Some(track) = self.tracks.get(self.selection.track) else {
                return;
            };
            let moment = self.selection.moment;
            let replay = track.replay();
            ui.label(format!(
                "after {} of {} events: {} requested, {} allocated, {} reserved",
                units::count(u64::from(moment)),
                units::count(u64::from(track.prepared().last)),
                units::bytes(replay.requested.at(moment)),
                units::bytes(track.prepared().allocated_curve.at(moment)),
                units::bytes(replay.reserved.at(moment)),
            ));
        });
    }

    pub(super) fn welcome_ui(&mut self, ui: &mut Ui) {
        ui.centered_and_justified(|ui| {
            ui.vertical_centered(|ui| {
                ui.add_space(ui.available_height() * 0.3);
                ui.label(RichText::new("gpumemprof").size(28.0).strong());
                ui.label("Drop memory snapshots here, or open them with Ctrl+O.");
                for (name, why) in &self.failures {
                    ui.add_space(12.0);
                    ui.strong(format!("{name} did not open"));
                    ui.label(why);
                }
            });
        });
    }
}
