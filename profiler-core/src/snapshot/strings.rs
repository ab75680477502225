//! Every distinct string of a snapshot, stored once.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use super::StringId;

/// Interned strings: one arena of text and the end of each string in it.
///
/// Row 0 is always the empty string.
#[derive(Clone, Debug)]
pub struct StringTable {
    text: String,
    ends: Vec<usize>,
    lookup: HashTable<StringId>,
    hasher: FixedState,
}

impl Default for StringTable {
    fn default() -> Self {
        let mut table = Self {
            text: String::new(),
            ends: Vec::new(),
            lookup: HashTable::new(),
            hasher: FixedState::default(),
        };
        table.intern("");
        table
    }
}

impl StringTable {
    /// The handle of `text`, adding it if it is new.
    ///
    /// Past `u32::MAX` distinct strings the empty string's handle is returned: a file would have
    /// to be over 12 GiB of nothing but distinct strings to get there.
    pub fn intern(&mut self, text: &str) -> StringId {
        let hash = self.hasher.hash_one(text);
        let found = self
            .lookup
            .find(hash, |&id| slice(&self.text, &self.ends, id) == text);
        if let Some(&id) = found {
            return id;
        }
        let Ok(row) = u32::try_from(self.ends.len()) else {
            return StringId::EMPTY;
        };
        let id = StringId(row);
        self.text.push_str(text);
        self.ends.push(self.text.len());
        let (hasher, text, ends) = (&self.hasher, &self.text, &self.ends);
        self.lookup
            .insert_unique(hash, id, |&id| hasher.hash_one(slice(text, ends, id)));
        id
    }

    /// The handle of `text` if the snapshot has that string anywhere.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<StringId> {
        let hash = self.hasher.hash_one(text);
        self.lookup
            .find(hash, |&id| slice(&self.text, &self.ends, id) == text)
            .copied()
    }

    /// The text of `id`; empty for a handle of another table.
    #[must_use]
    pub fn get(&self, id: StringId) -> &str {
        slice(&self.text, &self.ends, id)
    }

    /// How many distinct strings there are, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether only the empty string is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.len() <= 1
    }

    /// Every handle with its text, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (StringId, &str)> {
        (0..self.ends.len()).map(|row| {
            let id = StringId(row as u32);
            (id, self.get(id))
        })
    }
}

/// The text between the end of the row before `id` and the end of `id`.
fn slice<'a>(text: &'a str, ends: &[usize], id: StringId) -> &'a str {
    let end = ends.get(id.index()).copied().unwrap_or(0);
    let start = id
        .index()
        .checked_sub(1)
        .and_then(|row| ends.get(row))
        .copied()
        .unwrap_or(0);
    text.get(start..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_handle() {
        let mut table = StringTable::default();
        let first = table.intern("forward");
        let other = table.intern("backward");
        assert_eq!(table.intern("forward"), first);
        assert_ne!(first, other);
        assert_eq!(table.get(first), "forward");
        assert_eq!(table.get(other), "backward");
        assert_eq!(table.intern(""), StringId::EMPTY);
        assert_eq!(table.get(StringId(999)), "");
        assert_eq!(table.find("nowhere"), None);
        assert_eq!(table.len(), 3);
    }
}
