//! The thread that watches the device through NVML, without the interpreter's lock.

mod board;
mod thread;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
use thread::{Shared, Watcher};

/// Polls NVML in a thread of its own.
///
/// A process that forks loses the thread but not the object: `stop` and `series_json` know by the
/// process id, and the child's object simply has nothing new.
#[pyclass(frozen, module = "gpumemprof._native")]
struct Sampler {
    watcher: Mutex<Option<Watcher>>,
    shared: std::sync::Arc<Shared>,
}

/// Polling faster than this only measures NVML's own refresh (it updates about every 16 ms).
const LEAST_INTERVAL_S: f64 = 0.02;

#[pymethods]
impl Sampler {
    /// `interval_s` between samples, at most `capacity` of them kept (the newest), `library` a
    /// path to load NVML from instead of the loader's.
    #[new]
    #[pyo3(signature = (interval_s=0.1, capacity=36_000, library=None))]
    fn new(interval_s: f64, capacity: usize, library: Option<PathBuf>) -> PyResult<Self> {
        if !(LEAST_INTERVAL_S..=3_600.0).contains(&interval_s) {
            return Err(PyValueError::new_err(format!(
                "expected an interval of {LEAST_INTERVAL_S} to 3600 seconds, found {interval_s}"
            )));
        }
        let shared = Shared::new(capacity.clamp(1, 1 << 20));
        let watcher = Watcher::start(&shared, Duration::from_secs_f64(interval_s), library)
            .map_err(|error| {
                Error::new_err(format!("cannot start the sampler's thread: {error}"))
            })?;
        Ok(Self {
            watcher: Mutex::new(Some(watcher)),
            shared,
        })
    }

    /// Stops the thread and waits for its last sample.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            let mut watcher = match self.watcher.lock() {
                Ok(watcher) => watcher,
                Err(poisoned) => poisoned.into_inner(),
            };
            if let Some(watcher) = watcher.take() {
                watcher.stop();
            }
        });
    }

    /// Everything sampled so far (schema `gpumemprof.samples/1`).
    fn series_json(&self, py: Python<'_>) -> PyResult<String> {
        let json = py.detach(|| self.shared.to_json());
        json.map_err(|error| Error::new_err(error.to_string()))
    }

    /// Why there are no samples, if that is so.
    #[getter]
    fn problem(&self) -> Option<String> {
        self.shared.problem()
    }
}

/// The devices and processes as they are now (schema `gpumemprof.samples/1`, one sample).
#[pyfunction]
#[pyo3(signature = (library=None))]
fn sample_json(py: Python<'_>, library: Option<PathBuf>) -> PyResult<String> {
    py.detach(|| {
        let shared = Shared::new(1);
        thread::sample_once(&shared, library);
        shared.to_json()
    })
    .map_err(|error| Error::new_err(error.to_string()))
}

/// Adds the class and the function to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Sampler>()?;
    module.add_function(wrap_pyfunction!(sample_json, module)?)
}
