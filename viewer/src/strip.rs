//! A line of pixels, filled with bands that may be thinner than a pixel.
//!
//! Each pixel gets the mean of the colours of what is in it, weighted by how much of the pixel it
//! takes, and the band at its middle as its owner. Bands come in order and do not overlap.

use egui::Color32;

use crate::tokens::MIN_EDGE_PIXELS;

/// "Nobody" as a pixel's owner.
pub const NOBODY: u32 = u32::MAX;

/// See the module.
#[derive(Clone, Debug)]
pub struct Strip {
    /// The colours.
    pub pixels: Vec<Color32>,
    /// The owners, [`NOBODY`] for none.
    pub who: Vec<u32>,
    edge: Color32,
    /// Pixels below this one stay as they are.
    floor: usize,
    /// The pixel being mixed, and the colours so far weighted by how much they cover.
    mixing: usize,
    mix: [f32; 3],
    covered: f32,
}

impl Strip {
    /// A strip of `len` pixels; `edge` is the colour of the line between bands that are high
    /// enough to have one.
    #[must_use]
    pub fn new(len: usize, edge: Color32) -> Self {
        Self {
            pixels: vec![Color32::BLACK; len],
            who: vec![NOBODY; len],
            edge,
            floor: 0,
            mixing: 0,
            mix: [0.0; 3],
            covered: 0.0,
        }
    }

    /// Empties it to `background`.
    pub fn clear(&mut self, background: Color32) {
        self.clear_from(0, background);
    }

    /// Empties its pixels from `floor` on to `background`. Those below stay as they are, whatever is
    /// painted: bands are to be painted again from the first that reaches above `floor`.
    pub fn clear_from(&mut self, floor: usize, background: Color32) {
        let floor = floor.min(self.pixels.len());
        self.pixels[floor..].fill(background);
        self.who[floor..].fill(NOBODY);
        self.floor = floor;
        (self.mixing, self.mix, self.covered) = (0, [0.0; 3], 0.0);
    }

    /// Makes it show what `other`, which is as long, shows.
    pub fn copy(&mut self, other: &Self) {
        self.pixels.clone_from(&other.pixels);
        self.who.clone_from(&other.who);
        (self.edge, self.floor) = (other.edge, other.floor);
        (self.mixing, self.mix, self.covered) = (other.mixing, other.mix, other.covered);
    }

    /// Paints a band from `low` to `high`, in pixels; what lies outside is cut off.
    #[inline]
    pub fn band(&mut self, low: f64, high: f64, owner: u32, color: Color32) {
        let limit = self.pixels.len();
        let height = high - low;
        let (low, high) = (low.max(self.floor as f64), high.min(limit as f64));
        if high <= low {
            return;
        }
        let (first, last) = (low as usize, high as usize);
        // Pixel middles inside the band.
        let (from, to) = ((low + 0.5) as usize, ((high + 0.5) as usize).min(limit));
        if from < to {
            self.who[from..to].fill(owner);
        }
        if first == last {
            self.add(first, color, (high - low) as f32);
            return;
        }
        self.add(first, color, (first as f64 + 1.0 - low) as f32);
        self.finish();
        if first + 1 < last {
            self.pixels[first + 1..last].fill(color);
        }
        if height >= MIN_EDGE_PIXELS {
            self.pixels[last - 1] = blend(color, self.edge);
        }
        let rest = high - last as f64;
        if rest > 0.0 && last < limit {
            self.add(last, color, rest as f32);
        }
    }

    /// Adds `share` of pixel `at` in `color`.
    #[inline]
    fn add(&mut self, at: usize, color: Color32, share: f32) {
        if at != self.mixing {
            self.finish();
            self.mixing = at;
        }
        self.mix[0] += f32::from(color.r()) * share;
        self.mix[1] += f32::from(color.g()) * share;
        self.mix[2] += f32::from(color.b()) * share;
        self.covered += share;
    }

    /// Puts the last mixed pixel in place; what is not covered keeps the colour it had. Call it
    /// when the last band is painted.
    pub fn finish(&mut self) {
        if self.covered <= 0.0 {
            return;
        }
        if let Some(pixel) = self.pixels.get_mut(self.mixing) {
            let rest = (1.0 - self.covered).max(0.0);
            let whole = self.covered.max(1.0);
            let under = *pixel;
            let channel =
                |mixed: f32, under: u8| (mixed / whole + f32::from(under) * rest + 0.5) as u8;
            *pixel = Color32::from_rgb(
                channel(self.mix[0], under.r()),
                channel(self.mix[1], under.g()),
                channel(self.mix[2], under.b()),
            );
        }
        (self.mix, self.covered) = ([0.0; 3], 0.0);
    }
}

/// Two parts of `color` and one of `edge`.
fn blend(color: Color32, edge: Color32) -> Color32 {
    let mix = |a: u8, b: u8| ((u16::from(a) * 2 + u16::from(b)) / 3) as u8;
    Color32::from_rgb(
        mix(color.r(), edge.r()),
        mix(color.g(), edge.g()),
        mix(color.b(), edge.b()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The mean colour of pixel `at` by hand.
    fn mean(bands: &[(f64, f64, u8)], at: usize, background: f64) -> f64 {
        let (from, to) = (at as f64, at as f64 + 1.0);
        let mut sum = 0.0;
        let mut covered = 0.0;
        for &(low, high, value) in bands {
            let part = (high.min(to) - low.max(from)).max(0.0);
            sum += part * f64::from(value);
            covered += part;
        }
        sum + (1.0 - covered) * background
    }

    proptest! {
        #[test]
        fn a_pixel_is_the_mean_of_what_is_in_it(
            heights in proptest::collection::vec((0.01_f64..3.5, any::<u8>()), 1..60),
            start in -5.0_f64..5.0,
        ) {
            let mut bands = Vec::new();
            let mut low = start;
            for (height, value) in heights {
                bands.push((low, low + height, value));
                low += height;
            }
            let mut strip = Strip::new(30, Color32::BLACK);
            strip.clear(Color32::from_gray(100));
            for (owner, &(low, high, value)) in bands.iter().enumerate() {
                strip.band(low, high, owner as u32, Color32::from_gray(value));
            }
            strip.finish();
            for at in 0..30 {
                let expected = mean(&bands, at, 100.0);
                let found = f64::from(strip.pixels[at].r());
                prop_assert!((expected - found).abs() <= 1.5, "{at}: {expected} {found}");
                let middle = at as f64 + 0.5;
                let owner = bands.iter().position(|&(low, high, _)| low <= middle && middle < high);
                let owner = owner.map_or(NOBODY, |owner| owner as u32);
                prop_assert_eq!(strip.who[at], owner);
            }
        }
    }
}
