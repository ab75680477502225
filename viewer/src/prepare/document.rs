//! An opened file with everything the widgets read.

use std::path::PathBuf;
use std::sync::Arc;

use profiler_core::attribution::Attribution;
use profiler_core::read::Followed;
use profiler_core::replay::{Curve, Follower, Replay};
use profiler_core::snapshot::{DeviceId, Events, Snapshot};

use crate::follow::Ahead;

use super::{Clock, KeyColumn, KeyKind, Lanes, PreparedDevice, both};

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
    /// The allocations of the [busiest](Self::busiest) device by the line that allocated: what
    /// the first picture is coloured by.
    pub sites: Arc<KeyColumn>,
}

impl Document {
    /// Replays, attributes and prepares `snapshot`.
    #[must_use]
    pub fn new(name: String, path: Option<PathBuf>, snapshot: Snapshot) -> Self {
        let read = Followed {
            snapshot,
            lists: Vec::new(),
        };
        Self::draft(name, path, read, Ahead::default()).attributed()
    }

    /// Replays and prepares what was `read`, which `ahead` has followed: all that the first
    /// picture takes.
    #[must_use]
    pub fn draft(name: String, path: Option<PathBuf>, read: Followed, ahead: Ahead) -> Self {
        let Followed { snapshot, lists } = read;
        let Ahead {
            mut follower,
            mut clocks,
        } = ahead;
        let (replay, (attribution, clocks)) = both(
            || Replay::followed(&snapshot, &mut follower, &lists),
            || {
                let traces = snapshot.traces.iter().enumerate();
                let clocks: Clocks = traces
                    .map(|(row, trace)| {
                        let list = lists.get(row).copied().flatten();
                        let clock = list.and_then(|list| clocks.get_mut(list));
                        let mut clock = clock.map(std::mem::take).unwrap_or_default();
                        clock.see(&trace.events, clock.len());
                        clock.shrink_to_fit();
                        (trace.device, Arc::new(clock))
                    })
                    .collect();
                (Attribution::of_stacks(&snapshot), clocks)
            },
        );
        let mut allocated: Vec<_> = replay
            .devices
            .iter()
            .map(|replay| {
                let list = Follower::list_of(&snapshot, &lists, replay.device);
                list.and_then(|list| follower.take_allocated(list))
            })
            .collect();
        let mut draft = Self {
            name,
            path,
            snapshot: Arc::new(snapshot),
            replay: Arc::new(replay),
            attribution,
            ..Self::default()
        };
        // The same as `busiest` below, which needs the devices prepared.
        let busiest = draft.replay.busiest().map(|replay| replay.device);
        let devices = draft.replay.devices.iter();
        let busiest = devices
            .map(|replay| Some(replay.device))
            .position(|device| device == busiest)
            .unwrap_or(0);
        let (devices, (sites, lanes)) = both(
            || draft.prepare(&clocks, &mut allocated),
            || {
                (
                    KeyColumn::new(&draft, busiest, KeyKind::Site),
                    draft.find_lanes(&clocks),
                )
            },
        );
        (draft.devices, draft.lanes, draft.sites) = (devices, lanes, Arc::new(sites));
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
            sites: Arc::clone(&self.sites),
        };
        let clocks: Clocks = self
            .devices
            .iter()
            .map(|known| (known.device, Arc::clone(&known.clock)))
            .collect();
        whole.lanes = whole.find_lanes(&clocks);
        whole
    }

    /// Prepares every device; of some the bytes in use are known already.
    fn prepare(
        &self,
        clocks: &Clocks,
        allocated: &mut [Option<Curve>],
    ) -> Vec<Arc<PreparedDevice>> {
        let devices = self.replay.devices.iter().zip(allocated);
        let prepared = devices.map(|(replay, allocated)| {
            let clock = clock_of(clocks, replay.device);
            let known = allocated.take();
            Arc::new(PreparedDevice::new(&self.snapshot, replay, clock, known))
        });
        prepared.collect()
    }

    fn find_lanes(&self, clocks: &Clocks) -> Vec<Lanes> {
        let none = Events::default();
        let lanes = self.replay.devices.iter().map(|replay| {
            let trace = self.snapshot.trace(replay.device);
            let events = trace.map_or(&none, |trace| &trace.events);
            let clock = clock_of(clocks, replay.device);
            Lanes::new(&self.snapshot, replay, &self.attribution, events, &clock)
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
        let accelerators = self
            .devices
            .iter()
            .enumerate()
            .filter(|(_, known)| known.device != DeviceId::HOST);
        accelerators
            .rev()
            .max_by_key(|(_, known)| (known.peak.1, known.last))
            .map_or(0, |(at, _)| at)
    }
}

/// The clocks of the devices that have one.
type Clocks = Vec<(DeviceId, Arc<Clock>)>;

fn clock_of(clocks: &Clocks, device: DeviceId) -> Arc<Clock> {
    let found = clocks.iter().find(|(of, _)| *of == device);
    found
        .map(|(_, clock)| Arc::clone(clock))
        .unwrap_or_default()
}
