//! A thread that polls NVML, and the series it keeps.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::board::{self, Board, BoardSample, Notes};
use crate::identity::Own;
use crate::nvml::Driver;

/// All boards at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When NVML was asked, in microseconds since the Unix epoch: the clock of PyTorch's events.
    pub time_us: i64,
    /// When the last answer was there.
    pub until_us: i64,
    /// The boards that answered.
    pub boards: Vec<BoardSample>,
}

/// What has been seen (schema `gpumemprof.samples/1`).
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// `gpumemprof.samples/1`.
    pub schema: &'static str,
    /// This process's id as it sees itself.
    pub process: u32,
    /// And as the outermost visible namespace sees it, where that is another.
    pub outer_process: Option<u32>,
    /// The driver's release.
    pub driver: Option<String>,
    /// The boards there were at the start.
    pub boards: Vec<Board>,
    /// Why there are no samples, or no more of some board.
    pub problem: Option<String>,
    /// What the driver does not give.
    pub notes: Notes,
    /// Samples given up for newer ones.
    pub dropped: u64,
    /// Oldest first.
    pub samples: VecDeque<Sample>,
}

/// The series, shared with the thread that fills it.
#[derive(Debug)]
pub struct Shared {
    series: Mutex<Series>,
    capacity: usize,
    /// Whether to stop, and the bell that says so.
    stop: Mutex<bool>,
    bell: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time on the clock of PyTorch's events.
#[must_use]
pub fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

impl Shared {
    /// An empty series that keeps the newest `capacity` samples.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        let own = Own::new();
        let series = Series {
            schema: "gpumemprof.samples/1",
            process: own.process,
            outer_process: own.outer_process,
            driver: None,
            boards: Vec::new(),
            problem: None,
            notes: Notes::default(),
            dropped: 0,
            samples: VecDeque::new(),
        };
        Arc::new(Self {
            series: Mutex::new(series),
            capacity: capacity.max(1),
            stop: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    /// The series as it is now.
    #[must_use]
    pub fn series(&self) -> Series {
        locked(&self.series).clone()
    }

    /// What a user should be told: why samples are missing, and what the driver does not give.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let series = locked(&self.series);
        series
            .problem
            .iter()
            .chain(series.notes.all())
            .cloned()
            .collect()
    }

    /// Why samples are missing, if they are.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        locked(&self.series).problem.clone()
    }

    fn push(&self, sample: Sample) {
        let mut series = locked(&self.series);
        if series.samples.len() >= self.capacity {
            series.samples.pop_front();
            series.dropped += 1;
        }
        series.samples.push_back(sample);
    }

    /// Sleeps until `until`; whether to stop.
    fn wait(&self, until: Instant) -> bool {
        let mut stop = locked(&self.stop);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if *stop || left.is_zero() {
                return *stop;
            }
            stop = match self.bell.wait_timeout(stop, left) {
                Ok((stop, _)) => stop,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn open(&self, library: Option<PathBuf>) -> Option<Driver> {
        let opened = Driver::open(library);
        let mut series = locked(&self.series);
        match opened {
            Ok(driver) => {
                series.driver.clone_from(&driver.version);
                series.boards.clone_from(&driver.boards);
                Some(driver)
            }
            Err(problem) => {
                series.problem = Some(problem);
                None
            }
        }
    }

    /// Takes one sample; whether there can be more.
    fn look(&self, driver: &Driver) -> bool {
        let time_us = now_us();
        let mut notes = Notes::default();
        let mut problem = None;
        let mut boards = Vec::with_capacity(driver.boards.len());
        for board in &driver.boards {
            match board::sample(driver, board, &mut notes) {
                Ok(sample) => boards.push(sample),
                Err(error) => problem = Some(error),
            }
        }
        let can_go_on = !boards.is_empty();
        if can_go_on {
            self.push(Sample {
                time_us,
                until_us: now_us(),
                boards,
            });
        }
        let mut series = locked(&self.series);
        for note in notes.all() {
            series.notes.add(note.clone());
        }
        if problem.is_some() {
            series.problem = problem;
        }
        can_go_on
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Watcher {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    /// The process that started it: after a fork the child has no such thread to join.
    process: u32,
}

impl Watcher {
    /// Starts polling every `interval`, with NVML from `library` or where the loader finds it.
    /// That there is none is the series' `problem`, not an error.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        shared: &Arc<Shared>,
        interval: Duration,
        library: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        let theirs = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("gpumemprof-nvml".to_owned())
            .spawn(move || watch(&theirs, interval, library))?;
        Ok(Self {
            thread,
            shared: Arc::clone(shared),
            process: std::process::id(),
        })
    }

    /// Stops the thread after a last sample and waits for it.
    pub fn stop(self) {
        if self.process != std::process::id() {
            // A forked child: the thread is the parent's, and joining it here would panic.
            std::mem::forget(self.thread);
            return;
        }
        *locked(&self.shared.stop) = true;
        self.shared.bell.notify_all();
        // A thread that panicked has told the panic hook already.
        self.thread.join().ok();
    }
}

/// One sample into `shared`.
pub fn sample_once(shared: &Shared, library: Option<PathBuf>) {
    if let Some(driver) = shared.open(library) {
        shared.look(&driver);
    }
}

fn watch(shared: &Shared, interval: Duration, library: Option<PathBuf>) {
    let Some(driver) = shared.open(library) else {
        return;
    };
    let mut next = Instant::now();
    loop {
        if !shared.look(&driver) {
            return;
        }
        // Late samples are left out instead of caught up with.
        next = (next + interval).max(Instant::now());
        if shared.wait(next) {
            shared.look(&driver);
            return;
        }
    }
}
