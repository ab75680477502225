//! What a reader or an analysis noticed but could live with: counted, and shown to the user.

/// A kind of oddity. Kinds are stable names for machines ([`WarningKind::code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// A key this reader does not know; its values are not interpreted.
    UnknownKey,
    /// An action this reader does not know.
    UnknownAction,
    /// A value of another type than PyTorch writes there.
    UnexpectedType,
    /// A number that does not fit where it stands.
    OutOfRange,
    /// Bytes after the end of the pickle.
    TrailingBytes,
    /// The trace and the segments disagree.
    Inconsistent,
    /// Something was left out because a cap was reached.
    Truncated,
    /// The history is incomplete: the ring buffer wrapped or recording began late.
    IncompleteHistory,
}

impl WarningKind {
    /// The stable name used in JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown-key",
            Self::UnknownAction => "unknown-action",
            Self::UnexpectedType => "unexpected-type",
            Self::OutOfRange => "out-of-range",
            Self::TrailingBytes => "trailing-bytes",
            Self::Inconsistent => "inconsistent",
            Self::Truncated => "truncated",
            Self::IncompleteHistory => "incomplete-history",
        }
    }
}

/// One oddity and how often it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What kind.
    pub kind: WarningKind,
    /// A sentence for people; names from the file in it come from a stranger.
    pub message: String,
    /// How many times.
    pub count: u64,
}

/// Oddities, each once with its count, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    list: Vec<Warning>,
    /// How many were met past [`Self::MAX_DISTINCT`].
    dropped: u64,
}

impl Warnings {
    /// The most distinct warnings kept: a hostile file could otherwise make millions.
    pub const MAX_DISTINCT: usize = 200;

    /// Counts an oddity.
    pub fn add(&mut self, kind: WarningKind, message: impl AsRef<str> + Into<String>) {
        self.add_count(kind, message, 1);
    }

    /// Counts an oddity met `count` times.
    pub fn add_count(
        &mut self,
        kind: WarningKind,
        message: impl AsRef<str> + Into<String>,
        count: u64,
    ) {
        let text = message.as_ref();
        let same = |w: &&mut Warning| w.kind == kind && w.message == text;
        if let Some(known) = self.list.iter_mut().find(same) {
            known.count = known.count.saturating_add(count);
        } else if self.list.len() < Self::MAX_DISTINCT {
            self.list.push(Warning {
                kind,
                message: message.into(),
                count,
            });
        } else {
            self.dropped = self.dropped.saturating_add(count);
        }
    }

    /// Every kept warning in order of first appearance.
    #[must_use]
    pub fn all(&self) -> &[Warning] {
        &self.list
    }

    /// How many oddities were counted but not kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_warnings_are_counted() {
        let mut warnings = Warnings::default();
        warnings.add(WarningKind::UnknownKey, "key \"x\"");
        warnings.add(WarningKind::UnknownKey, String::from("key \"x\""));
        assert_eq!(warnings.all().len(), 1);
        assert_eq!(warnings.all()[0].count, 2);
    }

    #[test]
    fn distinct_warnings_are_capped() {
        let mut warnings = Warnings::default();
        for n in 0..Warnings::MAX_DISTINCT + 5 {
            warnings.add(WarningKind::UnknownKey, format!("key {n}"));
        }
        assert_eq!(warnings.all().len(), Warnings::MAX_DISTINCT);
        assert_eq!(warnings.dropped(), 5);
    }
}
