//! Opening, dropping, reloading and closing files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::load::Origin;
use crate::prepare::{AxisKind, Document};
use crate::timeline::{Track, View, axis_length};

use super::Viewer;

impl Viewer {
    /// Opens every file of `paths`.
    pub fn open_paths(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            self.open(Origin::Path(path));
        }
    }

    /// Takes files that have been opened or dropped since the last frame.
    pub(super) fn collect_files(&mut self, context: &egui::Context) {
        let dropped = context.input(|input| input.raw.dropped_files.clone());
        for file in dropped {
            self.take_dropped(&file);
        }
        if let Some(paths) = self
            .chosen
            .as_ref()
            .and_then(|chosen| chosen.try_recv().ok())
        {
            self.chosen = None;
            self.open_paths(paths);
        }
        let mut at = 0;
        while at < self.loading.len() {
            let Some(result) = self.loading[at].result() else {
                at += 1;
                continue;
            };
            let loading = self.loading.remove(at);
            match result {
                Ok(document) => self.show(Arc::new(document)),
                Err(error) if error.is_cancelled() => {}
                Err(error) => self
                    .failures
                    .push((loading.origin.name(), error.to_string())),
            }
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn take_dropped(&mut self, file: &egui::DroppedFileHandle) {
        self.open(Origin::Path(file.path().to_owned()));
    }

    /// Shows `document`, in place of an earlier reading of the same file.
    pub fn show(&mut self, document: Arc<Document>) {
        let path = document.path.clone();
        let is_same = |track: &Track| path.is_some() && track.document.path == path;
        let at = self.tracks.iter().position(is_same);
        if at.is_some() {
            self.tracks.retain(|track| !is_same(track));
        }
        let first = self.tracks.is_empty();
        let at = at.unwrap_or(self.tracks.len());
        let track = Track::new(Arc::clone(&document), document.busiest(), &self.context);
        self.tracks.insert(at.min(self.tracks.len()), track);
        self.masks = vec![None; self.tracks.len()];
        if first {
            self.selection.track = 0;
            self.selection.view.axis = AxisKind::Events;
            let length = axis_length(&self.tracks, &self.selection);
            self.selection.view = View::whole(AxisKind::Events, length);
            self.selection.moment = self.tracks[0].replay().peak_moment();
        }
    }

    /// Lets the user choose files, without stopping the window meanwhile.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn ask_for_files(&mut self) {
        let (sender, chosen) = std::sync::mpsc::channel();
        let context = self.context.clone();
        let ask = move || {
            let files = rfd::FileDialog::new()
                .set_title("Open memory snapshots")
                .add_filter(
                    "memory snapshots",
                    &["pickle", "pkl", "json", "gz", "zst", "xz", "html"],
                )
                .add_filter("all files", &["*"])
                .pick_files();
            sender.send(files.unwrap_or_default()).ok();
            context.request_repaint();
        };
        drop(
            std::thread::Builder::new()
                .name("file dialog".to_owned())
                .spawn(ask),
        );
        self.chosen = Some(chosen);
    }
}
