//! The help overlay: what the pointer and the keys do.

use egui::{Grid, ScrollArea, Window};

use crate::commands::Command;

/// What the pointer does in the timeline.
const POINTER: [(&str, &str); 9] = [
    ("wheel", "zoom time at the pointer"),
    ("Ctrl + wheel, pinch", "zoom bytes at the pointer"),
    ("Shift + wheel", "move through time"),
    ("drag", "move"),
    ("Shift + drag, right drag", "choose a range"),
    ("click", "choose the moment and the allocation"),
    ("double click", "show the whole recording"),
    ("overview: drag", "move the window"),
    ("overview: Shift + drag", "choose the window"),
];

/// Shows the overlay if it is open.
pub(super) fn help_ui(context: &egui::Context, is_open: &mut bool) {
    let area = context.content_rect();
    Window::new("Keys")
        .open(is_open)
        .default_pos(area.center_top() + egui::vec2(-260.0, 40.0))
        .show(context, |ui| {
            ScrollArea::vertical()
                .max_height(area.height() - 140.0)
                .show(ui, |ui| {
                    ui.strong("Pointer in the timeline");
                    Grid::new("pointer")
                        .num_columns(2)
                        .striped(true)
                        .show(ui, |ui| {
                            for (gesture, meaning) in POINTER {
                                ui.monospace(gesture);
                                ui.label(meaning);
                                ui.end_row();
                            }
                        });
                    ui.add_space(6.0);
                    ui.strong("Keys");
                    Grid::new("keys")
                        .num_columns(2)
                        .striped(true)
                        .show(ui, |ui| {
                            for command in Command::all() {
                                let Some(key) = command.shortcut() else {
                                    continue;
                                };
                                ui.monospace(ui.ctx().format_shortcut(&key));
                                ui.label(command.title());
                                ui.end_row();
                            }
                        });
                    ui.add_space(6.0);
                    ui.strong("What a pixel means");
                    ui.label(
                        "A column shows the first moment of most requested bytes in its stretch of \
                     time, so the highest point drawn is the true one. At that moment the live \
                     allocations are stacked by age, oldest at the bottom, each as high as the \
                     bytes it requested. A pixel has the mean colour of what is in it, weighted \
                     by bytes. Allocations that live and die between two columns are counted at \
                     the top left.",
                    );
                });
        });
}
