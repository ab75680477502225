//! A thread that answers the latest question.
//!
//! The UI asks as often as it likes; a question that a newer one has overtaken is dropped, or
//! given up half way. So the UI thread never waits, and the worker is never behind by more than
//! one answer. In the browser, which has no threads here, a question is answered when its answer
//! is asked for.

#[cfg(not(target_arch = "wasm32"))]
pub use threaded::Worker;

#[cfg(target_arch = "wasm32")]
pub use inline::Worker;

/// What a worker does with a question: an answer, or None if the function says it is stale.
pub trait Work<Q, A>: FnMut(Q, &dyn Fn() -> bool) -> Option<A> {}
impl<Q, A, F: FnMut(Q, &dyn Fn() -> bool) -> Option<A>> Work<Q, A> for F {}

#[cfg(not(target_arch = "wasm32"))]
mod threaded {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use super::Work;

    struct Slot<Q> {
        question: Option<Q>,
        is_closed: bool,
    }

    struct Shared<Q> {
        slot: Mutex<Slot<Q>>,
        arrived: Condvar,
        /// A newer question waits, or nobody will hear the answer.
        is_overtaken: AtomicBool,
        is_busy: AtomicBool,
    }

    /// See the module.
    pub struct Worker<Q, A> {
        shared: Arc<Shared<Q>>,
        answers: Receiver<A>,
    }

    impl<Q: Send + 'static, A: Send + 'static> Worker<Q, A> {
        /// Starts a thread called `name`; `wake` is called after each answer.
        #[must_use]
        pub fn new(
            name: &str,
            work: impl Work<Q, A> + Send + 'static,
            wake: impl Fn() + Send + 'static,
        ) -> Self {
            let shared = Arc::new(Shared {
                slot: Mutex::new(Slot {
                    question: None,
                    is_closed: false,
                }),
                arrived: Condvar::new(),
                is_overtaken: AtomicBool::new(false),
                is_busy: AtomicBool::new(false),
            });
            let (sender, answers) = channel();
            let theirs = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(name.to_owned());
            // Without a thread questions stay unanswered: the panes stay empty, the app lives.
            let started = thread.spawn(move || run(&theirs, work, &sender, wake));
            drop(started);
            Self { shared, answers }
        }

        /// Asks, in place of any question not answered yet.
        pub fn ask(&self, question: Q) {
            let mut slot = self
                .shared
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            slot.question = Some(question);
            self.shared.is_overtaken.store(true, Ordering::Relaxed);
            self.shared.is_busy.store(true, Ordering::Relaxed);
            self.shared.arrived.notify_one();
        }

        /// The latest answer, if one has come since the last call.
        #[must_use]
        pub fn answer(&self) -> Option<A> {
            self.answers.try_iter().last()
        }

        /// [`Self::answer`], waiting for at most `limit` if there is none yet.
        #[must_use]
        pub fn answer_within(&self, limit: Duration) -> Option<A> {
            let first = self.answers.recv_timeout(limit).ok();
            self.answer().or(first)
        }

        /// Whether a question is still open.
        #[must_use]
        pub fn is_busy(&self) -> bool {
            self.shared.is_busy.load(Ordering::Relaxed)
        }
    }

    impl<Q, A> Drop for Worker<Q, A> {
        fn drop(&mut self) {
            let mut slot = self
                .shared
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            slot.is_closed = true;
            self.shared.is_overtaken.store(true, Ordering::Relaxed);
            self.shared.arrived.notify_one();
        }
    }

    fn run<Q, A>(
        shared: &Shared<Q>,
        mut work: impl Work<Q, A>,
        answers: &Sender<A>,
        wake: impl Fn(),
    ) {
        loop {
            let question = {
                let mut slot = shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if slot.is_closed {
                        return;
                    }
                    if let Some(question) = slot.question.take() {
                        shared.is_overtaken.store(false, Ordering::Relaxed);
                        break question;
                    }
                    shared.is_busy.store(false, Ordering::Relaxed);
                    let waited = shared.arrived.wait(slot);
                    slot = waited.unwrap_or_else(PoisonError::into_inner);
                }
            };
            let is_stale = || shared.is_overtaken.load(Ordering::Relaxed);
            if let Some(answer) = work(question, &is_stale) {
                if answers.send(answer).is_err() {
                    return;
                }
                let slot = shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
                if slot.question.is_none() {
                    shared.is_busy.store(false, Ordering::Relaxed);
                }
                drop(slot);
                wake();
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod inline {
    use std::cell::RefCell;

    use super::Work;

    /// See the module.
    pub struct Worker<Q, A> {
        question: RefCell<Option<Q>>,
        work: RefCell<Box<dyn Work<Q, A>>>,
        wake: Box<dyn Fn()>,
    }

    impl<Q: 'static, A: 'static> Worker<Q, A> {
        /// A worker that works when asked for its answer.
        #[must_use]
        pub fn new(
            _name: &str,
            work: impl Work<Q, A> + 'static,
            wake: impl Fn() + 'static,
        ) -> Self {
            Self {
                question: RefCell::default(),
                work: RefCell::new(Box::new(work)),
                wake: Box::new(wake),
            }
        }

        /// Asks, in place of any question not answered yet.
        pub fn ask(&self, question: Q) {
            *self.question.borrow_mut() = Some(question);
            (self.wake)();
        }

        /// The latest answer, if one has come since the last call.
        #[must_use]
        pub fn answer(&self) -> Option<A> {
            let question = self.question.borrow_mut().take()?;
            (self.work.borrow_mut())(question, &|| false)
        }

        /// [`Self::answer`].
        #[must_use]
        pub fn answer_within(&self, _limit: std::time::Duration) -> Option<A> {
            self.answer()
        }

        /// Whether a question is still open.
        #[must_use]
        pub fn is_busy(&self) -> bool {
            self.question.borrow().is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_latest_question_is_answered() {
        let worker = Worker::new(
            "test",
            |question: u32, is_stale: &dyn Fn() -> bool| {
                if question == 0 {
                    // Waits for a newer question.
                    while !is_stale() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    return None;
                }
                Some(question * 2)
            },
            || {},
        );
        worker.ask(0);
        worker.ask(7);
        let began = Instant::now();
        let answer = loop {
            if let Some(answer) = worker.answer() {
                break answer;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no answer");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(answer, 14);
    }
}
