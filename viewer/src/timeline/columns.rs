//! Some columns of a picture, painted one by one and put in place many at a time.
//!
//! A picture is stored row by row, so that a column alone touches a cache line for each of its
//! pixels. Painted columns are kept until there are enough of them to fill those lines.

use std::ops::Range;

use egui::Color32;

use crate::strip::Strip;

/// How many columns are put in place together: the pixels of a cache line.
const TOGETHER: usize = 16;

/// See the module.
pub(super) struct Columns<'a> {
    /// Its part of each row of the picture, top row first.
    pixels: Vec<&'a mut [Color32]>,
    /// The same of the owners.
    who: Vec<&'a mut [u32]>,
    /// Painted columns from the bottom up; of the last ones, those of `waiting` are to be put in
    /// place.
    strips: Vec<Strip>,
    /// Which columns wait; the first of them is in the first strip.
    waiting: Range<usize>,
}

impl<'a> Columns<'a> {
    /// Columns in `rows`, each a part of a picture's row and of its owners; `edge` is that of
    /// [`Strip::new`].
    pub(super) fn new(
        rows: impl Iterator<Item = (&'a mut [Color32], &'a mut [u32])>,
        edge: Color32,
    ) -> Self {
        let (pixels, who): (Vec<_>, Vec<_>) = rows.unzip();
        let strip = Strip::new(pixels.len(), edge);
        Self {
            strips: vec![strip; TOGETHER],
            pixels,
            who,
            waiting: 0..0,
        }
    }

    /// The next column looks like `strip`.
    pub(super) fn push(&mut self, strip: &Strip) {
        if self.waiting.len() == TOGETHER {
            self.put_in_place();
        }
        if let Some(kept) = self.strips.get_mut(self.waiting.len()) {
            kept.copy(strip);
        }
        self.waiting.end += 1;
    }

    /// Puts the columns that wait in place.
    pub(super) fn put_in_place(&mut self) {
        let waiting = std::mem::replace(&mut self.waiting, 0..0);
        self.waiting = waiting.end..waiting.end;
        let strips = self.strips.get(..waiting.len()).unwrap_or(&[]);
        // Strips count from the bottom.
        let rows = self.pixels.iter_mut().zip(&mut self.who).rev().enumerate();
        for (up, (pixels, who)) in rows {
            let pixels = pixels.get_mut(waiting.clone()).unwrap_or(&mut []);
            let who = who.get_mut(waiting.clone()).unwrap_or(&mut []);
            for ((pixel, who), strip) in pixels.iter_mut().zip(who).zip(strips) {
                (*pixel, *who) = (strip.pixels[up], strip.who[up]);
            }
        }
    }

    /// Colours pixels of column `column`, counted from the bottom, that is in place already.
    pub(super) fn color(&mut self, column: usize, up: Range<usize>, color: Color32) {
        let rows = self.pixels.iter_mut().rev();
        for row in rows.skip(up.start).take(up.len()) {
            if let Some(pixel) = row.get_mut(column) {
                *pixel = color;
            }
        }
    }
}
