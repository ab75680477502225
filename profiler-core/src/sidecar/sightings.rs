//! Which allocation each tensor that a walk saw came from.
//!
//! A long run walks its model thousands of times and finds what it found before, so walks share
//! their lists. A list that is walked again is not gone through again: only addresses at which
//! something was allocated or freed since its last walk can tell anything new.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::snapshot::{Action, NO_TIME, Trace};

use super::Sidecar;

/// Where the tensors of all walks came from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sightings {
    /// `alloc` event and tensor, in the order of the walks.
    pub(super) rows: Vec<(usize, u32)>,
    /// Tensors whose address no event had allocated by then, ascending.
    pub(super) older: Vec<u32>,
    /// Addresses at which a walk saw a tensor, and the trace nothing.
    pub(super) not_found: u64,
}

/// What an address holds, as far as the trace went.
#[derive(Clone, Copy)]
enum Use {
    /// The allocation of this `alloc` event.
    Since(usize),
    /// Nothing any more.
    Freed,
}

/// A list of tensors, and how far it is known.
struct Set<'a> {
    rows: &'a [u32],
    /// How much of [`State::changed`] there was at its last walk; None before the first.
    seen: Option<usize>,
    /// The first tensor of the list at each address, made when it is walked again.
    places: Option<HashMap<u64, u32, FixedState>>,
}

#[derive(Default)]
struct State {
    live: HashMap<u64, Use, FixedState>,
    /// Addresses of tensors, as often as something was allocated or freed there, in order.
    changed: Vec<u64>,
    taken: HashSet<usize, FixedState>,
    lost: HashSet<u64, FixedState>,
    older: HashSet<u32, FixedState>,
    rows: Vec<(usize, u32)>,
}

impl Sidecar {
    /// Goes through the events of `trace` and the walks in order of time.
    pub(super) fn sightings(&self, trace: &Trace) -> Sightings {
        let mut sets: Vec<&[u32]> = self.tensor_sets.iter().map(Vec::as_slice).collect();
        let mut walks: Vec<(i64, usize)> = Vec::with_capacity(self.walks.len());
        for walk in &self.walks {
            let own = sets.len();
            let set = walk.set.map_or(own, |set| set as usize);
            if set == own {
                sets.push(&walk.tensors);
            }
            walks.push((walk.time_us.unwrap_or(i64::MAX), set));
        }
        walks.sort_by_key(|&(time, _)| time);
        let mut sets: Vec<Set<'_>> = (sets.into_iter())
            .map(|rows| Set {
                rows,
                seen: None,
                places: None,
            })
            .collect();
        let here = self.tensors.iter();
        let here = here.filter(|tensor| tensor.device == trace.device.0);
        let known: HashSet<u64, FixedState> = here.map(|tensor| tensor.address).collect();
        let mut state = State::default();
        let mut walks = walks.into_iter().peekable();
        for row in 0..trace.events.len() {
            let time = trace.events.time_us(row);
            while time != NO_TIME
                && let Some((_, set)) = walks.next_if(|&(at, _)| at < time)
            {
                self.see(trace, sets.get_mut(set), &mut state);
            }
            let now = match trace.events.action(row) {
                Action::Alloc => Use::Since(row),
                Action::FreeRequested => Use::Freed,
                _ => continue,
            };
            let address = trace.events.address(row);
            if known.contains(&address) {
                state.live.insert(address, now);
                state.changed.push(address);
            }
        }
        for (_, set) in walks {
            self.see(trace, sets.get_mut(set), &mut state);
        }
        let mut older: Vec<u32> = state.older.into_iter().collect();
        older.sort_unstable();
        Sightings {
            rows: state.rows,
            older,
            not_found: state.lost.len() as u64,
        }
    }

    /// One walk.
    fn see(&self, trace: &Trace, set: Option<&mut Set<'_>>, state: &mut State) {
        let Some(set) = set else {
            return;
        };
        let end = state.changed.len();
        match set.seen.replace(end) {
            Some(from) if end - from < set.rows.len() => {
                let places = set
                    .places
                    .get_or_insert_with(|| self.places(trace, set.rows));
                for at in from..end {
                    let address = state.changed.get(at).copied().unwrap_or_default();
                    if let Some(&tensor) = places.get(&address) {
                        state.note(address, tensor);
                    }
                }
            }
            _ => {
                for &at in set.rows {
                    let tensor = self.tensors.get(at as usize);
                    if let Some(tensor) = tensor.filter(|one| one.device == trace.device.0) {
                        state.note(tensor.address, at);
                    }
                }
            }
        }
    }

    fn places(&self, trace: &Trace, rows: &[u32]) -> HashMap<u64, u32, FixedState> {
        let mut places = HashMap::default();
        for &at in rows {
            let tensor = self.tensors.get(at as usize);
            if let Some(tensor) = tensor.filter(|one| one.device == trace.device.0) {
                places.entry(tensor.address).or_insert(at);
            }
        }
        places
    }
}

impl State {
    /// A walk sees the tensor `at` at `address`.
    fn note(&mut self, address: u64, at: u32) {
        match self.live.get(&address) {
            // Two names of one storage (tied weights): the first stays.
            Some(&Use::Since(row)) if self.taken.insert(row) => self.rows.push((row, at)),
            Some(Use::Since(_)) => {}
            Some(Use::Freed) => _ = self.lost.insert(address),
            None => _ = self.older.insert(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tensor, Walk};
    use super::*;
    use crate::snapshot::{DeviceId, Event, Events};
    use proptest::prelude::*;

    /// The same, every list gone through at every walk.
    fn naive(sidecar: &Sidecar, trace: &Trace) -> Sightings {
        let mut walks: Vec<(i64, &[u32])> = (sidecar.walks.iter())
            .map(|walk| {
                let shared = walk
                    .set
                    .map(|set| sidecar.tensor_sets[set as usize].as_slice());
                let rows = shared.unwrap_or(&walk.tensors);
                (walk.time_us.unwrap_or(i64::MAX), rows)
            })
            .collect();
        walks.sort_by_key(|&(time, _)| time);
        let mut state = State::default();
        let see = |state: &mut State, rows: &[u32]| {
            for &at in rows {
                if let Some(tensor) = sidecar.tensors.get(at as usize)
                    && tensor.device == trace.device.0
                {
                    state.note(tensor.address, at);
                }
            }
        };
        let mut next = 0;
        for row in 0..trace.events.len() {
            while next < walks.len() && walks[next].0 < trace.events.time_us(row) {
                see(&mut state, walks[next].1);
                next += 1;
            }
            let address = trace.events.address(row);
            match trace.events.action(row) {
                Action::Alloc => _ = state.live.insert(address, Use::Since(row)),
                Action::FreeRequested => _ = state.live.insert(address, Use::Freed),
                _ => {}
            }
        }
        for (_, rows) in &walks[next..] {
            see(&mut state, rows);
        }
        let mut older: Vec<u32> = state.older.into_iter().collect();
        older.sort_unstable();
        Sightings {
            rows: state.rows,
            older,
            not_found: state.lost.len() as u64,
        }
    }

    /// By allocation, whatever the order within one walk.
    fn sorted(mut found: Sightings) -> Sightings {
        found.rows.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn changes_alone_tell_what_everything_tells(
            events in prop::collection::vec((any::<bool>(), 0_u64..6), 0..60),
            tensors in prop::collection::vec((0_i32..2, 0_u64..8), 1..10),
            sets in prop::collection::vec(prop::collection::vec(0_u32..12, 0..8), 1..4),
            walks in prop::collection::vec((0_i64..130, 0_usize..4), 0..30),
        ) {
            let mut columns = Events::default();
            for (at, (allocs, address)) in events.iter().enumerate() {
                columns.push(&Event {
                    action: if *allocs { Action::Alloc } else { Action::FreeRequested },
                    address: address * 512,
                    size: 512,
                    time_us: at as i64 * 2,
                    ..Event::default()
                });
            }
            let trace = Trace { device: DeviceId(0), events: columns };
            let sidecar = Sidecar {
                tensors: tensors
                    .iter()
                    .map(|&(device, address)| Tensor { device, address: address * 512, ..Tensor::default() })
                    .collect(),
                walks: walks
                    .iter()
                    .map(|&(time, set)| Walk {
                        time_us: (time < 125).then_some(time),
                        set: sets.get(set).map(|_| set as u32),
                        tensors: if set < sets.len() { Vec::new() } else { vec![0, 1] },
                    })
                    .collect(),
                tensor_sets: sets,
                ..Sidecar::default()
            };
            prop_assert_eq!(
                sorted(sidecar.sightings(&trace)),
                sorted(naive(&sidecar, &trace))
            );
        }
    }
}
