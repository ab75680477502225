//! `gpumemprof completions SHELL`.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::CommandError;
use crate::args::Arguments;

/// Prints the completion script for `shell`.
pub(super) fn run(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gpumemprof", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
