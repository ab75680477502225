//! Questions that panes ask the background, each asked once.

use std::sync::Arc;

use profiler_core::replay::DeviceReplay;

use crate::prepare::{Document, Mask, PreparedDevice};
use crate::worker::{Work, Worker};

/// One device of one document. Two are equal if they are the same reading of the same file.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The document.
    pub document: Arc<Document>,
    /// Which of its devices.
    pub device: usize,
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.document, &other.document) && self.device == other.device
    }
}

impl Subject {
    /// The replay of the device.
    #[must_use]
    pub fn replay(&self) -> Option<&DeviceReplay> {
        self.document.replay.devices.get(self.device)
    }

    /// What was prepared for the device.
    #[must_use]
    pub fn prepared(&self) -> Option<&PreparedDevice> {
        self.document.devices.get(self.device).map(Arc::as_ref)
    }
}

/// What a filter keeps; None for all. Two are equal if they are the same answer.
#[derive(Clone, Debug, Default)]
pub struct Kept(pub Option<Arc<Mask>>);

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Kept {
    /// Whether `row` is kept.
    #[must_use]
    pub fn has(&self, row: u32) -> bool {
        self.0.as_ref().is_none_or(|mask| mask.has(row))
    }
}

/// A worker with the question asked last and the latest answer.
pub struct Asked<Q, A> {
    worker: Worker<Q, A>,
    asked: Option<Q>,
    answer: Option<A>,
}

impl<Q: Clone + PartialEq + Send + 'static, A: Send + 'static> Asked<Q, A> {
    /// A worker called `name` that wakes `context` when it has an answer.
    #[must_use]
    pub fn new(
        context: &egui::Context,
        name: &str,
        work: impl Work<Q, A> + Send + 'static,
    ) -> Self {
        let context = context.clone();
        let worker = Worker::new(name, work, move || context.request_repaint());
        Self {
            worker,
            asked: None,
            answer: None,
        }
    }

    /// Asks `question` unless it was asked last. True if a new answer has come.
    pub fn want(&mut self, question: Q) -> bool {
        if self.asked.as_ref() != Some(&question) {
            self.worker.ask(question.clone());
            self.asked = Some(question);
        }
        let answer = self.worker.answer();
        let is_new = answer.is_some();
        self.answer = answer.or(self.answer.take());
        is_new
    }

    /// Has `answer` stand for the answer until there is one.
    pub fn show_meanwhile(&mut self, answer: Option<A>) {
        self.answer = answer;
    }

    /// Takes the latest answer away.
    #[must_use]
    pub fn take_answer(&mut self) -> Option<A> {
        self.answer.take()
    }

    /// The latest answer, which may be to an earlier question.
    #[must_use]
    pub fn answer(&self) -> Option<&A> {
        self.answer.as_ref()
    }

    /// Whether anything has been asked yet.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether a question is still open.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.worker.is_busy()
    }
}
