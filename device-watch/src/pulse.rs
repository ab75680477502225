//! What recorded processes tell others of their PyTorch: one small file each (schema
//! `gpumemprof.pulse/1`), replaced whole, in a folder that belongs to their user.
//!
//! A file counts only while its process lives: the same id, started at the same time. One of
//! another process-id namespace cannot be checked so, and counts while it is fresh.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::{Own, start_ticks};
use crate::sampler::now_us;

/// The schema this reads.
pub const SCHEMA: &str = "gpumemprof.pulse/1";
/// A pulse is a kilobyte or two for each device.
const MAX_BYTES: u64 = 1 << 20;
/// More files than a machine has GPU processes are not read.
const MAX_FILES: usize = 4096;
/// How old a pulse may be whose process cannot be looked up.
const FRESH_US: i64 = 15_000_000;

/// PyTorch's counters on one device, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulseDevice {
    /// PyTorch's number of the device.
    pub device: i32,
    /// Of the board or MIG instance.
    #[serde(default)]
    pub uuid: Option<String>,
    /// `0000:01:00.0`.
    #[serde(default)]
    pub pci_bus_id: Option<String>,
    /// What the program asked for and has.
    pub requested_bytes: u64,
    /// The blocks handed out for it.
    pub allocated_bytes: u64,
    /// These and blocks that other streams may still use.
    pub active_bytes: u64,
    /// Segments taken from the driver.
    pub reserved_bytes: u64,
    /// All that was ever reserved and given back, added up: where two pulses have the same, nothing
    /// was reserved or given back between them. None in older files.
    #[serde(default)]
    pub turnover_bytes: Option<u64>,
    /// The most that was allocated.
    #[serde(default)]
    pub allocated_peak_bytes: u64,
    /// The most that was reserved.
    #[serde(default)]
    pub reserved_peak_bytes: u64,
    /// Failed allocations.
    #[serde(default)]
    pub ooms: u64,
}

/// What one process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its id as it sees itself.
    pub process: u32,
    /// Its id in the outermost namespace it can see, where that is another.
    #[serde(default)]
    pub outer_process: Option<u32>,
    /// When it started, in clock ticks since boot; None without `/proc`.
    #[serde(default)]
    pub start_ticks: Option<u64>,
    /// Its process-id namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// When this was written, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Its rank, as launchers tell it.
    #[serde(default)]
    pub rank: u32,
    /// The step it is in.
    #[serde(default)]
    pub step: Option<i64>,
    /// Its script.
    #[serde(default)]
    pub program: Option<String>,
    /// Its devices.
    pub devices: Vec<PulseDevice>,
}

impl Pulse {
    /// Whether `other` is of the same process, and not of another that got its id.
    #[must_use]
    pub fn is_same_process(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.process, one.start_ticks);
        of(self) == of(other) && self.namespace == other.namespace
    }
}

/// Where this user's pulses are: `GPUMEMPROF_RUNTIME_DIR`, else `gpumemprof` in `XDG_RUNTIME_DIR`,
/// else `gpumemprof-UID` in the folder for temporary files.
#[must_use]
pub fn folder() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("GPUMEMPROF_RUNTIME_DIR") {
        return folder.into();
    }
    if let Some(folder) = set("XDG_RUNTIME_DIR") {
        return Path::new(&folder).join("gpumemprof");
    }
    std::env::temp_dir().join(format!("gpumemprof-{}", user()))
}

/// This user's number, without a C library: who owns this process's entry in `/proc`.
#[cfg(unix)]
fn user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").map_or_else(|_| "user".to_owned(), |own| own.uid().to_string())
}

#[cfg(not(unix))]
fn user() -> String {
    "user".to_owned()
}

/// The pulses in `folder` of processes that live, by process id. Anything else there is passed
/// over: a pulse is a help, and its absence no error.
#[must_use]
pub fn read(folder: &Path) -> Vec<Pulse> {
    let own = Own::new();
    let now = now_us();
    let mut pulses: Vec<Pulse> = Vec::new();
    if !is_trusted(folder) {
        return pulses;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return pulses;
    };
    for entry in entries.flatten().take(MAX_FILES) {
        let path = entry.path();
        // A device or a pipe under this name must not block: only plain files are opened.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && path.extension().is_some_and(|ending| ending == "json") {
            pulses.extend(read_one(&path).filter(|pulse| is_alive(pulse, &own, now)));
        }
    }
    pulses.sort_by_key(|pulse| (pulse.process, pulse.time_us));
    pulses
}

/// Whether nobody else could have put files there: a folder in `/tmp` may be anybody's.
#[cfg(unix)]
fn is_trusted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(found), Ok(own)) = (
        std::fs::symlink_metadata(folder),
        std::fs::metadata("/proc/self"),
    ) else {
        // No /proc (macOS): what is read is text and numbers, shown as such.
        return folder.is_dir();
    };
    found.is_dir() && found.uid() == own.uid()
}

#[cfg(not(unix))]
fn is_trusted(folder: &Path) -> bool {
    folder.is_dir()
}

fn read_one(path: &Path) -> Option<Pulse> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let pulse: Pulse = serde_json::from_slice(&bytes).ok()?;
    (pulse.schema == SCHEMA).then_some(pulse)
}

fn is_alive(pulse: &Pulse, own: &Own, now_us: i64) -> bool {
    if pulse.start_ticks.is_some() && pulse.namespace.is_some() && pulse.namespace == own.namespace
    {
        return start_ticks(pulse.process) == pulse.start_ticks;
    }
    (0..FRESH_US).contains(&now_us.saturating_sub(pulse.time_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(own: &Own) -> Pulse {
        Pulse {
            schema: SCHEMA.to_owned(),
            process: own.process,
            start_ticks: start_ticks(own.process),
            namespace: own.namespace.clone(),
            time_us: 5,
            ..Pulse::default()
        }
    }

    #[test]
    fn only_the_living_count() {
        let own = Own::new();
        let alive = pulse(&own);
        if alive.start_ticks.is_none() {
            println!("skipped: no /proc here");
            return;
        }
        assert!(is_alive(&alive, &own, i64::MAX), "age is no matter");
        let mut reused = alive.clone();
        reused.start_ticks = reused.start_ticks.map(|ticks| ticks + 1);
        assert!(!is_alive(&reused, &own, 6), "another process with that id");
        let mut elsewhere = alive.clone();
        elsewhere.namespace = Some("pid:[1]".to_owned());
        assert!(is_alive(&elsewhere, &own, 6));
        assert!(!is_alive(&elsewhere, &own, 5 + FRESH_US));
        assert!(!is_alive(&elsewhere, &own, 4), "from the future");
    }

    #[test]
    fn strange_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("1.json", "{");
        put(
            "2.json",
            "{\"schema\": \"gpumemprof.pulse/2\", \"process\": 1, \"time_us\": 1, \"devices\": []}",
        );
        put("3.txt", "");
        std::fs::create_dir(folder.path().join("4.json")).unwrap();
        let good = serde_json::to_string(&pulse(&own)).unwrap();
        put("5.json", &good);
        let found = read(folder.path());
        assert_eq!(
            found,
            if own.namespace.is_some() {
                vec![pulse(&own)]
            } else {
                Vec::new()
            }
        );
        assert!(read(&folder.path().join("none")).is_empty());
    }
}
