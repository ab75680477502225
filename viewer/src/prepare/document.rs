//! An opened file with everything the widgets read.

use std::path::PathBuf;
use std::sync::Arc;

use profiler_core::attribution::Attribution;
use profiler_core::replay::Replay;
use profiler_core::snapshot::{Events, Snapshot};

use super::{Clock, Lanes, PreparedDevice, both};

/// An opened file.
#[derive(Debug, Default)]
pub struct Document {
    /// What the window calls it.
    pub name: String,
    /// Where it was read from; None for bytes that were dropped or built.
    pub path: Option<PathBuf>,
    /// What the file says.
    pub snapshot: Arc<Snapshot>,
    /// The history replayed.
    pub replay: Arc<Replay>,
    /// What allocations belong to; in a draft the cleaned stacks only.
    pub attribution: Attribution,
    /// Whether this is the whole document, and not a draft to be drawn meanwhile.
    pub is_attributed: bool,
    /// One per device of the replay, in its order.
    pub devices: Vec<Arc<PreparedDevice>>,
    /// Steps, phases, annotations and marks; one per device.
    pub lanes: Vec<Lanes>,
}

impl Document {
    /// Replays, attributes and prepares `snapshot`.
    #[must_use]
    pub fn new(name: String, path: Option<PathBuf>, snapshot: Snapshot) -> Self {
        Self::draft(name, path, snapshot).attributed()
    }

    /// Replays and prepares `snapshot`: all that the first picture takes.
    #[must_use]
    pub fn draft(name: String, path: Option<PathBuf>, snapshot: Snapshot) -> Self {
        let (replay, (attribution, clocks)) = both(
            || Replay::new(&snapshot),
            || {
                let traces = snapshot.traces.iter();
                let clocks: Vec<_> = traces
                    .map(|trace| (trace.device, Clock::new(&trace.events)))
                    .collect();
                (Attribution::of_stacks(&snapshot), clocks)
            },
        );
        let devices = replay.devices.iter().map(|device| {
            let clock = clocks.iter().find(|(of, _)| *of == device.device);
            let clock = clock.map(|(_, clock)| clock.clone()).unwrap_or_default();
            Arc::new(PreparedDevice::new(&snapshot, device, clock))
        });
        let mut draft = Self {
            name,
            path,
            devices: devices.collect(),
            snapshot: Arc::new(snapshot),
            replay: Arc::new(replay),
            attribution,
            is_attributed: false,
            lanes: Vec::new(),
        };
        draft.lanes = draft.find_lanes();
        draft
    }

    /// The whole document of a draft.
    #[must_use]
    pub fn attributed(&self) -> Self {
        let mut whole = Self {
            name: self.name.clone(),
            path: self.path.clone(),
            snapshot: Arc::clone(&self.snapshot),
            replay: Arc::clone(&self.replay),
            attribution: Attribution::new(&self.snapshot, &self.replay),
            is_attributed: true,
            devices: self.devices.clone(),
            lanes: Vec::new(),
        };
        whole.lanes = whole.find_lanes();
        whole
    }

    fn find_lanes(&self) -> Vec<Lanes> {
        let none = Events::default();
        let devices = self.replay.devices.iter().zip(&self.devices);
        let lanes = devices.map(|(replay, prepared)| {
            let trace = self.snapshot.trace(replay.device);
            let events = trace.map_or(&none, |trace| &trace.events);
            Lanes::new(
                &self.snapshot,
                replay,
                &self.attribution,
                events,
                &prepared.clock,
            )
        });
        lanes.collect()
    }

    /// Whether `other` is the same reading of the same file: a draft and its whole document are.
    #[must_use]
    pub fn is_same_reading(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
    }

    /// The number of the device shown first: the busiest, else the first.
    #[must_use]
    pub fn busiest(&self) -> usize {
        let busiest = self.replay.busiest().map(|replay| replay.device);
        self.devices
            .iter()
            .position(|known| Some(known.device) == busiest)
            .unwrap_or(0)
    }
}
