//! Snapshots to test on: real ones where they are, and made ones.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::PathBuf;

use gpumemprof_viewer::prepare::Document;
use profiler_core::snapshot::{Action, DeviceId, Event, Events, Snapshot, StreamId, Trace};

/// A real snapshot by its name in the shared folder or in `samples`; None, and a word about it,
/// without one.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared =
        std::env::var_os("GPUMEMPROF_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folders = [
        root.join("samples"),
        shared.join("snapshots/simulated"),
        shared.join("snapshots/public"),
    ];
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "skipped: {name} is neither in samples nor in {}",
            shared.display()
        );
    }
    found
}

/// The document of a real snapshot.
pub(crate) fn real_document(name: &str) -> Option<Document> {
    let path = real(name)?;
    let bytes = std::fs::read(&path).unwrap();
    let snapshot = profiler_core::read::read(&bytes).unwrap();
    Some(Document::new(name.to_owned(), Some(path), snapshot))
}

/// A snapshot of allocations given as birth order, bytes and how many events each lives; all are
/// freed in the end, so that no segment is left.
pub(crate) fn made(allocations: &[(u64, usize)]) -> Snapshot {
    let mut events = Events::default();
    let mut live: Vec<(usize, u64, u64)> = Vec::new();
    let free = |events: &mut Events, address: u64, size: u64| {
        for action in [Action::FreeRequested, Action::FreeCompleted] {
            events.push(&Event {
                action,
                address,
                size,
                ..Event::default()
            });
        }
    };
    for (at, &(size, life)) in allocations.iter().enumerate() {
        let dead: Vec<_> = live.iter().copied().filter(|one| one.0 <= at).collect();
        live.retain(|one| one.0 > at);
        for (_, address, size) in dead {
            free(&mut events, address, size);
        }
        let address = (at as u64 + 1) << 32;
        let stream = StreamId::DEFAULT;
        let action = Action::Alloc;
        events.push(&Event {
            action,
            address,
            size,
            stream,
            ..Event::default()
        });
        live.push((at + 1 + life, address, size));
    }
    for (_, address, size) in live {
        free(&mut events, address, size);
    }
    let trace = Trace {
        device: DeviceId(0),
        events,
    };
    Snapshot {
        traces: vec![trace],
        ..Snapshot::default()
    }
}
