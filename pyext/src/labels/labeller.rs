//! Stands where a module is called, and tells PyTorch what runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::label::Label;
use super::nodes::Tensors;
use super::spans::SpanLog;
use super::state::{self, State};

static LABELLERS: AtomicU64 = AtomicU64::new(1);

/// Labels what modules and graph nodes allocate.
///
/// It is called in a module's place: `labeller(module, *inputs, **keywords)` calls
/// `module._call_impl`, with the module's label told meanwhile. No frame of Python's is added, so
/// the stacks that PyTorch records, and the tracebacks that a user sees, are those of a program
/// without it.
#[pyclass(frozen, module = "gpumemprof._native")]
pub(super) struct Labeller {
    number: u64,
    /// Python's `Labels`.
    pub(super) owner: Py<PyAny>,
    /// The labels of the modules seen so far, by the module's `id`.
    pub(super) records: Py<PyDict>,
    pub(super) tensors: Tensors,
    /// `torch._C._current_graph_task_id`, negative outside of a backward pass; None where this
    /// PyTorch does not say.
    graph_task: Option<Py<PyAny>>,
    /// What `torch.compiler` holds, whose `_is_compiling_flag` says that a program is being
    /// exported; None where this PyTorch has no such module.
    compiler: Option<Py<PyDict>>,
    /// Python's `NodeHooks`.
    pub(super) node_hooks: Py<PyAny>,
    pub(super) is_telling: AtomicBool,
    told: Told,
    ending: Mutex<Ending>,
}

/// Who is told.
enum Told {
    /// `torch._C._cuda_setMemoryMetadata`: PyTorch stamps what it is told on the thread's events.
    Metadata(Py<PyAny>),
    /// Our own log, to be joined with the events by time.
    Spans(SpanLog),
}

/// How every label ends until step or micro-batch change.
pub(super) struct Ending {
    /// Counts the changes, from 1.
    pub(super) generation: u64,
    /// As in `"step":3}`.
    pub(super) text: String,
}

impl Labeller {
    pub(super) fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        state::with(self.number, look)
    }

    /// Tells that this thread runs what `text` says from now on.
    pub(super) fn tell(&self, py: Python<'_>, text: Option<&Bound<'_, PyString>>) -> PyResult<()> {
        if !self.is_telling.load(Ordering::Relaxed) {
            return Ok(());
        }
        match &self.told {
            Told::Metadata(set) => {
                set.call1(py, (text.unwrap_or(intern!(py, "")),))?;
            }
            Told::Spans(log) => log.add(text, self.state(|state| state.thread)),
        }
        Ok(())
    }

    /// Makes `text` the thread's label and tells it.
    pub(super) fn enter(&self, py: Python<'_>, text: Option<Bound<'_, PyString>>) -> PyResult<()> {
        let kept = text.clone().map(Bound::unbind);
        let old = self.state(|state| std::mem::replace(&mut state.current, kept));
        drop(old);
        self.tell(py, text.as_ref())
    }

    pub(super) fn current_task(&self, py: Python<'_>) -> PyResult<i64> {
        match &self.graph_task {
            Some(ask) => ask.call0(py)?.extract(py),
            None => Ok(-1),
        }
    }

    /// Whether a compiler traces the program instead of running it. What Dynamo traces does not come
    /// here at all: see `ModuleCalls` in `_labels.py`.
    fn is_exporting(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(compiler) = &self.compiler else {
            return Ok(false);
        };
        match compiler
            .bind(py)
            .get_item(intern!(py, "_is_compiling_flag"))?
        {
            Some(flag) => flag.is_truthy(),
            None => Ok(false),
        }
    }

    /// Runs `work`; if that fails, labels no more. Ours must not become the program's.
    pub(super) fn or_give_up(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<()>) {
        if let Err(problem) = work() {
            let problem = problem.into_value(py);
            // Nobody is left to be told if even this fails.
            let told = self
                .owner
                .call_method1(py, intern!(py, "_give_up"), (problem,));
            drop(told);
        }
    }
}

#[pymethods]
impl Labeller {
    /// `owner` is Python's `Labels`, `records` its labels by the module's id, `node_hooks` its
    /// `NodeHooks`; `set_metadata` None keeps the newest `span_capacity` labels with their times
    /// instead of telling PyTorch.
    #[new]
    fn new(
        owner: Py<PyAny>,
        torch: &Bound<'_, PyAny>,
        records: Py<PyDict>,
        node_hooks: Py<PyAny>,
        set_metadata: Option<Py<PyAny>>,
        span_capacity: usize,
    ) -> PyResult<Self> {
        let (compiled, compiler) = (torch.getattr("_C")?, torch.getattr_opt("compiler")?);
        let graph_task = compiled.getattr_opt("_current_graph_task_id")?;
        let compiler = compiler.map(|compiler| compiler.getattr("__dict__"));
        let compiler = compiler.transpose()?.map(|held| held.cast_into::<PyDict>());
        Ok(Self {
            number: LABELLERS.fetch_add(1, Ordering::Relaxed),
            owner,
            records,
            tensors: Tensors::new(torch)?,
            graph_task: graph_task.map(Bound::unbind),
            compiler: compiler.transpose()?.map(Bound::unbind),
            node_hooks,
            is_telling: AtomicBool::new(false),
            told: match set_metadata {
                Some(set) => Told::Metadata(set),
                None => Told::Spans(SpanLog::new(span_capacity)),
            },
            ending: Mutex::new(Ending {
                generation: 1,
                text: r#""step":0}"#.to_owned(),
            }),
        })
    }

    /// Calls `module` with its label told.
    #[pyo3(signature = (module, *inputs, **keywords))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        module: &Bound<'py, PyAny>,
        inputs: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let plain = module.getattr(intern!(py, "_call_impl"))?;
        let mut is_entered = false;
        this.or_give_up(py, || {
            if !this.is_exporting(py)? {
                Self::before(slf, module, inputs, keywords)?;
                is_entered = true;
            }
            Ok(())
        });
        let result = plain.call(inputs, keywords);
        if is_entered {
            this.or_give_up(py, || Self::after(slf, result.as_ref().ok()));
        }
        result
    }

    /// Starts telling.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        self.is_telling.store(true, Ordering::Relaxed);
        match self.state(|state| state.current.as_ref().map(|text| text.clone_ref(py))) {
            Some(text) => self.tell(py, Some(text.bind(py))),
            None => Ok(()),
        }
    }

    /// Stops telling; the calling thread has no label any more.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let told = self.tell(py, None);
        self.is_telling.store(false, Ordering::Relaxed);
        self.forget();
        told
    }

    /// Stops telling without a word to PyTorch, which must not be touched in a forked child.
    fn end_silently(&self) {
        self.is_telling.store(false, Ordering::Relaxed);
        self.forget();
    }

    /// Whether somebody is told.
    #[getter]
    fn is_telling(&self) -> bool {
        self.is_telling.load(Ordering::Relaxed)
    }

    /// Every label ends with `ending` from now on.
    fn renew(&self, ending: String) {
        let mut known = self.ending();
        known.generation += 1;
        known.text = ending;
    }

    /// The calling thread is in what `text` says, and so are its allocations.
    fn set(&self, py: Python<'_>, text: Bound<'_, PyString>) -> PyResult<()> {
        let text = if text.is_empty()? { None } else { Some(text) };
        self.enter(py, text)
    }

    /// The calling thread's label; "" for none.
    #[getter]
    fn current<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let current = self.state(|state| state.current.as_ref().map(|text| text.clone_ref(py)));
        current.map_or_else(|| intern!(py, "").clone(), |text| text.into_bound(py))
    }

    /// Whether the calling thread is in a module.
    #[getter]
    fn is_inside(&self) -> bool {
        self.state(|state| !state.stack.is_empty())
    }

    /// A number of the calling thread.
    #[getter]
    fn thread(&self) -> u64 {
        self.state(|state| state.thread)
    }

    /// Nothing is known of `thread` from now on. Only where labels are joined by time.
    fn lose(&self, thread: u64) {
        if let (true, Told::Spans(log)) = (self.is_telling(), &self.told) {
            log.add(None, thread);
        }
    }

    /// Has `label` told when the backward pass reaches what made the tensors in `value`.
    fn hook(
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        label: &Bound<'_, Label>,
    ) -> PyResult<()> {
        Self::hang(slf, [value], label)
    }

    /// The graph nodes that made the tensors in `value`.
    fn nodes<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut found = Vec::new();
        self.tensors.nodes_of(value, &mut |node| {
            found.push(node);
            Ok(())
        })?;
        Ok(found)
    }

    /// Graph nodes of the step before are not asked for any more.
    fn forget_nodes(&self) {
        self.state(|state| state.hooked.clear());
    }

    /// A backward pass of the calling thread is over: its label is again what it was before.
    fn end_pass(&self, py: Python<'_>) -> PyResult<()> {
        let current = self.state(|state| {
            state.pass = None;
            state.current.as_ref().map(|text| text.clone_ref(py))
        });
        self.tell(py, current.as_ref().map(|text| text.bind(py)))
    }

    /// The keys `labels` and `spans` of a sidecar; None where PyTorch is told.
    fn spans<'py>(&self, py: Python<'py>) -> PyResult<Option<(Vec<String>, Bound<'py, PyDict>)>> {
        let Told::Spans(log) = &self.told else {
            return Ok(None);
        };
        log.document(py).map(Some)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        visit.call(&self.records)?;
        visit.call(&self.node_hooks)
    }
}

impl Labeller {
    fn forget(&self) {
        let old = self.state(|state| state.current.take());
        drop(old);
    }
}
