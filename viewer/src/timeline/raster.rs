//! The timeline's picture, drawn on the CPU at the pane's resolution.
//!
//! What a pixel means: a column of pixels is a stretch of time, and shows the **first moment of
//! most requested bytes** in that stretch, so the highest point drawn is the true one at any
//! zoom. At that moment the live allocations are stacked in order of birth, oldest at the
//! bottom, each as high as the bytes it requested. A pixel covers a range of bytes and has the
//! mean of the colours of the allocations in it, each weighted by its bytes there: nothing is
//! left out however thin it is. Allocations that live and die between two columns' moments
//! cannot be seen at that zoom; [`Picture::unseen_births`] counts them.

use std::sync::atomic::{AtomicBool, Ordering};

use egui::Color32;
use profiler_core::replay::{AllocationId, Allocations, Curve, DeviceReplay, Moment};

use crate::prepare::{Axis, KeyColumn, Mask, PreparedDevice, Pyramid, both};
use crate::strip::NOBODY;
use crate::tokens::Theme;

use super::columns::Columns;
use super::stack::Stack;
use super::sweep::{Live, Sweep};

/// What to draw, in axis units and bytes, and at which resolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Left edge, in axis units.
    pub from: f64,
    /// Axis units per column.
    pub per_column: f64,
    /// Pixels from left to right.
    pub columns: usize,
    /// Bytes at the bottom edge.
    pub low: f64,
    /// Bytes at the top edge.
    pub high: f64,
    /// Pixels from bottom to top.
    pub rows: usize,
}

impl Frame {
    /// Bytes per pixel.
    #[must_use]
    pub fn bytes_per_row(&self) -> f64 {
        ((self.high - self.low) / self.rows.max(1) as f64).max(f64::MIN_POSITIVE)
    }

    /// The stretch of column `column`. Neighbours share their edge exactly.
    #[must_use]
    pub fn stretch(&self, column: usize) -> (f64, f64) {
        let edge = |column: usize| self.from + self.per_column * column as f64;
        (edge(column), edge(column + 1))
    }
}

/// Everything the raster reads.
pub struct Source<'a> {
    /// The replay.
    pub replay: &'a DeviceReplay,
    /// Its pyramids.
    pub prepared: &'a PreparedDevice,
    /// The time axis.
    pub axis: Axis<'a>,
    /// The groups.
    pub keys: &'a KeyColumn,
    /// What the filter keeps; None for all.
    pub mask: Option<&'a Mask>,
    /// Whether to stack only what the filter keeps, instead of greying out the rest.
    pub only_kept: bool,
    /// The allocation whose place is wanted in [`Picture::selected`].
    pub selected: Option<AllocationId>,
    /// Colours.
    pub theme: Theme,
}

/// The drawn timeline.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What was drawn.
    pub frame: Frame,
    /// Pixels, top row first.
    pub pixels: Vec<Color32>,
    /// The allocation at the middle of each pixel, [`NOBODY`] above the top; top row first.
    pub who: Vec<u32>,
    /// The moment each column shows.
    pub moments: Vec<Moment>,
    /// Bytes from where to where the selected allocation is in each column.
    pub selected: Vec<Option<(u64, u64)>>,
    /// How many allocations were born in the visible stretch and are in no column.
    pub unseen_births: u64,
}

impl Picture {
    /// The allocation at a pixel, counted from the top left.
    #[must_use]
    pub fn allocation_at(&self, column: usize, row: usize) -> Option<AllocationId> {
        if column >= self.frame.columns || row >= self.frame.rows {
            return None;
        }
        let id = *self.who.get(row * self.frame.columns + column)?;
        (id != NOBODY).then_some(AllocationId(id))
    }
}

/// Pixels from which on two threads draw a half each: below, starting one takes as long.
const WORTH_A_THREAD: usize = 1 << 16;

/// Draws `frame`. None if `is_stale` says that nobody wants it any more.
#[must_use]
pub fn draw(source: &Source<'_>, frame: Frame, is_stale: &dyn Fn() -> bool) -> Option<Picture> {
    let (columns, rows) = (frame.columns, frame.rows);
    let mut picture = Picture {
        frame,
        pixels: vec![source.theme.canvas; columns * rows],
        // Every column is put in place whole. Zeros, unlike NOBODY, are not written here: the
        // threads below do that, each for its half.
        who: vec![0; columns * rows],
        moments: vec![0; columns],
        selected: vec![None; columns],
        unseen_births: 0,
    };
    let is_given_up = AtomicBool::new(false);
    let draw = |part: Part<'_>, is_stale: &dyn Fn() -> bool| {
        draw_part(source, frame, part, &is_given_up, is_stale)
    };
    let is_worth_it = columns * rows >= WORTH_A_THREAD;
    let middle = if is_worth_it { columns / 2 } else { columns };
    let (left, right) = picture.split(middle, source.theme.band_edge);
    let (left, right) = if is_worth_it {
        both(|| draw(left, &|| false), || draw(right, is_stale))
    } else {
        (draw(left, is_stale), Some(0))
    };
    picture.unseen_births = left? + right?;
    Some(picture)
}

/// Columns of a picture that is being drawn, from `start` on.
struct Part<'a> {
    start: usize,
    columns: Columns<'a>,
    moments: &'a mut [Moment],
    selected: &'a mut [Option<(u64, u64)>],
}

impl Picture {
    /// Its columns before `middle` and from it on.
    fn split(&mut self, middle: usize, edge: Color32) -> (Part<'_>, Part<'_>) {
        let width = self.frame.columns.max(1);
        let pixels = self.pixels.chunks_mut(width);
        let rows = pixels.zip(self.who.chunks_mut(width));
        let rows = rows.map(|(pixels, who)| {
            let (pixels, who) = (pixels.split_at_mut(middle), who.split_at_mut(middle));
            ((pixels.0, who.0), (pixels.1, who.1))
        });
        let (left, right): (Vec<_>, Vec<_>) = rows.unzip();
        let moments = self.moments.split_at_mut(middle);
        let selected = self.selected.split_at_mut(middle);
        (
            Part {
                start: 0,
                columns: Columns::new(left.into_iter(), edge),
                moments: moments.0,
                selected: selected.0,
            },
            Part {
                start: middle,
                columns: Columns::new(right.into_iter(), edge),
                moments: moments.1,
                selected: selected.1,
            },
        )
    }
}

/// Draws some of the columns; how many of their births none of them shows. None if `is_stale` or
/// someone else says that nobody wants it.
fn draw_part(
    source: &Source<'_>,
    frame: Frame,
    part: Part<'_>,
    is_given_up: &AtomicBool,
    is_stale: &dyn Fn() -> bool,
) -> Option<u64> {
    let (replay, prepared, theme) = (source.replay, source.prepared, source.theme);
    let Part {
        start,
        mut columns,
        moments,
        selected,
    } = part;
    let stretch = |column: usize| {
        let (from, to) = frame.stretch(column);
        source.axis.moments_in(from, to)
    };
    let shown_moment = |(first, last): (Moment, Moment)| {
        let requested = &replay.requested;
        prepared
            .requested
            .extremes(requested, first, last)
            .high_moment
    };
    let stretches = (start..start + moments.len()).map(stretch);
    let stretches: Vec<(Moment, Moment)> = stretches.collect();
    for (moment, &stretch) in moments.iter_mut().zip(&stretches) {
        *moment = shown_moment(stretch);
    }
    let moment_before = match start.checked_sub(1) {
        Some(before) => shown_moment(stretch(before)),
        None => moments.first().copied().unwrap_or(0),
    };
    let mut sweep = Sweep::new(&replay.allocations);
    let mut shown = Shown::new(&replay.allocations, moment_before);
    let mut stack = Stack::new(source, frame);
    let mut painted: Option<Moment> = None;
    for (column, &moment) in moments.iter().enumerate() {
        if column % 16 == 0 {
            if is_stale() {
                is_given_up.store(true, Ordering::Relaxed);
            }
            if is_given_up.load(Ordering::Relaxed) {
                return None;
            }
        }
        // Zoomed in, many columns show the same moment.
        if painted != Some(moment) {
            let (live, unchanged) = sweep.advance(moment);
            shown.see(live, moment);
            stack.paint(live, unchanged);
        }
        columns.push(&stack.strip);
        selected[column] = stack.selected;
        painted = Some(moment);
    }
    columns.put_in_place();
    let curves = [
        (
            &prepared.allocated_curve,
            &prepared.allocated,
            theme.allocated,
            1,
        ),
        (&replay.reserved, &prepared.reserved, theme.reserved, 2),
    ];
    for (curve, pyramid, color, thickness) in curves {
        let line = Line {
            curve,
            pyramid,
            color,
            thickness,
        };
        line.draw(&frame, &stretches, &mut columns);
    }
    Some(shown.unseen())
}

/// Counts which births of the visible stretch some column shows.
struct Shown<'a> {
    allocations: &'a Allocations,
    /// Rows below this were born by the moment of the column before.
    counted_to: usize,
    /// Births seen in some column.
    seen: u64,
    /// Births by the first column's moment.
    from: usize,
}

impl<'a> Shown<'a> {
    fn new(allocations: &'a Allocations, first: Moment) -> Self {
        let from = allocations.born_by(first);
        Self {
            allocations,
            counted_to: from,
            seen: 0,
            from,
        }
    }

    fn see(&mut self, live: &[Live], moment: Moment) {
        let known = live.partition_point(|one| (one.row as usize) < self.counted_to);
        self.seen += (live.len() - known) as u64;
        self.counted_to = self.allocations.born_by(moment).max(self.counted_to);
    }

    /// Births after the first column's moment that were in no column up to now.
    fn unseen(&self) -> u64 {
        ((self.counted_to - self.from) as u64).saturating_sub(self.seen)
    }
}

/// A curve as a line of so many pixels.
struct Line<'a> {
    curve: &'a Curve,
    pyramid: &'a Pyramid,
    color: Color32,
    thickness: usize,
}

impl Line<'_> {
    /// Draws it into `columns` of `frame`, which show `stretches`, through its exact extremes in
    /// each.
    fn draw(&self, frame: &Frame, stretches: &[(Moment, Moment)], columns: &mut Columns<'_>) {
        let scale = 1.0 / frame.bytes_per_row();
        for (column, &(first, last)) in stretches.iter().enumerate() {
            let found = self.pyramid.extremes(self.curve, first, last);
            let low = (found.low as f64 - frame.low) * scale;
            let high = (found.high as f64 - frame.low) * scale;
            if high < 0.0 || low > frame.rows as f64 {
                continue;
            }
            let from = low.max(0.0) as usize;
            let to = (high as usize)
                .max(from)
                .saturating_add(1)
                .max(from + self.thickness);
            columns.color(column, from..to.min(frame.rows), self.color);
        }
    }
}
