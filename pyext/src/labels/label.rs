//! What the allocations of one module are labelled with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::labeller::Labeller;
use super::nodes::NodeHook;

/// The labels of one module: JSON whose beginning stays and whose end changes with every step.
///
/// Python's `Record` is a subclass that knows the module.
#[pyclass(subclass, frozen, module = "gpumemprof._native")]
pub(super) struct Label {
    texts: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    /// As in `{"module":"blocks.0"`, with neither phase nor end.
    head: String,
    /// The [`Ending::generation`](super::labeller::Ending::generation) that the two texts are of; 0 is
    /// none.
    generation: u64,
    forward: Option<Py<PyString>>,
    backward: Option<Py<PyString>>,
    /// What graph nodes of the module call, as a node takes it: a dictionary with one hook.
    hooks: Option<Py<PyDict>>,
    /// A tensor that has these hooks: a node takes them over from it.
    carrier: Option<Py<PyAny>>,
}

/// The phase in which a module runs.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Forward,
    Backward,
    /// Forward again, within a backward pass.
    Recompute,
}

impl Phase {
    fn text(self) -> &'static str {
        match self {
            Self::Forward => r#","phase":"forward","#,
            Self::Backward => r#","phase":"backward","#,
            Self::Recompute => r#","phase":"backward","recompute":true,"#,
        }
    }
}

impl Label {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The label of what the module allocates in `phase` now.
    pub(super) fn text<'py>(
        &self,
        py: Python<'py>,
        labeller: &Labeller,
        phase: Phase,
    ) -> Bound<'py, PyString> {
        let ending = labeller.ending();
        let mut texts = self.texts();
        let is_current = texts.generation == ending.generation;
        if let (true, Some(Some(text))) = (is_current, texts.kept(phase)) {
            return text.bind(py).clone();
        }
        let text = [&texts.head, phase.text(), &ending.text].concat();
        let text = PyString::new(py, &text);
        let old = if is_current {
            [None, None]
        } else {
            texts.generation = ending.generation;
            [texts.forward.take(), texts.backward.take()]
        };
        if let Some(kept) = texts.kept(phase) {
            *kept = Some(text.clone().unbind());
        }
        drop((texts, ending));
        drop(old);
        text
    }

    /// What graph nodes of the module call: the same for all of them, in every step.
    pub(super) fn hooks<'py>(
        slf: &Bound<'py, Self>,
        labeller: &Bound<'py, Labeller>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        if let Some(hooks) = &slf.get().texts().hooks {
            return Ok(hooks.bind(py).clone());
        }
        let hooks = PyDict::new(py);
        hooks.set_item(0, NodeHook::new(labeller, slf))?;
        let kept = hooks.clone().unbind();
        let old = slf.get().texts().hooks.replace(kept);
        drop(old);
        Ok(hooks)
    }

    /// What hangs the hooks on a graph node; None where there cannot be one now.
    pub(super) fn carrier<'py>(
        slf: &Bound<'py, Self>,
        labeller: &Bound<'py, Labeller>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        if let Some(carrier) = &slf.get().texts().carrier {
            return Ok(Some(carrier.bind(py).clone()));
        }
        let hooks = Self::hooks(slf, labeller)?;
        let node_hooks = labeller.get().node_hooks.bind(py);
        let carrier = node_hooks.call_method1(intern!(py, "carrier"), (hooks,))?;
        if carrier.is_none() {
            return Ok(None);
        }
        let kept = carrier.clone().unbind();
        let old = slf.get().texts().carrier.replace(kept);
        drop(old);
        Ok(Some(carrier))
    }
}

impl Texts {
    /// Where the text of `phase` is kept. What runs again is rare: its text is not.
    fn kept(&mut self, phase: Phase) -> Option<&mut Option<Py<PyString>>> {
        match phase {
            Phase::Forward => Some(&mut self.forward),
            Phase::Backward => Some(&mut self.backward),
            Phase::Recompute => None,
        }
    }
}

#[pymethods]
impl Label {
    /// A label that says nothing yet. Takes what a subclass takes.
    #[new]
    #[pyo3(signature = (*_arguments))]
    fn new(_arguments: &Bound<'_, PyTuple>) -> Self {
        Self {
            texts: Mutex::default(),
        }
    }

    /// Sets what stays: `head` is a JSON object without its closing brace and with at least one key.
    fn describe(&self, head: String) {
        let mut texts = self.texts();
        let texts = &mut *texts;
        texts.head = head;
        texts.generation = 0;
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // What is locked is in use; leaving it out only keeps it until the next collection.
        match self.texts.try_lock() {
            Ok(texts) => {
                visit.call(&texts.hooks)?;
                visit.call(&texts.carrier)
            }
            Err(_) => Ok(()),
        }
    }
}
