//! What a recorder knew besides the snapshot: the file `gpumemprof.sidecar/1`.
//!
//! A sidecar lies beside its snapshot (`oom-1.pickle`, `oom-1.gpumemprof.json`) and holds what the
//! allocator cannot know: which tensor is a parameter, a gradient, a buffer or optimizer state and
//! what it is called, at which times it was seen, and, where the PyTorch version has no
//! `user_metadata`, which module and phase ran when. [`Sidecar::apply`] writes it into the
//! [`Snapshot`]'s own columns, in the form in which newer PyTorch records the same things, so that
//! everything after it reads one language.
//!
//! ```json
//! {"schema": "gpumemprof.sidecar/1",
//!  "labels": ["{\"module\":\"blocks.0\",\"phase\":\"forward\",\"step\":3}"],
//!  "spans": {"time_us": [1764000000000000], "label": [0], "thread": [0]},
//!  "tensors": [{"device": 0, "address": 140000000000000, "category": "parameter",
//!               "module": "blocks.0", "name": "blocks.0.weight"}],
//!  "tensor_sets": [[0]],
//!  "walks": [{"time_us": 1764000000000000, "set": 0}, {"time_us": null, "tensors": [0]}],
//!  "ends": [{"device": 0, "events": 120, "time_us": 1764000000000000}]}
//! ```
//!
//! Where `ends` contradicts the snapshot, the sidecar belongs to another one and is not used.
//! `samples`, `outside_pytorch` and `counters` are what was seen of the devices from outside
//! ([`DeviceWatch`](crate::snapshot::DeviceWatch)); `run`, `rank`, `current`, `batches` and `oom`
//! tell of the run ([`RunContext`](crate::snapshot::RunContext)). Every other key is left to those
//! who know it.

mod apply;
mod context;
mod sightings;
mod spans;
mod watch;

pub use apply::Applied;
pub use watch::{Counters, OutsidePytorch, Place, ProcessUse, Sample, Samples};

use serde::Deserialize;

use crate::capped::list;
use crate::snapshot::{Batch, RunFacts, RunFailure, RunPlace, Snapshot};

/// The schema this reads.
pub const SCHEMA: &str = "gpumemprof.sidecar/1";
/// The largest sidecar read. A model of 100,000 tensors takes 20 MiB.
pub const MAX_BYTES: usize = 256 << 20;
/// The most entries of any list.
const MAX_ENTRIES: usize = 1 << 22;
/// The most walks: a recorder keeps the newest 10,000.
const MAX_WALKS: usize = 1 << 16;
/// The most batches: a recorder keeps the newest 64.
const MAX_BATCHES: usize = 1_024;
/// The most devices.
const MAX_DEVICES: usize = Snapshot::MAX_DEVICES;

/// Why a sidecar could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// More than [`MAX_BYTES`].
    #[error("expected at most {MAX_BYTES} bytes, found {found}: it is damaged, or something else")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not JSON of this form.
    #[error("expected JSON of schema {SCHEMA}, found something else: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("expected schema {SCHEMA}, found {found:?}: a newer gpumemprof may read it")]
    Schema {
        /// What it says it is.
        found: String,
    },
    /// A list is longer than any recorder makes it.
    #[error("expected at most {most} {what}, found {found}: it is damaged")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        most: usize,
        /// How many.
        found: usize,
    },
    /// A walk names a set that is not there, or has both a set and a list of its own.
    #[error(
        "expected a walk with a list of its own or one of the {sets} tensor_sets, found set \
         {found}{}: it is damaged",
        if *.has_own { " beside a list" } else { "" }
    )]
    Set {
        /// How many sets there are.
        sets: usize,
        /// The set named.
        found: u32,
        /// Whether the walk has a list too.
        has_own: bool,
    },
}

/// A tensor's storage as the recorder found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tensor {
    /// The device it is on.
    pub device: i32,
    /// First byte of its storage.
    pub address: u64,
    /// What it is for, by the names of attribution's categories.
    pub category: String,
    /// The module that owns it.
    #[serde(default)]
    pub module: String,
    /// Its full name.
    #[serde(default)]
    pub name: String,
}

/// A look at which tensors were there: either its own list, or one of [`Sidecar::tensor_sets`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Walk {
    /// When, in microseconds since the Unix epoch; None for when the snapshot was taken.
    #[serde(default)]
    pub time_us: Option<i64>,
    /// Positions in [`Sidecar::tensors`].
    #[serde(default)]
    pub tensors: Vec<u32>,
    /// Position in [`Sidecar::tensor_sets`].
    #[serde(default)]
    pub set: Option<u32>,
}

/// Where the history of a device ends in the snapshot that a sidecar belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct End {
    /// PyTorch's number of the device.
    pub device: i32,
    /// How many events its history has.
    pub events: u64,
    /// The time of the last one; None where there is none, or events have no times.
    #[serde(default)]
    pub time_us: Option<i64>,
}

/// What each thread ran from which time on, as columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Spans {
    /// From when on, in microseconds since the Unix epoch.
    pub time_us: Vec<i64>,
    /// Position in [`Sidecar::labels`]; −1 for nothing known.
    pub label: Vec<i64>,
    /// Which thread, by any number; all of one where this is missing.
    #[serde(default)]
    pub thread: Vec<i64>,
}

/// What a recorder knew. Addresses, names and positions are a stranger's: nothing is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sidecar {
    /// [`SCHEMA`].
    pub schema: String,
    /// What spans say, each in the form of `user_metadata`.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What ran when.
    #[serde(default)]
    pub spans: Spans,
    /// Every tensor seen.
    #[serde(default)]
    pub tensors: Vec<Tensor>,
    /// Lists of positions in `tensors` that walks share: most find what the one before found.
    #[serde(default, deserialize_with = "list::<_, _, MAX_ENTRIES>")]
    pub tensor_sets: Vec<Vec<u32>>,
    /// When they were seen.
    #[serde(default)]
    pub walks: Vec<Walk>,
    /// Where the histories end in the snapshot that this belongs to; empty where that was not
    /// told.
    #[serde(default, deserialize_with = "list::<_, _, MAX_DEVICES>")]
    pub ends: Vec<End>,
    /// The process and its surroundings.
    #[serde(default)]
    pub run: RunFacts,
    /// Its rank.
    #[serde(default)]
    pub rank: Option<u64>,
    /// What ran when the snapshot was taken.
    #[serde(default)]
    pub current: RunPlace,
    /// The newest batches, oldest first.
    #[serde(default, deserialize_with = "list::<_, _, MAX_BATCHES>")]
    pub batches: Vec<Batch>,
    /// The failure that the snapshot was taken at.
    #[serde(default)]
    pub oom: Option<RunFailure>,
    /// What NVML said over time.
    #[serde(default)]
    pub samples: Option<Samples>,
    /// Where the devices are among NVML's boards.
    #[serde(default)]
    pub outside_pytorch: Vec<OutsidePytorch>,
    /// PyTorch's counters over time.
    #[serde(default)]
    pub counters: Counters,
}

impl Sidecar {
    /// Reads a sidecar.
    ///
    /// # Errors
    /// If it is too large, no JSON of this form, or of another schema.
    pub fn parse(bytes: &[u8]) -> Result<Self, SidecarError> {
        if bytes.len() > MAX_BYTES {
            return Err(SidecarError::TooLarge { found: bytes.len() });
        }
        let sidecar: Self = serde_json::from_slice(bytes)?;
        if sidecar.schema != SCHEMA {
            return Err(SidecarError::Schema {
                found: sidecar.schema.chars().take(80).collect(),
            });
        }
        let own = sidecar.walks.iter().map(|walk| walk.tensors.len());
        let shared = sidecar.tensor_sets.iter().map(Vec::len);
        for (what, most, found) in [
            ("labels", MAX_ENTRIES, sidecar.labels.len()),
            ("spans", MAX_ENTRIES, sidecar.spans.time_us.len()),
            ("tensors", MAX_ENTRIES, sidecar.tensors.len()),
            ("walks", MAX_WALKS, sidecar.walks.len()),
            // A set counts once, however many walks name it.
            ("tensors in walks", MAX_ENTRIES, own.chain(shared).sum()),
            (
                "boards and processes in samples",
                MAX_ENTRIES,
                sidecar.watch_entries(),
            ),
            ("devices", MAX_DEVICES, sidecar.outside_pytorch.len()),
        ] {
            if found > most {
                return Err(SidecarError::TooMany { what, most, found });
            }
        }
        let sets = sidecar.tensor_sets.len();
        for walk in &sidecar.walks {
            let has_own = !walk.tensors.is_empty();
            if let Some(found) = walk.set
                && (has_own || found as usize >= sets)
            {
                return Err(SidecarError::Set {
                    sets,
                    found,
                    has_own,
                });
            }
        }
        Ok(sidecar)
    }

    /// The name of the sidecar of the snapshot called `file`: its last ending replaced.
    #[must_use]
    pub fn file_name(file: &str) -> String {
        let stem = [".gz", ".zst", ".xz"]
            .iter()
            .find_map(|ending| file.strip_suffix(ending))
            .unwrap_or(file);
        let stem = [".pickle", ".pkl", ".json"]
            .iter()
            .find_map(|ending| stem.strip_suffix(ending))
            .unwrap_or(stem);
        format!("{stem}.gpumemprof.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Outcome;

    #[test]
    fn names_follow_the_snapshots() {
        assert_eq!(Sidecar::file_name("a.pickle"), "a.gpumemprof.json");
        assert_eq!(Sidecar::file_name("a.b.pickle.gz"), "a.b.gpumemprof.json");
        assert_eq!(Sidecar::file_name("a"), "a.gpumemprof.json");
    }

    #[test]
    fn strange_files_are_refused() {
        for text in [
            "",
            "[]",
            "{\"schema\": \"gpumemprof.sidecar/2\"}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"tensors\": 3}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"walks\": [{\"tensors\": [-1]}]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"walks\": [{\"set\": 0}]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"tensor_sets\": [[0]], \
              \"walks\": [{\"set\": 1}]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"tensor_sets\": [[0]], \
              \"walks\": [{\"set\": 0, \"tensors\": [0]}]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"tensor_sets\": [[-1]]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"ends\": [{\"device\": 0, \"events\": -1}]}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"run\": {\"argv\": 3}}",
            "{\"schema\": \"gpumemprof.sidecar/1\", \"batches\": [3]}",
        ] {
            assert!(Sidecar::parse(text.as_bytes()).is_err(), "{text}");
        }
        let least = "{\"schema\": \"gpumemprof.sidecar/1\", \"run\": {\"x\": [1]}}";
        assert!(Sidecar::parse(least.as_bytes()).is_ok());
    }

    #[test]
    fn a_set_counts_once() {
        let row = format!("[{}]", vec!["0"; 1 << 20].join(","));
        let walks = vec!["{\"time_us\": 1, \"set\": 0}"; 10_000].join(",");
        let of = |sets: &str| {
            let text = format!(
                "{{\"schema\": \"{SCHEMA}\", \"tensor_sets\": [{sets}], \"walks\": [{walks}]}}"
            );
            Sidecar::parse(text.as_bytes())
        };
        assert_eq!(of(&row).unwrap().walks.len(), 10_000);
        let many = [row.as_str(); 5].join(",");
        assert!(matches!(of(&many), Err(SidecarError::TooMany { .. })));
    }

    #[test]
    fn lists_end_at_their_caps() {
        let many = vec!["[]"; MAX_ENTRIES + 1].join(",");
        let text = format!("{{\"schema\": \"{SCHEMA}\", \"tensor_sets\": [{many}]}}");
        let told = Sidecar::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(told.contains("at most 4194304"), "{told}");
        let many = vec!["\"x\""; 5_000].join(",");
        let text = format!("{{\"schema\": \"{SCHEMA}\", \"run\": {{\"argv\": [{many}]}}}}");
        assert!(Sidecar::parse(text.as_bytes()).is_err());
    }

    #[test]
    fn the_run_is_read() {
        let text = r#"{"schema": "gpumemprof.sidecar/1", "rank": 3, "step": 7,
            "run": {"torch": "2.15.0", "cuda": null, "host": "node-1", "argv": ["train.py"],
                    "environment": {"RANK": "3"}, "devices": [{"device": 0, "name": "H100",
                    "total_bytes": 80, "counters": {"num_ooms": 1}}]},
            "current": {"module": "blocks.0", "phase": "forward", "step": 7, "mine": [1]},
            "batches": [{"step": 7, "micro_batch": 0, "inputs": ["(8, 512)int64"],
                         "passes": [{"module": null, "inputs": ["(8, 512)int64"]}],
                         "allocated_bytes": {"0": 5}}],
            "oom": {"device": 0, "driver_request_bytes": 9, "outcome": "went away",
                    "current": {"phase": "forward"},
                    "inputs": {"is_training": true, "passes": [{"module": "a", "inputs": []}]}}}"#;
        let sidecar = Sidecar::parse(text.as_bytes()).unwrap();
        let context = sidecar.run_context().unwrap();
        assert_eq!((context.rank, context.current.step), (Some(3), Some(7)));
        assert_eq!(context.run.devices[0].total_bytes, Some(80));
        assert_eq!(
            context.batches[0].allocated_on(crate::snapshot::DeviceId(0)),
            Some(5)
        );
        assert_eq!(context.batches[0].passes[0].inputs, ["(8, 512)int64"]);
        let failure = context.failure.unwrap();
        assert_eq!(failure.outcome, Outcome::Unknown);
        assert_eq!(failure.current.unwrap().phase.as_deref(), Some("forward"));
        assert!(failure.inputs.unwrap().is_training);
        // The program's own metadata may be of any form.
        let odd =
            "{\"schema\": \"gpumemprof.sidecar/1\", \"current\": {\"module\": 3, \"step\": \"x\"}}";
        let sidecar = Sidecar::parse(odd.as_bytes()).unwrap();
        assert_eq!(sidecar.current, RunPlace::default());
        assert!(sidecar.run_context().is_none());
    }
}
