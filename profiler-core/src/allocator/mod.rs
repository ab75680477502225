//! PyTorch's caching allocator as an exact model: what it did under the recorded settings, and
//! what it would have done under others.
//!
//! The rules are those of `c10/cuda/CUDACachingAllocator.cpp`. [`SizeRules`] is what they say
//! about sizes alone.

mod conf;
mod rounding;
mod settings;
mod version;

pub use conf::ConfError;
pub use rounding::{
    MIN_BLOCK_SIZE, MIN_OWN_SEGMENT, OWN_SEGMENT_STEP, SMALL_SEGMENT_SIZE, SMALL_SIZE, SizeRules,
};
pub use settings::{MIB, ROUNDUP_INTERVALS, Settings, UNLIMITED};
pub use version::{Dialect, TorchVersion, VersionError};
