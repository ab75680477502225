//! What the command line can say.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use profiler_core::allocator::{Capacity, GPUS, TorchVersion, find_gpu};
use profiler_core::attribution::Phase;
use profiler_core::snapshot::DeviceId;

/// Explains PyTorch GPU memory: what filled the device, which layer, and what to change.
#[derive(Debug, Parser)]
#[command(name = "gpumemprof", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a self-contained HTML report of a snapshot.
    Report(ReportArguments),
    /// Print peaks, totals and counts of every device.
    Stats(StatsArguments),
    /// Print who holds the memory at the peak, or at another moment.
    Peak(PeakArguments),
    /// List single allocations.
    Allocations(AllocationsArguments),
    /// Print where the reserved memory goes: requested, rounding, slack, free.
    Fragmentation(FragmentationArguments),
    /// Print the verdict on each out-of-memory error of a snapshot, or of a program's log.
    ///
    /// The file may also be a log with out-of-memory messages (text, also .gz): the verdict is then
    /// what the messages' figures allow.
    Oom(OomArguments),
    /// Run the recorded program under other allocator settings, on another device, or changed.
    Simulate(SimulateArguments),
    /// Search the allocator settings that would have served the program better.
    Advise(AdviseArguments),
    /// Watch the GPUs and their processes, with PyTorch's part where a process is recorded.
    Top(TopArguments),
    /// Open snapshots in the viewer's window (the program gpumemprof-viewer).
    View(ViewArguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Options of `view`.
#[derive(Debug, Args)]
pub struct ViewArguments {
    /// Memory snapshots, shown above each other on one time axis. More can be opened in the
    /// window.
    pub files: Vec<PathBuf>,
}

/// The file to read, and how much to say while reading it.
#[derive(Debug, Args)]
pub struct FileArguments {
    /// A memory snapshot: pickle of any PyTorch from 1.13 on, JSON, memory_viz HTML, also
    /// compressed (.gz, .zst, .xz).
    pub file: PathBuf,
    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// Where to write the report; by default beside the snapshot, with `.html` added.
    #[arg(long, short, value_name = "HTML")]
    pub output: Option<PathBuf>,
    /// Overwrite a page that is beside the snapshot already; one named by --output always is.
    #[arg(long, short)]
    pub force: bool,
    /// Replace paths, user and host names by neutral words.
    #[arg(long)]
    pub redact: bool,
    /// The device's whole memory, for example 80GiB: lets the verdict tell what lies outside
    /// PyTorch. All units are binary, as in CUDA's and PyTorch's messages: 80GB is 80GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub device_total: Option<u64>,
}

/// Options of `stats`.
#[derive(Debug, Args)]
pub struct StatsArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// Print JSON (schema gpumemprof.stats/1).
    #[arg(long)]
    pub json: bool,
}

/// What `peak` groups by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PeakBy {
    /// The module that allocated, for example blocks.3.attn.
    #[default]
    Layer,
    /// The whole cleaned call stack.
    Stack,
    /// The function of the innermost project frame.
    Function,
    /// The file of the innermost project frame.
    File,
    /// File and line of the innermost project frame.
    Line,
    /// Parameter, gradient, optimizer state, activation and so on.
    Category,
    /// The recorded user metadata.
    Metadata,
    /// The text a tensor was annotated with.
    Annotation,
    /// The innermost record_function range.
    Range,
    /// The torch.compile region.
    CompileContext,
    /// The training step or round of a loop.
    Step,
    /// Setup, data, forward, backward, optimizer.
    Phase,
    /// The CUDA stream.
    Stream,
    /// The memory pool.
    Pool,
    /// Small or large segments.
    Kind,
    /// The requested size, by powers of two.
    Size,
}

/// Options of `peak`.
#[derive(Debug, Args)]
pub struct PeakArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// What to group by.
    #[arg(long, value_enum, default_value_t)]
    pub by: PeakBy,
    /// The moment: peak, reserved (most reserved bytes), oom, start, end, an event's number, or a
    /// time (UTC, RFC 3339, or seconds since the first event with an s, as in 1.5s).
    #[arg(long, default_value = "peak")]
    pub at: String,
    /// The device, a number or host; by default the one with the highest peak.
    #[arg(long, value_name = "DEVICE", value_parser = parse_device)]
    pub device: Option<DeviceId>,
    /// How many rows to print; 0 for all.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: usize,
    /// Print JSON (schema gpumemprof.peak/1), all rows.
    #[arg(long)]
    pub json: bool,
}

/// What `allocations` sorts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AllocationsBy {
    /// Largest first.
    #[default]
    Size,
    /// Longest lived first, in events.
    Lifetime,
    /// Oldest first.
    Born,
    /// Lowest address first.
    Address,
}

/// Options of `allocations`.
#[derive(Debug, Args)]
pub struct AllocationsArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// What to sort by.
    #[arg(long, value_enum, default_value_t)]
    pub sort: AllocationsBy,
    /// Keep those whose stack, layer, category or metadata contains this text.
    #[arg(long)]
    pub filter: Option<String>,
    /// Keep those live at this moment: peak, reserved, oom, start, end, an event's number, or a
    /// time.
    #[arg(long)]
    pub live_at: Option<String>,
    /// Keep those of at least this size, for example 20MiB. All units are binary: 20MB is 20MiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub min_size: Option<u64>,
    /// The device, a number or host; by default the one with the highest peak.
    #[arg(long, value_name = "DEVICE", value_parser = parse_device)]
    pub device: Option<DeviceId>,
    /// How many rows to print; 0 for all.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: usize,
    /// Print JSON (schema gpumemprof.allocations/1).
    #[arg(long)]
    pub json: bool,
}

/// Options of `fragmentation`.
#[derive(Debug, Args)]
pub struct FragmentationArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// The moment to show beside the peaks: oom, start, end, an event's number, or a time.
    #[arg(long)]
    pub at: Option<String>,
    /// The device, a number or host; by default the one with the highest peak.
    #[arg(long, value_name = "DEVICE", value_parser = parse_device)]
    pub device: Option<DeviceId>,
    /// Print JSON (schema gpumemprof.fragmentation/1).
    #[arg(long)]
    pub json: bool,
}

/// Options of `oom`.
#[derive(Debug, Args)]
pub struct OomArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// The device's whole memory, for example 80GiB: lets the verdict tell what lies outside
    /// PyTorch. All units are binary, as in CUDA's and PyTorch's messages: 80GB is 80GiB.
    /// Not used for a log.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub device_total: Option<u64>,
    /// Print JSON (schema gpumemprof.oom/1).
    #[arg(long)]
    pub json: bool,
}

/// Options of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// What PYTORCH_CUDA_ALLOC_CONF would be; the recorded settings if not given.
    #[arg(long, value_name = "SETTINGS")]
    pub alloc_conf: Option<String>,
    /// The device's memory for this process's allocator: a size such as 24GiB, a GPU such as
    /// a100-40gb, or none. By default that of the recording if it ran out of memory. All units are
    /// binary: 24GB is 24GiB.
    #[arg(long, value_name = "SIZE|GPU", default_value = "recorded", value_parser = parse_capacity)]
    pub capacity: Capacity,
    /// What torch.cuda.set_per_process_memory_fraction is given: a share of --capacity. PyTorch
    /// takes it of the device's whole memory, so give that as --capacity.
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub memory_fraction: Option<f64>,
    /// Leave out the allocations of this layer and those inside it, for example blocks.3.attn.
    #[arg(long, value_name = "LAYER")]
    pub drop: Vec<String>,
    /// Multiply the sizes of a phase's allocations, for example forward=1.5.
    #[arg(long, value_name = "PHASE=FACTOR", value_parser = crate::commands::simulate::parse_scale)]
    pub scale: Vec<(Phase, f64)>,
    /// The PyTorch version whose rules read the settings; by default the oldest that can have
    /// written the file.
    #[arg(long, value_name = "VERSION", value_parser = parse_torch)]
    pub torch: Option<TorchVersion>,
    /// Print JSON (schema gpumemprof.simulate/1).
    #[arg(long)]
    pub json: bool,
}

/// Options of `advise`.
#[derive(Debug, Args)]
pub struct AdviseArguments {
    #[command(flatten)]
    /// The file.
    pub input: FileArguments,
    /// The device's memory for this process's allocator: a size such as 24GiB, a GPU such as
    /// a100-40gb, or none. By default that of the recording if it ran out of memory. All units are
    /// binary: 24GB is 24GiB.
    #[arg(long, value_name = "SIZE|GPU", default_value = "recorded", value_parser = parse_capacity)]
    pub capacity: Capacity,
    /// The PyTorch version that will read the settings; by default the oldest that can have
    /// written the file.
    #[arg(long, value_name = "VERSION", value_parser = parse_torch)]
    pub torch: Option<TorchVersion>,
    /// Print JSON (schema gpumemprof.advise/1).
    #[arg(long)]
    pub json: bool,
}

/// Options of `top`.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Print tables once and leave, as is done when standard output is no terminal.
    #[arg(long)]
    pub once: bool,
    /// Print JSON once and leave (schema gpumemprof.top/1).
    #[arg(long, conflicts_with = "once")]
    pub json: bool,
    /// How often to look, in seconds from 0.1 to 60.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub interval: Duration,
    /// Serve the same as Prometheus metrics on this port instead of showing it; 0 for any free one.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["once", "json"])]
    pub prometheus: Option<u16>,
    /// The address to serve metrics on: who can reach it can read the names of processes.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1",
        requires = "prometheus"
    )]
    pub bind: IpAddr,
    /// Load NVML from this file.
    #[arg(long, value_name = "LIBRARY")]
    pub nvml: Option<PathBuf>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0.1..=60.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds from 0.1 to 60".to_owned())
}

fn parse_device(text: &str) -> Result<DeviceId, String> {
    if text == "host" {
        return Ok(DeviceId::HOST);
    }
    let number = text.parse::<u16>();
    number
        .map(|number| DeviceId(i32::from(number)))
        .map_err(|_| "expected a device's number, such as 0, or host".to_owned())
}

/// The oldest release whose snapshots can be read.
const OLDEST: TorchVersion = TorchVersion::new(1, 13);

fn parse_torch(text: &str) -> Result<TorchVersion, String> {
    let version: TorchVersion = text.parse().map_err(|error| format!("{error}"))?;
    if (OLDEST..=TorchVersion::NEWEST).contains(&version) {
        Ok(version)
    } else {
        Err(format!(
            "the allocator's rules are known of PyTorch {OLDEST} to {}",
            TorchVersion::NEWEST
        ))
    }
}

fn parse_capacity(text: &str) -> Result<Capacity, String> {
    match text {
        "recorded" => return Ok(Capacity::Recorded),
        "none" => return Ok(Capacity::Unlimited),
        _ => {}
    }
    if let Some(gpu) = find_gpu(text) {
        return Ok(Capacity::Bytes(gpu.total_bytes));
    }
    let bytes = profiler_core::units::parse_bytes(text);
    if bytes == Some(0) {
        return Err("a device without memory runs nothing; none is for no limit".to_owned());
    }
    bytes.map(Capacity::Bytes).ok_or_else(|| {
        let names: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        format!(
            "expected a size such as 24GiB, none, or one of {}",
            names.join(", ")
        )
    })
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok();
    fraction
        .filter(|fraction| (0.0..=1.0).contains(fraction))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn parse_size(text: &str) -> Result<u64, String> {
    profiler_core::units::parse_bytes(text)
        .ok_or_else(|| "expected a number with a unit, such as 512MiB or 80GiB".to_owned())
}
