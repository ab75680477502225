//! The plain form: two tables.

use device_watch::identity::Told;
use device_watch::status::{DeviceStatus, ProcessStatus, Status};
use profiler_core::units;

use crate::CommandError;
use crate::output::{self, Align};

/// A dash for what NVML does not say.
const UNKNOWN: &str = "-";

/// Prints the boards, then the processes.
pub(super) fn print(status: &Status) -> Result<(), CommandError> {
    for note in status.notes.all() {
        output::warn_text(note);
    }
    if status.devices.is_empty() {
        return output::line("NVML lists no GPU");
    }
    let right = Align::Right;
    let columns = [
        ("GPU", Align::Left),
        ("name", Align::Short),
        ("used", right),
        ("free", right),
        ("total", right),
        ("util", right),
        ("temp", right),
        ("power", right),
        ("SM clock", right),
        ("throttled by", Align::Left),
        ("ECC errors", right),
    ];
    let mut rows = Vec::new();
    for device in &status.devices {
        rows.push(device_row(device));
        for memory in &device.instance_memory {
            let known = device
                .board
                .instances
                .iter()
                .find(|one| one.index == memory.index);
            let mut row = vec![
                format!("{}.{}", device.board.index, memory.index),
                known
                    .and_then(|one| one.name.clone())
                    .unwrap_or_else(|| "MIG".to_owned()),
                bytes(memory.memory.used_bytes),
                bytes(memory.memory.free_bytes),
                bytes(memory.memory.total_bytes),
            ];
            row.resize(columns.len(), String::new());
            rows.push(row);
        }
    }
    output::table(&columns, rows)?;
    output::line("")?;
    let processes: Vec<_> = (status.devices.iter())
        .flat_map(|device| {
            let all = device.processes.iter().flatten();
            all.map(move |process| process_row(device, process))
        })
        .collect();
    if processes.is_empty() {
        return output::line(no_processes(status));
    }
    output::table(
        &[
            ("GPU", Align::Left),
            ("process", right),
            ("rank", right),
            ("step", right),
            ("used", right),
            ("requested", right),
            ("allocated", right),
            ("reserved", right),
            ("outside PyTorch", right),
            ("name", Align::Left),
        ],
        processes,
    )
}

/// Why no process is shown.
pub(super) fn no_processes(status: &Status) -> &'static str {
    let mut answering = status.devices.iter().filter(|device| !device.is_lost);
    if answering.clone().next().is_some() && answering.all(|device| device.processes.is_none()) {
        "the processes are not known"
    } else {
        "no processes on these GPUs, or none that NVML shows"
    }
}

/// Bytes, or a dash.
pub(super) fn bytes(value: Option<u64>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), units::bytes)
}

fn with_unit(value: Option<u32>, unit: &str) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value} {unit}"))
}

/// Watts of milliwatts, rounded.
pub(super) fn watts(milliwatt: u32) -> u32 {
    milliwatt.saturating_add(500) / 1000
}

/// What slows the clocks, by NVML's names; idling is no throttling.
pub(super) fn throttling(device: &DeviceStatus) -> Option<String> {
    let reasons = device.now.throttle_reasons.as_ref()?;
    let named: Vec<&str> = (reasons.iter().map(String::as_str))
        .filter(|&reason| reason != "gpu_idle" && reason != "none")
        .collect();
    Some(if named.is_empty() {
        "nothing".to_owned()
    } else {
        named.join(", ")
    })
}

fn device_row(device: &DeviceStatus) -> Vec<String> {
    let now = &device.now;
    let name = device
        .board
        .name
        .clone()
        .unwrap_or_else(|| UNKNOWN.to_owned());
    vec![
        device.board.index.to_string(),
        if device.is_lost {
            format!("{name} (lost)")
        } else {
            name
        },
        bytes(now.memory.used_bytes),
        bytes(now.memory.free_bytes),
        bytes(now.memory.total_bytes),
        with_unit(now.gpu_utilisation_percent, "%"),
        with_unit(now.temperature_celsius, "°C"),
        with_unit(now.power_milliwatt.map(watts), "W"),
        with_unit(now.sm_clock_mhz, "MHz"),
        throttling(device).unwrap_or_else(|| UNKNOWN.to_owned()),
        now.uncorrected_ecc_errors
            .map_or_else(|| UNKNOWN.to_owned(), units::count),
    ]
}

/// The number that a process goes by: NVML's, else its own in brackets.
pub(super) fn process_number(process: &ProcessStatus) -> String {
    match (process.process, &process.pytorch) {
        (Some(id), _) => id.to_string(),
        (None, Some(recorded)) => format!("({})", recorded.process),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// The program's name, and whether it is only inferred that this is its process.
pub(super) fn process_name(process: &ProcessStatus) -> String {
    let name = process.name.as_deref().unwrap_or(UNKNOWN);
    let told = process.pytorch.as_ref().and_then(|one| one.told_by);
    if told == Some(Told::OnlyCandidate) {
        format!("{name} (inferred)")
    } else {
        name.to_owned()
    }
}

fn process_row(device: &DeviceStatus, process: &ProcessStatus) -> Vec<String> {
    let recorded = process.pytorch.as_ref();
    let counters = recorded.map(|one| &one.counters);
    let place = match process.instance {
        Some(instance) => format!("{}.{instance}", device.board.index),
        None => device.board.index.to_string(),
    };
    vec![
        place,
        process_number(process),
        recorded.map_or_else(String::new, |one| one.rank.to_string()),
        recorded
            .and_then(|one| one.step)
            .map_or_else(String::new, |step| step.to_string()),
        bytes(process.used_bytes),
        counters.map_or_else(String::new, |one| units::bytes(one.requested_bytes)),
        counters.map_or_else(String::new, |one| units::bytes(one.allocated_bytes)),
        counters.map_or_else(String::new, |one| units::bytes(one.reserved_bytes)),
        recorded.map_or_else(String::new, |one| bytes(one.outside_bytes)),
        process_name(process),
    ]
}
