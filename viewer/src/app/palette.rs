//! The command palette: every command by name.

use egui::{Align2, Key, Modal, ScrollArea};

use crate::commands::Command;

/// The palette.
#[derive(Default)]
pub(super) struct Palette {
    is_open: bool,
    text: String,
    chosen: usize,
    wants_focus: bool,
}

impl Palette {
    /// Opens it.
    pub(super) fn open(&mut self) {
        *self = Self {
            is_open: true,
            wants_focus: true,
            ..Self::default()
        };
    }

    /// Shows it if it is open; gives the command chosen.
    pub(super) fn ui(&mut self, context: &egui::Context) -> Option<Command> {
        if !self.is_open {
            return None;
        }
        let mut run = None;
        let modal = Modal::new(egui::Id::unique("palette")).area(
            Modal::default_area(egui::Id::unique("palette"))
                .anchor(Align2::CENTER_TOP, [0.0, 60.0]),
        );
        let response = modal.show(context, |ui| {
            ui.set_width(420.0);
            let edit = egui::TextEdit::singleline(&mut self.text)
                .hint_text("Type a command")
                .desired_width(f32::INFINITY);
            let response = ui.add(edit);
            response
                .widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, "Command"));
            if std::mem::take(&mut self.wants_focus) {
                response.request_focus();
            }
            if response.changed() {
                self.chosen = 0;
            }
            let found = matching(&self.text);
            let (up, down, enter) = ui.input(|input| {
                let pressed = |key| input.key_pressed(key);
                (
                    pressed(Key::ArrowUp),
                    pressed(Key::ArrowDown),
                    pressed(Key::Enter),
                )
            });
            self.chosen = (self.chosen + usize::from(down))
                .saturating_sub(usize::from(up))
                .min(found.len().saturating_sub(1));
            if enter {
                run = found.get(self.chosen).copied();
            }
            ScrollArea::vertical().max_height(380.0).show(ui, |ui| {
                for (at, command) in found.iter().enumerate() {
                    let key = command.shortcut().map(|key| ui.ctx().format_shortcut(&key));
                    let button = egui::Button::selectable(at == self.chosen, command.title())
                        .shortcut_text(key.unwrap_or_default())
                        .min_size(egui::vec2(400.0, 22.0));
                    let response = ui.add(button);
                    if at == self.chosen && (up || down) {
                        response.scroll_to_me(None);
                    }
                    if response.clicked() {
                        run = Some(*command);
                    }
                }
            });
        });
        if run.is_some() || response.should_close() {
            self.is_open = false;
        }
        run
    }
}

/// The commands whose title has every word of `text`.
fn matching(text: &str) -> Vec<Command> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let fits = |command: &Command| {
        let title = command.title().to_lowercase();
        words.iter().all(|word| title.contains(word))
    };
    Command::all().into_iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_be_in_the_title() {
        assert_eq!(matching("peak"), [Command::JumpToPeak]);
        assert_eq!(matching("OUT jump"), [Command::JumpToOom]);
        assert_eq!(matching("").len(), Command::all().len());
    }
}
