//! A [`Status`] as metrics (Prometheus text exposition format 0.0.4), and a server for them.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use tiny_http::{Header, Method, Request, Response, Server};

use crate::status::{DeviceStatus, ProcessStatus, Status, Watch};

/// The type of the text, as the exposition format's specification has it.
const CONTENT_TYPE: &[u8] = b"text/plain; version=0.0.4; charset=utf-8";

/// One metric of all its devices or processes: name, help, and lines of labels and value.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    lines: Vec<(String, String)>,
}

/// Writes `status` as metrics. Units are Prometheus's base units: bytes, celsius, watts, hertz,
/// ratios. What NVML refuses has no line.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut metrics = vec![Metric {
        name: "gpumemprof_build_info",
        help: "The version of gpumemprof and of the driver.",
        kind: "gauge",
        lines: vec![(
            labels(&[
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("driver", status.driver.clone().unwrap_or_default()),
            ]),
            "1".to_owned(),
        )],
    }];
    for &(name, help, kind, value) in DEVICE_METRICS {
        let lines = status.devices.iter().filter_map(|device| {
            let value = value(device)?;
            Some((labels(&device_labels(device)), value))
        });
        metrics.push(Metric {
            name,
            help,
            kind,
            lines: lines.collect(),
        });
    }
    metrics.push(throttling(status));
    metrics.extend(instances(status));
    for &(name, help, value) in PROCESS_METRICS {
        let mut lines = Vec::new();
        for device in &status.devices {
            for process in device.processes.iter().flatten() {
                if let Some(value) = value(process) {
                    lines.push((process_labels(device, process), value));
                }
            }
        }
        metrics.push(Metric {
            name,
            help,
            kind: "gauge",
            lines,
        });
    }
    let mut out = String::new();
    for metric in metrics.iter().filter(|metric| !metric.lines.is_empty()) {
        let Metric {
            name, help, kind, ..
        } = metric;
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in &metric.lines {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
    out
}

type DeviceValue = fn(&DeviceStatus) -> Option<String>;

const DEVICE_METRICS: &[(&str, &str, &str, DeviceValue)] = &[
    (
        "gpumemprof_device_up",
        "Whether the board answers; a lost one does not.",
        "gauge",
        |device| Some(u8::from(!device.is_lost).to_string()),
    ),
    (
        "gpumemprof_device_memory_total_bytes",
        "Memory of the board.",
        "gauge",
        |device| whole(device.now.memory.total_bytes),
    ),
    (
        "gpumemprof_device_memory_used_bytes",
        "Memory held by programs.",
        "gauge",
        |device| whole(device.now.memory.used_bytes),
    ),
    (
        "gpumemprof_device_memory_free_bytes",
        "Memory left for programs.",
        "gauge",
        |device| whole(device.now.memory.free_bytes),
    ),
    (
        "gpumemprof_device_memory_reserved_bytes",
        "Memory that the driver keeps for itself.",
        "gauge",
        |device| whole(device.now.memory.reserved_bytes),
    ),
    (
        "gpumemprof_device_utilization_ratio",
        "Share of the last interval in which a kernel ran.",
        "gauge",
        |device| scaled(device.now.gpu_utilisation_percent, 100),
    ),
    (
        "gpumemprof_device_memory_utilization_ratio",
        "Share of the last interval in which memory was read or written.",
        "gauge",
        |device| scaled(device.now.memory_utilisation_percent, 100),
    ),
    (
        "gpumemprof_device_temperature_celsius",
        "Temperature of the GPU.",
        "gauge",
        |device| whole(device.now.temperature_celsius),
    ),
    (
        "gpumemprof_device_power_watts",
        "Power drawn by the board.",
        "gauge",
        |device| scaled(device.now.power_milliwatt, 1000),
    ),
    (
        "gpumemprof_device_power_limit_watts",
        "Power limit in force.",
        "gauge",
        |device| scaled(device.now.power_limit_milliwatt, 1000),
    ),
    (
        "gpumemprof_device_sm_clock_hertz",
        "Clock of the multiprocessors.",
        "gauge",
        |device| whole(device.now.sm_clock_mhz.map(hertz)),
    ),
    (
        "gpumemprof_device_memory_clock_hertz",
        "Clock of the memory.",
        "gauge",
        |device| whole(device.now.memory_clock_mhz.map(hertz)),
    ),
    (
        "gpumemprof_device_ecc_uncorrected_errors_total",
        "Memory errors that ECC could not correct since the driver was loaded.",
        "counter",
        |device| whole(device.now.uncorrected_ecc_errors),
    ),
    (
        "gpumemprof_device_ecc_corrected_errors_total",
        "Memory errors that ECC corrected since the driver was loaded.",
        "counter",
        |device| whole(device.now.corrected_ecc_errors),
    ),
];

type ProcessValue = fn(&ProcessStatus) -> Option<String>;

const PROCESS_METRICS: &[(&str, &str, ProcessValue)] = &[
    (
        "gpumemprof_process_memory_used_bytes",
        "What NVML counts for a process.",
        |process| whole(process.used_bytes),
    ),
    (
        "gpumemprof_process_pytorch_requested_bytes",
        "What a recorded process's program asked PyTorch for and has.",
        |process| {
            whole(
                process
                    .pytorch
                    .as_ref()
                    .map(|one| one.counters.requested_bytes),
            )
        },
    ),
    (
        "gpumemprof_process_pytorch_allocated_bytes",
        "The blocks that a recorded process's allocator handed out.",
        |process| {
            whole(
                process
                    .pytorch
                    .as_ref()
                    .map(|one| one.counters.allocated_bytes),
            )
        },
    ),
    (
        "gpumemprof_process_pytorch_active_bytes",
        "These and blocks that other streams may still use.",
        |process| {
            whole(
                process
                    .pytorch
                    .as_ref()
                    .map(|one| one.counters.active_bytes),
            )
        },
    ),
    (
        "gpumemprof_process_pytorch_reserved_bytes",
        "What a recorded process's allocator took from the driver.",
        |process| {
            whole(
                process
                    .pytorch
                    .as_ref()
                    .map(|one| one.counters.reserved_bytes),
            )
        },
    ),
    (
        "gpumemprof_process_outside_pytorch_bytes",
        "What a recorded process holds beyond that: context, libraries, NCCL.",
        |process| whole(process.pytorch.as_ref()?.outside_bytes),
    ),
    (
        "gpumemprof_process_pytorch_ooms",
        "Allocations of a recorded process that failed.",
        |process| whole(process.pytorch.as_ref().map(|one| one.counters.ooms)),
    ),
];

fn hertz(mhz: u32) -> u64 {
    u64::from(mhz) * 1_000_000
}

fn whole(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn scaled(value: Option<u32>, parts: u32) -> Option<String> {
    value.map(|value| (f64::from(value) / f64::from(parts)).to_string())
}

fn device_labels(device: &DeviceStatus) -> [(&'static str, String); 3] {
    [
        ("device", device.board.index.to_string()),
        ("uuid", device.board.uuid.clone().unwrap_or_default()),
        ("name", device.board.name.clone().unwrap_or_default()),
    ]
}

fn throttling(status: &Status) -> Metric {
    let lines = status.devices.iter().flat_map(|device| {
        let reasons = device.now.throttle_reasons.iter().flatten();
        reasons.map(|reason| {
            let mut all = device_labels(device).to_vec();
            all.push(("reason", reason.clone()));
            (labels(&all), "1".to_owned())
        })
    });
    Metric {
        name: "gpumemprof_device_throttled",
        help: "1 for each reason that holds the clocks down now.",
        kind: "gauge",
        lines: lines.collect(),
    }
}

fn instances(status: &Status) -> [Metric; 2] {
    let lines = |value: fn(&crate::board::MemorySample) -> Option<u64>| {
        let mut lines = Vec::new();
        for device in &status.devices {
            for one in &device.instance_memory {
                let known = device
                    .board
                    .instances
                    .iter()
                    .find(|known| known.index == one.index);
                let mut all = device_labels(device).to_vec();
                all.push(("instance", one.index.to_string()));
                let uuid = known.and_then(|known| known.uuid.clone());
                all.push(("instance_uuid", uuid.unwrap_or_default()));
                if let Some(value) = value(&one.memory) {
                    lines.push((labels(&all), value.to_string()));
                }
            }
        }
        lines
    };
    [
        Metric {
            name: "gpumemprof_instance_memory_total_bytes",
            help: "Memory of a MIG instance.",
            kind: "gauge",
            lines: lines(|memory| memory.total_bytes),
        },
        Metric {
            name: "gpumemprof_instance_memory_used_bytes",
            help: "Memory held by programs on a MIG instance.",
            kind: "gauge",
            lines: lines(|memory| memory.used_bytes),
        },
    ]
}

fn process_labels(device: &DeviceStatus, process: &ProcessStatus) -> String {
    let recorded = process.pytorch.as_ref();
    let id = process.process.or(recorded.map(|one| one.process));
    let mut all = device_labels(device)[..2].to_vec();
    all.push(("process", id.map(|id| id.to_string()).unwrap_or_default()));
    all.push(("name", process.name.clone().unwrap_or_default()));
    if let Some(instance) = process.instance {
        all.push(("instance", instance.to_string()));
    }
    if let Some(recorded) = recorded {
        all.push(("rank", recorded.rank.to_string()));
    }
    labels(&all)
}

/// Labels as the format writes them: backslash, quote and line feed escaped.
fn labels(pairs: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(',');
        }
        let _ = write!(out, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                // A name is a stranger's: what would move a terminal's cursor is left out.
                c if c.is_control() => out.push(' '),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

/// A server of metrics: each request looks at the machine once.
pub struct Exporter {
    server: Arc<Server>,
    address: SocketAddr,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Exporter")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// Listens on `address` and `port` (0: any free one).
    ///
    /// # Errors
    /// A sentence, if the port is taken or not allowed.
    pub fn listen(address: IpAddr, port: u16) -> Result<Self, String> {
        let wanted = SocketAddr::new(address, port);
        let server = Server::http(wanted)
            .map_err(|error| format!("cannot serve metrics on {wanted}: {error}"))?;
        let address = server.server_addr().to_ip().unwrap_or(wanted);
        Ok(Self {
            server: Arc::new(server),
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until [`Running::stop`], in a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(self, watch: Watch) -> std::io::Result<Running> {
        let server = Arc::clone(&self.server);
        let thread = std::thread::Builder::new()
            .name("gpumemprof-http".to_owned())
            .spawn(move || self.serve(&watch))?;
        Ok(Running {
            server,
            thread,
            process: std::process::id(),
        })
    }

    /// Answers until the server is unblocked.
    pub fn serve(&self, watch: &Watch) {
        for request in self.server.incoming_requests() {
            answer(request, watch);
        }
    }
}

/// A server in its thread.
pub struct Running {
    server: Arc<Server>,
    thread: JoinHandle<()>,
    process: u32,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Running")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Stops the server; in a forked child, where its thread is not, does nothing.
    pub fn stop(self) {
        if self.process != std::process::id() {
            std::mem::forget(self);
            return;
        }
        self.server.unblock();
        // A thread that panicked has told the panic hook already.
        self.thread.join().ok();
    }
}

fn answer(request: Request, watch: &Watch) {
    let path = request.url().split('?').next().unwrap_or_default();
    let is_read = matches!(request.method(), Method::Get | Method::Head);
    let (code, body) = match (is_read, path) {
        (false, _) => (405, "only GET\n".to_owned()),
        (true, "/metrics") => (200, text(&watch.look_settled())),
        (true, "/") => (200, "gpumemprof: metrics are at /metrics\n".to_owned()),
        (true, _) => (404, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::from_string(body).with_status_code(code);
    if let Ok(header) = Header::from_bytes(&b"Content-Type"[..], CONTENT_TYPE) {
        response.add_header(header);
    }
    // A client that went away is no matter.
    let _ = request.respond(response);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Board, MemorySample};
    use crate::pulse::PulseDevice;
    use crate::status::{BoardFigures, PytorchStatus};

    fn status() -> Status {
        let device = DeviceStatus {
            board: Board {
                name: Some("NVIDIA \"X\"\n".to_owned()),
                uuid: Some("GPU-1".to_owned()),
                ..Board::default()
            },
            now: BoardFigures {
                memory: MemorySample {
                    total_bytes: Some(100),
                    ..MemorySample::default()
                },
                gpu_utilisation_percent: Some(50),
                sm_clock_mhz: Some(1980),
                throttle_reasons: Some(vec!["sw_power_cap".to_owned()]),
                ..BoardFigures::default()
            },
            processes: Some(vec![ProcessStatus {
                process: Some(7),
                used_bytes: Some(30),
                pytorch: Some(PytorchStatus {
                    counters: PulseDevice {
                        reserved_bytes: 20,
                        ..PulseDevice::default()
                    },
                    outside_bytes: Some(10),
                    ..PytorchStatus::default()
                }),
                ..ProcessStatus::default()
            }]),
            ..DeviceStatus::default()
        };
        Status {
            devices: vec![device],
            ..Status::default()
        }
    }

    #[test]
    fn metrics_are_in_the_exposition_format() {
        let text = text(&status());
        let device = r#"device="0",uuid="GPU-1",name="NVIDIA \"X\"\n""#;
        for line in [
            &format!("gpumemprof_device_memory_total_bytes{{{device}}} 100"),
            &format!("gpumemprof_device_utilization_ratio{{{device}}} 0.5"),
            &format!("gpumemprof_device_sm_clock_hertz{{{device}}} 1980000000"),
            &format!("gpumemprof_device_throttled{{{device},reason=\"sw_power_cap\"}} 1"),
            r#"gpumemprof_process_outside_pytorch_bytes{device="0",uuid="GPU-1",process="7",name="",rank="0"} 10"#,
            "# TYPE gpumemprof_process_memory_used_bytes gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // What NVML did not say has no line, and a metric without lines no header.
        assert!(!text.contains("temperature"));
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_taken_port_is_said() {
        let first = Exporter::listen([127, 0, 0, 1].into(), 0).unwrap();
        let again = Exporter::listen([127, 0, 0, 1].into(), first.address().port());
        assert!(
            again
                .unwrap_err()
                .contains("cannot serve metrics on 127.0.0.1:")
        );
    }
}
