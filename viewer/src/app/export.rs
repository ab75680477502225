//! What goes out: the table as CSV, the window as PNG.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use egui::ColorImage;

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
        let (sender, failed) = std::sync::mpsc::channel();
        let context = self.context.clone();
        let write = move || {
            if let Err(error) = write_file(&path, &subject, &order) {
                sender
                    .send((path.display().to_string(), error.to_string()))
                    .ok();
                context.request_repaint();
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        drop(
            std::thread::Builder::new()
                .name("save CSV".to_owned())
                .spawn(write),
        );
        #[cfg(target_arch = "wasm32")]
        write();
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

fn write_file(path: &Path, subject: &Subject, order: &[u32]) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write_csv(&mut out, subject, order.iter().copied())?;
    out.flush()
}

/// Writes `image` to `path`.
///
/// # Errors
/// If the file cannot be written.
fn write_png(path: &Path, image: &ColorImage) -> std::io::Result<()> {
    let out = BufWriter::new(File::create(path)?);
    let [width, height] = image.size;
    let mut encoder = png::Encoder::new(out, width as u32, height as u32);
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
    Ok(())
}
