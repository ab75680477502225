//! What a labeller does for each module call and for each graph node.

use std::sync::atomic::Ordering;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::label::{Label, Phase};
use super::labeller::Labeller;
use super::state::Entered;

/// Graph nodes remembered as hooked, at most, between two steps.
const MAX_HOOKED: usize = 200_000;

impl Labeller {
    /// A module is about to run.
    pub(super) fn before(
        slf: &Bound<'_, Self>,
        module: &Bound<'_, PyAny>,
        inputs: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (is_outermost, parent, recomputes) = this.state(|state| {
            let parent = state.module.as_ref().map(|label| label.clone_ref(py));
            (state.stack.is_empty(), parent, state.recomputes)
        });
        let recomputes = if is_outermost {
            this.enter_outermost(py, inputs, keywords)?
        } else {
            recomputes
        };
        let label = this.label_of(py, module, parent.as_ref())?;
        let phase = if recomputes {
            Phase::Recompute
        } else {
            Phase::Forward
        };
        let text = label.get().text(py, this, phase);
        let kept = (text.clone().unbind(), label.unbind());
        this.state(|state| {
            let (text, label) = kept;
            let current = state.current.replace(text);
            let before = if recomputes && is_outermost {
                // What runs again is called by the node that the backward pass is at.
                state.node.as_ref().map(|text| text.clone_ref(py))
            } else {
                current
            };
            state.stack.push(Entered {
                label: before,
                module: state.module.replace(label),
            });
        });
        this.tell(py, Some(&text))?;
        if let Some(parent) = parent {
            // What this module's input came from is reached when its own backward is over.
            let keywords = keywords.filter(|keywords| !keywords.is_empty());
            let keywords = keywords.map(|keywords| keywords.as_any());
            let values = std::iter::once(inputs.as_any()).chain(keywords);
            Self::hang(slf, values, parent.bind(py))?;
        }
        Ok(())
    }

    /// Whether what this thread enters from outside of any module runs again, within a backward pass.
    fn enter_outermost(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<bool> {
        let recomputes = self.current_task(py)? >= 0;
        self.state(|state| state.recomputes = recomputes);
        if recomputes {
            return Ok(true);
        }
        self.state(|state| {
            if state.hooked.len() > MAX_HOOKED {
                state.hooked.clear();
            }
        });
        let arguments = (inputs, keywords);
        self.owner
            .call_method1(py, intern!(py, "_enter_outermost"), arguments)?;
        Ok(false)
    }

    /// The label of `module`, named after `parent` if it was not seen before.
    fn label_of<'py>(
        &self,
        py: Python<'py>,
        module: &Bound<'py, PyAny>,
        parent: Option<&Py<Label>>,
    ) -> PyResult<Bound<'py, Label>> {
        // What `id` gives: the object's address.
        let key = module.as_ptr().addr();
        let found = match self.records.bind(py).get_item(key)? {
            Some(found) => found,
            None => self
                .owner
                .bind(py)
                .call_method1(intern!(py, "_find"), (module, parent))?,
        };
        Ok(found.cast_into::<Label>()?)
    }

    /// A module has run; `output` is None where it failed.
    pub(super) fn after(slf: &Bound<'_, Self>, output: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let left = this.state(|state| {
            let entered = state.stack.pop()?;
            let module = std::mem::replace(&mut state.module, entered.module);
            Some((
                entered.label,
                module,
                state.stack.is_empty(),
                state.recomputes,
            ))
        });
        let Some((before, module, is_outermost, recomputes)) = left else {
            return Ok(());
        };
        if let (Some(output), Some(module)) = (output, &module) {
            Self::hang(slf, [output], module.bind(py))?;
        }
        let before = before.map(|text| text.into_bound(py));
        if is_outermost && recomputes {
            let old = this.state(|state| state.current.take());
            drop(old);
            return this.tell(py, before.as_ref());
        }
        if is_outermost {
            let text = this.owner.bind(py);
            let has_output = (output.is_some(),);
            let text = text.call_method1(intern!(py, "_leave_outermost"), has_output)?;
            return this.enter(py, Some(text.cast_into()?));
        }
        this.enter(py, before)
    }

    /// Has `label` told when the backward pass reaches what made the tensors in `values`.
    pub(super) fn hang<'a, 'py: 'a>(
        slf: &Bound<'py, Self>,
        values: impl IntoIterator<Item = &'a Bound<'py, PyAny>>,
        label: &Bound<'py, Label>,
    ) -> PyResult<()> {
        let (py, tensors) = (slf.py(), &slf.get().tensors);
        tensors.unseen(py, || {
            let mut hang = |node| Self::hang_on(slf, node, label);
            let mut values = values.into_iter();
            values.try_for_each(|value| tensors.nodes_of(value, &mut hang))
        })
    }

    fn hang_on<'py>(
        slf: &Bound<'py, Self>,
        node: Bound<'py, PyAny>,
        label: &Bound<'py, Label>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let number = node.call_method0(intern!(py, "_sequence_nr"))?;
        let number = number.extract::<i64>()?;
        if !this.state(|state| state.hooked.insert(number)) {
            return Ok(());
        }
        match Label::carrier(label, slf)? {
            Some(carrier) => node.call_method1(intern!(py, "_register_hook_dict"), (carrier,))?,
            None => {
                let hooks = Label::hooks(label, slf)?;
                let shared = this.node_hooks.bind(py);
                shared.call_method1(intern!(py, "attach"), (node, hooks))?
            }
        };
        Ok(())
    }

    /// The backward pass has reached a graph node of the module that `label` names.
    pub(super) fn reached(&self, py: Python<'_>, label: &Label) -> PyResult<()> {
        if !self.is_telling.load(Ordering::Relaxed) {
            return Ok(());
        }
        let text = label.text(py, self, Phase::Backward);
        self.tell(py, Some(&text))?;
        let task = self.current_task(py)?;
        let kept = text.unbind();
        let (old, is_new) = self.state(|state| {
            let is_new = state.pass.replace(task) != Some(task);
            (state.node.replace(kept), is_new)
        });
        drop(old);
        if is_new {
            self.owner.call_method0(py, intern!(py, "_queue_reset"))?;
        }
        Ok(())
    }
}
