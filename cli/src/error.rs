//! What can go wrong in a command.

use std::path::PathBuf;

use profiler_core::read::ReadError;

/// A command's failure, as said to the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The file could not be opened or mapped.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a readable snapshot.
    #[error("{path}: {source}")]
    Read {
        /// The path given.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A result could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The reader of our output went away, as `head` does; not an error to report.
    #[error("the output was closed")]
    BrokenPipe,
    /// Standard output failed otherwise.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    /// What was asked for is not in this file.
    #[error("{0}")]
    NotThere(String),
    /// There is no display for the viewer's window.
    #[error(
        "there is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set); \
         write a report that opens in any browser instead: gpumemprof report {file}"
    )]
    NoDisplay {
        /// The first file asked for.
        file: String,
    },
    /// The viewer's program is not installed.
    #[error(
        "cannot find {program}, neither beside this command nor on PATH; install it with: \
         cargo install --locked --git {repository} gpumemprof-viewer; or write a report that \
         opens in any browser: gpumemprof report {file}",
        repository = env!("CARGO_PKG_REPOSITORY")
    )]
    NoViewer {
        /// Its file name.
        program: String,
        /// The first file asked for.
        file: String,
    },
    /// The viewer's program could not be started, or ended with an error it has told itself.
    #[error("{program}: {reason}")]
    Viewer {
        /// Where it is.
        program: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The options contradict each other or name something impossible.
    #[error("{0}")]
    Usage(String),
}

impl CommandError {
    /// 2 for bad usage, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Output(error)
        }
    }
}
