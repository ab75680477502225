//! The strings every snapshot is made of: its keys and its few enumerated values.
//!
//! They are interned first, in this order, so that a [`StringId`] below [`Word::COUNT`] *is* a
//! word and a dict's keys are compared as small numbers.

use crate::snapshot::{Action, BlockState, StringId, StringTable};

/// Defines [`Word`] from its variants and texts.
macro_rules! words {
    ($($word:ident = $text:literal,)*) => {
        /// A key or value PyTorch writes; its number is its row in the string table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum Word {
            /// The empty string, row 0 of every string table.
            Empty,
            $(
                #[doc = concat!("`", $text, "`.")]
                $word,
            )*
        }

        impl Word {
            /// Every word in row order.
            const ALL: &[(Self, &'static str)] = &[(Self::Empty, ""), $((Self::$word, $text),)*];
        }
    };
}

words! {
    // Keys of trace entries.
    Action = "action",
    Addr = "addr",
    DeviceFree = "device_free",
    Size = "size",
    Stream = "stream",
    TimeUs = "time_us",
    Frames = "frames",
    CompileContext = "compile_context",
    UserMetadata = "user_metadata",
    PoolId = "pool_id",
    InternalMetadata = "internal_metadata",
    ForwardFrames = "forward_frames",
    Category = "category",
    // Keys of frames.
    Name = "name",
    Filename = "filename",
    Line = "line",
    FxNodeOp = "fx_node_op",
    FxNodeName = "fx_node_name",
    FxNodeTarget = "fx_node_target",
    FxOriginalTrace = "fx_original_trace",
    // Keys of segments.
    Device = "device",
    Address = "address",
    TotalSize = "total_size",
    AllocatedSize = "allocated_size",
    ActiveSize = "active_size",
    RequestedSize = "requested_size",
    SegmentType = "segment_type",
    SegmentPoolId = "segment_pool_id",
    IsExpandable = "is_expandable",
    Blocks = "blocks",
    // Keys of blocks and their history.
    State = "state",
    History = "history",
    RealSize = "real_size",
    CppFrames = "cpp_frames",
    // Keys of annotations.
    Stage = "stage",
    // Keys of the file.
    Segments = "segments",
    DeviceTraces = "device_traces",
    AllocatorSettings = "allocator_settings",
    ExternalAnnotations = "external_annotations",
    HostSegments = "host_segments",
    HostTraces = "host_traces",
    // Keys of the settings.
    AllocConf = "PYTORCH_CUDA_ALLOC_CONF",
    MaxSplitSize = "max_split_size",
    GarbageCollectionThreshold = "garbage_collection_threshold",
    ExpandableSegments = "expandable_segments",
    RoundupPower2Divisions = "roundup_power2_divisions",
    GraphCaptureReuse = "graph_capture_record_stream_reuse",
    MaxRoundThreshold = "max_round_threshold",
    // A key of Chrome traces: not a snapshot.
    TraceEvents = "traceEvents",
    // Values.
    Alloc = "alloc",
    FreeRequested = "free_requested",
    FreeCompleted = "free_completed",
    SegmentAlloc = "segment_alloc",
    SegmentFree = "segment_free",
    SegmentMap = "segment_map",
    SegmentUnmap = "segment_unmap",
    Snapshot = "snapshot",
    Oom = "oom",
    Annotate = "annotate",
    UserDefined = "user_defined",
    ActiveAllocated = "active_allocated",
    ActivePendingFree = "active_pending_free",
    ActiveAwaitingFree = "active_awaiting_free",
    Inactive = "inactive",
    Small = "small",
    Large = "large",
    Start = "START",
    End = "END",
    NotAvailable = "N/A",
}

impl Word {
    /// A string table that holds every word at its row.
    pub(crate) fn table() -> StringTable {
        let mut strings = StringTable::default();
        for (_, text) in Self::ALL {
            strings.intern(text);
        }
        strings
    }

    /// The word at row `id`.
    #[inline]
    pub(crate) fn of(id: StringId) -> Option<Self> {
        Self::ALL.get(id.index()).map(|&(word, _)| word)
    }

    /// This word's row.
    #[inline]
    pub(crate) const fn id(self) -> StringId {
        StringId(self as u32)
    }

    /// A set with only this key in it; 0 for words past the keys, which are never tested.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        if (self as u32) < 64 {
            1 << (self as u32)
        } else {
            0
        }
    }

    /// The set with only this key in it, if it is one: the word's bit.
    #[inline]
    pub(crate) const fn bit_of(key: StringId) -> u64 {
        if key.0 < 64 { 1 << key.0 } else { 0 }
    }

    /// The action this word names.
    #[inline]
    pub(crate) const fn action(self) -> Option<Action> {
        Some(match self {
            Self::Alloc => Action::Alloc,
            Self::FreeRequested => Action::FreeRequested,
            Self::FreeCompleted => Action::FreeCompleted,
            Self::SegmentAlloc => Action::SegmentAlloc,
            Self::SegmentFree => Action::SegmentFree,
            Self::SegmentMap => Action::SegmentMap,
            Self::SegmentUnmap => Action::SegmentUnmap,
            Self::Snapshot => Action::Snapshot,
            Self::Oom => Action::Oom,
            Self::Annotate => Action::Annotate,
            Self::UserDefined => Action::UserDefined,
            _ => return None,
        })
    }

    /// The block state this word names; the docstrings' `active_awaiting_free` is understood
    /// although no PyTorch version writes it.
    pub(crate) const fn block_state(self) -> Option<BlockState> {
        Some(match self {
            Self::ActiveAllocated => BlockState::Allocated,
            Self::ActivePendingFree | Self::ActiveAwaitingFree => BlockState::PendingFree,
            Self::Inactive => BlockState::Inactive,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_at_its_row() {
        let strings = Word::table();
        for (row, &(word, text)) in Word::ALL.iter().enumerate() {
            assert_eq!(word as usize, row);
            assert_eq!(strings.get(word.id()), text);
            assert_eq!(Word::of(word.id()), Some(word));
        }
        assert!((Word::TraceEvents as u32) < 64, "keys must fit the set");
    }

    #[test]
    fn every_action_is_a_word() {
        let strings = Word::table();
        for (action, name) in Action::NAMES {
            let word = strings.find(name).and_then(Word::of);
            assert_eq!(word.and_then(Word::action), Some(action));
        }
    }
}
