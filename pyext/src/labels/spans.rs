//! What ran when in which thread, for PyTorch before 2.10, whose events carry no label.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// What each thread ran from which time on; the newest entries.
pub(super) struct SpanLog {
    entries: Mutex<VecDeque<Span>>,
    capacity: usize,
}

struct Span {
    time_us: u64,
    /// None: nothing known.
    text: Option<Py<PyString>>,
    /// [`State::thread`](super::state::State::thread).
    thread: u64,
}

impl SpanLog {
    /// Keeps the newest `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `thread` runs what `text` says from now on.
    pub(super) fn add(&self, text: Option<&Bound<'_, PyString>>, thread: u64) {
        // The clock of PyTorch's events (`std::chrono::system_clock`, c10/util/ApproximateClock.h).
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let span = Span {
            time_us: now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX)),
            text: text.map(|text| text.clone().unbind()),
            thread,
        };
        let mut entries = self.entries();
        let is_full = entries.len() >= self.capacity;
        let forgotten = if is_full { entries.pop_front() } else { None };
        entries.push_back(span);
        drop(entries);
        drop(forgotten);
    }

    /// The labels, and the spans that name them by position (-1: nothing known), oldest first: the
    /// keys `labels` and `spans` of a sidecar.
    pub(super) fn document<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Vec<String>, Bound<'py, PyDict>)> {
        let copy: Vec<_> = {
            let entries = self.entries();
            let spans = entries.iter();
            spans
                .map(|span| {
                    let text = span.text.as_ref().map(|text| text.clone_ref(py));
                    (span.time_us, text, span.thread)
                })
                .collect()
        };
        let mut labels: Vec<String> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut threads: HashMap<u64, usize> = HashMap::new();
        let (mut times, mut positions, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (time_us, text, thread) in copy {
            let position = match text {
                None => -1,
                Some(text) => {
                    let text = text.bind(py).to_cow()?.into_owned();
                    let next = labels.len();
                    let position = *known.entry(text).or_insert_with_key(|text| {
                        labels.push(text.clone());
                        next
                    });
                    i64::try_from(position).unwrap_or(-1)
                }
            };
            let next = threads.len();
            times.push(time_us);
            positions.push(position);
            numbers.push(*threads.entry(thread).or_insert(next));
        }
        let spans = PyDict::new(py);
        spans.set_item("time_us", times)?;
        spans.set_item("label", positions)?;
        spans.set_item("thread", numbers)?;
        Ok((labels, spans))
    }
}
