//! Watching the device without the interpreter's lock.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use device_watch::identity::{self, Own};
use device_watch::prometheus::{Exporter, Running};
use device_watch::sampler::{Shared, Watcher, sample_once};
use device_watch::status::{TorchDevice, Watch, outside};
use device_watch::{cuda, pulse};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;

use crate::error::Error;

/// Polls NVML in a thread of its own.
///
/// A process that forks loses the thread but not the object: `stop` and `series_json` know by the
/// process id, and the child's object simply has nothing new.
#[pyclass(frozen, module = "gpumemprof._native")]
struct Sampler {
    watcher: Mutex<Option<Watcher>>,
    shared: Arc<Shared>,
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
            let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(watcher) = watcher.take() {
                watcher.stop();
            }
        });
    }

    /// Everything sampled so far (schema `gpumemprof.samples/1`).
    fn series_json(&self, py: Python<'_>) -> PyResult<String> {
        json(py, || self.shared.series())
    }

    /// Why there are no samples, if that is so.
    #[getter]
    fn problem(&self) -> Option<String> {
        self.shared.problem()
    }

    /// What a user should be told once: why samples are missing, what the driver does not give.
    #[getter]
    fn sentences(&self) -> Vec<String> {
        self.shared.sentences()
    }
}

fn json<T: Serialize>(py: Python<'_>, make: impl FnOnce() -> T + Send) -> PyResult<String> {
    py.detach(|| serde_json::to_string(&make()))
        .map_err(|error| Error::new_err(error.to_string()))
}

/// The devices and processes as they are now (schema `gpumemprof.samples/1`, one sample).
#[pyfunction]
#[pyo3(signature = (library=None))]
fn sample_json(py: Python<'_>, library: Option<PathBuf>) -> PyResult<String> {
    json(py, || {
        let shared = Shared::new(1);
        sample_once(&shared, library);
        shared.series()
    })
}

/// What lies outside PyTorch now, on the devices that `devices` describes: a JSON list of objects
/// with `device`, `uuid`, `bus` (domain, bus, device) and `reserved_bytes`.
#[pyfunction]
fn outside_json(py: Python<'_>, devices: &str) -> PyResult<String> {
    let devices: Vec<TorchDevice> = serde_json::from_str(devices)
        .map_err(|error| PyValueError::new_err(format!("devices: {error}")))?;
    json(py, || {
        let shared = Shared::new(1);
        sample_once(&shared, None);
        outside(&shared.series(), &devices)
    })
}

/// The devices as this process's CUDA sees them, as a JSON list. Only for a process that uses CUDA:
/// the driver interface is initialised, though no context is started.
#[pyfunction]
fn cuda_devices_json(py: Python<'_>) -> PyResult<String> {
    let devices = py.detach(cuda::devices).map_err(Error::new_err)?;
    json(py, || devices)
}

/// This process as others can know it.
#[derive(Serialize)]
struct Identity {
    process: u32,
    outer_process: Option<u32>,
    start_ticks: Option<u64>,
    namespace: Option<String>,
    is_contained: bool,
    pulse_folder: PathBuf,
    pulse_schema: &'static str,
}

/// This process as others can know it, and where it may tell them of itself.
#[pyfunction]
fn identity_json(py: Python<'_>) -> PyResult<String> {
    json(py, || {
        let own = Own::new();
        Identity {
            process: own.process,
            outer_process: own.outer_process,
            start_ticks: identity::start_ticks(own.process),
            is_contained: own.is_contained(),
            namespace: own.namespace,
            pulse_folder: pulse::folder(),
            pulse_schema: pulse::SCHEMA,
        }
    })
}

/// Serves the devices and processes as metrics, in a thread of its own.
#[pyclass(frozen, module = "gpumemprof._native")]
struct Metrics {
    running: Mutex<Option<Running>>,
    address: String,
}

#[pymethods]
impl Metrics {
    /// Listens on `bind` and `port` (0: any free one).
    #[new]
    #[pyo3(signature = (port, bind="127.0.0.1"))]
    fn new(py: Python<'_>, port: u16, bind: &str) -> PyResult<Self> {
        let address: IpAddr = bind.parse().map_err(|_| {
            PyValueError::new_err(format!(
                "expected an address such as 127.0.0.1, found {bind:?}"
            ))
        })?;
        py.detach(|| {
            let watch = Watch::open(None)?;
            let exporter = Exporter::listen(address, port)?;
            let address = exporter.address().to_string();
            let running = exporter
                .start(watch)
                .map_err(|error| format!("cannot start the thread that serves metrics: {error}"))?;
            Ok(Self {
                running: Mutex::new(Some(running)),
                address,
            })
        })
        .map_err(|problem: String| Error::new_err(problem))
    }

    /// Where it listens, as in `127.0.0.1:9400`.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// Stops serving.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = running.take() {
                running.stop();
            }
        });
    }
}

/// Adds the classes and functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Sampler>()?;
    module.add_class::<Metrics>()?;
    module.add_function(wrap_pyfunction!(sample_json, module)?)?;
    module.add_function(wrap_pyfunction!(outside_json, module)?)?;
    module.add_function(wrap_pyfunction!(cuda_devices_json, module)?)?;
    module.add_function(wrap_pyfunction!(identity_json, module)?)
}
