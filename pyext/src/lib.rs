//! `gpumemprof._native`: what the Python package takes from Rust.
//!
//! * [`snapshot`]: reading snapshots and asking them.
//! * [`command`]: the command line.
//! * [`gradients`]: where gradients are.
//! * [`labels`]: what runs now, told to PyTorch.
//! * [`message`]: out-of-memory messages as text.
//! * [`sampler`]: the thread that watches the device.
//! * [`error`]: one tree of exceptions.
//!
//! Work on whole files runs without the interpreter's lock.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod command;
mod error;
mod gradients;
mod labels;
mod message;
mod sampler;
mod snapshot;

use pyo3::prelude::*;

/// The native half of gpumemprof.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::register(module)?;
    snapshot::register(module)?;
    gradients::register(module)?;
    labels::register(module)?;
    message::register(module)?;
    sampler::register(module)?;
    module.add_function(wrap_pyfunction!(command::run_command, module)?)?;
    Ok(())
}
