//! Watches GPUs from outside PyTorch.
//!
//! * [`nvml`]: NVML opened at run time, with its older calls where a driver lacks the new.
//! * [`board`]: boards, their MIG instances and processes: what NVML says of them now.
//! * [`identity`]: which of NVML's process ids is whose, in and out of containers.
//! * [`visible`]: `CUDA_VISIBLE_DEVICES` as NVML's boards.
//! * [`cuda`]: the same devices as this process's CUDA sees them.
//! * [`sampler`]: a thread that polls, and the series it keeps.
//! * [`pulse`]: what recorded processes tell others of their PyTorch.
//! * [`status`]: all of this joined: who holds what, now.
//! * [`prometheus`]: the same as metrics, and a server for them.
//!
//! A crate of its own because both the command and the Python package need it, and the analysis in
//! `profiler-core` must stay free of C libraries. Nothing is linked: a machine without a driver
//! gets a sentence that says so.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod board;
pub mod cuda;
pub mod identity;
mod legacy;
pub mod nvml;
pub mod prometheus;
pub mod pulse;
pub mod sampler;
pub mod status;
pub mod visible;
