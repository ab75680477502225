//! The recorded history replayed: allocations with their lifetimes and blocks, segments over
//! time, and the curves.
//!
//! [`Replay::new`] does all of it. It never fails: what a file contradicts in itself is settled
//! and counted ([`Disagreements`], [`Layout`]).

mod allocations;
mod beside;
mod block_map;
mod curve;
mod device;
mod follower;
mod layout;
mod lifetimes;
mod moment;
mod rewind;
mod segment_map;
mod segment_spans;

pub use allocations::{Allocation, AllocationId, Allocations, Origin};
pub use curve::Curve;
pub use device::{DeviceReplay, Replay};
pub use follower::Follower;
pub use layout::Layout;
pub(crate) use layout::{Change, walk};
pub use lifetimes::Disagreements;
pub use moment::{Moment, NEVER};
pub use segment_map::{BlockUse, MappedBlock, MappedSegment};
pub use segment_spans::SegmentSpan;
