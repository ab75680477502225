//! From a file's bytes to a [`Snapshot`].
//!
//! Accepted are pickles of protocols 0 to 5 by CPython's and by PyTorch's C++ pickler, JSON, the
//! HTML that `torch.cuda._memory_viz` writes, any of them in gzip, zstd or xz, and runs packed into
//! one file (`.gpumem`, a tar in gzip) with the recorder's sidecar; told by their content, never by
//! a name. Nothing in a file is executed: an opcode that is not plain data is an error.
//!
//! Time and memory are bounded by the unpacked size: at most some 90 bytes of memory and 0.2 µs per
//! byte (measured on files of 10 MB made to be as bad as possible), and for real snapshots less
//! than the file. The caps are in [`ReadOptions`].

mod container;
mod error;
mod html;
mod json;
mod machine;
mod pickle;
mod sniff;
mod tar;

pub use error::ReadError;

use crate::sidecar::Sidecar;
use crate::snapshot::{Events, Snapshot, WarningKind};
use sniff::Kind;
use std::ops::ControlFlow;

/// The caps of a reading, and how it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The deepest nesting of lists and dicts. Default 128, which is also serde_json's; a
    /// snapshot has 8 levels, and metadata a few more.
    pub max_depth: u32,
    /// The deepest nesting of containers (a pickle in HTML in gzip is 2). Default 4.
    pub max_containers: u32,
    /// The most bytes that all containers in each other may unpack to together, per byte of the
    /// file. Default 1,032, the most deflate can do (zlib's technical notes); zstd and xz can do
    /// more, but not on snapshots.
    pub max_unpack_ratio: u64,
    /// Bytes that they may unpack to besides. Default 64 MiB.
    pub max_unpack_extra: u64,
    /// Whether a pickle's trace entries are read a dict at a time. Default true. Otherwise every
    /// opcode is executed by itself, which takes up to twice the time and gives the same
    /// snapshot: the tests compare the two.
    pub read_ahead: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            max_depth: 128,
            max_containers: 4,
            max_unpack_ratio: 1_032,
            max_unpack_extra: 64 << 20,
            read_ahead: true,
        }
    }
}

/// How far a reading is. After unpacking a container the count starts again, with another total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The function that is told how far a reading is, about once a megabyte; breaking cancels it.
pub(crate) type Report<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// A [`Report`] that is also shown the lists of trace entries read so far.
pub(crate) type Follow<'a> = dyn FnMut(Progress, &[Events]) -> ControlFlow<()> + 'a;

/// What [`read_followed`] read.
#[derive(Debug, Default)]
pub struct Followed {
    /// What the file says.
    pub snapshot: Snapshot,
    /// By row of [`Snapshot::traces`]: which of the lists shown it was, if any. It begins with
    /// every event that was shown of that list.
    pub lists: Vec<Option<usize>>,
}

/// Reads a snapshot file with the default caps.
///
/// # Errors
/// If the bytes are no snapshot, are damaged, or ask for something that is not data.
pub fn read(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    read_bytes(bytes, &ReadOptions::default(), &mut |_| {
        ControlFlow::Continue(())
    })
}

/// Reads a snapshot file. `progress` is called about once a megabyte and can cancel.
///
/// # Errors
/// If the bytes are no snapshot, are damaged, ask for something that is not data, reach a cap of
/// `options`, or if `progress` breaks.
pub fn read_bytes(
    bytes: &[u8],
    options: &ReadOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, ReadError> {
    let mut follow = |at: Progress, _: &[Events]| progress(at);
    Ok(read_followed(bytes, options, &mut follow)?.snapshot)
}

/// Reads a snapshot file, and shows its events while they come in: `follow` is called about once
/// a megabyte with every list of trace entries read so far, and can cancel. Events are only ever
/// added at the end of a list. Which device a list is of is known when all is read
/// ([`Followed::lists`]). Lists are shown of pickles, packed or not; of other formats none.
///
/// # Errors
/// As [`read_bytes`].
pub fn read_followed(
    bytes: &[u8],
    options: &ReadOptions,
    follow: &mut dyn FnMut(Progress, &[Events]) -> ControlFlow<()>,
) -> Result<Followed, ReadError> {
    let mut room = container::Room::new(bytes.len(), options);
    read_kind(bytes, sniff::sniff(bytes)?, options, &mut room, follow, 0)
}

fn read_kind(
    bytes: &[u8],
    kind: Kind,
    options: &ReadOptions,
    room: &mut container::Room,
    follow: &mut Follow<'_>,
    containers: u32,
) -> Result<Followed, ReadError> {
    let mut progress = |at: Progress| follow(at, &[]);
    let unpacked = match kind {
        Kind::Pickle => return pickle::read(bytes, options, follow),
        Kind::Json => return Ok(unseen(json::read(bytes, options, &mut progress)?)),
        _ if containers >= options.max_containers => {
            return Err(ReadError::NotASnapshot {
                found: format!(
                    "more than {} containers in each other",
                    options.max_containers
                ),
                advice: "unpack it by hand",
            });
        }
        Kind::Gzip => container::gzip(bytes, room, &mut progress)?,
        Kind::Zstd => container::zstd(bytes, room, &mut progress)?,
        Kind::Xz => container::xz(bytes, room, &mut progress)?,
        Kind::Html => {
            return Ok(unseen(read_html(
                bytes,
                options,
                room,
                &mut progress,
                containers + 1,
            )?));
        }
        Kind::Tar => return read_tar(bytes, options, room, follow, containers + 1),
    };
    let kind = sniff::sniff(&unpacked)?;
    read_kind(&unpacked, kind, options, room, follow, containers + 1)
}

/// A snapshot no list of which was shown.
fn unseen(snapshot: Snapshot) -> Followed {
    Followed {
        snapshot,
        lists: Vec::new(),
    }
}

/// Reads the first snapshot of a packed run, with its sidecar.
fn read_tar(
    bytes: &[u8],
    options: &ReadOptions,
    room: &mut container::Room,
    follow: &mut Follow<'_>,
    containers: u32,
) -> Result<Followed, ReadError> {
    let members = tar::members(bytes)?;
    let Some((member, sidecar)) = tar::snapshot(&members) else {
        return Err(ReadError::NotASnapshot {
            found: format!("a tar of {} files without a .pickle", members.len()),
            advice: "give a run packed by `gpumemprof pack`, or the snapshot itself",
        });
    };
    let kind = sniff::sniff(member.content)?;
    let mut read = read_kind(member.content, kind, options, room, follow, containers)?;
    match sidecar.map(Sidecar::parse) {
        Some(Ok(sidecar)) => _ = sidecar.apply(&mut read.snapshot),
        // As beside a snapshot: it says less then, but what the snapshot says stays true.
        Some(Err(error)) => read.snapshot.warnings.add(
            WarningKind::UnexpectedType,
            format!("the sidecar packed with this snapshot is not used: {error}"),
        ),
        None => {}
    }
    Ok(read)
}

/// Reads the first embedded file that is a snapshot. Which one that is is not known before it is
/// read, so their lists are not shown.
fn read_html(
    bytes: &[u8],
    options: &ReadOptions,
    room: &mut container::Room,
    progress: &mut Report<'_>,
    containers: u32,
) -> Result<Snapshot, ReadError> {
    let mut first_error = None;
    let mut follow = |at: Progress, _: &[Events]| progress(at);
    for embedded in html::embedded(bytes) {
        let result = sniff::sniff(&embedded)
            .and_then(|kind| read_kind(&embedded, kind, options, room, &mut follow, containers));
        match result {
            Ok(read) => return Ok(read.snapshot),
            Err(ReadError::Cancelled) => return Err(ReadError::Cancelled),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(ReadError::NotASnapshot {
        found: "an HTML page without embedded snapshot data".to_owned(),
        advice: "give the page that torch.cuda._memory_viz wrote, or the pickle it was made of",
    }))
}
