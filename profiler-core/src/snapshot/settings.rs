//! The allocator's settings as a snapshot records them (`allocator_settings`, PyTorch 2.3).

/// The settings in force when the snapshot was taken.
///
/// The string alone does not describe them: settings are sticky and only partly reset by a new
/// string, so the decoded keys are what counts. `large_segment_size`, `max_non_split_rounding`
/// and the memory fraction are not in the file at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocatorSettings {
    /// `PYTORCH_CUDA_ALLOC_CONF`: the last string passed.
    pub conf: String,
    /// `max_split_size` in bytes; None when unlimited (−1) or absent.
    pub max_split_size: Option<u64>,
    /// `garbage_collection_threshold`, a fraction; 0 when off.
    pub garbage_collection_threshold: f64,
    /// `expandable_segments`; None when the key is absent.
    pub expandable_segments: Option<bool>,
    /// `roundup_power2_divisions`: divisions by interval start in MiB, ascending.
    pub roundup_power2_divisions: Vec<(u64, u64)>,
    /// Every key with its value as compact JSON text, in file order, those above included.
    pub entries: Vec<(String, String)>,
}
