//! Allocator settings as the text that PyTorch reads.

use profiler_core::allocator::{
    ConfError, MIB, ROUNDUP_INTERVALS, Settings, TorchVersion, UNLIMITED,
};

/// The settings string for `settings`: what differs from PyTorch's defaults.
#[must_use]
pub fn conf_of(settings: &Settings) -> String {
    let default = Settings::default();
    let mut parts = Vec::new();
    if settings.expandable_segments {
        parts.push("expandable_segments:True".to_owned());
    }
    if settings.max_split_size != UNLIMITED {
        parts.push(format!(
            "max_split_size_mb:{}",
            settings.max_split_size / MIB
        ));
    }
    if settings.max_non_split_rounding != default.max_non_split_rounding {
        let mib = settings.max_non_split_rounding / MIB;
        parts.push(format!("max_non_split_rounding_mb:{mib}"));
    }
    if settings.large_segment_size != default.large_segment_size {
        let mib = settings.large_segment_size / MIB;
        parts.push(format!("large_segment_size_mb:{mib}"));
    }
    let divisions = &settings.roundup_power2_divisions;
    match uniform_divisions(settings) {
        Some(0) => {}
        Some(all) => parts.push(format!("roundup_power2_divisions:{all}")),
        None => {
            let last = ROUNDUP_INTERVALS - 1;
            let intervals = divisions.iter().enumerate().map(|(interval, divisions)| {
                if interval == last {
                    format!(">:{divisions}")
                } else {
                    format!("{}:{divisions}", 1_u64 << interval)
                }
            });
            let intervals: Vec<String> = intervals.collect();
            parts.push(format!(
                "roundup_power2_divisions:[{}]",
                intervals.join(",")
            ));
        }
    }
    if settings.garbage_collection_threshold > 0.0 {
        let threshold = settings.garbage_collection_threshold;
        parts.push(format!("garbage_collection_threshold:{threshold}"));
    }
    if settings.per_process_memory_fraction < 1.0 {
        let fraction = settings.per_process_memory_fraction;
        parts.push(format!("per_process_memory_fraction:{fraction}"));
    }
    if settings.throw_on_cudamalloc_oom {
        parts.push("throw_on_cudamalloc_oom:True".to_owned());
    }
    parts.join(",")
}

/// The divisions of every power of two, if they are the same.
#[must_use]
pub fn uniform_divisions(settings: &Settings) -> Option<u64> {
    let divisions = &settings.roundup_power2_divisions;
    let first = divisions.first().copied()?;
    divisions.iter().all(|&one| one == first).then_some(first)
}

/// Reads `conf` as PyTorch of `version` does, or else as the newest does: a file says only which
/// version it is at least.
///
/// # Errors
/// Why `version` would refuse it, if the newest refuses it too.
pub fn parse(conf: &str, version: TorchVersion) -> Result<Settings, ConfError> {
    Settings::from_conf(conf, version)
        .or_else(|error| Settings::from_conf(conf, TorchVersion::NEWEST).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut divided = Settings::default();
        for (interval, divisions) in divided.roundup_power2_divisions.iter_mut().enumerate() {
            *divisions = 1 << (interval % 4);
        }
        let all = Settings {
            max_split_size: 64 * MIB,
            max_non_split_rounding: 80 * MIB,
            large_segment_size: 64 * MIB,
            roundup_power2_divisions: [8; ROUNDUP_INTERVALS],
            garbage_collection_threshold: 0.6,
            expandable_segments: true,
            per_process_memory_fraction: 0.5,
            throw_on_cudamalloc_oom: true,
            is_malloc_async: false,
        };
        for settings in [Settings::default(), divided, all] {
            let conf = conf_of(&settings);
            let back = Settings::from_conf(&conf, TorchVersion::NEWEST);
            assert_eq!(back.as_ref(), Ok(&settings), "{conf}");
        }
    }

    #[test]
    fn the_defaults_need_no_text() {
        assert_eq!(conf_of(&Settings::default()), "");
    }
}
