//! From time and bytes to the screen and back.

use egui::{Pos2, Rect, pos2};

/// Where a stretch of time and bytes is on screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// The pane.
    pub rect: Rect,
    /// Axis position at the left edge.
    pub from: f64,
    /// Axis position at the right edge.
    pub to: f64,
    /// Bytes at the bottom.
    pub low: f64,
    /// Bytes at the top.
    pub high: f64,
}

impl Geometry {
    /// Axis units per point.
    #[must_use]
    pub fn per_point(&self) -> f64 {
        (self.to - self.from) / f64::from(self.rect.width().max(1.0))
    }

    /// Bytes per point.
    #[must_use]
    pub fn bytes_per_point(&self) -> f64 {
        (self.high - self.low) / f64::from(self.rect.height().max(1.0))
    }

    /// Where `position` is.
    #[must_use]
    pub fn x(&self, position: f64) -> f32 {
        self.rect.left() + ((position - self.from) / self.per_point()) as f32
    }

    /// Where `bytes` is.
    #[must_use]
    pub fn y(&self, bytes: f64) -> f32 {
        self.rect.bottom() - ((bytes - self.low) / self.bytes_per_point()) as f32
    }

    /// The axis position at `x`.
    #[must_use]
    pub fn position(&self, x: f32) -> f64 {
        self.from + f64::from(x - self.rect.left()) * self.per_point()
    }

    /// The bytes at `y`.
    #[must_use]
    pub fn bytes(&self, y: f32) -> f64 {
        self.low + f64::from(self.rect.bottom() - y) * self.bytes_per_point()
    }

    /// The part of the screen that `from..to` by `low..high` takes.
    #[must_use]
    pub fn place(&self, from: f64, to: f64, low: f64, high: f64) -> Rect {
        let corner = |at: f64, bytes: f64| -> Pos2 { pos2(self.x(at), self.y(bytes)) };
        Rect::from_min_max(corner(from, high), corner(to, low))
    }
}
