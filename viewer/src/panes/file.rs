//! What the file says of itself: settings, format, warnings, legend of the colours.

use egui::{Grid, ScrollArea, Ui};
use profiler_core::units;

use crate::ask::Subject;

/// Shows the pane.
pub fn file_ui(ui: &mut Ui, subject: &Subject) {
    let document = &subject.document;
    let snapshot = &document.snapshot;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        Grid::new("file")
            .num_columns(2)
            .striped(true)
            .show(ui, |ui| {
                let mut row = |name: &str, text: String| {
                    ui.label(name);
                    ui.label(text);
                    ui.end_row();
                };
                let path = document
                    .path
                    .as_ref()
                    .map(|path| path.display().to_string());
                row("file", path.unwrap_or_else(|| document.name.clone()));
                row(
                    "written by PyTorch",
                    snapshot.features.torch_format().to_owned(),
                );
                for (device, prepared) in document.replay.devices.iter().zip(&document.devices) {
                    let allocations = units::count(device.allocations.len() as u64);
                    let events = units::count(u64::from(device.event_count()));
                    let mut text = format!("{events} events, {allocations} allocations");
                    if prepared.clock.is_known() {
                        let time = units::duration_us(prepared.clock.length_us());
                        text.push_str(&format!(", {time}"));
                    }
                    row(&format!("device {}", device.device), text);
                }
                let steps = document
                    .attribution
                    .devices
                    .get(subject.device)
                    .map(|known| &known.steps);
                if let Some(steps) = steps.filter(|steps| !steps.steps.is_empty()) {
                    row(
                        "steps",
                        format!("{}, told by {}", steps.steps.len(), steps.source),
                    );
                }
            });
        ui.add_space(8.0);
        ui.strong("Allocator settings");
        match &snapshot.settings {
            None => {
                ui.label("not in the file (PyTorch writes them from 2.3 on)");
            }
            Some(settings) => {
                Grid::new("settings")
                    .num_columns(2)
                    .striped(true)
                    .show(ui, |ui| {
                        for (key, value) in &settings.entries {
                            ui.label(key);
                            ui.monospace(value);
                            ui.end_row();
                        }
                    });
            }
        }
        ui.add_space(8.0);
        let warnings = snapshot
            .warnings
            .all()
            .iter()
            .chain(document.replay.warnings.all());
        let mut is_clean = true;
        for warning in warnings {
            if is_clean {
                ui.strong("Noticed while reading");
                is_clean = false;
            }
            ui.label(format!(
                "{} × {}",
                units::count(warning.count),
                warning.message
            ));
        }
        if is_clean {
            ui.label("Nothing in the file contradicts itself.");
        }
    });
}
