//! Why an allocation failed, and what to change.

mod evidence;
mod verdict;

pub use evidence::{OomEvidence, oom_events};
pub use verdict::{OomClass, OomVerdict};
