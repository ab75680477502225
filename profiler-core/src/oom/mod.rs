//! Why an allocation failed, and what to change.

mod advice;
mod evidence;
mod verdict;

pub use advice::{Advice, Certainty, MAX_JUDGED, advise, judge_all};
pub use evidence::{OomEvidence, oom_events};
pub use verdict::{OomClass, OomVerdict};
