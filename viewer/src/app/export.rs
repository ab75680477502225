//! What goes out: the table as CSV, the window as PNG.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use egui::ColorImage;
use profiler_core::report::{ReportInput, ReportOptions, html};

use crate::ask::Subject;
use crate::table::{MAX_CSV_ROWS, write_csv};

use super::Viewer;

impl Viewer {
    /// Copies the table's rows, the first [`MAX_CSV_ROWS`] of them.
    pub(super) fn copy_csv(&mut self) {
        let (Some(subject), Some(rows)) = (self.subject(), self.rows()) else {
            return;
        };
        let mut text = Vec::new();
        let first = rows.order.iter().copied().take(MAX_CSV_ROWS);
        // Writing to memory cannot fail.
        if write_csv(&mut text, &subject, first).is_ok() {
            self.context
                .copy_text(String::from_utf8_lossy(&text).into_owned());
        }
        if rows.order.len() > MAX_CSV_ROWS {
            let text = format!("copied the first {MAX_CSV_ROWS} rows; save a file to have all");
            self.failures.push(("Allocations".to_owned(), text));
        }
    }

    /// Writes all rows of the table to `path`, in the background: they can be millions.
    pub(super) fn save_csv(&mut self, path: PathBuf) {
        let (Some(subject), Some(rows)) = (self.subject(), self.rows()) else {
            return;
        };
        let order = rows.order.clone();
        self.save(path, move |path| write_file(path, &subject, &order));
    }

    /// Writes the report of the active file to `path`, in the background.
    pub(super) fn save_html(&mut self, path: PathBuf) {
        let Some(subject) = self.subject() else {
            return;
        };
        self.save(path, move |path| {
            let document = &subject.document;
            let input = ReportInput {
                snapshot: &document.snapshot,
                replay: &document.replay,
                attribution: &document.attribution,
                device_total_bytes: None,
            };
            let title = document.name.clone();
            let options = ReportOptions {
                title,
                redact: false,
                device: None,
            };
            put(path, html(&input, &options).as_bytes())
        });
    }

    /// Has `write` write `path` in the background; what goes wrong is told.
    fn save(
        &mut self,
        path: PathBuf,
        write: impl FnOnce(&Path) -> std::io::Result<()> + Send + 'static,
    ) {
        let (sender, failed) = std::sync::mpsc::channel();
        let context = self.context.clone();
        let work = move || {
            if let Err(error) = write(&path) {
                sender
                    .send((path.display().to_string(), error.to_string()))
                    .ok();
                context.request_repaint();
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        drop(
            std::thread::Builder::new()
                .name("save".to_owned())
                .spawn(work),
        );
        #[cfg(target_arch = "wasm32")]
        work();
        self.saving.push(failed);
    }

    /// Writes a picture of the window's next frame to `path`.
    pub(super) fn save_png(&mut self, path: PathBuf) {
        let (sender, failed) = std::sync::mpsc::channel();
        self.context.request_screenshot(move |image| {
            if let Err(error) = write_png(&path, &image) {
                sender
                    .send((path.display().to_string(), error.to_string()))
                    .ok();
            }
        });
        self.context.request_repaint();
        self.saving.push(failed);
    }

    /// Takes what could not be saved since the last frame.
    pub(super) fn collect_failures(&mut self) {
        let failures = &mut self.failures;
        self.saving.retain(|failed| match failed.try_recv() {
            Ok(failure) => {
                failures.push(failure);
                false
            }
            Err(error) => error == std::sync::mpsc::TryRecvError::Empty,
        });
    }
}

/// Writes `bytes` to `path`.
#[cfg(not(target_arch = "wasm32"))]
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)
}

/// Gives `bytes` to the browser, under the name of `path`.
#[cfg(target_arch = "wasm32")]
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    crate::web::download(&path.to_string_lossy(), bytes)
}

/// Millions of rows: where there are files, they go out as they come.
fn write_file(path: &Path, subject: &Subject, order: &[u32]) -> std::io::Result<()> {
    if cfg!(target_arch = "wasm32") {
        let mut out = Vec::new();
        write_csv(&mut out, subject, order.iter().copied())?;
        return put(path, &out);
    }
    let mut out = BufWriter::new(File::create(path)?);
    write_csv(&mut out, subject, order.iter().copied())?;
    out.flush()
}

/// Writes `image` to `path`.
///
/// # Errors
/// If the file cannot be written.
fn write_png(path: &Path, image: &ColorImage) -> std::io::Result<()> {
    let mut out = Vec::new();
    let [width, height] = image.size;
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let bytes: Vec<u8> = image
        .pixels
        .iter()
        .flat_map(|pixel| pixel.to_array())
        .collect();
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    writer.finish()?;
    put(path, &out)
}
