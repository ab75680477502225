//! What stands on the machine's stack: finished values as small handles.

use crate::snapshot::{FrameId, StackId, StringId};

/// A value of the file, already taken apart. Sixteen bytes and `Copy`, so that a shared value is
/// a copied handle, however large the thing it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A number of up to 64 bits with sign.
    Int(i64),
    /// A number from 2⁶³ to 2⁶⁴ − 1.
    UInt(u64),
    /// A number that fits neither.
    TooBig {
        /// Its sign.
        negative: bool,
    },
    /// A float.
    Float(f64),
    /// A string.
    Str(StringId),
    /// Bytes: nothing in a snapshot is, so what they are is not kept.
    Bytes,
    /// Two numbers that are not negative, as tuple or list: most often a pool id.
    Pair(u32),
    /// A list without items (also a tuple).
    EmptyList,
    /// A frame dict.
    Frame(FrameId),
    /// A list of frames.
    Stack(StackId),
    /// `len` trace entries one after the other, from `row` of `trace` on.
    Events {
        /// Which of the machine's traces.
        trace: u32,
        /// The first row.
        row: u32,
        /// How many.
        len: u32,
    },
    /// A list of trace entries: all of that trace.
    Trace(u32),
    /// A block dict.
    Block(u32),
    /// A list of block dicts.
    Blocks {
        /// The first block.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// A segment dict.
    Segment(u32),
    /// A list of segment dicts.
    Segments {
        /// The first segment.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// An annotation dict.
    Annotation(u32),
    /// A list of annotation dicts.
    Annotations {
        /// The first annotation.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// An entry of a block's history.
    History(u32),
    /// A list of them; only the first counts.
    Histories(u32),
    /// A dict with segments or device traces.
    Snapshot(u32),
    /// A dict, list or tuple of any other kind.
    Node(u32),
    /// A dict or list that is still being filled.
    Open(u32),
}

impl Value {
    /// What it is, for messages.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::UInt(_) | Self::TooBig { .. } => "a number",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::Bytes => "bytes",
            Self::Pair(_) => "a pair of numbers",
            Self::EmptyList => "an empty list",
            Self::Frame(_) => "a stack frame",
            Self::Stack(_) => "a list of stack frames",
            Self::Events { .. } => "a trace entry",
            Self::Trace(_) => "a list of trace entries",
            Self::Block(_) => "a block",
            Self::Blocks { .. } => "a list of blocks",
            Self::Segment(_) => "a segment",
            Self::Segments { .. } => "a list of segments",
            Self::Annotation(_) => "an annotation",
            Self::Annotations { .. } => "a list of annotations",
            Self::History(_) => "a block history entry",
            Self::Histories(_) => "a block history",
            Self::Snapshot(_) => "a snapshot",
            Self::Node(_) | Self::Open(_) => "a list or dict",
        }
    }
}
