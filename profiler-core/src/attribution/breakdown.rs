//! Who holds the memory of a moment: allocations grouped, with exact sums.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::replay::{Allocation, AllocationId, DeviceReplay};
use crate::snapshot::{FrameId, Snapshot, StackId, StringId};

use super::Attribution;
use super::device::DeviceAttribution;
use super::evidence::Evidence;
use super::frame_class::FrameOrigin;
use super::frame_label::{file_label, frame_label, function_label};
use super::layer::LayerId;
use super::natural_order::natural_order;
use super::size_bucket::{bucket, bucket_label};

/// What to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The whole cleaned stack.
    Stack,
    /// The innermost function of the program; of a library, or of C++, where the program has none
    /// on the stack. So for [`By::File`] and [`By::Line`].
    Function,
    /// That function's file.
    File,
    /// That function's line.
    Line,
    /// Module path.
    Layer,
    /// What the memory is for.
    Category,
    /// `user_metadata` as recorded.
    Metadata,
    /// The text of the allocation's annotation.
    Annotation,
    /// The innermost `record_function` range around the allocation.
    Range,
    /// The compiled region (`torch.compile`) that allocated.
    CompileContext,
    /// Stream.
    Stream,
    /// Memory pool.
    Pool,
    /// Small or large segment.
    Kind,
    /// Power of two of the requested size.
    Size,
    /// The step it was allocated in.
    Step,
    /// The phase it was allocated in.
    Phase,
}

impl By {
    /// Every grouping with its name on the command line.
    pub const NAMES: [(Self, &'static str); 16] = [
        (Self::Layer, "layer"),
        (Self::Category, "category"),
        (Self::Stack, "stack"),
        (Self::Function, "function"),
        (Self::File, "file"),
        (Self::Line, "line"),
        (Self::Metadata, "metadata"),
        (Self::Annotation, "annotation"),
        (Self::Range, "range"),
        (Self::CompileContext, "compile-context"),
        (Self::Stream, "stream"),
        (Self::Pool, "pool"),
        (Self::Kind, "kind"),
        (Self::Size, "size"),
        (Self::Step, "step"),
        (Self::Phase, "phase"),
    ];

    /// The grouping called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(by, _)| *by)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(by, _)| *by == self);
        found.map_or("", |(_, name)| *name)
    }
}

/// Sums over some allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many allocations.
    pub count: u64,
    /// Bytes the program asked for.
    pub requested: u64,
    /// Bytes of their blocks.
    pub block: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, allocation: &Allocation) {
        self.count += 1;
        self.requested = self.requested.saturating_add(allocation.requested);
        self.block = self.block.saturating_add(allocation.block_size);
    }

    pub(crate) fn add_sums(&mut self, other: Self) {
        self.count += other.count;
        self.requested = self.requested.saturating_add(other.requested);
        self.block = self.block.saturating_add(other.block);
    }
}

/// One group of a breakdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What its allocations have in common. Text from the file: a stranger's.
    pub label: String,
    /// Its sums.
    pub sums: Sums,
    /// Requested bytes that belong here by inference.
    pub inferred: u64,
    /// Whether this is the group of what could not be told.
    pub is_unknown: bool,
    /// Its largest allocation, the first of equals.
    pub largest: AllocationId,
}

/// Allocations grouped. The sums of the groups are exactly the total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    /// What was grouped by.
    pub by: By,
    /// All allocations together.
    pub total: Sums,
    /// Most requested bytes first, then by label, numbers in it by value.
    pub groups: Vec<Group>,
    /// Requested bytes whose group the file says.
    pub recorded: u64,
    /// Requested bytes whose group was inferred.
    pub inferred: u64,
    /// Requested bytes whose group could not be told.
    pub unknown: u64,
}

struct Building {
    sums: Sums,
    inferred: u64,
    largest: (u64, AllocationId),
    /// A stack of the group.
    stack: StackId,
}

/// What a group has in common, before it is put in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Unknown,
    Number(u64),
    Pair(StringId, StringId),
    Frame(FrameId),
}

impl Attribution {
    /// Groups `allocations` of `replay`'s device.
    #[must_use]
    pub fn breakdown(
        &self,
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        allocations: &[AllocationId],
        by: By,
    ) -> Breakdown {
        let empty = DeviceAttribution::default();
        let device = self.device(replay.device).unwrap_or(&empty);
        let mut total = Sums::default();
        let mut bytes = [0_u64; 3];
        let mut groups: HashMap<Key, Building, FixedState> = HashMap::default();
        for &id in allocations {
            let allocation = replay.allocations.get(id);
            let (key, evidence) = self.key(snapshot, device, id, &allocation, by);
            total.add(&allocation);
            let share = &mut bytes[evidence as usize];
            *share = share.saturating_add(allocation.requested);
            let group = groups.entry(key).or_insert_with(|| Building {
                sums: Sums::default(),
                inferred: 0,
                largest: (allocation.requested, id),
                stack: allocation.stack,
            });
            group.sums.add(&allocation);
            if evidence == Evidence::Inferred {
                group.inferred = group.inferred.saturating_add(allocation.requested);
            }
            if allocation.requested > group.largest.0 {
                group.largest = (allocation.requested, id);
            }
        }
        let mut groups: Vec<(Key, Group)> = groups
            .into_iter()
            .map(|(key, built)| {
                let group = Group {
                    label: self.label(snapshot, device, key, by, built.stack),
                    sums: built.sums,
                    inferred: built.inferred,
                    is_unknown: key == Key::Unknown,
                    largest: built.largest.1,
                };
                (key, group)
            })
            .collect();
        groups.sort_unstable_by(|(a_key, a), (b_key, b)| {
            (b.sums.requested.cmp(&a.sums.requested))
                .then_with(|| natural_order(&a.label, &b.label))
                .then_with(|| a_key.cmp(b_key))
        });
        Breakdown {
            by,
            total,
            groups: groups.into_iter().map(|(_, group)| group).collect(),
            recorded: bytes[Evidence::Recorded as usize],
            inferred: bytes[Evidence::Inferred as usize],
            unknown: bytes[Evidence::Unknown as usize],
        }
    }

    fn key(
        &self,
        snapshot: &Snapshot,
        device: &DeviceAttribution,
        id: AllocationId,
        allocation: &Allocation,
        by: By,
    ) -> (Key, Evidence) {
        let recorded = |key| (key, Evidence::Recorded);
        let unknown = (Key::Unknown, Evidence::Unknown);
        let number = |number: u32| Key::Number(u64::from(number));
        let text = |text: StringId| match text {
            StringId::EMPTY => unknown,
            text => recorded(number(text.0)),
        };
        let event = allocation.alloc_event().and_then(|event| {
            let trace = snapshot.trace(device.device)?;
            Some((&trace.events, event as usize))
        });
        match by {
            By::Stack => match self.clean.of(allocation.stack) {
                stack if stack.0 == 0 => unknown,
                stack => recorded(number(stack.0)),
            },
            By::Function | By::File | By::Line => {
                self.blame(allocation.stack).map_or(unknown, |frame_id| {
                    let frame = snapshot.frames.get(frame_id);
                    let is_native = self.clean.origin_of(frame_id) == FrameOrigin::Native;
                    recorded(match by {
                        By::File if is_native => Key::Pair(StringId::EMPTY, StringId::EMPTY),
                        By::Function => Key::Pair(frame.name, frame.filename),
                        By::File => Key::Pair(StringId::EMPTY, frame.filename),
                        _ => Key::Frame(frame_id),
                    })
                })
            }
            By::Layer => match device.layer(id) {
                (LayerId::UNKNOWN, _) => unknown,
                (layer, evidence) => (number(layer.0), evidence),
            },
            By::Category => match device.category(id) {
                (_, Evidence::Unknown) => unknown,
                (category, evidence) => (number(category as u32), evidence),
            },
            By::Metadata => {
                text(event.map_or(StringId::EMPTY, |(events, row)| events.user_metadata(row)))
            }
            By::CompileContext => {
                text(event.map_or(StringId::EMPTY, |(events, row)| events.compile_context(row)))
            }
            By::Range => text(
                event
                    .and_then(|(events, row)| device.range_at(events.time_us(row)))
                    .unwrap_or_default(),
            ),
            By::Annotation => device
                .annotation(id)
                .map_or(unknown, |text| recorded(number(text.0))),
            By::Stream => recorded(number(allocation.stream.0)),
            By::Pool => recorded(number(allocation.pool.0)),
            By::Kind => recorded(number(allocation.kind as u32)),
            By::Size => recorded(number(bucket(allocation.requested).map_or(0, |e| e + 1))),
            By::Step => match device.step(id) {
                Some(step) => (Key::Number(step as u64), device.steps.evidence),
                None => unknown,
            },
            By::Phase => match device.phase(id) {
                super::Phase::Unknown => unknown,
                phase => (number(phase as u32), device.phase_evidence(id)),
            },
        }
    }

    /// The frame to name for a stack: the program's innermost, else a library's, else C++.
    fn blame(&self, stack: StackId) -> Option<FrameId> {
        let clean = self.clean.of(stack);
        self.clean
            .blame(clean)
            .or_else(|| self.clean.split(clean).map(|(frame, _)| frame))
    }

    fn label(
        &self,
        snapshot: &Snapshot,
        device: &DeviceAttribution,
        key: Key,
        by: By,
        stack: StackId,
    ) -> String {
        let row = match key {
            Key::Unknown => return unknown_label(by).to_owned(),
            Key::Frame(frame) => return frame_label(snapshot, frame),
            Key::Pair(..) => return self.blame_label(snapshot, by, stack),
            Key::Number(row) => row,
        };
        let handle = u32::try_from(row).unwrap_or(u32::MAX);
        match by {
            By::Stack => {
                let frames = self.clean.clean_frames(super::CleanStackId(handle));
                let labels: Vec<String> = frames
                    .take(Self::LABEL_FRAMES)
                    .map(|frame| frame_label(snapshot, frame))
                    .collect();
                labels.join(" ← ")
            }
            By::Layer => self.layers.path(LayerId(handle)),
            By::Category => super::Category::ALL
                .into_iter()
                .find(|category| *category as u32 == handle)
                .map_or("", super::Category::name)
                .to_owned(),
            By::Metadata | By::Annotation | By::Range | By::CompileContext => {
                snapshot.strings.get(StringId(handle)).to_owned()
            }
            By::Stream => format!("stream {handle}"),
            By::Pool => {
                let (first, second) = snapshot.pools.id(crate::snapshot::PoolId(handle));
                if handle == 0 {
                    "default pool".to_owned()
                } else {
                    format!("pool ({first}, {second})")
                }
            }
            By::Kind => [
                crate::snapshot::SegmentKind::Small,
                crate::snapshot::SegmentKind::Large,
            ]
            .into_iter()
            .find(|kind| *kind as u32 == handle)
            .map_or("", crate::snapshot::SegmentKind::name)
            .to_owned(),
            By::Size => bucket_label(handle.checked_sub(1)),
            By::Step => device
                .steps
                .steps
                .get(handle as usize)
                .map_or_else(String::new, |step| format!("step {}", step.number)),
            By::Phase => super::Phase::ALL
                .into_iter()
                .find(|phase| *phase as u32 == handle)
                .map_or("", super::Phase::name)
                .to_owned(),
            By::Function | By::File | By::Line => String::new(),
        }
    }

    /// How many frames of a stack its label names.
    const LABEL_FRAMES: usize = 32;

    /// The function or the file to name for a stack.
    fn blame_label(&self, snapshot: &Snapshot, by: By, stack: StackId) -> String {
        let Some(frame) = self.blame(stack) else {
            return String::new();
        };
        match (by, file_label(snapshot, frame)) {
            (By::File, Some(path)) => path,
            (By::File, None) => "(C++)".to_owned(),
            (_, Some(path)) => format!("{} ({path})", function_label(snapshot, frame)),
            (_, None) => function_label(snapshot, frame),
        }
    }
}

const fn unknown_label(by: By) -> &'static str {
    match by {
        By::Stack | By::Function | By::File | By::Line => "(no stack)",
        By::Layer => "(layer unknown)",
        By::Category => "unknown",
        By::Metadata => "(no metadata)",
        By::Annotation => "(not annotated)",
        By::Range => "(in no range)",
        By::CompileContext => "(not in a compiled region)",
        By::Step => "(outside of steps)",
        By::Phase => "(phase unknown)",
        By::Stream | By::Pool | By::Kind | By::Size => "(unknown)",
    }
}
