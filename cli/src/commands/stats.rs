//! `gpumemprof stats FILE`: peaks, totals and counts of every device.

use profiler_core::metrics::{Outside, OutsidePoint};
use profiler_core::oom::oom_events;
use profiler_core::replay::{DeviceReplay, Replay};
use profiler_core::snapshot::{BlockState, DeviceId, Snapshot};
use profiler_core::units;
use serde::Serialize;

use crate::args::StatsArguments;
use crate::output::{Align, JsonWarning};
use crate::{CommandError, input, output};

/// The JSON form, schema `gpumemprof.stats/1`.
#[derive(Serialize)]
struct Stats<'a> {
    schema: &'static str,
    file: String,
    torch_format: &'static str,
    devices: Vec<DeviceStats>,
    /// Pinned host memory (PyTorch 2.14), if recorded.
    host: Option<DeviceStats>,
    warnings: Vec<JsonWarning<'a>>,
}

/// One device. Requested bytes are those of allocated and pending blocks.
#[derive(Serialize)]
struct DeviceStats {
    device: i32,
    events: u32,
    requested_peak_bytes: u64,
    requested_final_bytes: u64,
    allocated_final_bytes: u64,
    active_final_bytes: u64,
    reserved_peak_bytes: u64,
    reserved_final_bytes: u64,
    /// Row of the event that reached the peak; null if it was there before the first.
    peak_event: Option<u32>,
    /// Row of the event that reached the reserved peak; null if it was there before the first.
    reserved_peak_event: Option<u32>,
    /// How many out-of-memory errors were recorded.
    ooms: usize,
    /// Those that were live before the first event included.
    allocations: usize,
    /// Segments at the end.
    segments_final: usize,
    /// What lies outside PyTorch, if the recorder watched the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside_pytorch: Option<OutsideStats>,
}

/// Memory outside PyTorch at some times; null where none has a figure.
#[derive(Serialize)]
struct OutsideStats {
    /// How often the driver was asked.
    looks: usize,
    /// Whether which of the driver's processes is the recorded one is inferred.
    is_inferred: bool,
    at_peak: Option<OutsidePoint>,
    most: Option<OutsidePoint>,
    last: Option<OutsidePoint>,
    others: Vec<OtherStats>,
}

/// Another process on the device at the end.
#[derive(Serialize)]
struct OtherStats {
    process: u32,
    name: Option<String>,
    used_bytes: Option<u64>,
}

fn outside_stats(snapshot: &Snapshot, replay: &DeviceReplay) -> Option<OutsideStats> {
    let outside = Outside::new(snapshot, replay)?;
    let watch = snapshot.watch(replay.device)?;
    Some(OutsideStats {
        looks: outside.points.len(),
        is_inferred: watch.is_inferred,
        at_peak: outside.at_peak,
        most: outside.most,
        last: outside.last,
        others: (watch.others.iter())
            .map(|other| OtherStats {
                process: other.process,
                name: other.name.clone(),
                used_bytes: other.used_bytes,
            })
            .collect(),
    })
}

/// Prints the figures.
pub(super) fn run(arguments: &StatsArguments) -> Result<(), CommandError> {
    let (snapshot, replay) = input::load(&arguments.input)?;
    let stats = gather(
        &arguments.input.file.display().to_string(),
        &snapshot,
        &replay,
    );
    if arguments.json {
        return output::json(&stats);
    }
    output::warn(&[&snapshot.warnings, &replay.warnings]);
    replay.devices.iter().for_each(output::warn_unseen);
    print(&stats)
}

/// What `gpumemprof stats --json` prints.
pub(crate) fn document(
    file: &str,
    snapshot: &Snapshot,
    replay: &Replay,
) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(gather(file, snapshot, replay))
}

fn gather<'a>(file: &str, snapshot: &'a Snapshot, replay: &'a Replay) -> Stats<'a> {
    let accelerators = replay
        .devices
        .iter()
        .filter(|device| device.device != DeviceId::HOST);
    Stats {
        schema: "gpumemprof.stats/1",
        file: file.to_owned(),
        torch_format: snapshot.features.torch_format(),
        devices: accelerators
            .map(|device| device_stats(snapshot, device))
            .collect(),
        host: replay
            .device(DeviceId::HOST)
            .map(|host| device_stats(snapshot, host)),
        warnings: output::json_warnings(snapshot, &replay.warnings),
    }
}

fn device_stats(snapshot: &Snapshot, replay: &DeviceReplay) -> DeviceStats {
    let (peak_moment, requested_peak_bytes) = replay.requested.peak();
    let (reserved_moment, reserved_peak_bytes) = replay.reserved.peak();
    let (mut allocated, mut active, mut segments) = (0_u64, 0_u64, 0);
    for segment in snapshot.segments.of_device(replay.device) {
        segments += 1;
        for block in snapshot.segments.blocks(segment) {
            if block.state == BlockState::Allocated {
                allocated = allocated.saturating_add(block.size);
            }
            if block.state.is_active() {
                active = active.saturating_add(block.size);
            }
        }
    }
    DeviceStats {
        device: replay.device.0,
        events: replay.event_count(),
        requested_peak_bytes,
        requested_final_bytes: replay.requested.last(),
        allocated_final_bytes: allocated,
        active_final_bytes: active,
        reserved_peak_bytes,
        reserved_final_bytes: replay.reserved.last(),
        peak_event: peak_moment.checked_sub(1),
        reserved_peak_event: reserved_moment.checked_sub(1),
        ooms: oom_events(snapshot, replay).len(),
        allocations: replay.allocations.len(),
        segments_final: segments,
        outside_pytorch: outside_stats(snapshot, replay),
    }
}

fn print(stats: &Stats<'_>) -> Result<(), CommandError> {
    output::heading(&format!(
        "{}  (format of PyTorch {})",
        stats.file, stats.torch_format
    ))?;
    for device in stats.devices.iter().chain(&stats.host) {
        print_device(device)?;
    }
    Ok(())
}

/// The figures of one device, one kind of bytes a row: the table stays narrower than 80 columns.
fn print_device(device: &DeviceStats) -> Result<(), CommandError> {
    let name = match device.device {
        number if DeviceId(number) == DeviceId::HOST => "pinned host memory".to_owned(),
        number => format!("device {number}"),
    };
    if device.events == 0 && device.reserved_final_bytes == 0 {
        return output::line(&format!("{name}: no event, no memory"));
    }
    output::line(&format!(
        "{name}: {}, {}, {} at the end, {}",
        units::counted(u64::from(device.events), "event", "events"),
        units::counted(device.allocations as u64, "allocation", "allocations"),
        units::counted(device.segments_final as u64, "segment", "segments"),
        units::counted(
            device.ooms as u64,
            "out-of-memory error",
            "out-of-memory errors"
        ),
    ))?;
    let right = Align::Right;
    let columns = [
        ("", Align::Left),
        ("peak", right),
        ("after event", right),
        ("at the end", right),
    ];
    let after = |event: Option<u32>| match event {
        Some(event) => units::count(u64::from(event)),
        None => "(start)".to_owned(),
    };
    let with_peak = |name: &str, peak: u64, event: Option<u32>, end: u64| {
        let bytes = [units::bytes(peak), after(event), units::bytes(end)];
        [name.to_owned()].into_iter().chain(bytes).collect()
    };
    let end_only = |name: &str, end: u64| {
        let cells = ["", "", &units::bytes(end)];
        [name]
            .iter()
            .chain(&cells)
            .map(|&cell| cell.to_owned())
            .collect()
    };
    let rows = vec![
        with_peak(
            "requested",
            device.requested_peak_bytes,
            device.peak_event,
            device.requested_final_bytes,
        ),
        end_only("allocated", device.allocated_final_bytes),
        end_only("active", device.active_final_bytes),
        with_peak(
            "reserved",
            device.reserved_peak_bytes,
            device.reserved_peak_event,
            device.reserved_final_bytes,
        ),
    ];
    output::table(&columns, rows)
}
