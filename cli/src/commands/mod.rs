//! One file per verb.

mod advise;
mod allocations;
mod completions;
mod fragmentation;
mod oom;
mod oom_log;
mod peak;
mod report;
pub(crate) mod simulate;
mod stats;
mod top;
mod view;

use crate::CommandError;
use crate::args::{Arguments, Command};

pub(crate) use oom::document as oom_document;
pub(crate) use stats::document as stats_document;

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), CommandError> {
    match &arguments.command {
        Command::Report(arguments) => report::run(arguments),
        Command::Stats(arguments) => stats::run(arguments),
        Command::Peak(arguments) => peak::run(arguments),
        Command::Allocations(arguments) => allocations::run(arguments),
        Command::Fragmentation(arguments) => fragmentation::run(arguments),
        Command::Oom(arguments) => oom::run(arguments),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Advise(arguments) => advise::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::View(arguments) => view::run(arguments),
        Command::Completions { shell } => completions::run(*shell),
    }
}
