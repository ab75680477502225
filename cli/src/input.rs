//! From a path to an analysed snapshot.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use profiler_core::read::{self, Progress, ReadOptions};
use profiler_core::replay::{DeviceReplay, Replay};
use profiler_core::sidecar::Sidecar;
use profiler_core::snapshot::{DeviceId, Snapshot};
use profiler_core::units;

use crate::CommandError;
use crate::args::FileArguments;

/// How long work may take before it shows progress.
const QUIET_FOR: Duration = Duration::from_millis(500);

/// From this many events on a replay takes over half a second (about 5 million events a second in
/// a release build) and is worth a spinner.
const LONG_REPLAY_EVENTS: usize = 2_000_000;

/// Files up to this size are read into memory instead of mapped: as fast, and a file that shrinks
/// while it is read cannot hurt.
const READ_WHOLE_BYTES: u64 = 16 << 20;

/// The most bytes taken from a pipe, which unlike a file has to fit into memory whole.
const PIPE_LIMIT_BYTES: u64 = 4 << 30;

/// Whether reading would go on for ever (`/dev/zero`) or wait for a keyboard.
#[cfg(unix)]
fn is_device(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: &std::fs::Metadata) -> bool {
    false
}

/// The bytes of a file, mapped or read.
pub enum FileBytes {
    /// Mapped, for large files.
    Mapped(memmap2::Mmap),
    /// Read, for small ones and what cannot be mapped (pipes).
    Read(Vec<u8>),
}

impl FileBytes {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`CommandError::Open`] if the system refuses.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.len() > READ_WHOLE_BYTES {
            return Ok(Self::Mapped(map(&file).map_err(failed)?));
        }
        if is_device(&metadata) {
            let what = "it is a device, not a file: expected a memory snapshot";
            return Err(failed(std::io::Error::new(ErrorKind::InvalidInput, what)));
        }
        let mut bytes = Vec::new();
        let mut limited = file.take(PIPE_LIMIT_BYTES + 1);
        limited.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > PIPE_LIMIT_BYTES {
            let what = "over 4 GiB came through the pipe: save them to a file first";
            return Err(failed(std::io::Error::new(ErrorKind::FileTooLarge, what)));
        }
        Ok(Self::Read(bytes))
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe by nature; see SAFETY")]
fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only and lives no longer than the read that follows. Another
    // process that truncates the file meanwhile ends this one with SIGBUS; snapshots are written
    // once and small files, which are the ones still being written in practice, are not mapped.
    unsafe { memmap2::Mmap::map(file) }
}

/// Reads and replays the snapshot that `arguments` name.
///
/// # Errors
/// If the file cannot be opened, or is no readable snapshot.
pub fn load(arguments: &FileArguments) -> Result<(Snapshot, Replay), CommandError> {
    load_from(arguments, &FileBytes::open(&arguments.file)?)
}

/// Reads and replays the snapshot that `bytes`, the contents of the file of `arguments`, are.
///
/// # Errors
/// If they are no readable snapshot.
pub fn load_from(
    arguments: &FileArguments,
    bytes: &[u8],
) -> Result<(Snapshot, Replay), CommandError> {
    let snapshot = load_snapshot_from(arguments, bytes)?;
    let _spinner = Bar::spinner(is_quick(arguments, &snapshot), "replaying");
    let replay = Replay::new(&snapshot);
    Ok((snapshot, replay))
}

/// Whether work on all events of `snapshot` needs no spinner: it is short, or the user wants none.
#[must_use]
pub fn is_quick(arguments: &FileArguments, snapshot: &Snapshot) -> bool {
    let events: usize = snapshot.traces.iter().map(|trace| trace.events.len()).sum();
    arguments.quiet || events < LONG_REPLAY_EVENTS
}

/// Reads the snapshot that `arguments` name.
///
/// # Errors
/// If the file cannot be opened, or is no readable snapshot.
pub fn load_snapshot(arguments: &FileArguments) -> Result<Snapshot, CommandError> {
    load_snapshot_from(arguments, &FileBytes::open(&arguments.file)?)
}

fn load_snapshot_from(arguments: &FileArguments, bytes: &[u8]) -> Result<Snapshot, CommandError> {
    let mut bar = Bar::new(arguments.quiet);
    let mut progress = |progress: Progress| {
        bar.bytes(progress.done, progress.total);
        ControlFlow::Continue(())
    };
    let read = read::read_bytes(bytes, &ReadOptions::default(), &mut progress);
    let mut snapshot = read.map_err(|source| CommandError::Read {
        path: arguments.file.clone(),
        source,
    })?;
    if let Err(problem) = apply_sidecar(&arguments.file, &mut snapshot) {
        crate::output::warn_text(&problem);
    }
    Ok(snapshot)
}

/// Adds what the recorder knew: the sidecar that lies beside the snapshot at `path`, if there is
/// one. Whether one was used.
///
/// # Errors
/// A sentence, if there is a sidecar that cannot be read. The snapshot is then as it was, and so it
/// is, but for a warning, if the sidecar belongs to another one.
pub fn apply_sidecar(path: &Path, snapshot: &mut Snapshot) -> Result<bool, String> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(false);
    };
    let path = path.with_file_name(Sidecar::file_name(name));
    let failed = |problem: &dyn std::fmt::Display| {
        format!("the sidecar {} is not used: {problem}", path.display())
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    let most = profiler_core::sidecar::MAX_BYTES as u64 + 1;
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error))?;
    let sidecar = Sidecar::parse(&bytes).map_err(|error| failed(&error))?;
    Ok(!sidecar.apply(snapshot).is_of_another)
}

/// A progress bar on standard error that appears only once work takes long, and only on a
/// terminal.
pub struct Bar {
    bar: Option<ProgressBar>,
    quiet: bool,
    since: Instant,
}

impl Bar {
    /// A bar that is not shown yet.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            bar: None,
            quiet,
            since: Instant::now(),
        }
    }

    /// Shows how many of `total` bytes are done.
    pub fn bytes(&mut self, done: u64, total: u64) {
        if self.quiet || (self.bar.is_none() && self.since.elapsed() < QUIET_FOR) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            let template = "reading {wide_bar} {bytes}/{total_bytes} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Shows how many of `all` steps of `what` are done.
    pub fn steps(&mut self, what: &'static str, done: u64, all: u64) {
        if self.quiet || (self.bar.is_none() && self.since.elapsed() < QUIET_FOR) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(all);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}") {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar
        });
        bar.set_length(all);
        bar.set_position(done);
    }

    /// A spinner that says `what` is going on; nothing if `quiet`.
    #[must_use]
    pub fn spinner(quiet: bool, what: &'static str) -> Self {
        let mut bar = Self::new(quiet);
        if !quiet {
            let spinner = ProgressBar::new_spinner();
            spinner.set_message(what);
            spinner.enable_steady_tick(Duration::from_millis(100));
            bar.bar = Some(spinner);
        }
        bar
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The device to show: the one asked for, else the one with the highest peak.
///
/// # Errors
/// [`CommandError::NotThere`] if the file has no such device, or none at all.
pub fn pick_device(
    replay: &Replay,
    device: Option<DeviceId>,
) -> Result<&DeviceReplay, CommandError> {
    let known = || known_devices(replay.devices.iter().map(|device| device.device));
    match device {
        Some(device) => replay.device(device).ok_or_else(|| {
            let asked = device_words(device);
            CommandError::NotThere(format!("no {asked} in this file; it has {}", known()))
        }),
        None => replay.busiest().ok_or_else(|| {
            let hint = if replay.devices.is_empty() {
                ""
            } else {
                " (--device host shows it)"
            };
            CommandError::NotThere(format!(
                "no accelerator in this file; it has {}{hint}",
                known()
            ))
        }),
    }
}

/// `device 0`, `host memory`.
#[must_use]
pub fn device_words(device: DeviceId) -> String {
    if device == DeviceId::HOST {
        "host memory".to_owned()
    } else {
        format!("device {device}")
    }
}

/// `devices 0, 1 and host`.
fn known_devices(devices: impl Iterator<Item = DeviceId>) -> String {
    let mut devices: Vec<DeviceId> = devices.collect();
    // The host last.
    devices.sort_by_key(|&device| (device == DeviceId::HOST, device));
    let names: Vec<String> = devices.iter().map(DeviceId::to_string).collect();
    match names.as_slice() {
        [] => "no device".to_owned(),
        [only] if only == "host" => "host memory only".to_owned(),
        [only] => format!("device {only}"),
        [first @ .., last] => format!("devices {} and {last}", first.join(", ")),
    }
}

/// Checks the memory that the user says a device has against what the file shows.
///
/// # Errors
/// [`CommandError::Usage`] if PyTorch alone held more on a device.
pub fn check_device_total(total: Option<u64>, replay: &Replay) -> Result<(), CommandError> {
    let accelerators = replay.devices.iter();
    let accelerators = accelerators.filter(|device| device.device != DeviceId::HOST);
    let most = accelerators.map(|device| device.reserved.peak().1).max();
    match (total, most) {
        (Some(total), Some(most)) if total < most => Err(CommandError::Usage(format!(
            "--device-total is {}, but PyTorch alone held {} on a device of this file; give the \
             memory of the whole device",
            units::bytes(total),
            units::bytes(most)
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_in_words() {
        let known = |numbers: &[i32]| known_devices(numbers.iter().map(|&number| DeviceId(number)));
        assert_eq!(known(&[]), "no device");
        assert_eq!(known(&[3]), "device 3");
        assert_eq!(known(&[-1]), "host memory only");
        assert_eq!(known(&[-1, 0]), "devices 0 and host");
        assert_eq!(known(&[0, 2, -1]), "devices 0, 2 and host");
    }
}
