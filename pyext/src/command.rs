//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use pyo3::prelude::*;

/// Runs the `gpumemprof` command with `arguments`, program name first, and returns its exit code.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let code = py.detach(|| gpumemprof_cli::run(arguments));
    // An exit code shows its number to the system only; it is one of these three (see
    // `gpumemprof_cli::run`).
    match code {
        code if code == ExitCode::SUCCESS => 0,
        code if code == ExitCode::from(2) => 2,
        _ => 1,
    }
}
