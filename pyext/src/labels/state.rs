//! What each thread is in.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::label::Label;

/// What one thread is in.
#[derive(Default)]
pub(super) struct State {
    /// The labeller that all else belongs to.
    owner: u64,
    /// A number of the thread's own, given once; 0 is none.
    pub(super) thread: u64,
    /// The modules it is in, outermost first.
    pub(super) stack: Vec<Entered>,
    /// The label told last; None for none.
    pub(super) current: Option<Py<PyString>>,
    /// The innermost module.
    pub(super) module: Option<Py<Label>>,
    /// The label of the graph node that the backward pass reached last.
    pub(super) node: Option<Py<PyString>>,
    /// The backward pass whose end this thread waits for; None for none.
    pub(super) pass: Option<i64>,
    /// Sequence numbers of graph nodes that have a hook; each thread counts its own.
    pub(super) hooked: HashSet<i64, RandomState>,
    /// Whether the modules it is in run forward within a backward pass.
    pub(super) recomputes: bool,
}

/// A module that was entered: what to go back to when it is left.
pub(super) struct Entered {
    pub(super) label: Option<Py<PyString>>,
    pub(super) module: Option<Py<Label>>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

static THREADS: AtomicU64 = AtomicU64::new(1);

/// Looks at the calling thread's state for the labeller numbered `owner`. `look` must neither run
/// Python's code nor let go of an object of Python's: it returns what it took out.
pub(super) fn with<R>(owner: u64, look: impl FnOnce(&mut State) -> R) -> R {
    let (found, old) = STATE.with_borrow_mut(|state| {
        let mut old = None;
        if state.owner != owner {
            let thread = match state.thread {
                0 => THREADS.fetch_add(1, Ordering::Relaxed),
                known => known,
            };
            let fresh = State {
                owner,
                thread,
                ..State::default()
            };
            old = Some(std::mem::replace(state, fresh));
        }
        (look(state), old)
    });
    drop(old);
    found
}
