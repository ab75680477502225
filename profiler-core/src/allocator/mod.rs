//! PyTorch's caching allocator as an exact model: what it did under the recorded settings, and
//! what it would have done under others.
//!
//! The rules are those of `c10/cuda/CUDACachingAllocator.cpp`. [`SizeRules`] is what they say
//! about sizes alone.

mod advise;
mod assumptions;
mod block;
mod bound;
mod candidate;
mod capacity;
mod conf;
mod conf_tokens;
mod counters;
mod curve;
mod device;
mod driver;
mod expandable;
mod fidelity;
mod gpus;
mod jobs;
mod judge;
mod lane;
mod map;
mod model;
mod program;
mod recorded_driver;
mod release;
mod replay;
mod replay_run;
mod restore;
mod rewind;
mod rounding;
mod run;
mod settings;
mod simulate;
mod solve;
mod splitting;
mod start_state;
mod summary;
mod version;
mod what_if;

pub use advise::{Advice, AdviseOptions, Best, DeviceAdvice, GpuFit, advise, advise_recordings};
pub use block::{Block, BlockId, Use};
pub use bound::Bound;
pub use candidate::Candidate;
pub use capacity::{smallest_capacity, survives};
pub use conf::ConfError;
pub use counters::{Counters, Gauge};
pub use curve::CurvePoint;
pub use device::Device;
pub use driver::{Collection, Driver, Piece};
pub use fidelity::{Disagreement, Fidelity};
pub use gpus::{GPUS, Gpu, find_gpu};
pub use judge::environment_line;
pub use lane::LaneKey;
pub use map::{BlockMap, MapBlock, MapSegment};
pub use model::{Allocator, OutOfMemory};
pub use program::{Program, ProgramRequest, Step, TimedStep};
pub use replay::{Recording, recorded_settings, replay_recorded};
pub use rounding::{
    MIN_BLOCK_SIZE, MIN_OWN_SEGMENT, OWN_SEGMENT_STEP, SMALL_SEGMENT_SIZE, SMALL_SIZE, SizeRules,
};
pub use run::Ending;
pub use settings::{MIB, ROUNDUP_INTERVALS, Settings, UNLIMITED};
pub use simulate::{
    DeviceSimulation, SimulateError, SimulateProgress, Simulation, recordings, simulate,
    simulate_recordings,
};
pub use start_state::{StartBlock, StartSegment, StartState};
pub use summary::Summary;
pub use version::{Dialect, Rules, TieBreak, TorchVersion, VersionError};
pub use what_if::{Capacity, Change, WhatIf, implied_capacity};
