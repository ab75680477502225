//! What a device needs beyond the core's replay to be drawn at any zoom.

use std::sync::Arc;

use profiler_core::oom::oom_events;
use profiler_core::replay::{Curve, DeviceReplay, Moment};
use profiler_core::snapshot::{Action, DeviceId, Events, Snapshot};

use super::{Axis, AxisKind, Clock, Pyramid, both};

/// What a device needs beyond the core's replay to be drawn at any zoom.
#[derive(Clone, Debug, Default)]
pub struct PreparedDevice {
    /// The device.
    pub device: DeviceId,
    /// Over [`DeviceReplay::requested`].
    pub requested: Pyramid,
    /// Over [`DeviceReplay::reserved`].
    pub reserved: Pyramid,
    /// Bytes of blocks in use, rounding and slack included, pending ones not.
    pub allocated_curve: Curve,
    /// Over [`Self::allocated_curve`].
    pub allocated: Pyramid,
    /// Its clock.
    pub clock: Arc<Clock>,
    /// The moments at which allocations failed: the state each request met.
    pub ooms: Vec<Moment>,
    /// The first moment of most requested bytes, and those bytes.
    pub peak: (Moment, u64),
    /// The final moment.
    pub last: Moment,
}

impl PreparedDevice {
    /// Prepares the device of `replay`, whose events have `clock`, and whose allocated bytes are
    /// `allocated` if they are known already.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        replay: &DeviceReplay,
        clock: Arc<Clock>,
        allocated: Option<Curve>,
    ) -> Self {
        let none = Events::default();
        let events = snapshot
            .trace(replay.device)
            .map_or(&none, |trace| &trace.events);
        let ((allocated_curve, allocated), (requested, reserved)) = both(
            || {
                let curve = allocated.unwrap_or_else(|| allocated_curve(replay, events));
                let pyramid = Pyramid::new(&curve);
                (curve, pyramid)
            },
            || {
                let requested = Pyramid::new(&replay.requested);
                (requested, Pyramid::new(&replay.reserved))
            },
        );
        let peak = requested.extremes(&replay.requested, 0, Moment::MAX);
        Self {
            device: replay.device,
            requested,
            reserved,
            allocated,
            allocated_curve,
            clock,
            ooms: oom_events(snapshot, replay),
            peak: (peak.high_moment, peak.high),
            last: replay.event_count(),
        }
    }

    /// Bytes it takes, but for names of spans.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let pyramids = [&self.requested, &self.reserved, &self.allocated];
        let curve = self.allocated_curve.len() * (size_of::<Moment>() + size_of::<u64>());
        pyramids
            .iter()
            .map(|pyramid| pyramid.heap_bytes())
            .sum::<usize>()
            + curve
            + self.clock.heap_bytes()
            + self.ooms.len() * size_of::<Moment>()
    }

    /// Its time axis.
    #[must_use]
    pub fn axis(&self, kind: AxisKind) -> Axis<'_> {
        Axis {
            kind,
            clock: &self.clock,
            last: self.last,
        }
    }

    /// The highest value of any of its curves.
    #[must_use]
    pub fn highest(&self, replay: &DeviceReplay) -> u64 {
        let reserved = self.reserved.extremes(&replay.reserved, 0, self.last).high;
        let requested = self
            .requested
            .extremes(&replay.requested, 0, self.last)
            .high;
        let allocated = self
            .allocated
            .extremes(&self.allocated_curve, 0, self.last)
            .high;
        reserved.max(requested).max(allocated)
    }
}

/// Block bytes of allocations that the program has and has not let go of.
fn allocated_curve(replay: &DeviceReplay, events: &Events) -> Curve {
    let allocations = &replay.allocations;
    let sizes = allocations.block_sizes();
    let size_of = |row: usize| sizes.get(row).copied().unwrap_or(0);
    let before = allocations
        .live_at(0)
        .into_iter()
        .map(|id| size_of(id.index()));
    let mut bytes = before.fold(0_u64, u64::saturating_add);
    let free_requested = allocations.free_requested();
    let mut curve = Curve::starting_at(bytes);
    for (row, action) in events.actions().iter().enumerate() {
        let Some(id) = allocations.of_event(row) else {
            continue;
        };
        let size = size_of(id.index());
        match action {
            Action::Alloc => bytes = bytes.saturating_add(size),
            // Every free is requested first; where that was not recorded, completion is all
            // there is.
            Action::FreeRequested => bytes = bytes.saturating_sub(size),
            Action::FreeCompleted
                if free_requested.get(id.index()) == Some(&(row as Moment + 1)) =>
            {
                bytes = bytes.saturating_sub(size);
            }
            _ => continue,
        }
        curve.set(row as Moment + 1, bytes);
    }
    curve
}
