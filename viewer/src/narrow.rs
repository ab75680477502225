//! What the filter keeps of a track, in the table's order; found in the background.

use std::cmp::Reverse;
use std::sync::Arc;

use profiler_core::replay::{AllocationId, DeviceReplay};

use crate::filter::Filter;
use crate::prepare::{Document, KeyKind, Labels, Mask};

/// A column of the table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Column {
    /// First byte.
    Address,
    /// Requested bytes.
    Size,
    /// Block bytes.
    Block,
    /// First moment.
    #[default]
    Born,
    /// Moment of death.
    Died,
    /// Events from birth to death.
    Lifetime,
    /// Stream.
    Stream,
    /// Category.
    Category,
    /// Layer.
    Layer,
    /// The line that allocated.
    Site,
}

impl Column {
    /// All, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Address,
        Self::Size,
        Self::Block,
        Self::Born,
        Self::Died,
        Self::Lifetime,
        Self::Stream,
        Self::Category,
        Self::Layer,
        Self::Site,
    ];

    /// What its head says.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Size => "requested",
            Self::Block => "block",
            Self::Born => "born",
            Self::Died => "died",
            Self::Lifetime => "lifetime",
            Self::Stream => "stream",
            Self::Category => "category",
            Self::Layer => "layer",
            Self::Site => "allocated at",
        }
    }
}

/// The order of rows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Sort {
    /// By which column; equal rows stay in order of birth.
    pub column: Column,
    /// Largest first.
    pub descending: bool,
}

/// What is asked of the background.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What narrows.
    pub filter: Filter,
    /// The order.
    pub sort: Sort,
}

/// What the filter keeps of one track.
#[derive(Clone, Debug)]
pub struct Narrowed {
    /// What was asked.
    pub question: Question,
    /// What the filter keeps; None for all.
    pub mask: Option<Arc<Mask>>,
    /// The rows kept, in order.
    pub order: Vec<u32>,
    /// Requested bytes of the rows kept, over their lives together.
    pub requested_bytes: u64,
}

/// Answers `question` for `document`'s device number `device`; None if `is_stale` says that
/// nobody wants it any more.
#[must_use]
pub fn narrow(
    document: &Document,
    device: usize,
    question: Question,
    is_stale: &dyn Fn() -> bool,
) -> Option<Narrowed> {
    let replay = document.replay.devices.get(device)?;
    let mask = question
        .filter
        .mask(document, device, is_stale)
        .map(Arc::new);
    if is_stale() {
        return None;
    }
    let all = 0..replay.allocations.len() as u32;
    let mut order: Vec<u32> = match &mask {
        Some(mask) => all.filter(|&row| mask.has(row)).collect(),
        None => all.collect(),
    };
    sort(document, device, replay, &mut order, question.sort);
    let requested = replay.allocations.requested();
    let bytes = order.iter().filter_map(|&row| requested.get(row as usize));
    let requested_bytes = bytes.fold(0_u64, |sum, &bytes| sum.saturating_add(bytes));
    (!is_stale()).then_some(Narrowed {
        question,
        mask,
        order,
        requested_bytes,
    })
}

fn sort(document: &Document, device: usize, replay: &DeviceReplay, order: &mut [u32], sort: Sort) {
    if sort.column == Column::Born {
        if sort.descending {
            order.reverse();
        }
        return;
    }
    let block = |row: u32| replay.allocations.get(AllocationId(row));
    let text_ranks = |kind: KeyKind| {
        let labels = Labels::new(document, device, kind);
        let groups: Vec<u32> = (0..replay.allocations.len())
            .map(|row| labels.of_allocation(replay, row))
            .collect();
        let count = groups.iter().copied().max().map_or(0, |max| max + 1);
        let mut named: Vec<(String, u32)> = (0..count)
            .map(|group| (labels.name(group), group))
            .collect();
        named.sort();
        let mut rank = vec![0_u64; count as usize];
        for (place, (_, group)) in named.into_iter().enumerate() {
            rank[group as usize] = place as u64;
        }
        (groups, rank)
    };
    let keys: Vec<u64> = match sort.column {
        Column::Address => order.iter().map(|&row| block(row).address).collect(),
        Column::Size => order.iter().map(|&row| block(row).requested).collect(),
        Column::Block => order.iter().map(|&row| block(row).block_size).collect(),
        Column::Born => Vec::new(),
        Column::Died => order
            .iter()
            .map(|&row| u64::from(block(row).died))
            .collect(),
        Column::Lifetime => order.iter().map(|&row| lifetime(&block(row))).collect(),
        Column::Stream => order
            .iter()
            .map(|&row| u64::from(block(row).stream.0))
            .collect(),
        Column::Category | Column::Layer | Column::Site => {
            let (groups, rank) = text_ranks(match sort.column {
                Column::Category => KeyKind::Category,
                Column::Layer => KeyKind::Layer,
                _ => KeyKind::Site,
            });
            order
                .iter()
                .map(|&row| rank[groups[row as usize] as usize])
                .collect()
        }
    };
    let mut keyed: Vec<(u64, u32)> = keys.into_iter().zip(order.iter().copied()).collect();
    if sort.descending {
        keyed.sort_unstable_by_key(|&(key, row)| (Reverse(key), row));
    } else {
        keyed.sort_unstable();
    }
    for (slot, (_, row)) in order.iter_mut().zip(keyed) {
        *slot = row;
    }
}

/// Events from birth to death; what is never freed is longer than any.
#[must_use]
pub fn lifetime(block: &profiler_core::replay::Allocation) -> u64 {
    if block.died == profiler_core::replay::NEVER {
        u64::MAX
    } else {
        u64::from(block.died.saturating_sub(block.born))
    }
}
