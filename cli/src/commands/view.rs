//! `gpumemprof view`: starts the viewer, a program of its own, so that the command needs no window
//! system to build or run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::CommandError;
use crate::args::ViewArguments;

/// The viewer's file name, without what the system adds.
const PROGRAM: &str = "gpumemprof-viewer";

pub(super) fn run(arguments: &ViewArguments) -> Result<(), CommandError> {
    let first = arguments.files.first();
    let file = || first.map_or_else(|| "FILE".to_owned(), |path| path.display().to_string());
    if !has_display() {
        return Err(CommandError::NoDisplay { file: file() });
    }
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let Some(program) = find(&name) else {
        return Err(CommandError::NoViewer {
            program: name,
            file: file(),
        });
    };
    let failed = |reason: String| CommandError::Viewer {
        program: program.clone(),
        reason,
    };
    let status = Command::new(&program).args(&arguments.files).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ended with {status}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The program called `name` beside this command, else the first on PATH.
fn find(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Whether the environment names a display, where it has to.
fn has_display() -> bool {
    if !cfg!(all(unix, not(target_os = "macos"))) {
        return true;
    }
    ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
