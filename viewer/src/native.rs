//! The desktop window.

use std::path::PathBuf;

use crate::app::Viewer;
use crate::window::Window;

/// Why there is no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// There is no display to open it on.
    #[error(
        "there is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). \
         Write a report that opens in any browser instead: gpumemprof report {file}"
    )]
    NoDisplay {
        /// The first file asked for.
        file: String,
    },
    /// The display would not open one.
    #[error(
        "could not open a window: {message}. Write a report that opens in any browser instead: \
         gpumemprof report {file}"
    )]
    Failed {
        /// What the system said.
        message: String,
        /// The first file asked for.
        file: String,
    },
}

/// Opens `paths` in a window and returns when it is closed.
///
/// # Errors
/// If there is no display, or it cannot draw.
pub fn run(paths: Vec<PathBuf>) -> Result<(), WindowError> {
    let file = paths
        .first()
        .map_or_else(|| "FILE".to_owned(), |path| path.display().to_string());
    if !has_display() {
        return Err(WindowError::NoDisplay { file });
    }
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("gpumemprof")
            .with_app_id("gpumemprof-viewer")
            .with_inner_size([1280.0, 720.0])
            .with_min_inner_size([640.0, 400.0])
            .with_drag_and_drop(true),
        ..eframe::NativeOptions::default()
    };
    let create = move |creation: &eframe::CreationContext<'_>| {
        let mut viewer = Viewer::new(&creation.egui_ctx);
        viewer.open_paths(paths);
        Ok(Box::new(Window::new(viewer, creation.storage)) as Box<dyn eframe::App>)
    };
    eframe::run_native("gpumemprof", options, Box::new(create)).map_err(|error| {
        WindowError::Failed {
            message: error.to_string(),
            file,
        }
    })
}

/// Whether the environment names a display, where it has to.
fn has_display() -> bool {
    if !cfg!(all(unix, not(target_os = "macos"))) {
        return true;
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || is_set("WAYLAND_SOCKET")
}
