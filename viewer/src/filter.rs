//! What narrows every pane.

use profiler_core::attribution::{Category, CleanStackId, LayerId};
use profiler_core::replay::{AllocationId, Moment, NEVER};
use profiler_core::snapshot::StackId;

use crate::prepare::{Document, Mask};

/// Conditions that an allocation must all meet. Sizes are requested bytes, lifetimes events.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Text that must be in a frame's function or file, in the layer, or in the metadata,
    /// whatever its case; or the address in hexadecimal.
    pub text: String,
    /// Smallest size.
    pub min_bytes: Option<u64>,
    /// Largest size.
    pub max_bytes: Option<u64>,
    /// Shortest lifetime.
    pub min_events: Option<u32>,
    /// Longest lifetime; what is never freed is longer than any.
    pub max_events: Option<u32>,
    /// Only what is not freed in the recording.
    pub never_freed: bool,
    /// Stream by number.
    #[serde(skip)]
    pub stream: Option<u32>,
    /// Pool by number.
    #[serde(skip)]
    pub pool: Option<u32>,
    /// Category, as a position in [`Category::ALL`].
    pub category: Option<usize>,
    /// A layer, and all below it.
    #[serde(skip)]
    pub layer: Option<LayerId>,
    /// A cleaned stack, and all called from it.
    #[serde(skip)]
    pub stack: Option<CleanStackId>,
    /// Live at this moment.
    #[serde(skip)]
    pub live_at: Option<Moment>,
    /// Born in these moments, first and last.
    #[serde(skip)]
    pub born_in: Option<(Moment, Moment)>,
}

impl Filter {
    /// Whether it keeps everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it keeps of `document`'s device number `device`; None if that is everything, or if
    /// `is_stale` says that nobody wants it any more.
    #[must_use]
    pub fn mask(
        &self,
        document: &Document,
        device: usize,
        is_stale: &dyn Fn() -> bool,
    ) -> Option<Mask> {
        let replay = document.replay.devices.get(device)?;
        if self.is_empty() {
            return None;
        }
        let test = Test::new(self, document, device);
        let mut stale = false;
        let mask = Mask::new(replay.allocations.len(), |id| {
            if id.0 % 65_536 == 0 {
                stale |= is_stale();
            }
            !stale && test.keeps(replay.allocations.get(id), id)
        });
        (!stale).then_some(mask)
    }
}

/// A filter with its questions about stacks and layers answered once for each of those.
struct Test<'a> {
    filter: &'a Filter,
    document: &'a Document,
    device: usize,
    needle: String,
    address: Option<u64>,
    /// By recorded stack, whether its text and its place in the tree fit.
    stack_has_text: Vec<bool>,
    stack_is_below: Vec<bool>,
    layer_has_text: Vec<bool>,
    layer_is_below: Vec<bool>,
}

impl<'a> Test<'a> {
    fn new(filter: &'a Filter, document: &'a Document, device: usize) -> Self {
        let needle = filter.text.trim().to_lowercase();
        let hex = needle.strip_prefix("0x").unwrap_or("");
        let mut test = Self {
            filter,
            document,
            device,
            address: u64::from_str_radix(hex, 16).ok(),
            needle,
            stack_has_text: Vec::new(),
            stack_is_below: Vec::new(),
            layer_has_text: Vec::new(),
            layer_is_below: Vec::new(),
        };
        if !test.needle.is_empty() {
            test.find_text();
        }
        if let Some(top) = filter.stack {
            test.find_below(top);
        }
        if let Some(top) = filter.layer {
            let layers = &document.attribution.layers;
            let is_below = |row: usize| layers.ancestry(LayerId(row as u32)).contains(&top);
            test.layer_is_below = (0..layers.len()).map(is_below).collect();
        }
        test
    }

    fn find_text(&mut self) {
        let snapshot = &self.document.snapshot;
        let strings: Vec<bool> = snapshot
            .strings
            .iter()
            .map(|(_, text)| contains_ignoring_case(text, &self.needle))
            .collect();
        let has = |id: profiler_core::snapshot::StringId| {
            strings.get(id.index()).copied().unwrap_or(false)
        };
        let frames: Vec<bool> = snapshot
            .frames
            .iter()
            .map(|(_, frame)| has(frame.name) || has(frame.filename))
            .collect();
        // A caller's row is always below its callees'.
        let mut stacks = vec![false; snapshot.stacks.len()];
        for row in 1..stacks.len() {
            let Some(node) = snapshot.stacks.node(StackId(row as u32)) else {
                continue;
            };
            let own = frames.get(node.frame.index()).copied().unwrap_or(false);
            stacks[row] = own || stacks.get(node.caller.index()).copied().unwrap_or(false);
        }
        self.stack_has_text = stacks;
        let layers = &self.document.attribution.layers;
        let fits =
            |row: usize| contains_ignoring_case(&layers.path(LayerId(row as u32)), &self.needle);
        self.layer_has_text = (0..layers.len()).map(fits).collect();
    }

    fn find_below(&mut self, top: CleanStackId) {
        let clean = &self.document.attribution.clean;
        let mut below = vec![false; clean.len()];
        for row in 0..clean.len() {
            let id = CleanStackId(row as u32);
            let caller = clean.split(id).map(|(_, caller)| caller.0 as usize);
            below[row] =
                id == top || caller.is_some_and(|caller| below.get(caller).copied() == Some(true));
        }
        let of_stack = |row: usize| {
            let id = clean.of(StackId(row as u32));
            below.get(id.0 as usize).copied().unwrap_or(false)
        };
        self.stack_is_below = (0..self.document.snapshot.stacks.len())
            .map(of_stack)
            .collect();
    }

    fn keeps(&self, block: profiler_core::replay::Allocation, id: AllocationId) -> bool {
        let filter = self.filter;
        let events = block.died.saturating_sub(block.born);
        let is_kept = filter
            .min_bytes
            .is_none_or(|least| block.requested >= least)
            && filter.max_bytes.is_none_or(|most| block.requested <= most)
            && filter
                .min_events
                .is_none_or(|least| block.died == NEVER || events >= least)
            && filter
                .max_events
                .is_none_or(|most| block.died != NEVER && events <= most)
            && (!filter.never_freed || block.died == NEVER)
            && filter.stream.is_none_or(|stream| block.stream.0 == stream)
            && filter.pool.is_none_or(|pool| block.pool.0 == pool)
            && filter.live_at.is_none_or(|moment| block.is_live_at(moment))
            && filter
                .born_in
                .is_none_or(|(from, to)| block.born >= from && block.born <= to);
        is_kept
            && (filter.stack.is_none()
                || self
                    .stack_is_below
                    .get(block.stack.index())
                    .copied()
                    .unwrap_or(false))
            && self.keeps_attributed(id)
            && (self.needle.is_empty() || self.has_text(block, id))
    }

    fn keeps_attributed(&self, id: AllocationId) -> bool {
        if self.filter.category.is_none() && self.filter.layer.is_none() {
            return true;
        }
        let Some(known) = self.document.attribution.devices.get(self.device) else {
            return false;
        };
        let category = self.filter.category.and_then(|at| Category::ALL.get(at));
        category.is_none_or(|category| known.category(id).0 == *category)
            && (self.filter.layer.is_none()
                || self
                    .layer_is_below
                    .get(known.layer(id).0.0 as usize)
                    .copied()
                    .unwrap_or(false))
    }

    fn has_text(&self, block: profiler_core::replay::Allocation, id: AllocationId) -> bool {
        if let Some(address) = self.address {
            return block.address <= address
                && address - block.address < block.block_size.max(block.requested).max(1);
        }
        if self
            .stack_has_text
            .get(block.stack.index())
            .copied()
            .unwrap_or(false)
        {
            return true;
        }
        let Some(known) = self.document.attribution.devices.get(self.device) else {
            return false;
        };
        let layer = known.layer(id).0.0 as usize;
        if self.layer_has_text.get(layer).copied().unwrap_or(false) {
            return true;
        }
        let strings = &self.document.snapshot.strings;
        let recorded = self
            .document
            .snapshot
            .trace(known.device)
            .zip(block.alloc_event())
            .map(|(trace, event)| trace.events.user_metadata(event as usize));
        [recorded, known.annotation(id)]
            .into_iter()
            .flatten()
            .any(|text| {
                let text = strings.get(text);
                !text.is_empty() && contains_ignoring_case(text, &self.needle)
            })
    }
}

/// Whether `text` contains `needle`, which is in lower case, whatever the case of `text`.
fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    if text.is_ascii() && needle.is_ascii() {
        let (text, needle) = (text.as_bytes(), needle.as_bytes());
        return needle.is_empty()
            || text
                .windows(needle.len())
                .any(|part| part.eq_ignore_ascii_case(needle));
    }
    text.to_lowercase().contains(needle)
}

#[cfg(test)]
mod tests {
    use super::contains_ignoring_case;

    #[test]
    fn text_is_found_in_any_case() {
        assert!(contains_ignoring_case("torch/nn/Linear.py", "linear"));
        assert!(contains_ignoring_case(
            "Gerät",
            "gerÄt".to_lowercase().as_str()
        ));
        assert!(!contains_ignoring_case("ab", "abc"));
        assert!(contains_ignoring_case("ab", ""));
    }
}
