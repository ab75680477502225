//! What the allocations of one module are labelled with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
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
    /// The [`Ending::generation`](super::labeller::Ending::generation) that the rest is of; 0 is
    /// none.
    generation: u64,
    forward: Option<Py<PyString>>,
    /// What graph nodes of the module call, as a node takes it: a dictionary with one hook.
    hooks: Option<Py<PyDict>>,
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

    /// The label of what the module allocates in `phase`.
    pub(super) fn text<'py>(
        &self,
        py: Python<'py>,
        labeller: &Labeller,
        phase: Phase,
    ) -> Bound<'py, PyString> {
        let ending = labeller.ending();
        let mut texts = self.texts();
        let is_forward = matches!(phase, Phase::Forward);
        if let (true, Some(text)) = (
            is_forward && texts.generation == ending.generation,
            &texts.forward,
        ) {
            return text.bind(py).clone();
        }
        let text = [&texts.head, phase.text(), &ending.text].concat();
        let text = PyString::new(py, &text);
        if is_forward {
            if texts.generation != ending.generation {
                texts.generation = ending.generation;
                texts.hooks = None;
            }
            texts.forward = Some(text.clone().unbind());
        }
        text
    }

    /// What graph nodes of the module call. One of its own for each generation: nodes of older steps
    /// keep theirs.
    pub(super) fn hooks<'py>(
        &self,
        labeller: &Bound<'py, Labeller>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = labeller.py();
        let generation = labeller.get().ending().generation;
        {
            let texts = self.texts();
            if let (true, Some(hooks)) = (texts.generation == generation, &texts.hooks) {
                return Ok(hooks.bind(py).clone());
            }
        }
        let text = self.text(py, labeller.get(), Phase::Backward);
        let hooks = PyDict::new(py);
        hooks.set_item(0, NodeHook::new(labeller, &text))?;
        let mut texts = self.texts();
        if texts.generation != generation {
            texts.generation = generation;
            texts.forward = None;
        }
        let old = texts.hooks.replace(hooks.clone().unbind());
        drop(texts);
        drop(old);
        Ok(hooks)
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
        let old = std::mem::replace(
            &mut *self.texts(),
            Texts {
                head,
                ..Texts::default()
            },
        );
        drop(old);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // What is locked is in use; leaving it out only keeps it until the next collection.
        match self.texts.try_lock() {
            Ok(texts) => visit.call(&texts.hooks),
            Err(_) => Ok(()),
        }
    }
}
