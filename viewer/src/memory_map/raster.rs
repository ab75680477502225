//! The map's picture, drawn on the CPU at the pane's resolution.

use std::sync::Arc;

use egui::{Color32, ColorImage};
use profiler_core::replay::{AllocationId, BlockUse, Moment};

use crate::ask::{Kept, Subject};
use crate::prepare::{KeyColumn, KeyKind};
use crate::strip::{NOBODY, Strip};
use crate::tokens::{Theme, shade};

use super::layout::{Cell, FreeKind, MapLayout};

/// What to draw.
#[derive(Clone, PartialEq)]
pub struct Question {
    /// Of which device.
    pub subject: Subject,
    /// When.
    pub moment: Moment,
    /// What the filter keeps.
    pub kept: Kept,
    /// Colours by what.
    pub keys: KeyKind,
    /// The chosen allocation.
    pub selected: Option<AllocationId>,
    /// Pixels from left to right.
    pub columns: usize,
    /// Pixels from top to bottom.
    pub rows: usize,
    /// Colours of the theme.
    pub theme: Theme,
}

/// The drawn map.
pub struct Drawn {
    /// What is where.
    pub layout: MapLayout,
    /// The moment drawn.
    pub moment: Moment,
    /// Pixels from left to right.
    pub columns: usize,
    /// Pixels from top to bottom.
    pub rows: usize,
    /// The pixels.
    pub image: Arc<ColorImage>,
    /// Pixels that one row of memory is high, its border included.
    band: usize,
    /// The cell at the middle of each pixel of each row of memory.
    who: Vec<u32>,
}

impl Drawn {
    /// The number of the cell at a pixel, counted from the top left.
    #[must_use]
    pub fn number_at(&self, column: usize, row: usize) -> Option<usize> {
        if column >= self.columns {
            return None;
        }
        let number = *self
            .who
            .get(row / self.band.max(1) * self.columns + column)?;
        (number != NOBODY).then_some(number as usize)
    }

    /// The cell at a pixel.
    #[must_use]
    pub fn cell_at(&self, column: usize, row: usize) -> Option<&Cell> {
        self.layout.cells.get(self.number_at(column, row)?)
    }
}

/// A row of memory is about this high, in pixels.
const BAND: usize = 18;

/// Draws what `question` asks for; None if `is_stale`. `keys` keeps the groups for the next call.
#[must_use]
pub fn draw(
    question: &Question,
    keys: &mut Option<(Subject, KeyKind, KeyColumn)>,
    is_stale: &dyn Fn() -> bool,
) -> Option<Drawn> {
    let subject = &question.subject;
    let replay = subject.replay()?;
    if keys
        .as_ref()
        .is_none_or(|(of, kind, _)| of != subject || *kind != question.keys)
    {
        let column = KeyColumn::new(&subject.document, subject.device, question.keys);
        *keys = Some((subject.clone(), question.keys, column));
    }
    let (_, _, groups) = keys.as_ref()?;
    let colors = groups.colors(question.theme.other);
    let layout = MapLayout::new(replay, question.moment);
    if is_stale() {
        return None;
    }
    let (columns, rows) = (question.columns.max(1), question.rows.max(1));
    let bands = (rows / BAND).max(1);
    let band = rows / bands;
    let per_pixel = (layout.total as f64 / (bands * columns) as f64).max(f64::MIN_POSITIVE);
    let mut pixels = vec![question.theme.canvas; columns * rows];
    let mut who = vec![NOBODY; columns * bands];
    let mut strip = Strip::new(columns, question.theme.band_edge);
    let paint = Paint {
        question,
        groups,
        colors: &colors,
        replay,
    };
    let mut at = 0;
    for line in 0..bands {
        strip.clear(question.theme.canvas);
        let start = (line * columns) as f64;
        // A cell may go on from the row before.
        at = at.min(layout.cells.len());
        let mut next = at;
        for (number, cell) in layout.cells.iter().enumerate().skip(at) {
            let low = cell.offset as f64 / per_pixel - start;
            if low >= columns as f64 {
                break;
            }
            let high = (cell.offset + cell.size) as f64 / per_pixel - start;
            paint.cell(&mut strip, cell, number as u32, low, high);
            if high <= columns as f64 {
                next = number + 1;
            }
        }
        strip.finish();
        at = next;
        who[line * columns..(line + 1) * columns].copy_from_slice(&strip.who);
        let height = band.saturating_sub(2).max(1);
        for row in line * band..line * band + height {
            pixels[row * columns..(row + 1) * columns].copy_from_slice(&strip.pixels);
        }
    }
    let image = Arc::new(ColorImage::new([columns, rows], pixels));
    Some(Drawn {
        layout,
        moment: question.moment,
        columns,
        rows,
        image,
        band,
        who,
    })
}

struct Paint<'a> {
    question: &'a Question,
    groups: &'a KeyColumn,
    colors: &'a [Color32],
    replay: &'a profiler_core::replay::DeviceReplay,
}

impl Paint<'_> {
    fn cell(&self, strip: &mut Strip, cell: &Cell, number: u32, low: f64, high: f64) {
        let theme = &self.question.theme;
        let id = match cell.used_by {
            BlockUse::Free => {
                let color = match cell.free {
                    FreeKind::Split => theme.split_free,
                    FreeKind::OtherStream => theme.stream_free,
                    FreeKind::PrivatePool => theme.pool_free,
                    FreeKind::Whole => theme.whole_free,
                };
                strip.band(low, high, number, color);
                return;
            }
            BlockUse::Pending(_) => {
                strip.band(low, high, number, theme.pending);
                return;
            }
            BlockUse::Allocated(id) => id,
        };
        let color = if self.question.selected == Some(id) {
            theme.selection
        } else if self.question.kept.has(id.0) {
            let group = self.groups.group(id.index());
            let color = self.colors.get(group).copied().unwrap_or(theme.other);
            shade(color, (id.0 % 3) as i32 - 1)
        } else {
            theme.excluded
        };
        let requested = self.replay.allocations.get(id).requested.min(cell.size);
        let share = requested as f64 / cell.size.max(1) as f64;
        let middle = low + (high - low) * share;
        strip.band(low, middle, number, color);
        if middle < high {
            strip.band(middle, high, number, theme.rounding);
        }
    }
}
