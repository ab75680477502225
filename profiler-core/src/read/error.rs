//! Why a file could not be read, and what to do about it.

use super::machine::{Fault, Problem};

/// Why a file could not be read. Offsets are byte positions in the pickle or JSON itself, after
/// unpacking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing in it.
    #[error(
        "the file is empty: expected a memory snapshot; was the program stopped while it wrote \
         the file?"
    )]
    Empty,
    /// The bytes are something else.
    #[error("expected a PyTorch memory snapshot, found {found}: {advice}")]
    NotASnapshot {
        /// What it looks like.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// Pickle or JSON, but its top level is no snapshot.
    #[error(
        "expected a dict with the key segments or device_traces, found {found}: write the file \
         with torch.cuda.memory._dump_snapshot(path), or pickle what torch.cuda.memory._snapshot() \
         returns"
    )]
    NoSnapshot {
        /// What the top level is.
        found: String,
    },
    /// A pickle opcode that would run code or load something.
    #[error(
        "the pickle is no plain data: {opcode} at byte {offset} {asks}; a snapshot has only dicts, \
         lists, tuples, strings and numbers, and nothing in a file is ever executed. If the file \
         comes from a program of yours, pickle the plain result of torch.cuda.memory._snapshot()"
    )]
    ForbiddenOpcode {
        /// Its name as in CPython's pickletools.
        opcode: &'static str,
        /// Where it stands.
        offset: u64,
        /// What it asked for, as a clause that follows the opcode and its offset.
        asks: String,
    },
    /// A byte that is no pickle opcode.
    #[error(
        "expected a pickle opcode at byte {offset}, found 0x{byte:02x}: the file is damaged, or no \
         pickle; copy or dump it again"
    )]
    UnknownOpcode {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: u64,
    },
    /// The bytes end too early.
    #[error(
        "the file ends at byte {offset} in the middle of {what}: it is cut off; was the program \
         stopped while it wrote the file, or the copy not finished?"
    )]
    Truncated {
        /// Where the bytes end.
        offset: u64,
        /// What was being read.
        what: &'static str,
    },
    /// The pickle contradicts itself.
    #[error("the pickle is damaged at byte {offset}: {problem}; copy or dump the file again")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A list or dict is changed after it was referred to, as one that contains itself is.
    #[error(
        "a list or dict at byte {offset} contains itself or is changed after it was referred to: \
         no snapshot has such data; dump the file again"
    )]
    Cyclic {
        /// Where.
        offset: u64,
    },
    /// Lists and dicts in each other deeper than [`ReadOptions::max_depth`](super::ReadOptions).
    #[error(
        "lists and dicts are nested more than {limit} deep at byte {offset}: a snapshot has 8 \
         levels, so this is none"
    )]
    TooDeep {
        /// Where.
        offset: u64,
        /// The cap.
        limit: u32,
    },
    /// A cap was reached.
    #[error("too many {what} at byte {offset}: no snapshot has that many, so this is none")]
    TooLarge {
        /// Where.
        offset: u64,
        /// Of what.
        what: &'static str,
    },
    /// The JSON is wrong.
    #[error("the JSON is damaged: {problem}; a snapshot as JSON is one object or list")]
    Json {
        /// The parser's words, with line and column.
        problem: String,
    },
    /// Unpacking failed.
    #[error("the {format} data cannot be unpacked: {problem}; copy or pack the file again")]
    Unpack {
        /// The container format.
        format: &'static str,
        /// The unpacker's words.
        problem: String,
    },
    /// Unpacking gave more than the cap.
    #[error(
        "the {format} data unpacks to more than {limit} bytes: that is more than its size allows \
         for; unpack it by hand if it is what you think it is"
    )]
    UnpacksTooLarge {
        /// The container format.
        format: &'static str,
        /// The cap in bytes.
        limit: u64,
    },
    /// The caller's progress function asked to stop.
    #[error("reading was cancelled")]
    Cancelled,
}

impl ReadError {
    /// The error for a machine's fault met at `offset`.
    pub(super) fn from_fault(fault: Fault, offset: u64) -> Self {
        match fault.into_problem() {
            Problem::Malformed(problem) => Self::Malformed {
                offset,
                problem: problem.to_owned(),
            },
            Problem::Cyclic => Self::Cyclic { offset },
            Problem::TooDeep(limit) => Self::TooDeep { offset, limit },
            Problem::TooLarge(what) => Self::TooLarge { offset, what },
            Problem::NoSnapshot(found) => Self::NoSnapshot { found },
            Problem::ChromeTrace => super::sniff::chrome_trace(),
        }
    }
}
