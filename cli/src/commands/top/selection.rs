//! What is selected on the screen, and what keys do to it.

use device_watch::status::{DeviceStatus, ProcessStatus, Status};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a process is known by while rows move: board, NVML's id, its own id.
type RowKey = (u32, Option<u32>, Option<u32>);

/// The state of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The board whose processes are shown; None: all.
    pub(super) board: Option<u32>,
    /// The process whose split is shown.
    row: Option<RowKey>,
    /// Whether the help is shown.
    pub(super) is_help: bool,
    /// Whether the figures stand still.
    pub(super) is_paused: bool,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To leave.
    Quit,
    /// To draw again.
    Draw,
}

fn key_of(device: &DeviceStatus, process: &ProcessStatus) -> RowKey {
    let recorded = process.pytorch.as_ref().map(|one| one.process);
    (device.board.index, process.process, recorded)
}

impl Selection {
    /// The rows shown: board and process.
    pub(super) fn rows<'a>(
        &self,
        status: &'a Status,
    ) -> Vec<(&'a DeviceStatus, &'a ProcessStatus)> {
        let shown = self.board;
        let devices = status.devices.iter();
        let devices =
            devices.filter(|device| shown.is_none_or(|board| board == device.board.index));
        devices
            .flat_map(|device| {
                device
                    .processes
                    .iter()
                    .flatten()
                    .map(move |one| (device, one))
            })
            .collect()
    }

    /// Which of the rows is selected: the one that was, else the first.
    pub(super) fn place(&self, rows: &[(&DeviceStatus, &ProcessStatus)]) -> Option<usize> {
        let at = rows
            .iter()
            .position(|(device, process)| Some(key_of(device, process)) == self.row);
        at.or((!rows.is_empty()).then_some(0))
    }

    /// Does what a key says. None: the key means nothing.
    pub(super) fn key(&mut self, key: KeyEvent, status: &Status) -> Option<Asked> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Some(Asked::Quit),
            KeyCode::Esc if self.is_help => self.is_help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Some(Asked::Quit),
            KeyCode::Char('?' | 'h') => self.is_help = !self.is_help,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Up | KeyCode::Char('k') => self.step(status, -1),
            KeyCode::Down | KeyCode::Char('j') => self.step(status, 1),
            KeyCode::PageUp => self.step(status, -10),
            KeyCode::PageDown => self.step(status, 10),
            KeyCode::Home => self.step(status, isize::MIN),
            KeyCode::End => self.step(status, isize::MAX),
            KeyCode::Left => self.turn(status, false),
            KeyCode::Right | KeyCode::Tab => self.turn(status, true),
            _ => return None,
        }
        Some(Asked::Draw)
    }

    fn step(&mut self, status: &Status, by: isize) {
        let rows = self.rows(status);
        let Some(at) = self.place(&rows) else {
            return;
        };
        let to = at
            .saturating_add_signed(by)
            .min(rows.len().saturating_sub(1));
        self.row = rows
            .get(to)
            .map(|(device, process)| key_of(device, process));
    }

    /// All boards, then each, and round again.
    fn turn(&mut self, status: &Status, is_forward: bool) {
        let boards = status.devices.iter().map(|device| Some(device.board.index));
        let views: Vec<Option<u32>> = std::iter::once(None).chain(boards).collect();
        let at = views
            .iter()
            .position(|&view| view == self.board)
            .unwrap_or(0);
        let step = if is_forward { 1 } else { views.len() - 1 };
        self.board = views.get((at + step) % views.len()).copied().flatten();
    }
}
