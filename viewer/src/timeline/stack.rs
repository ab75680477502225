//! One column of the picture: the live allocations stacked on each other, oldest lowest.
//!
//! From column to column most of them stay. What lies below the first that is gone is where it was,
//! and is not painted again.

use egui::Color32;
use profiler_core::replay::AllocationId;

use crate::strip::Strip;
use crate::tokens::shade;

use super::raster::{Frame, Source};
use super::sweep::Live;

/// Lightness steps of a group's colour, which tell its allocations apart.
const SHADES: usize = 4;

/// See the module.
pub(super) struct Stack<'a> {
    source: &'a Source<'a>,
    frame: Frame,
    /// Every lightness step of every group's colour.
    colors: Vec<Color32>,
    /// The column, from the bottom up.
    pub(super) strip: Strip,
    /// The selected allocation's bytes in it.
    pub(super) selected: Option<(u64, u64)>,
    /// Bytes up to the top of each live allocation, as far up as is visible.
    tops: Vec<u64>,
}

impl<'a> Stack<'a> {
    /// An empty column of `frame`.
    pub(super) fn new(source: &'a Source<'a>, frame: Frame) -> Self {
        let groups = source.keys.colors(source.theme.other).into_iter();
        let steps = |color| (0..SHADES as i32).map(move |step| shade(color, step - 1));
        let mut strip = Strip::new(frame.rows, source.theme.band_edge);
        strip.clear(source.theme.canvas);
        Self {
            source,
            frame,
            colors: groups.flat_map(steps).collect(),
            strip,
            selected: None,
            tops: Vec::new(),
        }
    }

    /// Stacks `live`, of which the first `unchanged` are those of the time before.
    pub(super) fn paint(&mut self, live: &[Live], unchanged: usize) {
        let source = self.source;
        let scale = 1.0 / self.frame.bytes_per_row();
        let low_bytes = self.frame.low;
        let pixel = |bytes: u64| (bytes as f64 - low_bytes) * scale;
        let rows = self.frame.rows as f64;
        // The selected one is looked for in all of them.
        let unchanged = if source.selected.is_some() {
            0
        } else {
            unchanged
        };
        self.tops.truncate(unchanged);
        let bottom_of = |tops: &[u64], at: usize| match at.checked_sub(1) {
            Some(below) => tops.get(below).copied().unwrap_or(0),
            None => 0,
        };
        let kept_to = pixel(bottom_of(&self.tops, self.tops.len()));
        let floor = kept_to.clamp(0.0, rows) as usize;
        self.strip.clear_from(floor, source.theme.canvas);
        // The first that reaches above the floor.
        let from = (self.tops).partition_point(|&top| pixel(top) <= floor as f64);
        let mut bottom = bottom_of(&self.tops, from);
        let mut low = pixel(bottom);
        self.selected = None;
        for (at, one) in live.iter().enumerate().skip(from) {
            if low >= rows && source.selected.is_none() {
                break;
            }
            let kept = source.mask.is_none_or(|mask| mask.has(one.row));
            let is_left_out = !kept && source.only_kept;
            let bytes = if is_left_out { 0 } else { one.bytes };
            let top = bottom.saturating_add(bytes);
            if at >= self.tops.len() {
                self.tops.push(top);
            }
            if is_left_out {
                continue;
            }
            let high = pixel(top);
            if source.selected == Some(AllocationId(one.row)) {
                self.selected = Some((bottom, top));
            }
            if high > 0.0 && low < rows && high > low {
                let group = source.keys.group(one.row as usize);
                let color = if kept {
                    let step = one.row.wrapping_mul(0x9E37_79B9) >> 30;
                    let color = self.colors.get(group * SHADES + step as usize);
                    color.copied().unwrap_or(source.theme.other)
                } else {
                    source.theme.excluded
                };
                self.strip.band(low, high, one.row, color);
            }
            (bottom, low) = (top, high);
        }
        self.strip.finish();
    }
}
