//! The `gpumemprof` command as a library, so that the Python package runs the same code.
//!
//! * [`args`]: what the command line can say.
//! * [`document`]: what the commands print as JSON, for other programs of this project.
//! * [`input`]: from a path to an analysed snapshot, with a progress bar.
//! * [`output`]: tables for terminals, JSON for machines.
//! * `commands`: one file per verb.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod args;
mod commands;
pub mod document;
mod error;
pub mod input;
pub mod moment;
pub mod output;
mod python_only;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use error::CommandError;

/// Runs the command line `arguments`, program name first.
///
/// Results go to standard output, messages and progress to standard error. The exit code is 0
/// for success, 1 for a file that cannot be read or a result that cannot be written, 2 for a
/// command line that makes no sense.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match args::Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // clap knows which of its texts are help (exit 0) and which are errors (exit 2).
            let code = error.exit_code();
            if error.print().is_err() {
                return ExitCode::from(1);
            }
            if let Some(sentence) = python_only::explanation(&error) {
                // A closed standard error leaves nobody to tell.
                let _ = writeln!(std::io::stderr(), "{sentence}");
            }
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    match commands::run(&parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
