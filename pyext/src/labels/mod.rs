//! What runs now, told to PyTorch while a program trains: the part of labelling that runs in the
//! program's own time, for every module call and every graph node.
//!
//! * [`calls`]: what is done for each module call and each graph node.
//! * [`label`]: what one module's allocations are labelled with.
//! * [`labeller`]: stands where a module is called, and tells.
//! * [`nodes`]: the graph nodes of tensors, and what they call when the backward pass reaches them.
//! * [`spans`]: what ran when, for a PyTorch whose events carry no label.
//! * [`state`]: what each thread is in.
//!
//! What happens once a step (names, steps, batches, optimizers) is Python's, in `_labels.py`.
//! No lock and no borrow is held while Python's code may run: it could come back here.

mod calls;
mod label;
mod labeller;
mod nodes;
mod spans;
mod state;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<label::Label>()?;
    module.add_class::<labeller::Labeller>()
}
