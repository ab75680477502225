//! What is kept from one start to the next.

use std::path::PathBuf;

use crate::filter::Filter;
use crate::narrow::Sort;
use crate::panes::Pane;
use crate::prepare::{AxisKind, KeyKind};

use super::Viewer;

/// What is kept. Sizes of panels and the theme are kept by egui.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Session {
    /// The pane below the timeline.
    pub pane: Pane,
    /// What colours mean.
    pub keys: KeyKind,
    /// Events or clock.
    pub axis: AxisKind,
    /// The table's order.
    pub sort: Sort,
    /// The filter, but for what is about one file.
    pub filter: Filter,
    /// Whether only what is kept is stacked.
    pub only_kept: bool,
    /// Files opened before, the latest first.
    pub recent: Vec<PathBuf>,
}

/// The most files remembered.
pub(super) const MAX_RECENT: usize = 20;

impl Viewer {
    /// What to keep.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            pane: self.pane,
            keys: self.selection.keys,
            axis: self.selection.view.axis,
            sort: self.table.sort,
            filter: self.selection.filter.clone(),
            only_kept: self.selection.only_kept,
            recent: self.recent.clone(),
        }
    }

    /// Goes on where `session` was.
    pub fn restore(&mut self, session: Session) {
        self.pane = session.pane;
        self.selection.keys = session.keys;
        self.selection.view.axis = session.axis;
        self.table.sort = session.sort;
        self.selection.filter = session.filter;
        self.selection.only_kept = session.only_kept;
        self.recent = session.recent;
        self.recent.truncate(MAX_RECENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_file_is_not_kept() {
        let mut session = Session::default();
        session.filter.text = "linear".to_owned();
        session.filter.live_at = Some(7);
        session.filter.min_bytes = Some(1024);
        let text = serde_json::to_string(&session).unwrap();
        let back: Session = serde_json::from_str(&text).unwrap();
        assert_eq!(back.filter.text, "linear");
        assert_eq!(back.filter.min_bytes, Some(1024));
        assert_eq!(back.filter.live_at, None);
        assert_eq!(
            serde_json::from_str::<Session>("{}").unwrap(),
            Session::default()
        );
    }
}
