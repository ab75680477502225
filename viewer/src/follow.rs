//! What can be done with a file's events while the rest of it is still being read.
//!
//! ```text
//!   open file     read 1 MiB │ read 1 MiB │ read 1 MiB │ …        │ replay, draft
//!   follow file              │ walk events, clock │ walk …  │ done ┘
//! ```

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use profiler_core::replay::Follower;
use profiler_core::snapshot::Events;

use crate::prepare::Clock;

/// How many parts may wait before reading does: some 20 MiB.
const WAITING: usize = 64;

/// What was done with the events while they came in.
#[derive(Debug, Default)]
pub struct Ahead {
    /// What the replay begins with.
    pub follower: Follower,
    /// The clock of each list of events.
    pub clocks: Vec<Clock>,
}

impl Ahead {
    fn see(&mut self, list: usize, events: &Events) {
        self.follower.see(list, events);
        if list >= self.clocks.len() {
            self.clocks.resize_with(list + 1, Clock::default);
        }
        if let Some(clock) = self.clocks.get_mut(list) {
            clock.see(events, 0);
        }
    }
}

/// A second thread that follows a reading.
pub struct Following {
    sender: SyncSender<(usize, Events)>,
    /// Parts that are done with: memory that is in the caches, and needs no clearing.
    used: Receiver<Events>,
    /// None where there are no threads: then nothing is followed.
    thread: Option<JoinHandle<Ahead>>,
    /// How many events of each list it was sent.
    sent: Vec<usize>,
}

impl Following {
    /// Starts the thread.
    #[must_use]
    pub fn start() -> Self {
        let (sender, parts) = sync_channel::<(usize, Events)>(WAITING);
        let (give_back, used) = channel();
        let thread = std::thread::Builder::new().name("follow file".to_owned());
        let follow = move || {
            let mut ahead = Ahead::default();
            for (list, mut events) in parts {
                ahead.see(list, &events);
                events.clear();
                // After the last part nobody takes them.
                give_back.send(events).ok();
            }
            ahead
        };
        Self {
            sender,
            used,
            thread: thread.spawn(follow).ok(),
            sent: Vec::new(),
        }
    }

    /// Sends what `lists` have more than the last time.
    pub fn send(&mut self, lists: &[Events]) {
        if self.thread.is_none() {
            return;
        }
        let followed = lists.len().min(Follower::MAX_LISTS);
        self.sent.resize(self.sent.len().max(followed), 0);
        for (list, (events, sent)) in lists.iter().zip(&mut self.sent).enumerate() {
            if events.len() == *sent {
                continue;
            }
            let mut part = self.used.try_recv().unwrap_or_default();
            part.append(events, *sent);
            *sent = events.len();
            // A thread that has ended is found out when it is joined.
            self.sender.send((list, part)).ok();
        }
    }

    /// Waits until everything sent is done with. Nothing was, if the thread did not end well.
    #[must_use]
    pub fn finish(self) -> Ahead {
        drop(self.sender);
        let ahead = self.thread.map(JoinHandle::join);
        ahead.and_then(Result::ok).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::Document;
    use profiler_core::read::Followed;
    use profiler_core::replay::Replay;
    use profiler_core::snapshot::{Action, Event, Snapshot, Trace};

    /// Whatever the parts, the replay and the clock are those of the whole.
    #[test]
    fn a_followed_file_is_the_same() {
        let mut events = Events::default();
        for row in 0..3_000_u64 {
            // Some die and some are from before recording.
            let action = match row % 7 {
                0..=3 => Action::Alloc,
                4 => Action::FreeRequested,
                _ => Action::FreeCompleted,
            };
            events.push(&Event {
                action,
                address: 4096 * (row * row % 97),
                size: 512 + row % 5,
                time_us: 1_000 + row as i64,
                ..Event::default()
            });
        }
        let mut following = Following::start();
        for end in [0, 1, 2, 700, 700, 2_999] {
            let mut shown = Events::default();
            let rows = (0..end).map(|row| events.get(row));
            rows.for_each(|event| {
                shown.push(&event);
            });
            following.send(&[Events::default(), shown]);
        }
        let mut ahead = following.finish();
        let mut clock = ahead.clocks[1].clone();
        let mut snapshot = Snapshot::default();
        snapshot.traces.push(Trace {
            events,
            ..Trace::default()
        });
        let followed = Followed {
            lists: vec![Some(1)],
            snapshot,
        };
        let whole = Replay::new(&followed.snapshot);
        let found = Replay::followed(&followed.snapshot, &mut ahead.follower, &followed.lists);
        assert_eq!(format!("{found:?}"), format!("{whole:?}"));
        // It began with blocks that were there before, so this has to wait for the end.
        assert!(ahead.follower.take_allocated(1).is_none());
        let events = &followed.snapshot.traces[0].events;
        clock.see(events, clock.len());
        assert_eq!(format!("{clock:?}"), format!("{:?}", Clock::new(events)));
    }

    /// Of a recording that began with nothing blocks and curves are known when it is read, and
    /// are those of the whole.
    #[test]
    fn a_recording_from_its_beginning_is_laid_out_while_it_is_read() {
        let mut events = Events::default();
        let mut push = |action, address, size| {
            events.push(&Event {
                action,
                address,
                size,
                ..Event::default()
            });
        };
        push(Action::SegmentAlloc, 4096, 2 << 20);
        for round in 0..400_u64 {
            let address = |slot: u64| 4096 + 1024 * slot;
            push(Action::Alloc, address(0), 1000);
            push(Action::Alloc, address(1), 513 + round % 511);
            push(Action::FreeRequested, address(0), 1000);
            if round % 3 > 0 {
                push(Action::FreeCompleted, address(0), 1000);
            }
            push(Action::FreeRequested, address(1), 513 + round % 511);
            push(Action::FreeCompleted, address(1), 513 + round % 511);
            if round % 3 == 0 {
                push(Action::FreeCompleted, address(0), 1000);
            }
        }
        push(Action::SegmentFree, 4096, 2 << 20);
        let mut snapshot = Snapshot::default();
        snapshot.traces.push(Trace {
            events: events.clone(),
            ..Trace::default()
        });
        let read = || Followed {
            lists: vec![Some(0)],
            snapshot: snapshot.clone(),
        };
        let mut following = Following::start();
        following.send(std::slice::from_ref(&events));
        let mut ahead = following.finish();
        let replay = Replay::followed(&snapshot, &mut ahead.follower, &[Some(0)]);
        let whole = Replay::new(&snapshot);
        assert_eq!(format!("{replay:?}"), format!("{whole:?}"));
        assert!(ahead.follower.take_allocated(0).is_some());
        let mut following = Following::start();
        following.send(std::slice::from_ref(&events));
        let draft = Document::draft("a".to_owned(), None, read(), following.finish());
        let plain = Document::draft("a".to_owned(), None, read(), Ahead::default());
        let devices = |document: &Document| format!("{:?}", document.devices);
        assert_eq!(devices(&draft), devices(&plain));
        assert!(draft.devices[0].allocated_curve.len() > 1_000);
    }
}
