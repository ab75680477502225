//! Snapshots as Python sees them: read once, asked often.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use gpumemprof_cli::{CommandError, document, input, moment};
use profiler_core::attribution::{Attribution, By, DeviceAttribution, frame_label};
use profiler_core::read::{ReadOptions, read_bytes};
use profiler_core::replay::{AllocationId, DeviceReplay, Replay};
use profiler_core::report::{ReportInput, ReportOptions, html};
use profiler_core::sidecar::Sidecar;
use profiler_core::snapshot::{DeviceId, Snapshot};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};

use crate::error::{ReadError, from_command};

/// A snapshot, replayed and attributed. Frozen, so threads may share it.
#[pyclass(frozen, module = "gpumemprof._native", name = "RawSnapshot")]
struct RawSnapshot {
    name: String,
    snapshot: Snapshot,
    replay: Replay,
    attribution: Attribution,
    has_sidecar: bool,
    sidecar_problem: Option<String>,
}

/// What can go wrong below, turned into exceptions once the interpreter's lock is back.
type Outcome<T> = Result<T, CommandError>;

impl RawSnapshot {
    fn analyse(
        name: String,
        mut snapshot: Snapshot,
        sidecar: impl FnOnce(&mut Snapshot) -> Result<bool, String>,
    ) -> Self {
        let (has_sidecar, sidecar_problem) = match sidecar(&mut snapshot) {
            Ok(has) => (has, None),
            Err(problem) => (false, Some(problem)),
        };
        let has_context = snapshot.context.is_some();
        let replay = Replay::new(&snapshot);
        let attribution = Attribution::new(&snapshot, &replay);
        Self {
            name,
            snapshot,
            replay,
            attribution,
            // That of a packed run has been applied with the reading.
            has_sidecar: has_sidecar || has_context,
            sidecar_problem,
        }
    }

    fn device(&self, device: Option<i32>) -> Outcome<&DeviceReplay> {
        input::pick_device(&self.replay, device.map(DeviceId))
    }

    fn live(&self, device: &DeviceReplay, at: &str) -> Outcome<Vec<AllocationId>> {
        Ok(device.live_at(moment::parse(at, &self.snapshot, device)?))
    }

    fn peak_document(&self, by: &str, at: &str, device: Option<i32>) -> Outcome<Value> {
        let grouping = By::from_name(by).ok_or_else(|| {
            let names: Vec<&str> = By::NAMES.iter().map(|(_, name)| *name).collect();
            CommandError::Usage(format!(
                "cannot group by {by:?}: expected one of {}",
                names.join(", ")
            ))
        })?;
        let device = self.device(device)?;
        let at_moment = moment::parse(at, &self.snapshot, device)?;
        let live = device.live_at(at_moment);
        let breakdown = self
            .attribution
            .breakdown(&self.snapshot, device, &live, grouping);
        let groups: Vec<Value> = breakdown
            .groups
            .iter()
            .map(|group| {
                json!({
                    "name": group.label,
                    "is_unknown": group.is_unknown,
                    "requested_bytes": group.sums.requested,
                    "block_bytes": group.sums.block,
                    "allocations": group.sums.count,
                    "inferred_bytes": group.inferred,
                })
            })
            .collect();
        Ok(json!({
            "device": device.device.0,
            "at": at,
            "event": at_moment.checked_sub(1),
            "by": by,
            "requested_bytes": breakdown.total.requested,
            "block_bytes": breakdown.total.block,
            "allocations": breakdown.total.count,
            "recorded_bytes": breakdown.recorded,
            "inferred_bytes": breakdown.inferred,
            "unknown_bytes": breakdown.unknown,
            "groups": groups,
        }))
    }

    fn gather(&self, device: Option<i32>, live_at: Option<&str>) -> Outcome<Columns> {
        let device = self.device(device)?;
        let ids = match live_at {
            Some(at) => self.live(device, at)?,
            None => device.allocations.ids().collect(),
        };
        let nothing = DeviceAttribution::default();
        let told = self.attribution.device(device.device).unwrap_or(&nothing);
        let mut columns = Columns::default();
        for id in ids {
            columns.push(self, device, told, id);
        }
        Ok(columns)
    }
}

/// Allocations as columns, in the order of a data frame's.
#[derive(Default)]
struct Columns {
    address: Vec<u64>,
    requested_bytes: Vec<u64>,
    block_bytes: Vec<u64>,
    alloc_event: Vec<Option<u32>>,
    free_event: Vec<Option<u32>>,
    stream: Vec<i64>,
    layer: Vec<String>,
    layer_evidence: Vec<&'static str>,
    category: Vec<&'static str>,
    category_evidence: Vec<&'static str>,
    phase: Vec<&'static str>,
    step: Vec<Option<u64>>,
    metadata: Vec<String>,
    stack: Vec<Vec<String>>,
}

impl Columns {
    fn push(
        &mut self,
        of: &RawSnapshot,
        device: &DeviceReplay,
        told: &DeviceAttribution,
        id: AllocationId,
    ) {
        let allocation = device.allocations.get(id);
        let (layer, layer_evidence) = told.layer(id);
        let (category, category_evidence) = told.category(id);
        let metadata = allocation
            .alloc_event()
            .and_then(|event| {
                let trace = of.snapshot.trace(device.device)?;
                Some(trace.events.user_metadata(event as usize))
            })
            .unwrap_or_default();
        let clean = &of.attribution.clean;
        let frames = clean.clean_frames(clean.of(allocation.stack));
        self.address.push(allocation.address);
        self.requested_bytes.push(allocation.requested);
        self.block_bytes.push(allocation.block_size);
        self.alloc_event.push(allocation.alloc_event());
        self.free_event.push(allocation.free_event());
        self.stream
            .push(of.snapshot.streams.pointer(allocation.stream));
        self.layer.push(of.attribution.layers.path(layer));
        self.layer_evidence.push(layer_evidence.name());
        self.category.push(category.name());
        self.category_evidence.push(category_evidence.name());
        self.phase.push(told.phase(id).name());
        self.step.push(
            told.step(id)
                .and_then(|step| told.steps.steps.get(step))
                .map(|step| step.number),
        );
        self.metadata
            .push(of.snapshot.strings.get(metadata).to_owned());
        self.stack.push(
            frames
                .map(|frame| frame_label(&of.snapshot, frame))
                .collect(),
        );
    }

    fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("address", self.address)?;
        dict.set_item("requested_bytes", self.requested_bytes)?;
        dict.set_item("block_bytes", self.block_bytes)?;
        dict.set_item("alloc_event", self.alloc_event)?;
        dict.set_item("free_event", self.free_event)?;
        dict.set_item("stream", self.stream)?;
        dict.set_item("layer", self.layer)?;
        dict.set_item("layer_evidence", self.layer_evidence)?;
        dict.set_item("category", self.category)?;
        dict.set_item("category_evidence", self.category_evidence)?;
        dict.set_item("phase", self.phase)?;
        dict.set_item("step", self.step)?;
        dict.set_item("metadata", self.metadata)?;
        dict.set_item("stack", self.stack)?;
        Ok(dict)
    }
}

#[pymethods]
impl RawSnapshot {
    /// The devices that have a trace or segments, ascending; −1 is pinned host memory.
    #[getter]
    fn devices(&self) -> Vec<i32> {
        self.replay.devices.iter().map(|d| d.device.0).collect()
    }

    /// Whether a recorder's sidecar was found beside the file.
    #[getter]
    fn has_sidecar(&self) -> bool {
        self.has_sidecar
    }

    /// What was noticed while reading and replaying.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        let all = self.snapshot.warnings.all().iter();
        all.chain(self.replay.warnings.all())
            .map(|warning| warning.message.clone())
            .chain(self.sidecar_problem.clone())
            .collect()
    }

    /// What `gpumemprof stats --json` prints.
    fn stats_json(&self, py: Python<'_>) -> PyResult<String> {
        let document = py.detach(|| document::stats(&self.name, &self.snapshot, &self.replay));
        document
            .map(|value| value.to_string())
            .map_err(from_command)
    }

    /// What `gpumemprof oom --json` prints.
    fn oom_json(&self, py: Python<'_>, device_total: Option<u64>) -> PyResult<String> {
        let document = py.detach(|| {
            document::oom(
                &self.name,
                &self.snapshot,
                &self.replay,
                &self.attribution,
                device_total,
            )
        });
        document
            .map(|value| value.to_string())
            .map_err(from_command)
    }

    /// Who holds the memory at a moment, as `gpumemprof peak --json` prints it.
    fn peak_json(
        &self,
        py: Python<'_>,
        by: &str,
        at: &str,
        device: Option<i32>,
    ) -> PyResult<String> {
        let document = py.detach(|| self.peak_document(by, at, device));
        document
            .map(|value| value.to_string())
            .map_err(from_command)
    }

    /// The HTML report. `device_total` in bytes lets verdicts tell what lies outside PyTorch.
    fn report_html(
        &self,
        py: Python<'_>,
        title: String,
        redact: bool,
        device_total: Option<u64>,
    ) -> String {
        py.detach(|| {
            html(
                &ReportInput {
                    snapshot: &self.snapshot,
                    replay: &self.replay,
                    attribution: &self.attribution,
                    device_total_bytes: device_total,
                },
                &ReportOptions {
                    title,
                    redact,
                    device: None,
                },
            )
        })
    }

    /// Single allocations as a dict of columns.
    fn columns<'py>(
        &self,
        py: Python<'py>,
        device: Option<i32>,
        live_at: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let columns = py.detach(|| self.gather(device, live_at));
        columns.map_err(from_command)?.into_dict(py)
    }
}

/// Reads a snapshot file, with the sidecar beside it.
#[pyfunction]
fn read_file(py: Python<'_>, path: PathBuf) -> PyResult<RawSnapshot> {
    py.detach(|| read(&path)).map_err(from_command)
}

fn read(path: &Path) -> Outcome<RawSnapshot> {
    let bytes = input::FileBytes::open(path)?;
    let mut progress = |_| ControlFlow::Continue(());
    let snapshot = read_bytes(&bytes, &ReadOptions::default(), &mut progress);
    let snapshot = snapshot.map_err(|source| CommandError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(RawSnapshot::analyse(
        path.display().to_string(),
        snapshot,
        |snapshot| input::apply_sidecar(path, snapshot),
    ))
}

/// Reads a snapshot from memory; `sidecar` is the JSON of one, or None.
#[pyfunction]
fn read_buffer(
    py: Python<'_>,
    bytes: &[u8],
    sidecar: Option<&[u8]>,
    name: String,
) -> PyResult<RawSnapshot> {
    py.detach(|| {
        let mut progress = |_| ControlFlow::Continue(());
        let snapshot = read_bytes(bytes, &ReadOptions::default(), &mut progress)?;
        Ok(RawSnapshot::analyse(name, snapshot, |snapshot| {
            let Some(bytes) = sidecar else {
                return Ok(false);
            };
            let sidecar = Sidecar::parse(bytes).map_err(|error| error.to_string())?;
            Ok(!sidecar.apply(snapshot).is_of_another)
        }))
    })
    .map_err(|error: profiler_core::read::ReadError| ReadError::new_err(error.to_string()))
}

/// The names that `peak(by=…)` takes.
#[pyfunction]
fn groupings() -> Vec<&'static str> {
    By::NAMES.iter().map(|(_, name)| *name).collect()
}

/// Adds the class and the functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RawSnapshot>()?;
    module.add_function(wrap_pyfunction!(read_file, module)?)?;
    module.add_function(wrap_pyfunction!(read_buffer, module)?)?;
    module.add_function(wrap_pyfunction!(groupings, module)?)
}
