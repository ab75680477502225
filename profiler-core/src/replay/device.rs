//! The replay of each device of a snapshot.

use crate::allocator::SizeRules;
use crate::snapshot::{DeviceId, Events, Snapshot, WarningKind, Warnings};
use crate::units;

use super::{
    AllocationId, Allocations, Curve, Disagreements, Follower, Layout, MappedSegment, Moment,
    SegmentSpan, beside::beside, follower::List, layout, lifetimes, rewind, segment_map,
    segment_spans,
};

/// Events from which on the curves are found on a thread of their own: they need nothing of the
/// rest, and are about a fifth of the work. Below, starting the thread takes as long.
const WORTH_A_THREAD: usize = 1 << 14;

/// The replay of one device.
#[derive(Clone, Debug, Default)]
pub struct DeviceReplay {
    /// The device.
    pub device: DeviceId,
    /// Every allocation.
    pub allocations: Allocations,
    /// Every segment over time, ordered by birth then address.
    pub segments: Vec<SegmentSpan>,
    /// Requested bytes of active blocks (allocated, or freed and still pending).
    pub requested: Curve,
    /// Bytes of segments.
    pub reserved: Curve,
    /// How trace and segments disagree.
    pub disagreements: Disagreements,
    /// How well blocks could be told.
    pub layout: Layout,
    event_count: u32,
}

impl DeviceReplay {
    /// How many events were recorded; also the final moment.
    #[must_use]
    pub fn event_count(&self) -> u32 {
        self.event_count
    }

    /// What this recording cannot know of its device's peaks, as a sentence: None if it holds
    /// everything from the first allocation on.
    #[must_use]
    pub fn unseen_peaks(&self) -> Option<String> {
        let at_start = self.requested.first();
        if self.event_count == 0 {
            return (self.reserved.last() > 0).then(|| {
                "No history was recorded: the peaks are those of the moment when this file was \
                 written."
                    .to_owned()
            });
        }
        (at_start > 0).then(|| {
            format!(
                "{} were in use when recording began: a higher peak before that is not in this \
                 file.",
                units::bytes(at_start)
            )
        })
    }

    /// The allocations active at `moment`, in order of birth.
    #[must_use]
    pub fn live_at(&self, moment: Moment) -> Vec<AllocationId> {
        self.allocations.live_at(moment)
    }

    /// The segments there at `moment`, in address order.
    #[must_use]
    pub fn segments_at(&self, moment: Moment) -> Vec<SegmentSpan> {
        let born = &self.segments[..self.segments.partition_point(|span| span.born <= moment)];
        let mut live: Vec<_> = born
            .iter()
            .filter(|span| span.is_live_at(moment))
            .copied()
            .collect();
        live.sort_by_key(|span| span.address);
        live
    }

    /// Every segment at `moment` with its blocks and gaps, in address order.
    #[must_use]
    pub fn segment_map_at(&self, moment: Moment) -> Vec<MappedSegment> {
        segment_map::at(self, moment)
    }

    /// The first moment with the most requested bytes.
    #[must_use]
    pub fn peak_moment(&self) -> Moment {
        self.requested.peak().0
    }
}

/// The replay of a whole snapshot.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// One per device of the snapshot, ascending; pinned host memory (−1) first.
    pub devices: Vec<DeviceReplay>,
    /// What does not fit together.
    pub warnings: Warnings,
}

impl Replay {
    /// Replays every device of `snapshot`, of more than [`Snapshot::MAX_DEVICES`] the lowest numbered.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        Self::followed(snapshot, &mut Follower::default(), &[])
    }

    /// Replays every device of `snapshot`, which `follower` has followed while it was read;
    /// `lists` says which list each of its traces was ([`Followed::lists`]).
    ///
    /// [`Followed::lists`]: crate::read::Followed::lists
    #[must_use]
    pub fn followed(snapshot: &Snapshot, follower: &mut Follower, lists: &[Option<usize>]) -> Self {
        let rules = SizeRules::recorded(snapshot);
        let mut warnings = Warnings::default();
        let devices = snapshot.devices();
        if devices.len() > Snapshot::MAX_DEVICES {
            let message = format!(
                "the file names {} devices, more than PyTorch can have; only the first {} are shown",
                devices.len(),
                Snapshot::MAX_DEVICES
            );
            warnings.add(WarningKind::Truncated, message);
        }
        let devices = devices.into_iter().take(Snapshot::MAX_DEVICES);
        let devices = devices.map(|device| {
            let list = Follower::list_of(snapshot, lists, device);
            let known = list.map_or_else(List::not_followed, |list| follower.take(list));
            let (replay, allocated) = replay_device(snapshot, device, &rules, known, &mut warnings);
            if let Some((list, allocated)) = list.zip(allocated) {
                follower.keep_allocated(list, allocated);
            }
            replay
        });
        let devices = devices.collect();
        Self { devices, warnings }
    }

    /// The replay of `device`.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<&DeviceReplay> {
        self.devices.iter().find(|replay| replay.device == device)
    }

    /// The device whose requested bytes peak highest; the first of equals.
    #[must_use]
    pub fn busiest(&self) -> Option<&DeviceReplay> {
        let accelerators = self
            .devices
            .iter()
            .filter(|replay| replay.device != DeviceId::HOST);
        accelerators
            .rev()
            .max_by_key(|replay| (replay.requested.peak().1, replay.event_count))
    }
}

fn replay_device(
    snapshot: &Snapshot,
    device: DeviceId,
    rules: &SizeRules,
    known: List,
    warnings: &mut Warnings,
) -> (DeviceReplay, Option<Curve>) {
    let List { walk, curves } = known;
    let none = Events::default();
    let events = snapshot.trace(device).map_or(&none, |trace| &trace.events);
    let ahead = curves.and_then(|curves| curves.finish(snapshot, device, events));
    let lay_out = || {
        let (mut allocations, disagreements, ahead) =
            lifetimes::find(snapshot, device, events, walk);
        let (segments, contradictions) = segment_spans::find(snapshot, device, events);
        let source = layout::Source {
            events,
            spans: &segments,
            rules,
        };
        let layout = layout::find(snapshot, device, source, &mut allocations, ahead);
        (allocations, disagreements, segments, contradictions, layout)
    };
    let rewind = || rewind::rewind(snapshot, device, events);
    let (rewound, laid_out) = match ahead {
        Some(rewound) => (rewound, lay_out()),
        None if events.len() < WORTH_A_THREAD => (rewind(), lay_out()),
        None => beside(rewind, lay_out),
    };
    let (allocations, disagreements, segments, contradictions, (layout, allocated)) = laid_out;
    let replay = DeviceReplay {
        device,
        allocations,
        segments,
        requested: rewound.requested,
        reserved: rewound.reserved,
        disagreements,
        layout,
        event_count: events.len() as u32,
    };
    warn(&replay, contradictions, rewound.negative_moments, warnings);
    (replay, allocated)
}

/// Says in words what did not fit together.
fn warn(replay: &DeviceReplay, contradictions: u64, negative: u64, warnings: &mut Warnings) {
    let device = replay.device;
    let mut say = |count: u64, kind: WarningKind, text: String| {
        if count > 0 {
            warnings.add_count(kind, format!("device {device}: {text}"), count);
        }
    };
    let Disagreements {
        overlapping_allocs,
        missing_blocks,
        missing_bytes,
        newer_blocks,
        newer_bytes,
        resized_blocks,
        resized_frees,
    } = replay.disagreements;
    let inconsistent = WarningKind::Inconsistent;
    say(
        overlapping_allocs,
        inconsistent,
        "allocations recorded at an address that was still in use; the earlier one is taken to \
         have been freed there"
            .to_owned(),
    );
    say(
        missing_blocks,
        inconsistent,
        format!(
            "allocations recorded as live at the end are not in the segments ({} \
             requested); they are taken to have been freed after the last event",
            units::bytes(missing_bytes)
        ),
    );
    say(
        newer_blocks,
        inconsistent,
        format!(
            "blocks in the segments are newer than the trace ({} requested)",
            units::bytes(newer_bytes)
        ),
    );
    say(
        resized_blocks,
        inconsistent,
        "blocks have another requested size in the segments than in the trace".to_owned(),
    );
    say(
        resized_frees,
        inconsistent,
        "frees have another size than the allocation they free".to_owned(),
    );
    say(
        contradictions,
        inconsistent,
        "segment events do not match the segments".to_owned(),
    );
    say(
        negative,
        inconsistent,
        "moments have fewer than 0 bytes when the trace is undone from the final segments; they \
         are shown as 0"
            .to_owned(),
    );
    let unsure = replay.layout.unsure_slack_bytes;
    say(
        replay.layout.unsure_blocks,
        WarningKind::IncompleteHistory,
        format!(
            "blocks were allocated before recording and freed during it, so their rounding is \
             not known: up to {} counted as slack may be free space",
            units::bytes(unsure)
        ),
    );
    say(
        replay.layout.misplaced,
        inconsistent,
        "allocations do not start at a free gap that is large enough under the allocator's rules; \
         their blocks are taken to be the rounded request"
            .to_owned(),
    );
}
