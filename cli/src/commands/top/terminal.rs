//! The view that stays: draws, waits for keys, looks again.

use std::time::{Duration, Instant};

use device_watch::status::{Status, Watch};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::screen;
use super::selection::{Asked, Selection};
use crate::CommandError;

/// Shows the machine until the user leaves, with a new look each `interval`.
pub(super) fn run(watch: &Watch, interval: Duration) -> Result<(), CommandError> {
    // A panic hook that gives the terminal back is part of this.
    let mut terminal = ratatui::try_init()?;
    let result = watch_keys(&mut terminal, watch, interval);
    ratatui::try_restore()?;
    result
}

fn watch_keys(
    terminal: &mut ratatui::DefaultTerminal,
    watch: &Watch,
    interval: Duration,
) -> Result<(), CommandError> {
    let mut selection = Selection::default();
    let mut status: Status = watch.look();
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| screen::draw(frame, &status, &selection))?;
        // Keys are answered at once; otherwise until the next look.
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                if !selection.is_paused {
                    status = watch.look();
                }
                next = Instant::now() + interval;
                break;
            }
            let asked = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => selection.key(key, &status),
                Event::Resize(..) => Some(Asked::Draw),
                _ => None,
            };
            match asked {
                Some(Asked::Quit) => return Ok(()),
                Some(Asked::Draw) => break,
                None => {}
            }
        }
    }
}
