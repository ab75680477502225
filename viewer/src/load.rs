//! Opening a file in the background, with progress and a way to stop.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use profiler_core::read::{Progress, ReadError, ReadOptions, read_followed};
use profiler_core::snapshot::Events;

use crate::follow::Following;
use crate::prepare::Document;

/// Why a file did not open.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system would not give the file.
    #[error("could not read the file: {0}")]
    Io(#[from] std::io::Error),
    /// The file is no snapshot, or a damaged one.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The thread that was reading it stopped.
    #[error("reading stopped before it was done; open the file again")]
    Stopped,
}

impl LoadError {
    /// Whether the user stopped it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Read(ReadError::Cancelled))
    }
}

/// What to open.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    Path(PathBuf),
    /// Bytes that were dropped on the window, with their name.
    Bytes(String, Arc<[u8]>),
}

impl Origin {
    /// What the window calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Bytes(..) => None,
        }
    }
}

/// How far opening a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading; bytes done and in all.
    Reading(u64, u64),
    /// Replaying the recorded history.
    Replaying,
    /// Attributing allocations; the draft is there.
    Attributing,
}

/// How long attributing waits for the picture of the draft to be drawn, which needs every core:
/// much longer than that takes, in case the window is not shown.
const PICTURE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Shared {
    step: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    is_cancelled: AtomicBool,
}

/// A file being opened.
pub struct Loading {
    /// What is being opened.
    pub origin: Origin,
    /// When the window first saw it, in egui's seconds.
    pub seen_at: Option<f64>,
    /// Whether a draft of it has been shown.
    pub is_draft_shown: bool,
    is_draft_drawn: bool,
    shared: Arc<Shared>,
    result: Receiver<Result<Arc<Document>, LoadError>>,
    is_drawn: Sender<()>,
}

impl Loading {
    /// Starts opening `origin`; `wake` is called when there is a document or an error. How far
    /// it is ([`Self::step`]) wakes nobody: whoever shows that looks again by itself.
    #[must_use]
    pub fn start(origin: Origin, wake: impl Fn() + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, result) = channel();
        let (is_drawn, drawn) = channel();
        let theirs = (Arc::clone(&shared), origin.clone());
        let work = move || {
            let (shared, origin) = theirs;
            let show = |draft: Arc<Document>| {
                // Nobody may be waiting any more.
                sender.send(Ok(draft)).ok();
                wake();
                // An error means that the window has given it up.
                drawn.recv_timeout(PICTURE).ok();
            };
            let whole = open(&origin, &shared, &show);
            sender.send(whole).ok();
            wake();
        };
        #[cfg(not(target_arch = "wasm32"))]
        {
            let thread = std::thread::Builder::new().name("open file".to_owned());
            // Without a thread the channel closes, which reads as `LoadError::Stopped`.
            drop(thread.spawn(work));
        }
        #[cfg(target_arch = "wasm32")]
        work();
        Self {
            origin,
            seen_at: None,
            is_draft_shown: false,
            is_draft_drawn: false,
            shared,
            result,
            is_drawn,
        }
    }

    /// Says that the draft has been drawn, so that the rest may have every core.
    pub fn draft_is_drawn(&mut self) {
        if !std::mem::replace(&mut self.is_draft_drawn, true) {
            // Whoever has ended no longer waits.
            self.is_drawn.send(()).ok();
        }
    }

    /// How far it is.
    #[must_use]
    pub fn step(&self) -> Step {
        match self.shared.step.load(Ordering::Relaxed) {
            0 => Step::Reading(
                self.shared.done.load(Ordering::Relaxed),
                self.shared.total.load(Ordering::Relaxed),
            ),
            1 => Step::Replaying,
            _ => Step::Attributing,
        }
    }

    /// Stops it at the next chance; [`Self::result`] then says so.
    pub fn cancel(&self) {
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// A document, or why there is none; None while there is nothing new. It is done with an
    /// error or a document that [is attributed](Document::is_attributed); a draft may come
    /// before.
    #[must_use]
    pub fn result(&self) -> Option<Result<Arc<Document>, LoadError>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(LoadError::Stopped)),
        }
    }
}

/// Opens `origin`; `show` gets the draft, to be drawn before allocations are attributed.
fn open(
    origin: &Origin,
    shared: &Shared,
    show: &dyn Fn(Arc<Document>),
) -> Result<Arc<Document>, LoadError> {
    let mut following = Following::start();
    let mut follow = |progress: Progress, lists: &[Events]| {
        following.send(lists);
        shared.done.store(progress.done, Ordering::Relaxed);
        shared.total.store(progress.total, Ordering::Relaxed);
        if shared.is_cancelled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let options = ReadOptions::default();
    let read = match origin {
        Origin::Path(path) => {
            with_file(path, |bytes| read_followed(bytes, &options, &mut follow))??
        }
        Origin::Bytes(_, bytes) => read_followed(bytes, &options, &mut follow)?,
    };
    let go_on = |step: u8| {
        shared.step.store(step, Ordering::Relaxed);
        if shared.is_cancelled.load(Ordering::Relaxed) {
            Err(ReadError::Cancelled)
        } else {
            Ok(())
        }
    };
    go_on(1)?;
    let path = origin.path().map(Path::to_owned);
    let ahead = following.finish();
    let draft = Arc::new(Document::draft(origin.name(), path, read, ahead));
    go_on(2)?;
    // Without threads nothing is drawn before it is done.
    if cfg!(target_arch = "wasm32") {
        return Ok(Arc::new(draft.attributed()));
    }
    show(Arc::clone(&draft));
    let whole = draft.attributed();
    go_on(2)?;
    Ok(Arc::new(whole))
}

/// Gives `read` the bytes of the file at `path`.
#[cfg(not(target_arch = "wasm32"))]
fn with_file<R>(path: &Path, read: impl FnOnce(&[u8]) -> R) -> std::io::Result<R> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "expected a file, found a folder or a device; open the snapshot file itself",
        ));
    }
    if metadata.len() == 0 {
        return Ok(read(&[]));
    }
    #[expect(unsafe_code, reason = "mapping a file has no safe form")]
    // SAFETY: the map is read only, and the reader checks every byte it takes. If another
    // process cuts the file short meanwhile, the system ends this process with a bus error:
    // snapshots are written once, and copying gigabytes first would double the time to open.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(read(&map))
}

#[cfg(target_arch = "wasm32")]
fn with_file<R>(path: &Path, read: impl FnOnce(&[u8]) -> R) -> std::io::Result<R> {
    let bytes = std::fs::read(path)?;
    Ok(read(&bytes))
}
