//! The polling thread and what it shares.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use serde::Serialize;

use super::board::{self, Board, BoardSample};

/// All boards at one time.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// Microseconds since the Unix epoch: the clock of PyTorch's own events.
    time_us: i64,
    boards: Vec<BoardSample>,
}

/// What has been seen (schema `gpumemprof.samples/1`).
#[derive(Debug, Serialize)]
struct Seen {
    schema: &'static str,
    /// This process's id as it sees itself.
    process: u32,
    /// And as the kernel's outermost visible namespace sees it, where that is another.
    outer_process: Option<u32>,
    driver: Option<String>,
    boards: Vec<Board>,
    /// Why there are no (more) samples.
    problem: Option<String>,
    /// Samples given up for newer ones.
    dropped: u64,
    samples: VecDeque<Sample>,
}

/// What the thread and the interpreter share.
#[derive(Debug)]
pub(crate) struct Shared {
    seen: Mutex<Seen>,
    capacity: usize,
    /// Whether to stop, and the bell that says so.
    stop: Mutex<bool>,
    bell: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let seen = Seen {
            schema: "gpumemprof.samples/1",
            process: std::process::id(),
            outer_process: outer_process(),
            driver: None,
            boards: Vec::new(),
            problem: None,
            dropped: 0,
            samples: VecDeque::new(),
        };
        Arc::new(Self {
            seen: Mutex::new(seen),
            capacity,
            stop: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&*locked(&self.seen))
    }

    pub(crate) fn problem(&self) -> Option<String> {
        locked(&self.seen).problem.clone()
    }

    fn push(&self, sample: Sample) {
        let mut seen = locked(&self.seen);
        if seen.samples.len() >= self.capacity {
            seen.samples.pop_front();
            seen.dropped += 1;
        }
        seen.samples.push_back(sample);
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
}

/// The running thread.
pub(crate) struct Watcher {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    /// The process that started it: after a fork the child has no such thread to join.
    process: u32,
}

impl Watcher {
    pub(crate) fn start(
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

    pub(crate) fn stop(self) {
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
pub(crate) fn sample_once(shared: &Shared, library: Option<PathBuf>) {
    if let Some(nvml) = open(shared, library) {
        look(shared, &nvml);
    }
}

fn watch(shared: &Shared, interval: Duration, library: Option<PathBuf>) {
    let Some(nvml) = open(shared, library) else {
        return;
    };
    let mut next = Instant::now();
    loop {
        if !look(shared, &nvml) {
            return;
        }
        // Late samples are left out instead of caught up with.
        next = (next + interval).max(Instant::now());
        if shared.wait(next) {
            look(shared, &nvml);
            return;
        }
    }
}

/// Loads NVML and lists the boards; None, with the problem noted, if that fails.
fn open(shared: &Shared, library: Option<PathBuf>) -> Option<Nvml> {
    let nvml = match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => {
            // `libnvidia-ml.so` is in the development package only; drivers bring the `.so.1`.
            Nvml::builder()
                .lib_path("libnvidia-ml.so.1".as_ref())
                .init()
                .or_else(|_| Nvml::init())
        }
    };
    let opened = nvml.and_then(|nvml| {
        let boards = board::boards(&nvml)?;
        Ok((nvml, boards))
    });
    match opened {
        Ok((nvml, boards)) => {
            let mut seen = locked(&shared.seen);
            seen.driver = nvml.sys_driver_version().ok();
            seen.boards = boards;
            Some(nvml)
        }
        Err(error) => {
            locked(&shared.seen).problem = Some(explain(&error));
            None
        }
    }
}

/// Takes one sample; whether there can be more.
fn look(shared: &Shared, nvml: &Nvml) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time_us = now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let indices: Vec<u32> = {
        let seen = locked(&shared.seen);
        seen.boards.iter().map(|board| board.index).collect()
    };
    let mut boards = Vec::with_capacity(indices.len());
    let mut problem = None;
    for index in &indices {
        match board::sample(nvml, *index) {
            Ok(sample) => boards.push(sample),
            Err(error) => problem = Some(format!("GPU {index}: {}", explain(&error))),
        }
    }
    let can_go_on = !boards.is_empty();
    if can_go_on {
        shared.push(Sample { time_us, boards });
    }
    if problem.is_some() {
        locked(&shared.seen).problem = problem;
    }
    can_go_on
}

/// What an error means to a user.
fn explain(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "NVML (libnvidia-ml.so.1) is not here, so the device cannot be watched: it comes with \
             the NVIDIA driver; in a container, start it with the NVIDIA runtime"
                .to_owned()
        }
        NvmlError::NoPermission => {
            "NVML does not let this user read the device; the rest works".to_owned()
        }
        NvmlError::DriverNotLoaded => {
            "the NVIDIA driver is not loaded, so the device cannot be watched".to_owned()
        }
        NvmlError::GpuLost => {
            "the GPU fell off the bus or is otherwise lost (NVML: GPU is lost); see the kernel log \
             for Xid messages"
                .to_owned()
        }
        other => format!("NVML: {other}"),
    }
}

/// This process's id in the outermost namespace that `/proc` shows, if it is another than its own:
/// the last but first number of `NSpid`. Docker's default mounts show only the inner one.
fn outer_process() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let first = line.split_ascii_whitespace().next()?.parse().ok()?;
    (first != std::process::id()).then_some(first)
}
