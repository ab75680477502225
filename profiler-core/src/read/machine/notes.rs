//! Oddities met, counted while reading and worded once at the end.

use super::Word;
use crate::snapshot::{StringId, StringTable, WarningKind, Warnings};
use hashbrown::HashMap;

/// Which kind of dict or list an oddity was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// A trace entry.
    Event,
    /// A stack frame.
    Frame,
    /// A segment.
    Segment,
    /// A block.
    Block,
    /// An entry of a block's history.
    History,
    /// An annotation.
    Annotation,
    /// The file itself.
    Snapshot,
    /// The allocator's settings.
    Settings,
    /// `forward_frames`.
    ForwardFrames,
    /// A list.
    List,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Event => "trace entry",
            Self::Frame => "frame",
            Self::Segment => "segment",
            Self::Block => "block",
            Self::History => "block history entry",
            Self::Annotation => "annotation",
            Self::Snapshot => "snapshot",
            Self::Settings => "allocator settings",
            Self::ForwardFrames => "forward frames",
            Self::List => "list",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Text(StringId),
    Kind(&'static str),
}

/// Counts by oddity, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Notes {
    rows: Vec<(WarningKind, Shape, What, u64)>,
    lookup: HashMap<(WarningKind, Shape, What), usize, foldhash::fast::FixedState>,
    dropped: u64,
}

/// The most distinct oddities kept while reading; [`Warnings`] keeps fewer.
const MAX_NOTES: usize = 1024;

impl Notes {
    /// Counts an oddity about the value of a known key.
    #[cold]
    pub(super) fn add_key(&mut self, kind: WarningKind, shape: Shape, key: Word) {
        self.count(kind, shape, What::Text(key.id()));
    }

    /// Counts an oddity about a key, action or state by its text.
    #[cold]
    pub(super) fn add_text(&mut self, kind: WarningKind, shape: Shape, text: StringId) {
        self.count(kind, shape, What::Text(text));
    }

    /// Counts a value of a kind that does not belong there.
    #[cold]
    pub(super) fn add(&mut self, kind: WarningKind, shape: Shape, found: &'static str) {
        self.count(kind, shape, What::Kind(found));
    }

    fn count(&mut self, kind: WarningKind, shape: Shape, what: What) {
        let key = (kind, shape, what);
        if let Some(row) = self.lookup.get(&key).and_then(|&at| self.rows.get_mut(at)) {
            row.3 += 1;
        } else if self.rows.len() < MAX_NOTES {
            self.lookup.insert(key, self.rows.len());
            self.rows.push((kind, shape, what, 1));
        } else {
            self.dropped += 1;
        }
    }

    /// Puts everything into words.
    pub(super) fn tell(&self, strings: &StringTable, warnings: &mut Warnings) {
        for &(kind, shape, what, count) in &self.rows {
            let name = shape.name();
            let message = match (kind, what) {
                (WarningKind::UnknownKey, What::Text(key)) => {
                    format!("unknown key {} in a {name}: ignored", quoted(strings, key))
                }
                (WarningKind::UnknownAction, What::Text(action)) => {
                    format!("unknown action {}: kept by name", quoted(strings, action))
                }
                (WarningKind::OutOfRange, What::Text(key)) => format!(
                    "{} of a {name} does not fit 64 bits or is no whole number that may stand \
                     there: replaced by the nearest that fits",
                    quoted(strings, key)
                ),
                (WarningKind::Inconsistent, What::Text(key)) => format!(
                    "a {name} has both frames and {}: only the former are shown",
                    quoted(strings, key)
                ),
                (_, What::Text(key)) => format!(
                    "{} of a {name} is of another type than PyTorch writes: not used",
                    quoted(strings, key)
                ),
                (_, What::Kind(found)) => {
                    format!("{found} among the items of a {name} of another kind: left out")
                }
            };
            warnings.add_count(kind, message, count);
        }
        if self.dropped > 0 {
            warnings.add_count(
                WarningKind::Truncated,
                "further oddities of other kinds are not listed",
                self.dropped,
            );
        }
    }
}

/// A text from the file in quotes, at most 80 characters of it.
pub(super) fn quoted(strings: &StringTable, id: StringId) -> String {
    let text = strings.get(id);
    let short: String = text.chars().take(80).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}
