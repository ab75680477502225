//! Which part of the recording is on screen.

use crate::prepare::AxisKind;

/// The visible stretch of time and of bytes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct View {
    /// What `from` and `to` count.
    pub axis: AxisKind,
    /// Left edge, in axis units.
    pub from: f64,
    /// Right edge, in axis units.
    pub to: f64,
    /// Visible bytes from bottom to top; None to fit what is visible.
    pub bytes: Option<(f64, f64)>,
}

impl View {
    /// The shortest stretch one can zoom to: a few events, or microseconds.
    const MIN_SPAN: f64 = 4.0;

    /// All of an axis of `length`.
    #[must_use]
    pub fn whole(axis: AxisKind, length: f64) -> Self {
        Self {
            axis,
            from: 0.0,
            to: length.max(Self::MIN_SPAN),
            bytes: None,
        }
    }

    /// Axis units on screen.
    #[must_use]
    pub fn span(&self) -> f64 {
        self.to - self.from
    }

    /// Zooms by `factor` (below 1 is closer) around `anchor`, within `0..length`.
    #[must_use]
    pub fn zoomed(self, factor: f64, anchor: f64, length: f64) -> Self {
        let longest = length.max(Self::MIN_SPAN);
        let span = (self.span() * factor).clamp(Self::MIN_SPAN, longest);
        let share = (anchor - self.from) / self.span().max(f64::MIN_POSITIVE);
        let from = anchor - share * span;
        Self {
            from,
            to: from + span,
            ..self
        }
        .clamped(length)
    }

    /// Moved by `change` axis units, within `0..length`.
    #[must_use]
    pub fn panned(self, change: f64, length: f64) -> Self {
        Self {
            from: self.from + change,
            to: self.to + change,
            ..self
        }
        .clamped(length)
    }

    /// The stretch `from..to`, within `0..length`.
    #[must_use]
    pub fn showing(self, from: f64, to: f64, length: f64) -> Self {
        let (from, to) = (from.min(to), from.max(to));
        let middle = (from + to) / 2.0;
        let half = ((to - from) / 2.0).max(Self::MIN_SPAN / 2.0);
        Self {
            from: middle - half,
            to: middle + half,
            ..self
        }
        .clamped(length)
    }

    /// Moved so that `position` is in the middle, if it is not well inside already.
    #[must_use]
    pub fn revealing(self, position: f64, length: f64) -> Self {
        let margin = self.span() * 0.05;
        if position >= self.from + margin && position <= self.to - margin {
            return self;
        }
        self.panned(position - (self.from + self.to) / 2.0, length)
    }

    /// Zooms the bytes by `factor` around `anchor`; `full` is what fits all.
    #[must_use]
    pub fn bytes_zoomed(self, factor: f64, anchor: f64, full: f64) -> Self {
        let (low, high) = self.bytes.unwrap_or((0.0, full));
        let span = ((high - low) * factor).max(16.0);
        if span >= full {
            return Self {
                bytes: None,
                ..self
            };
        }
        let share = (anchor - low) / (high - low).max(f64::MIN_POSITIVE);
        let low = (anchor - share * span).clamp(0.0, full - span);
        Self {
            bytes: Some((low, low + span)),
            ..self
        }
    }

    /// Moves the visible bytes by `change`.
    #[must_use]
    pub fn bytes_panned(self, change: f64, full: f64) -> Self {
        let Some((low, high)) = self.bytes else {
            return self;
        };
        let span = high - low;
        let low = (low + change).clamp(0.0, (full - span).max(0.0));
        Self {
            bytes: Some((low, low + span)),
            ..self
        }
    }

    fn clamped(self, length: f64) -> Self {
        let span = self.span().min(length.max(Self::MIN_SPAN));
        let last = (length - span).max(0.0);
        let from = self.from.clamp(0.0, last);
        Self {
            from,
            to: from + span,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_keeps_the_anchor_in_place() {
        let view = View::whole(AxisKind::Events, 1_000_000.0);
        let near = view.zoomed(0.5, 250_000.0, 1_000_000.0);
        assert_eq!((near.from, near.to), (125_000.0, 625_000.0));
        let mut nearest = near;
        for _ in 0..80 {
            nearest = nearest.zoomed(0.5, 250_000.0, 1_000_000.0);
        }
        assert_eq!(nearest.span(), View::MIN_SPAN);
        assert!(nearest.from <= 250_000.0 && 250_000.0 <= nearest.to);
        let mut far = nearest;
        for _ in 0..80 {
            far = far.zoomed(2.0, 250_000.0, 1_000_000.0);
        }
        assert_eq!((far.from, far.to), (0.0, 1_000_000.0));
    }

    #[test]
    fn panning_stops_at_the_ends() {
        let view = View::whole(AxisKind::Events, 100.0).showing(40.0, 60.0, 100.0);
        assert_eq!(
            (view.panned(1e9, 100.0).from, view.panned(-1e9, 100.0).from),
            (80.0, 0.0)
        );
        assert_eq!(view.revealing(50.0, 100.0), view);
        let moved = view.revealing(90.0, 100.0);
        assert_eq!((moved.from, moved.to), (80.0, 100.0));
    }

    #[test]
    fn bytes_zoom_in_and_back_to_fit() {
        let view = View::whole(AxisKind::Events, 100.0);
        let near = view.bytes_zoomed(0.5, 0.0, 1000.0);
        assert_eq!(near.bytes, Some((0.0, 500.0)));
        assert_eq!(
            near.bytes_panned(900.0, 1000.0).bytes,
            Some((500.0, 1000.0))
        );
        assert_eq!(near.bytes_zoomed(4.0, 0.0, 1000.0).bytes, None);
    }
}
