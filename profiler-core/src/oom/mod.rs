//! Why an allocation failed, and what to change.

mod advice;
mod context;
mod evidence;
mod message;
mod several_lines;
mod verdict;

pub use advice::{Advice, Certainty, MAX_JUDGED, advise, judge_all};
pub use context::{OomContext, SinceStep};
pub use evidence::{OomEvidence, oom_events};
pub use message::{Amount, MessageClass, OomMessage, ProcessUse, find_messages};
pub use verdict::{OomClass, OomVerdict};
