//! Opening, dropping, reloading and closing files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ask::Asked;
use crate::load::{Loading, Origin};
use crate::narrow::narrow;
use crate::prepare::{AxisKind, Document};
use crate::timeline::{Track, View, axis_length};

use super::Viewer;
use super::session::MAX_RECENT;

impl Viewer {
    /// Opens every file of `paths`.
    pub fn open_paths(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            // A path as typed would mean another file after a change of folder.
            let path = std::path::absolute(&path).unwrap_or(path);
            self.open(Origin::Path(path));
        }
    }

    /// Takes files that have been opened, dropped or written again since the last frame.
    pub(super) fn collect_files(&mut self, context: &egui::Context) {
        let dropped = context.input(|input| input.raw.dropped_files.clone());
        for file in dropped {
            self.take_dropped(&file);
        }
        #[cfg(target_arch = "wasm32")]
        while let Ok((name, bytes)) = self.dropped.1.try_recv() {
            match bytes {
                Ok(bytes) => self.open(Origin::Bytes(name, bytes.into())),
                Err(error) => self.failures.push((name, error)),
            }
        }
        #[cfg(not(target_arch = "wasm32"))]
        while let Some(path) = self.watch.changed() {
            self.open(Origin::Path(path));
        }
        let mut at = 0;
        while at < self.loading.len() {
            let Some(result) = self.loading[at].result() else {
                at += 1;
                continue;
            };
            let is_draft = matches!(&result, Ok(document) if !document.is_attributed);
            let name = self.loading[at].origin.name();
            match result {
                Ok(document) => {
                    let had_draft = std::mem::take(&mut self.loading[at].is_draft_shown);
                    self.loading[at].is_draft_shown = is_draft;
                    if had_draft {
                        self.complete(&document);
                    } else {
                        self.show(document);
                    }
                }
                Err(error) if error.is_cancelled() => {}
                Err(error) => self
                    .failures
                    .push((format!("{name} did not open"), error.to_string())),
            }
            if !is_draft {
                self.loading.remove(at);
            }
        }
    }

    /// Lets opening go on where the picture of the draft is there.
    pub(super) fn go_on_loading(&mut self) {
        let awaits = |track: &Track| track.awaits_picture() && track.drawn().is_none();
        if !self.tracks.iter().any(awaits) {
            let shown = self.loading.iter_mut().filter(|it| it.is_draft_shown);
            shown.for_each(Loading::draft_is_drawn);
        }
    }

    /// Puts `document` in place of its draft, unless that has been closed. All that is chosen
    /// stays: allocations, moments and stacks have the same numbers.
    fn complete(&mut self, document: &Arc<Document>) {
        for at in 0..self.tracks.len() {
            if self.tracks[at].document.is_same_reading(document) {
                self.succeed(at, document);
            }
        }
    }

    /// Puts `document` in place of the one of track `at`.
    fn succeed(&mut self, at: usize, document: &Arc<Document>) {
        let last = document.devices.len().saturating_sub(1);
        let device = self.tracks[at].device.min(last);
        let is_same = self.tracks[at].document.is_same_reading(document);
        let document = Arc::clone(document);
        let mut narrower = self.narrower(&document, device);
        if is_same {
            narrower.show_meanwhile(self.narrowed[at].take_answer());
            let track = self.tracks[at].succeeded_by(document, device, &self.context);
            self.tracks[at] = track;
        } else {
            self.tracks[at] = Track::new(document, device, &self.context);
        }
        self.narrowed[at] = narrower;
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn take_dropped(&mut self, file: &egui::DroppedFileHandle) {
        self.open(Origin::Path(file.path().to_owned()));
    }

    /// The browser gives the bytes later.
    #[cfg(target_arch = "wasm32")]
    fn take_dropped(&mut self, file: &egui::DroppedFileHandle) {
        let (file, sender) = (Arc::clone(file), self.dropped.0.clone());
        let context = self.context.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let name = file.path().display().to_string();
            // The window may be gone.
            sender.send((name, file.bytes_async().await)).ok();
            context.request_repaint();
        });
    }

    /// Shows `document`, in place of an earlier reading of the same file.
    pub fn show(&mut self, document: Arc<Document>) {
        let path = document.path.clone();
        if let Some(path) = &path {
            self.recent.retain(|known| known != path);
            self.recent.insert(0, path.clone());
            self.recent.truncate(MAX_RECENT);
        }
        let is_same = |track: &Track| path.is_some() && track.document.path == path;
        let known: Vec<usize> = (0..self.tracks.len())
            .filter(|&at| is_same(&self.tracks[at]))
            .collect();
        let is_first = self.tracks.is_empty();
        let view = self.selection.view;
        let was_whole = view.from <= 0.0 && view.to >= axis_length(&self.tracks, &self.selection);
        if known.is_empty() {
            self.add_track(Arc::clone(&document), document.busiest());
        }
        for at in known {
            self.succeed(at, &document);
            if at == self.selection.track {
                // Numbers of the old reading mean nothing in the new one.
                (self.selection.allocation, self.selection.range) = (None, None);
                (self.selection.filter.stack, self.selection.filter.layer) = (None, None);
                self.selection.moment = self.selection.moment.min(self.tracks[at].prepared().last);
            }
        }
        if is_first {
            let prepared = self.tracks[0].prepared();
            if !prepared.clock.is_known() {
                self.selection.view.axis = AxisKind::Events;
            }
            let length = axis_length(&self.tracks, &self.selection);
            self.selection.view = View::whole(self.selection.view.axis, length);
            self.selection.track = 0;
            self.selection.moment = self.tracks[0].prepared().peak.0;
        } else if was_whole {
            // Several files open in any order: all of all of them is in view.
            let length = axis_length(&self.tracks, &self.selection);
            self.selection.view = View {
                bytes: view.bytes,
                ..View::whole(view.axis, length)
            };
        }
        self.watch_files(path.as_ref());
    }

    /// Shows another device of a document as a track of its own.
    pub fn add_track(&mut self, document: Arc<Document>, device: usize) {
        self.narrowed.push(self.narrower(&document, device));
        self.tracks
            .push(Track::new(document, device, &self.context));
    }

    fn narrower(
        &self,
        document: &Arc<Document>,
        device: usize,
    ) -> Asked<crate::narrow::Question, crate::narrow::Narrowed> {
        let document = Arc::clone(document);
        Asked::new(
            &self.context,
            "filter",
            move |question, is_stale: &dyn Fn() -> bool| {
                narrow(&document, device, question, is_stale)
            },
        )
    }

    /// Reads the active file again.
    pub(super) fn reload(&mut self) {
        let path = self
            .subject()
            .and_then(|subject| subject.document.path.clone());
        if let Some(path) = path {
            self.open(Origin::Path(path));
        }
    }

    /// Closes the active file, with all its tracks.
    pub(super) fn close(&mut self) {
        let Some(subject) = self.subject() else {
            return;
        };
        let mut at = 0;
        while at < self.tracks.len() {
            if Arc::ptr_eq(&self.tracks[at].document, &subject.document) {
                self.tracks.remove(at);
                self.narrowed.remove(at);
            } else {
                at += 1;
            }
        }
        self.selection.track = 0;
        (self.selection.allocation, self.selection.range) = (None, None);
        (self.selection.filter.stack, self.selection.filter.layer) = (None, None);
        if let Some(track) = self.tracks.first() {
            self.selection.moment = track.prepared().peak.0;
            let length = axis_length(&self.tracks, &self.selection);
            self.selection.view = View::whole(self.selection.view.axis, length);
        }
        self.watch_files(None);
    }

    fn watch_files(&self, read_again: Option<&PathBuf>) {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let paths = self
                .tracks
                .iter()
                .filter_map(|track| track.document.path.clone());
            self.watch.set(paths.collect(), read_again);
        }
        #[cfg(target_arch = "wasm32")]
        let _ = read_again;
    }
}
