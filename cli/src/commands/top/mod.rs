//! `gpumemprof top`: devices and processes, with PyTorch's part where a process is recorded.

mod bar;
mod boards;
mod columns;
mod screen;
mod selection;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;

use device_watch::prometheus::Exporter;
use device_watch::status::Watch;

use crate::args::TopArguments;
use crate::{CommandError, output};

/// Shows, prints or serves them.
pub(super) fn run(arguments: &TopArguments) -> Result<(), CommandError> {
    let watch = Watch::open(arguments.nvml.clone()).map_err(CommandError::NotThere)?;
    if let Some(port) = arguments.prometheus {
        let exporter = Exporter::listen(arguments.bind, port).map_err(CommandError::NotThere)?;
        output::say(&format!(
            "metrics are at http://{}/metrics",
            exporter.address()
        ));
        exporter.serve(&watch);
        return Ok(());
    }
    if arguments.json {
        return output::json(&watch.look_settled());
    }
    if arguments.once || !std::io::stdout().is_terminal() {
        return table::print(&watch.look_settled());
    }
    terminal::run(&watch, arguments.interval)
}
