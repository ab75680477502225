//! Reads PyTorch GPU memory snapshots and explains them.
//!
//! The way through the crate is one way, and each module knows only those before it:
//!
//! ```text
//! bytes ──read──▶ Snapshot ──replay──▶ allocations, curves ──▶ metrics, attribution, oom ──▶ report
//! ```
//!
//! * [`read`]: pickles, JSON and what they come packed in.
//! * [`snapshot`]: what a file says, as columns and interned tables.
//! * [`sidecar`]: what a recorder knew besides, written into the snapshot.
//! * [`replay`]: the recorded history replayed: allocations, segments and curves over time.
//! * [`metrics`]: numbers about it: fragmentation, utilisation.
//! * [`attribution`]: who holds the memory: cleaned stacks, layers, categories, steps.
//! * [`oom`]: why an allocation failed.
//! * [`report`]: the self-contained HTML page of all this.
//! * [`redact`]: hides paths, user and host names in what leaves the crate.
//! * [`allocator`]: the caching allocator as a model, its settings and what-if runs.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod allocator;
pub mod attribution;
mod capped;
pub mod metrics;
pub mod oom;
pub mod read;
pub mod redact;
pub mod replay;
pub mod report;
pub mod sidecar;
pub mod snapshot;
pub mod units;
