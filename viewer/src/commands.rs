//! Everything the viewer can be told to do, with its name and its key.

use egui::{Key, KeyboardShortcut, Modifiers};

use crate::panes::Pane;
use crate::prepare::KeyKind;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Asks for files.
    Open,
    /// Reads the active file again.
    Reload,
    /// Closes the active file.
    Close,
    /// Makes the next track the active one.
    NextTrack,
    /// Shows the whole recording.
    FitAll,
    /// Zooms to the chosen range.
    ZoomToRange,
    /// Zooms to the chosen allocation's life.
    ZoomToAllocation,
    /// Closer.
    ZoomIn,
    /// Farther.
    ZoomOut,
    /// A tenth of the view to the left.
    PanLeft,
    /// A tenth of the view to the right.
    PanRight,
    /// To the event before.
    PreviousEvent,
    /// To the event after.
    NextEvent,
    /// To the highest requested bytes.
    JumpToPeak,
    /// To the next failed allocation.
    JumpToOom,
    /// To the step before.
    PreviousStep,
    /// To the step after.
    NextStep,
    /// To the first moment.
    JumpToStart,
    /// To the last moment.
    JumpToEnd,
    /// Goes back one view or filter.
    Undo,
    /// And forward again.
    Redo,
    /// Forgets what is chosen.
    ClearSelection,
    /// Puts the keyboard into the filter's text.
    FocusFilter,
    /// Shows everything again.
    ClearFilter,
    /// Only what is never freed.
    ToggleNeverFreed,
    /// Only what is live at the chosen moment.
    FilterLiveNow,
    /// Only what was born in the chosen range.
    FilterBornInRange,
    /// Stacks only what the filter keeps, or greys out the rest.
    ToggleOnlyKept,
    /// Events or wall clock.
    ToggleAxis,
    /// What colours mean.
    ColorBy(KeyKind),
    /// Another pane below.
    Show(Pane),
    /// Light or dark.
    ToggleTheme,
    /// Copies the table's rows.
    CopyCsv,
    /// Writes the table's rows to a file.
    ExportCsv,
    /// Writes a picture of the window to a file.
    ExportPng,
    /// Shows all commands.
    Palette,
    /// Shows the keys.
    Help,
}

impl Command {
    /// Every command, in the order of the palette.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Open,
            Self::Reload,
            Self::Close,
            Self::NextTrack,
            Self::JumpToPeak,
            Self::JumpToOom,
            Self::PreviousStep,
            Self::NextStep,
            Self::PreviousEvent,
            Self::NextEvent,
            Self::JumpToStart,
            Self::JumpToEnd,
            Self::FitAll,
            Self::ZoomToRange,
            Self::ZoomToAllocation,
            Self::ZoomIn,
            Self::ZoomOut,
            Self::PanLeft,
            Self::PanRight,
            Self::Undo,
            Self::Redo,
            Self::ClearSelection,
            Self::FocusFilter,
            Self::ClearFilter,
            Self::ToggleNeverFreed,
            Self::FilterLiveNow,
            Self::FilterBornInRange,
            Self::ToggleOnlyKept,
            Self::ToggleAxis,
            Self::ToggleTheme,
            Self::CopyCsv,
            Self::ExportCsv,
            Self::ExportPng,
            Self::Palette,
            Self::Help,
        ];
        all.extend(Pane::ALL.map(Self::Show));
        all.extend(KeyKind::ALL.map(Self::ColorBy));
        all
    }

    /// What it is called.
    #[must_use]
    pub fn title(self) -> String {
        let text = match self {
            Self::Open => "Open files…",
            Self::Reload => "Reload the file",
            Self::Close => "Close the file",
            Self::NextTrack => "Next file or device",
            Self::FitAll => "Show the whole recording",
            Self::ZoomToRange => "Zoom to the chosen range",
            Self::ZoomToAllocation => "Zoom to the chosen allocation",
            Self::ZoomIn => "Zoom in",
            Self::ZoomOut => "Zoom out",
            Self::PanLeft => "Move left",
            Self::PanRight => "Move right",
            Self::PreviousEvent => "Previous event",
            Self::NextEvent => "Next event",
            Self::JumpToPeak => "Jump to the peak",
            Self::JumpToOom => "Jump to the next out of memory",
            Self::PreviousStep => "Previous step",
            Self::NextStep => "Next step",
            Self::JumpToStart => "Jump to the start",
            Self::JumpToEnd => "Jump to the end",
            Self::Undo => "Undo zoom or filter",
            Self::Redo => "Redo zoom or filter",
            Self::ClearSelection => "Clear the selection",
            Self::FocusFilter => "Filter by text",
            Self::ClearFilter => "Clear the filter",
            Self::ToggleNeverFreed => "Only what is never freed",
            Self::FilterLiveNow => "Only what is live at the chosen moment",
            Self::FilterBornInRange => "Only what was born in the chosen range",
            Self::ToggleOnlyKept => "Stack only what the filter keeps",
            Self::ToggleAxis => "Events or wall clock",
            Self::ToggleTheme => "Light or dark",
            Self::CopyCsv => "Copy the allocations as CSV",
            Self::ExportCsv => "Save the allocations as CSV…",
            Self::ExportPng => "Save a picture of the window…",
            Self::Palette => "All commands",
            Self::Help => "Keys",
            Self::ColorBy(kind) => return format!("Colour by {}", kind.title()),
            Self::Show(pane) => return format!("Show {}", pane.title()),
        };
        text.to_owned()
    }

    /// Its key. Single keys are for when no text is being written.
    #[must_use]
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        let plain = |key| Some(KeyboardShortcut::new(Modifiers::NONE, key));
        let shift = |key| Some(KeyboardShortcut::new(Modifiers::SHIFT, key));
        let command = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        match self {
            Self::Open => command(Key::O),
            Self::Reload => plain(Key::F5),
            Self::Close => command(Key::W),
            Self::NextTrack => plain(Key::N),
            Self::FitAll => plain(Key::Num0),
            Self::ZoomToRange => plain(Key::Z),
            Self::ZoomToAllocation => plain(Key::A),
            Self::ZoomIn => plain(Key::W),
            Self::ZoomOut => plain(Key::S),
            Self::PanLeft => shift(Key::ArrowLeft),
            Self::PanRight => shift(Key::ArrowRight),
            Self::PreviousEvent => plain(Key::ArrowLeft),
            Self::NextEvent => plain(Key::ArrowRight),
            Self::JumpToPeak => plain(Key::P),
            Self::JumpToOom => plain(Key::O),
            Self::PreviousStep => plain(Key::OpenBracket),
            Self::NextStep => plain(Key::CloseBracket),
            Self::JumpToStart => plain(Key::Home),
            Self::JumpToEnd => plain(Key::End),
            Self::Undo => command(Key::Z),
            Self::Redo => Some(KeyboardShortcut::new(
                Modifiers::COMMAND | Modifiers::SHIFT,
                Key::Z,
            )),
            Self::ClearSelection => plain(Key::Escape),
            Self::FocusFilter => plain(Key::Slash),
            Self::ToggleNeverFreed => plain(Key::L),
            Self::ToggleOnlyKept => plain(Key::K),
            Self::ToggleAxis => plain(Key::T),
            Self::ToggleTheme => plain(Key::D),
            Self::CopyCsv => command(Key::E),
            Self::Palette => command(Key::K),
            Self::Help => plain(Key::F1),
            Self::Show(pane) => pane.key().and_then(plain),
            _ => None,
        }
    }
}

/// The commands whose keys were pressed in this frame. Keys without a modifier are left alone
/// while `is_typing`.
#[must_use]
pub fn pressed(context: &egui::Context, is_typing: bool) -> Vec<Command> {
    // The longest combination first: Ctrl+Shift+Z is not also Ctrl+Z.
    let mut commands = Command::all();
    commands.sort_by_key(|command| {
        let modifiers = command
            .shortcut()
            .map(|key| key.modifiers)
            .unwrap_or_default();
        std::cmp::Reverse(u8::from(modifiers.command) + u8::from(modifiers.shift))
    });
    context.input_mut(|input| {
        let mut found = Vec::new();
        for command in commands {
            let Some(shortcut) = command.shortcut() else {
                continue;
            };
            let needs_idle = !shortcut.modifiers.command
                && !matches!(shortcut.logical_key, Key::F1 | Key::F5 | Key::Escape);
            if (!is_typing || !needs_idle) && input.consume_shortcut(&shortcut) {
                found.push(command);
            }
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_share_a_key() {
        let mut seen: Vec<(KeyboardShortcut, Command)> = Vec::new();
        for command in Command::all() {
            let Some(shortcut) = command.shortcut() else {
                continue;
            };
            let same = seen.iter().find(|(known, _)| *known == shortcut);
            assert!(same.is_none(), "{command:?} and {same:?}");
            seen.push((shortcut, command));
        }
    }

    #[test]
    fn every_command_has_a_title() {
        let mut titles: Vec<String> = Command::all().into_iter().map(Command::title).collect();
        let all = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), all);
    }
}
