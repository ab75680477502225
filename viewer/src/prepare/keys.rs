//! What allocations are coloured and grouped by.

use egui::Color32;
use profiler_core::replay::{DeviceReplay, NEVER};
use profiler_core::snapshot::StackId;
use profiler_core::units;

use crate::prepare::{Document, Labels};
use crate::tokens::{CATEGORICAL, SEQUENTIAL};

/// A way to group allocations.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum KeyKind {
    /// The line of code that allocated.
    #[default]
    Site,
    /// Parameter, gradient, activation and so on, where it could be told.
    Category,
    /// The module it belongs to, where it could be told.
    Layer,
    /// CUDA stream.
    Stream,
    /// Memory pool.
    Pool,
    /// Requested bytes, by powers of 16.
    Size,
    /// Events from birth to death, by powers of ten.
    Lifetime,
}

impl KeyKind {
    /// All, in the order of the menu.
    pub const ALL: [Self; 7] = [
        Self::Site,
        Self::Category,
        Self::Layer,
        Self::Stream,
        Self::Pool,
        Self::Size,
        Self::Lifetime,
    ];

    /// What the menu says.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Site => "stack",
            Self::Category => "category",
            Self::Layer => "layer",
            Self::Stream => "stream",
            Self::Pool => "pool",
            Self::Size => "size",
            Self::Lifetime => "lifetime",
        }
    }
}

/// One group of a legend.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    /// What it is.
    pub label: String,
    /// Its colour; None for the theme's colour of "everything else".
    pub color: Option<Color32>,
    /// Requested bytes of its allocations at the device's peak.
    pub peak_bytes: u64,
    /// How many allocations it has.
    pub count: u64,
}

/// The group of every allocation of one device.
#[derive(Clone, Debug, Default)]
pub struct KeyColumn {
    /// Row of [`Self::entries`], by allocation.
    pub of_allocation: Vec<u16>,
    /// The groups, in the order of the legend.
    pub entries: Vec<KeyEntry>,
}

impl KeyColumn {
    /// Groups every allocation of `document`'s device number `device` by `kind`.
    #[must_use]
    pub fn new(document: &Document, device: usize, kind: KeyKind) -> Self {
        let Some(replay) = document.replay.devices.get(device) else {
            return Self::default();
        };
        match kind {
            KeyKind::Site => {
                let labels = Labels::new(document, device, kind);
                let of_stack = labels.of_stacks();
                let site = |stack: &StackId| of_stack.get(stack.index()).copied().unwrap_or(0);
                let groups = replay.allocations.stacks().iter().map(site);
                ranked(replay, groups, &|group| labels.name(group))
            }
            KeyKind::Category | KeyKind::Layer => {
                let of_stack = |labels: &Labels, row: usize| labels.of_allocation(replay, row);
                let labels = Labels::new(document, device, kind);
                let groups = (0..replay.allocations.len()).map(|row| of_stack(&labels, row));
                ranked(replay, groups, &|group| labels.name(group))
            }
            KeyKind::Stream => {
                let ids = replay
                    .allocations
                    .ids()
                    .map(|id| replay.allocations.get(id).stream.0);
                ranked(replay, ids, &|stream| format!("stream {stream}"))
            }
            KeyKind::Pool => {
                let ids = replay
                    .allocations
                    .ids()
                    .map(|id| replay.allocations.get(id).pool.0);
                let name = |pool: u32| match document
                    .snapshot
                    .pools
                    .id(profiler_core::snapshot::PoolId(pool))
                {
                    (0, 0) => "default pool".to_owned(),
                    (a, b) => format!("pool ({a}, {b})"),
                };
                ranked(replay, ids, &name)
            }
            KeyKind::Size => {
                let sizes = replay.allocations.requested().iter();
                let bucket = |&bytes: &u64| bytes.checked_ilog2().map_or(0, |log| log / 4).min(8);
                let label = |bucket: u32| {
                    let (from, to) = (1_u64 << (4 * bucket), 1_u64 << (4 * (bucket + 1)));
                    if bucket >= 8 {
                        format!("{} and more", units::bytes(from))
                    } else {
                        format!("below {}", units::bytes(to))
                    }
                };
                sequential(replay, sizes.map(bucket), 9, &label)
            }
            KeyKind::Lifetime => {
                let ids = replay.allocations.ids();
                let bucket = |id| {
                    let block = replay.allocations.get(id);
                    if block.died == NEVER {
                        return 8;
                    }
                    let events = block.died.saturating_sub(block.born);
                    events.checked_ilog10().unwrap_or(0).min(7)
                };
                let label = |bucket: u32| match bucket {
                    8 => "not freed in the recording".to_owned(),
                    7 => format!("{} events and more", crate::text::count(10_u64.pow(7))),
                    _ => format!(
                        "below {} events",
                        crate::text::count(10_u64.pow(bucket + 1))
                    ),
                };
                sequential(replay, ids.map(bucket), 9, &label)
            }
        }
    }

    /// The group of the allocation in `row`, as a row of [`Self::entries`].
    #[must_use]
    pub fn group(&self, row: usize) -> usize {
        self.of_allocation.get(row).copied().unwrap_or(0) as usize
    }

    /// The colour of each group, `other` for those without one of their own.
    #[must_use]
    pub fn colors(&self, other: Color32) -> Vec<Color32> {
        self.entries
            .iter()
            .map(|entry| entry.color.unwrap_or(other))
            .collect()
    }
}

/// What a group adds up to.
#[derive(Clone, Copy, Default)]
struct Sums {
    peak_bytes: u64,
    total_bytes: u64,
    count: u64,
}

/// Groups by an id: the largest at the peak get a colour of their own, all others share one.
fn ranked(
    replay: &DeviceReplay,
    ids: impl Iterator<Item = u32> + Clone,
    label: &dyn Fn(u32) -> String,
) -> KeyColumn {
    let mut sums: Vec<Sums> = Vec::new();
    let peak = replay.peak_moment();
    let requested = replay.allocations.requested().iter();
    let died = replay.allocations.died().iter();
    let born_by = replay.allocations.born_by(peak);
    for (row, ((id, &requested), &died)) in ids.clone().zip(requested).zip(died).enumerate() {
        let id = id as usize;
        if id >= sums.len() {
            sums.resize(id + 1, Sums::default());
        }
        let sums = &mut sums[id];
        sums.count += 1;
        sums.total_bytes = sums.total_bytes.saturating_add(requested);
        if row < born_by && died > peak {
            sums.peak_bytes = sums.peak_bytes.saturating_add(requested);
        }
    }
    let groups = sums.len();
    let mut order: Vec<u32> = (0..groups as u32)
        .filter(|&id| sums[id as usize].count > 0)
        .collect();
    order.sort_by_key(|&id| {
        let sums = sums[id as usize];
        (std::cmp::Reverse((sums.peak_bytes, sums.total_bytes)), id)
    });
    let own = if order.len() <= CATEGORICAL.len() {
        order.len()
    } else {
        CATEGORICAL.len() - 1
    };
    let mut rank = vec![own as u16; groups];
    let mut entries = Vec::new();
    for (place, &id) in order.iter().take(own).enumerate() {
        rank[id as usize] = place as u16;
        entries.push(KeyEntry {
            label: label(id),
            color: CATEGORICAL.get(place).copied(),
            peak_bytes: sums[id as usize].peak_bytes,
            count: sums[id as usize].count,
        });
    }
    if own < order.len() {
        let rest = &order[own..];
        let sum = |of: fn(&Sums) -> u64| {
            let each = rest.iter().map(|&id| of(&sums[id as usize]));
            each.fold(0_u64, u64::saturating_add)
        };
        entries.push(KeyEntry {
            label: format!("{} others", crate::text::count(rest.len() as u64)),
            color: None,
            peak_bytes: sum(|sums| sums.peak_bytes),
            count: sum(|sums| sums.count),
        });
    }
    KeyColumn {
        of_allocation: ids.map(|id| rank[id as usize]).collect(),
        entries,
    }
}

/// Groups by a bucket with a place on the sequential ramp.
fn sequential(
    replay: &DeviceReplay,
    buckets: impl Iterator<Item = u32>,
    count: u32,
    label: &dyn Fn(u32) -> String,
) -> KeyColumn {
    let mut entries: Vec<KeyEntry> = (0..count)
        .map(|bucket| KeyEntry {
            label: label(bucket),
            color: SEQUENTIAL.get(bucket as usize).copied(),
            peak_bytes: 0,
            count: 0,
        })
        .collect();
    let of_allocation: Vec<u16> = buckets.map(|bucket| bucket as u16).collect();
    let peak = replay.peak_moment();
    let (requested, died) = (replay.allocations.requested(), replay.allocations.died());
    let born_by = replay.allocations.born_by(peak);
    for (row, &bucket) in of_allocation.iter().enumerate() {
        let Some(entry) = entries.get_mut(bucket as usize) else {
            continue;
        };
        entry.count += 1;
        if row < born_by && died[row] > peak {
            entry.peak_bytes = entry.peak_bytes.saturating_add(requested[row]);
        }
    }
    KeyColumn {
        of_allocation,
        entries,
    }
}
