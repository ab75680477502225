//! What the user looks at: the one model all panes follow.

use profiler_core::replay::{AllocationId, Moment};

use crate::filter::Filter;
use crate::prepare::{AxisKind, KeyKind};
use crate::timeline::View;

/// The shared selection: one track, one moment, one allocation, one range, one filter.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The track that the moment and the allocation belong to.
    pub track: usize,
    /// The chosen moment on that track.
    pub moment: Moment,
    /// The chosen allocation on that track.
    pub allocation: Option<AllocationId>,
    /// The chosen stretch of moments on that track, first and last.
    pub range: Option<(Moment, Moment)>,
    /// What narrows every pane.
    pub filter: Filter,
    /// The visible stretch of time.
    pub view: View,
    /// What bands are coloured by.
    pub keys: KeyKind,
    /// Whether the timeline stacks only what the filter keeps.
    pub only_kept: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            track: 0,
            moment: 0,
            allocation: None,
            range: None,
            filter: Filter::default(),
            view: View::whole(AxisKind::Events, 1.0),
            keys: KeyKind::default(),
            only_kept: false,
        }
    }
}

/// What undo goes back to: the view and the filter.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    view: View,
    filter: Filter,
}

/// Views and filters one can go back to.
#[derive(Clone, Debug, Default)]
pub struct History {
    back: Vec<Place>,
    forward: Vec<Place>,
    current: Option<Place>,
    /// When the current place was last changed, in seconds of the UI's clock.
    changed_at: f64,
}

impl History {
    /// The most places kept.
    const MAX_LEN: usize = 200;
    /// Changes closer to each other than this, in seconds, are one: a turn of the wheel, a drag,
    /// a word typed.
    const SAME_GESTURE: f64 = 0.6;

    /// Notes where `selection` is at `now` seconds.
    pub fn note(&mut self, selection: &Selection, now: f64) {
        let place = Place {
            view: selection.view,
            filter: selection.filter.clone(),
        };
        if self.current.as_ref() == Some(&place) {
            return;
        }
        let is_same_gesture = now - self.changed_at < Self::SAME_GESTURE;
        if let Some(before) = self.current.replace(place)
            && !is_same_gesture
        {
            self.back.push(before);
            self.forward.clear();
            let excess = self.back.len().saturating_sub(Self::MAX_LEN);
            self.back.drain(..excess);
        }
        self.changed_at = now;
    }

    /// Goes back one place; false if there is none.
    pub fn undo(&mut self, selection: &mut Selection) -> bool {
        let Some(place) = self.back.pop() else {
            return false;
        };
        self.forward.extend(self.current.replace(place.clone()));
        (selection.view, selection.filter) = (place.view, place.filter);
        true
    }

    /// Undoes an undo; false if there is none.
    pub fn redo(&mut self, selection: &mut Selection) -> bool {
        let Some(place) = self.forward.pop() else {
            return false;
        };
        self.back.extend(self.current.replace(place.clone()));
        (selection.view, selection.filter) = (place.view, place.filter);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undo_goes_back_gesture_by_gesture() {
        let (mut history, mut selection) = (History::default(), Selection::default());
        let look = |selection: &mut Selection, to: f64| selection.view.to = to;
        look(&mut selection, 100.0);
        history.note(&selection, 10.0);
        for (now, to) in [(20.0, 90.0), (20.1, 80.0), (20.2, 70.0)] {
            look(&mut selection, to);
            history.note(&selection, now);
        }
        look(&mut selection, 30.0);
        history.note(&selection, 30.0);
        assert!(history.undo(&mut selection));
        assert_eq!(selection.view.to, 70.0);
        assert!(history.undo(&mut selection));
        assert_eq!(selection.view.to, 100.0);
        assert!(!history.undo(&mut selection));
        assert!(history.redo(&mut selection));
        assert_eq!(selection.view.to, 70.0);
    }
}
