//! The recorded and the simulated memory map at one moment, to one scale.

use std::sync::Arc;

use egui::{Color32, ColorImage};
use profiler_core::allocator::{BlockMap, MapBlock, MapSegment, Use};

use crate::prepare::{KeyColumn, KeyKind};
use crate::strip::Strip;
use crate::tokens::{Theme, shade};

use super::run::Outcome;

/// What to draw.
#[derive(Clone)]
pub(super) struct Question {
    /// Of which run.
    pub(super) outcome: Arc<Outcome>,
    /// Colours by what.
    pub(super) keys: KeyKind,
    /// Pixels of each map from left to right.
    pub(super) columns: usize,
    /// Pixels of each map from top to bottom.
    pub(super) rows: usize,
    /// Colours of the theme.
    pub(super) theme: Theme,
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outcome, &other.outcome)
            && (self.keys, self.columns, self.rows) == (other.keys, other.columns, other.rows)
            && self.theme == other.theme
    }
}

/// The two maps.
pub(super) struct Drawn {
    /// As recorded.
    pub(super) recorded: ColorImage,
    /// As simulated.
    pub(super) simulated: ColorImage,
    /// Bytes of each.
    pub(super) bytes: [u64; 2],
}

/// A row of memory is about this high, in pixels.
const BAND: usize = 12;

/// Draws both maps; a byte is as wide in one as in the other.
#[must_use]
pub(super) fn draw(question: &Question, is_stale: &dyn Fn() -> bool) -> Option<Drawn> {
    let simulation = &question.outcome.simulation;
    let recorded = simulation.recorded_map.as_ref()?;
    let simulated = simulation.simulated_map.as_ref()?;
    let subject = &question.outcome.question.subject;
    let groups = KeyColumn::new(&subject.document, subject.device, question.keys);
    if is_stale() {
        return None;
    }
    let bytes = [held(recorded), held(simulated)];
    let (columns, rows) = (question.columns.max(1), question.rows.max(1));
    let bands = (rows / BAND).max(1);
    let all = bytes.into_iter().max().unwrap_or(0).max(1);
    let painter = Painter {
        question,
        colors: groups.colors(question.theme.other),
        groups,
        columns,
        rows,
        bands,
        per_pixel: all as f64 / (bands * columns) as f64,
    };
    Some(Drawn {
        recorded: painter.paint(recorded),
        simulated: painter.paint(simulated),
        bytes,
    })
}

fn held(map: &BlockMap) -> u64 {
    let sizes = map.segments.iter().map(|segment| segment.size);
    sizes.fold(0, u64::saturating_add)
}

struct Painter<'a> {
    question: &'a Question,
    groups: KeyColumn,
    colors: Vec<Color32>,
    columns: usize,
    rows: usize,
    bands: usize,
    per_pixel: f64,
}

impl Painter<'_> {
    fn paint(&self, map: &BlockMap) -> ColorImage {
        let theme = &self.question.theme;
        let mut segments: Vec<&MapSegment> = map.segments.iter().collect();
        segments.sort_by_key(|one| (one.pool, one.stream, one.kind, one.address));
        let mut cells: Vec<(u64, u64, Color32)> = Vec::new();
        let mut offset = 0_u64;
        for segment in segments {
            let is_free = segment.blocks.iter().all(|block| block.state == Use::Free);
            for block in &segment.blocks {
                let color = self.color(block, is_free);
                let used = match block.state {
                    Use::Allocated => block.requested.min(block.size),
                    _ => block.size,
                };
                cells.push((offset, offset.saturating_add(used), color));
                let end = offset.saturating_add(block.size);
                if used < block.size {
                    cells.push((offset.saturating_add(used), end, theme.rounding));
                }
                offset = end;
            }
        }
        let (columns, band) = (self.columns, self.rows / self.bands);
        let mut pixels = vec![theme.canvas; columns * self.rows];
        let mut strip = Strip::new(columns, theme.band_edge);
        let mut from = 0;
        for line in 0..self.bands {
            strip.clear(theme.canvas);
            let start = (line * columns) as f64;
            // A cell may go on from the row before.
            for (at, &(low, high, color)) in cells.iter().enumerate().skip(from) {
                let low = low as f64 / self.per_pixel - start;
                if low >= columns as f64 {
                    break;
                }
                let high = high as f64 / self.per_pixel - start;
                strip.band(low, high, 0, color);
                if high <= columns as f64 {
                    from = at + 1;
                }
            }
            strip.finish();
            let height = band.saturating_sub(2).max(1);
            for row in line * band..line * band + height {
                pixels[row * columns..(row + 1) * columns].copy_from_slice(&strip.pixels);
            }
        }
        ColorImage::new([columns, self.rows], pixels)
    }

    fn color(&self, block: &MapBlock, is_free: bool) -> Color32 {
        let theme = &self.question.theme;
        match block.state {
            Use::Pending => theme.pending,
            Use::Free if is_free => theme.whole_free,
            Use::Allocated => {
                let subject = &self.question.outcome.question.subject;
                let allocations = subject.replay().map(|replay| &replay.allocations);
                let id = block
                    .alloc_event
                    .and_then(|event| allocations?.of_event(event as usize));
                let Some(id) = id else { return theme.other };
                let group = self.groups.group(id.index());
                let color = self.colors.get(group).copied().unwrap_or(theme.other);
                shade(color, (id.0 % 3) as i32 - 1)
            }
            _ => theme.split_free,
        }
    }
}
