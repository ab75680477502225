//! Notices when an opened file is written again.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// When a file was last written, and how long it is.
type Stamp = Option<(SystemTime, u64)>;

struct Watched {
    path: PathBuf,
    /// As it was opened.
    opened: Stamp,
    /// As it was at the last look.
    seen: Stamp,
}

/// A thread that looks at the opened files, so that a slow disk never stops the window.
pub(super) struct Watch {
    files: Arc<Mutex<Vec<Watched>>>,
    changed: Receiver<PathBuf>,
}

/// Time between two looks. A file that changed is read again when it has stayed the same from
/// one look to the next: before, it may still be being written.
const PERIOD: Duration = Duration::from_millis(1000);

impl Watch {
    /// Starts the thread.
    pub(super) fn new(context: &egui::Context) -> Self {
        let files = Arc::new(Mutex::new(Vec::new()));
        let (sender, changed) = channel();
        let (theirs, context) = (Arc::downgrade(&files), context.clone());
        let work = move || watch(&theirs, &sender, &context);
        // Without a thread files are not read again by themselves.
        drop(
            std::thread::Builder::new()
                .name("watch files".to_owned())
                .spawn(work),
        );
        Self { files, changed }
    }

    /// Looks at exactly `paths` from now on; those known keep what is known.
    pub(super) fn set(&self, paths: Vec<PathBuf>, read_again: Option<&PathBuf>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| paths.contains(&file.path) && Some(&file.path) != read_again);
        for path in paths {
            if !files.iter().any(|file| file.path == path) {
                let opened = stamp(&path);
                files.push(Watched {
                    path,
                    opened,
                    seen: opened,
                });
            }
        }
    }

    /// A file that was written again.
    pub(super) fn changed(&self) -> Option<PathBuf> {
        self.changed.try_recv().ok()
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn watch(files: &Weak<Mutex<Vec<Watched>>>, changed: &Sender<PathBuf>, context: &egui::Context) {
    loop {
        std::thread::sleep(PERIOD);
        let Some(files) = files.upgrade() else { return };
        let paths: Vec<PathBuf> = {
            let files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.iter().map(|file| file.path.clone()).collect()
        };
        // Not under the lock: this can take long.
        let stamps: Vec<(PathBuf, Stamp)> = paths
            .into_iter()
            .map(|path| (path.clone(), stamp(&path)))
            .collect();
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, now) in stamps {
            let Some(file) = files.iter_mut().find(|file| file.path == path) else {
                continue;
            };
            let is_steady = file.seen == now;
            file.seen = now;
            if is_steady && now.is_some() && now != file.opened {
                file.opened = now;
                if changed.send(path).is_err() {
                    return;
                }
                context.request_repaint();
            }
        }
    }
}
