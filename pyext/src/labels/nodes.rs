//! The graph nodes of tensors, and what they call when the backward pass reaches them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::label::Label;
use super::labeller::Labeller;

/// Entries of each list, dictionary or data class that are looked at.
const MAX_ENTRIES: usize = 32;
/// How deep lists, dictionaries and data classes are looked into.
const MAX_DEPTH: usize = 8;

/// What a graph node calls before it runs.
#[pyclass(frozen, module = "gpumemprof._native")]
pub(super) struct NodeHook {
    labeller: Py<Labeller>,
    label: Py<Label>,
}

impl NodeHook {
    /// Has `labeller` tell `label`.
    pub(super) fn new(labeller: &Bound<'_, Labeller>, label: &Bound<'_, Label>) -> Self {
        Self {
            labeller: labeller.clone().unbind(),
            label: label.clone().unbind(),
        }
    }
}

#[pymethods]
impl NodeHook {
    /// The backward pass has reached a node of the module.
    fn __call__(&self, py: Python<'_>, _gradient: &Bound<'_, PyAny>) {
        let labeller = self.labeller.get();
        labeller.or_give_up(py, || labeller.reached(py, self.label.get()));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.labeller)?;
        visit.call(&self.label)
    }
}

/// What is needed of PyTorch to find the graph nodes of tensors.
pub(super) struct Tensors {
    /// `torch.Tensor`.
    class: Py<PyAny>,
    /// `torch._C._is_torch_function_mode_enabled`.
    is_mode_on: Py<PyAny>,
    /// `torch._C.DisableTorchFunction`: while it is entered, neither modes nor subclasses of the
    /// program's own are told of what is asked of a tensor.
    disable: Py<PyAny>,
}

impl Tensors {
    /// Takes it from the module `torch`.
    pub(super) fn new(torch: &Bound<'_, PyAny>) -> PyResult<Self> {
        let compiled = torch.getattr("_C")?;
        Ok(Self {
            class: torch.getattr("Tensor")?.unbind(),
            is_mode_on: compiled
                .getattr("_is_torch_function_mode_enabled")?
                .unbind(),
            disable: compiled.getattr("DisableTorchFunction")?.unbind(),
        })
    }

    /// Does `work`, which asks tensors, without the program's own modes being told.
    pub(super) fn unseen(
        &self,
        py: Python<'_>,
        work: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        if self.is_mode_on.call0(py)?.is_truthy(py)? {
            self.disabled(py, work)
        } else {
            work()
        }
    }

    fn disabled<R>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let guard = self.disable.call0(py)?;
        guard.call_method0(py, intern!(py, "__enter__"))?;
        let done = work();
        let none = (py.None(), py.None(), py.None());
        guard.call_method1(py, intern!(py, "__exit__"), none)?;
        done
    }

    /// Calls `take` with the graph node of every tensor in `value` that has one.
    pub(super) fn nodes_of<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        take: &mut dyn FnMut(Bound<'py, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        self.look(value, take, 0)
    }

    fn look<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        take: &mut dyn FnMut(Bound<'py, PyAny>) -> PyResult<()>,
        depth: usize,
    ) -> PyResult<()> {
        let py = value.py();
        if value.is_none() {
            return Ok(());
        }
        let class = self.class.bind(py);
        let is_plain = value.get_type().is(class);
        if is_plain || value.is_instance(class)? {
            let ask = || value.getattr(intern!(py, "grad_fn"));
            let node = if is_plain {
                ask()
            } else {
                self.disabled(py, ask)
            }?;
            return if node.is_none() { Ok(()) } else { take(node) };
        }
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        let mut inner = |part: Bound<'py, PyAny>| self.look(&part, take, depth + 1);
        if let Ok(parts) = value.cast::<PyTuple>() {
            return parts.iter().take(MAX_ENTRIES).try_for_each(inner);
        }
        if let Ok(parts) = value.cast::<PyList>() {
            return parts.iter().take(MAX_ENTRIES).try_for_each(inner);
        }
        let held = if let Ok(parts) = value.cast::<PyDict>() {
            parts.clone()
        } else if value
            .get_type()
            .hasattr(intern!(py, "__dataclass_fields__"))?
        {
            match value.getattr_opt(intern!(py, "__dict__"))? {
                Some(held) => held.cast_into::<PyDict>()?,
                None => return Ok(()),
            }
        } else {
            return Ok(());
        };
        let parts = held.values();
        parts.iter().take(MAX_ENTRIES).try_for_each(&mut inner)
    }
}
