//! What a sidecar says of the run.

use crate::snapshot::RunContext;

use super::Sidecar;

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
