//! What a sidecar says of the run.

use serde::{Deserialize as _, Deserializer};
use serde_json::{Map, Value};

use crate::snapshot::{RunContext, RunPlace};

use super::Sidecar;

/// What ran. The program may have set metadata of its own, in any form: what is not of the
/// recorder's is passed over.
pub(super) fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunPlace, D::Error> {
    let found = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |name: &str| found.get(name)?.as_str().map(str::to_owned);
    let number = |name: &str| found.get(name)?.as_i64();
    Ok(RunPlace {
        module: text("module"),
        phase: text("phase"),
        step: number("step"),
        micro_batch: number("micro_batch"),
    })
}

impl Sidecar {
    /// What it tells of the run; None where that is nothing.
    #[must_use]
    pub fn run_context(&self) -> Option<RunContext> {
        let context = RunContext {
            run: self.run.clone(),
            rank: self.rank,
            current: self.current.clone(),
            batches: self.batches.clone(),
            failure: self.oom.clone(),
        };
        (context != RunContext::default()).then_some(context)
    }
}
