//! What the commands print as JSON, as values.

use profiler_core::attribution::Attribution;
use profiler_core::replay::Replay;
use profiler_core::snapshot::Snapshot;
use serde_json::Value;

use crate::CommandError;

/// What `gpumemprof stats --json` prints of `file`, whose contents are the rest.
///
/// # Errors
/// If a figure has no form in JSON; none does.
pub fn stats(file: &str, snapshot: &Snapshot, replay: &Replay) -> Result<Value, CommandError> {
    crate::commands::stats_document(file, snapshot, replay).map_err(failed)
}

/// What `gpumemprof oom --json` prints of `file`, whose contents are the rest.
///
/// # Errors
/// If a figure has no form in JSON; none does.
pub fn oom(
    file: &str,
    snapshot: &Snapshot,
    replay: &Replay,
    attribution: &Attribution,
    device_total: Option<u64>,
) -> Result<Value, CommandError> {
    crate::commands::oom_document(file, snapshot, replay, attribution, device_total).map_err(failed)
}

fn failed(error: serde_json::Error) -> CommandError {
    CommandError::Output(error.into())
}
