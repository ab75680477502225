//! The graph nodes of tensors, and what they call when the backward pass reaches them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::labeller::Labeller;

/// Entries of each list, dictionary or data class that are looked at.
const MAX_ENTRIES: usize = 32;
/// How deep lists, dictionaries and data classes are looked into.
const MAX_DEPTH: usize = 8;

/// What a graph node calls before it runs.
#[pyclass(frozen, module = "gpumemprof._native")]
pub(super) struct NodeHook {
    labeller: Py<Labeller>,
    text: Py<PyString>,
}

impl NodeHook {
    /// Has `labeller` tell `text`.
    pub(super) fn new(labeller: &Bound<'_, Labeller>, text: &Bound<'_, PyString>) -> Self {
        Self {
            labeller: labeller.clone().unbind(),
            text: text.clone().unbind(),
        }
    }
}

#[pymethods]
impl NodeHook {
    /// The backward pass has reached a node of the module that the text names.
    fn __call__(&self, py: Python<'_>, _gradient: &Bound<'_, PyAny>) {
        let labeller = self.labeller.bind(py);
        labeller
            .get()
            .or_give_up(py, || labeller.get().reached(py, self.text.bind(py)));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.labeller)
    }
}

/// Calls `take` with the graph node of every tensor in `value` that has one.
pub(super) fn nodes_of<'py>(
    value: &Bound<'py, PyAny>,
    tensor: &Bound<'py, PyAny>,
    take: &mut dyn FnMut(Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    look(value, tensor, take, 0)
}

fn look<'py>(
    value: &Bound<'py, PyAny>,
    tensor: &Bound<'py, PyAny>,
    take: &mut dyn FnMut(Bound<'py, PyAny>) -> PyResult<()>,
    depth: usize,
) -> PyResult<()> {
    if value.is_none() {
        return Ok(());
    }
    if value.get_type().is(tensor) || value.is_instance(tensor)? {
        let node = value.getattr(intern!(value.py(), "grad_fn"))?;
        return if node.is_none() { Ok(()) } else { take(node) };
    }
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    let mut inner = |part: Bound<'py, PyAny>| look(&part, tensor, take, depth + 1);
    if let Ok(parts) = value.cast::<PyTuple>() {
        return parts.iter().take(MAX_ENTRIES).try_for_each(inner);
    }
    if let Ok(parts) = value.cast::<PyList>() {
        return parts.iter().take(MAX_ENTRIES).try_for_each(inner);
    }
    let fields = intern!(value.py(), "__dataclass_fields__");
    let parts = if value.is_instance_of::<PyDict>() {
        value.cast::<PyDict>()?.values()
    } else if value.get_type().hasattr(fields)? {
        match value.getattr_opt(intern!(value.py(), "__dict__"))? {
            Some(held) => match held.cast::<PyDict>() {
                Ok(held) => held.values(),
                Err(_) => return Ok(()),
            },
            None => return Ok(()),
        }
    } else {
        return Ok(());
    };
    parts.iter().take(MAX_ENTRIES).try_for_each(&mut inner)
}
