//! Which PyTorch wrote a snapshot: there is no version in the file, only keys that came and went.

/// The format features met in a file; a reader sets each when it sees the key.
///
/// The versions are those of PyTorch releases in which the key first appears
/// (`torch/csrc/cuda/Module.cpp`, `THCPModule_memorySnapshot`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatFeatures {
    /// The whole file is a list of segments (1.13).
    pub bare_list: bool,
    /// Blocks have a `history` (1.13 and 2.0).
    pub block_history: bool,
    /// `device_traces` (2.0).
    pub device_traces: bool,
    /// Blocks have an `address`, segments a pool id and `is_expandable` (2.1).
    pub block_address: bool,
    /// `time_us` (2.2).
    pub time_us: bool,
    /// `allocator_settings` (2.3).
    pub allocator_settings: bool,
    /// `external_annotations` (2.5).
    pub external_annotations: bool,
    /// `compile_context` (2.8).
    pub compile_context: bool,
    /// `graph_capture_record_stream_reuse` in the settings (2.9).
    pub graph_capture_reuse: bool,
    /// `user_metadata` (2.10).
    pub user_metadata: bool,
    /// `forward_frames` (2.11).
    pub forward_frames: bool,
    /// `pool_id` on events (2.12).
    pub event_pool_id: bool,
    /// `max_round_threshold` in the settings (2.13).
    pub max_round_threshold: bool,
    /// `host_segments` and `host_traces` (2.14).
    pub host_memory: bool,
    /// `internal_metadata` (2.15).
    pub internal_metadata: bool,
    /// `category` on events: made by `_memory_viz.profile_plot` from a profiler run.
    pub profiler_categories: bool,
}

impl FormatFeatures {
    /// The oldest PyTorch that writes all the keys seen, for example `2.5+`; `1.13` for a bare
    /// list and `2.0` for a dict with block histories. Only a lower bound: a key that only
    /// appears with an option, or with recording on, is no evidence when it is missing.
    #[must_use]
    pub fn torch_format(&self) -> &'static str {
        if self.bare_list {
            return "1.13";
        }
        let newest_first = [
            (self.internal_metadata, "2.15+"),
            (self.host_memory, "2.14+"),
            (self.max_round_threshold, "2.13+"),
            (self.event_pool_id, "2.12+"),
            (self.forward_frames, "2.11+"),
            (self.user_metadata, "2.10+"),
            (self.graph_capture_reuse, "2.9+"),
            (self.compile_context, "2.8+"),
            (self.external_annotations, "2.5+"),
            (self.allocator_settings, "2.3+"),
            (self.time_us, "2.2+"),
            (self.block_address, "2.1+"),
            (self.block_history, "2.0"),
        ];
        newest_first
            .iter()
            .find(|(seen, _)| *seen)
            .map_or("2.0+", |(_, version)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_key_decides() {
        let mut features = FormatFeatures {
            device_traces: true,
            ..FormatFeatures::default()
        };
        assert_eq!(features.torch_format(), "2.0+");
        features.block_history = true;
        assert_eq!(features.torch_format(), "2.0");
        features.time_us = true;
        features.block_address = true;
        assert_eq!(features.torch_format(), "2.2+");
        features.host_memory = true;
        assert_eq!(features.torch_format(), "2.14+");
        features.bare_list = true;
        assert_eq!(features.torch_format(), "1.13");
    }
}
