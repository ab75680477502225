//! What a recorder knew besides the snapshot: the file `gpumemprof.sidecar/1`.
//!
//! A sidecar lies beside its snapshot (`oom-1.pickle`, `oom-1.gpumemprof.json`) and holds what the
//! allocator cannot know: which tensor is a parameter, a gradient, a buffer or optimizer state and
//! what it is called, at which times it was seen, and, where the PyTorch version has no
//! `user_metadata`, which module and phase ran when. [`Sidecar::apply`] writes it into the
//! [`Snapshot`](crate::snapshot::Snapshot)'s own columns, in the form in which newer PyTorch records the same things, so that
//! everything after it reads one language.
//!
//! ```json
//! {"schema": "gpumemprof.sidecar/1",
//!  "labels": ["{\"module\":\"blocks.0\",\"phase\":\"forward\",\"step\":3}"],
//!  "spans": {"time_us": [1764000000000000], "label": [0], "thread": [0]},
//!  "tensors": [{"device": 0, "address": 140000000000000, "category": "parameter",
//!               "module": "blocks.0", "name": "blocks.0.weight"}],
//!  "walks": [{"time_us": 1764000000000000, "tensors": [0]}, {"time_us": null, "tensors": [0]}]}
//! ```
//!
//! `samples`, `outside_pytorch` and `counters` are what was seen of the devices from outside
//! ([`DeviceWatch`](crate::snapshot::DeviceWatch)). Every other key is left to those who know it.

mod apply;
mod spans;
mod watch;

pub use apply::Applied;
pub use watch::{Counters, OutsidePytorch, Place, ProcessUse, Sample, Samples};

use serde::Deserialize;

/// The schema this reads.
pub const SCHEMA: &str = "gpumemprof.sidecar/1";
/// The largest sidecar read. A model of 100,000 tensors takes 20 MiB.
pub const MAX_BYTES: usize = 256 << 20;
/// The most entries of any list.
const MAX_ENTRIES: usize = 1 << 22;

/// Why a sidecar could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// More than [`MAX_BYTES`].
    #[error(
        "expected a sidecar of at most {MAX_BYTES} bytes, found {found}: it is none, or damaged"
    )]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not JSON of this form.
    #[error("expected a sidecar ({SCHEMA}): {0}; move the file away to go on without it")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error(
        "expected a sidecar of schema {SCHEMA}, found {found:?}: read it with a newer gpumemprof"
    )]
    Schema {
        /// What it says it is.
        found: String,
    },
    /// A list is longer than any recorder makes it.
    #[error("expected at most {MAX_ENTRIES} {what} in a sidecar, found {found}: it is damaged")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
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

/// A look at which tensors were there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Walk {
    /// When, in microseconds since the Unix epoch; None for when the snapshot was taken.
    #[serde(default)]
    pub time_us: Option<i64>,
    /// Positions in [`Sidecar::tensors`].
    pub tensors: Vec<u32>,
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
    /// When they were seen.
    #[serde(default)]
    pub walks: Vec<Walk>,
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
        let walked = sidecar.walks.iter().map(|walk| walk.tensors.len()).sum();
        for (what, found) in [
            ("labels", sidecar.labels.len()),
            ("spans", sidecar.spans.time_us.len()),
            ("tensors", sidecar.tensors.len()),
            ("walks", sidecar.walks.len()),
            ("tensors in walks", walked),
            ("boards and processes in samples", sidecar.watch_entries()),
            (
                "devices",
                sidecar.outside_pytorch.len().saturating_mul(1 << 12),
            ),
        ] {
            if found > MAX_ENTRIES {
                return Err(SidecarError::TooMany { what, found });
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
        ] {
            assert!(Sidecar::parse(text.as_bytes()).is_err(), "{text}");
        }
        let least = "{\"schema\": \"gpumemprof.sidecar/1\", \"run\": {\"x\": [1]}}";
        assert!(Sidecar::parse(least.as_bytes()).is_ok());
    }
}
