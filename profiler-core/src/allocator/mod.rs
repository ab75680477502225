//! PyTorch's caching allocator as an exact model: what it did under the recorded settings, and
//! what it would have done under others.
//!
//! The rules are those of `c10/cuda/CUDACachingAllocator.cpp`. [`SizeRules`] is what they say
//! about sizes alone.

mod advise;
mod block;
mod bound;
mod capacity;
mod conf;
mod counters;
mod curve;
mod device;
mod driver;
mod expandable;
mod gpus;
mod lane;
mod map;
mod model;
mod program;
mod recorded_driver;
mod replay;
mod restore;
mod rounding;
mod run;
mod settings;
mod simulate;
mod solve;
mod start_state;
mod version;

pub use advise::{
    Advice, AdviseOptions, Best, Candidate, DeviceAdvice, GpuFit, advise, environment_line,
};
pub use block::{Block, BlockId, Use};
pub use bound::Bound;
pub use capacity::{smallest_capacity, survives};
pub use conf::ConfError;
pub use counters::{Counters, Gauge};
pub use curve::CurvePoint;
pub use device::Device;
pub use driver::{Collection, Driver, Piece};
pub use gpus::{GPUS, Gpu, find_gpu};
pub use lane::LaneKey;
pub use map::{BlockMap, MapBlock, MapSegment};
pub use model::{Allocator, OutOfMemory};
pub use program::{Program, ProgramRequest, Step, TimedStep};
pub use replay::{Disagreement, Fidelity, Recording, recorded_settings, replay_recorded};
pub use rounding::{
    MIN_BLOCK_SIZE, MIN_OWN_SEGMENT, OWN_SEGMENT_STEP, SMALL_SEGMENT_SIZE, SMALL_SIZE, SizeRules,
};
pub use run::Ending;
pub use settings::{MIB, ROUNDUP_INTERVALS, Settings, UNLIMITED};
pub use simulate::{
    Capacity, Change, DeviceSimulation, SimulateError, SimulateProgress, Simulation, Summary,
    WhatIf, implied_capacity, recordings, simulate, simulate_recordings,
};
pub use start_state::{StartBlock, StartSegment, StartState};
pub use version::{Dialect, Rules, TieBreak, TorchVersion, VersionError};
