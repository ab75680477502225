//! `PYTORCH_ALLOC_CONF` strings, read token by token as PyTorch does.
//!
//! Up to PyTorch 2.8 (`CUDAAllocatorConfig::lexArgs`, `consumeToken`) the separators have to be
//! right. From 2.9 (`ConfigTokenizer`) they only have to be *there*: `checkToken` returns whether
//! the token is the expected one and nobody looks, so `max_split_size_mb=64` is one unknown key,
//! but `max_split_size_mb,64` sets the option.

use super::conf_tokens::Tokens;
use super::settings::{MIB, ROUNDUP_INTERVALS, Settings, UNLIMITED, interval_of_mib};
use super::version::TorchVersion;

/// Why PyTorch refuses a settings string.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// The string ends where something is missing.
    #[error("the settings end after {after:?}: expected {expected}")]
    Truncated {
        /// The last token.
        after: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A separator is missing (up to 2.8).
    #[error("expected {expected:?} after {after:?}, found {found:?}")]
    Separator {
        /// `:` or `,`.
        expected: char,
        /// The token before.
        after: String,
        /// The token there.
        found: String,
    },
    /// No such option in this version.
    #[error("PyTorch {version} has no allocator option {key:?}")]
    UnknownKey {
        /// The option.
        key: String,
        /// The version asked.
        version: TorchVersion,
    },
    /// A value that does not start with a number.
    #[error("{key} expects {expected}, found {found:?}")]
    Value {
        /// The option.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// The text there.
        found: String,
    },
    /// A size below what the option allows.
    #[error("{key} must be {relation} {minimum}, found {found}")]
    TooSmall {
        /// The option.
        key: String,
        /// `at least` or `more than`.
        relation: &'static str,
        /// The bound, in the option's unit (MiB).
        minimum: u64,
        /// The value.
        found: u64,
    },
}

/// What an option takes; options without an effect on block placement are read for their
/// refusals only.
#[derive(Clone, Copy)]
enum Kind {
    LargeSegmentSize,
    MaxSplitSize,
    MaxNonSplitRounding,
    CollectionThreshold,
    Roundup,
    Expandable,
    MemoryFraction,
    ThrowOnOom,
    Backend,
    IgnoredBool,
    IgnoredSize,
    IgnoredPositiveSize,
    IgnoredThreads,
    IgnoredReserve,
    IgnoredReserveList,
}

/// Options with the minor version of PyTorch 2 that first knows them.
const OPTIONS: [(&str, u16, Kind); 22] = [
    ("large_segment_size_mb", 11, Kind::LargeSegmentSize),
    ("max_split_size_mb", 0, Kind::MaxSplitSize),
    ("max_non_split_rounding_mb", 6, Kind::MaxNonSplitRounding),
    ("garbage_collection_threshold", 0, Kind::CollectionThreshold),
    ("roundup_power2_divisions", 0, Kind::Roundup),
    ("expandable_segments", 0, Kind::Expandable),
    ("per_process_memory_fraction", 10, Kind::MemoryFraction),
    ("throw_on_cudamalloc_oom", 12, Kind::ThrowOnOom),
    ("backend", 0, Kind::Backend),
    ("release_lock_on_cudamalloc", 0, Kind::IgnoredBool),
    ("release_lock_on_hipmalloc", 0, Kind::IgnoredBool),
    ("pinned_use_cuda_host_register", 0, Kind::IgnoredBool),
    ("pinned_use_hip_host_register", 0, Kind::IgnoredBool),
    ("pinned_use_background_threads", 6, Kind::IgnoredBool),
    ("pinned_free_catch_all", 12, Kind::IgnoredBool),
    ("graph_capture_record_stream_reuse", 9, Kind::IgnoredBool),
    ("pinned_num_register_threads", 0, Kind::IgnoredThreads),
    (
        "pinned_reserve_segment_size_mb",
        8,
        Kind::IgnoredPositiveSize,
    ),
    ("pinned_max_round_threshold_mb", 13, Kind::IgnoredSize),
    ("pinned_max_cached_size_mb", 13, Kind::IgnoredSize),
    ("expandable_segments_reserve", 15, Kind::IgnoredReserve),
    (
        "expandable_segments_reserve_by_class",
        15,
        Kind::IgnoredReserveList,
    ),
];

/// The settings after a string is read on top of `before`.
pub(super) fn parse(
    before: &Settings,
    conf: &str,
    version: TorchVersion,
) -> Result<Settings, ConfError> {
    let mut settings = before.clone();
    settings.max_split_size = UNLIMITED;
    settings.roundup_power2_divisions = [0; ROUNDUP_INTERVALS];
    settings.garbage_collection_threshold = 0.0;

    let tokens = Tokens::new(conf, version);
    if version.has_large_segment_size() {
        // Read before everything else, since the minimum of the other sizes is this one.
        let mut at = 0;
        while let Some(key) = tokens.get(at) {
            if key == "large_segment_size_mb" {
                at = tokens.value_of(at)?;
                settings.large_segment_size = large_segment_size(&tokens, at)?;
            }
            at += 1;
        }
        settings.max_non_split_rounding = settings.large_segment_size;
    }

    let mut at = 0;
    while at < tokens.len() {
        at = option(&mut settings, &tokens, at)?;
        if at + 1 < tokens.len() {
            at += 1;
            tokens.separator(at, ',')?;
        }
        at += 1;
    }
    Ok(settings)
}

/// The options of `conf` that have no effect on where blocks go, as they are written.
pub(super) fn without_effect(conf: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let at_top = |c: char| {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    let is_ignored = |option: &&str| {
        let key = option.split(':').next().unwrap_or_default().trim();
        OPTIONS.iter().any(|(name, _, kind)| {
            *name == key
                && matches!(
                    kind,
                    Kind::IgnoredBool
                        | Kind::IgnoredSize
                        | Kind::IgnoredPositiveSize
                        | Kind::IgnoredThreads
                )
        })
    };
    conf.split(at_top)
        .map(str::trim)
        .filter(is_ignored)
        .collect()
}

/// Reads the option whose name is at `at`; returns the position of its last token.
fn option(settings: &mut Settings, tokens: &Tokens, at: usize) -> Result<usize, ConfError> {
    let key = tokens.get(at).unwrap_or_default();
    let known = OPTIONS.iter().find(|(name, since, _)| {
        *name == key && (tokens.version.major > 2 || tokens.version.minor >= *since)
    });
    let Some(&(key, _, kind)) = known else {
        return Err(ConfError::UnknownKey {
            key: key.to_owned(),
            version: tokens.version,
        });
    };
    let at = tokens.value_of(at)?;
    match kind {
        Kind::LargeSegmentSize => {}
        Kind::MaxSplitSize => {
            settings.max_split_size = limited_size(settings, tokens, key, at)?;
        }
        Kind::MaxNonSplitRounding => {
            settings.max_non_split_rounding = limited_size(settings, tokens, key, at)?;
        }
        Kind::CollectionThreshold => {
            let threshold = tokens.float(key, at, "a share above 0 and below 1")?;
            if !(threshold > 0.0 && threshold < 1.0) {
                return Err(tokens.value_error(key, at, "a share above 0 and below 1"));
            }
            settings.garbage_collection_threshold = threshold;
        }
        Kind::Roundup => return roundup(settings, tokens, key, at),
        Kind::Expandable => settings.expandable_segments = tokens.bool(key, at)?,
        Kind::MemoryFraction => {
            let share = tokens.float(key, at, "a share from 0 to 1")?;
            if !(0.0..=1.0).contains(&share) {
                return Err(tokens.value_error(key, at, "a share from 0 to 1"));
            }
            settings.per_process_memory_fraction = share;
        }
        Kind::ThrowOnOom => settings.throw_on_cudamalloc_oom = tokens.bool(key, at)?,
        Kind::Backend => match tokens.text(at) {
            "native" => settings.is_malloc_async = false,
            "cudaMallocAsync" => settings.is_malloc_async = true,
            _ => return Err(tokens.value_error(key, at, "native or cudaMallocAsync")),
        },
        Kind::IgnoredBool => {
            tokens.bool(key, at)?;
        }
        Kind::IgnoredSize => {
            tokens.size(key, at)?;
        }
        Kind::IgnoredPositiveSize => {
            if tokens.size(key, at)? == 0 {
                return Err(tokens.value_error(key, at, "a number of MiB above 0"));
            }
        }
        Kind::IgnoredThreads => {
            let threads = tokens.size(key, at)?;
            // `pinned_max_register_threads`.
            if !threads.is_power_of_two() || threads > 128 {
                return Err(tokens.value_error(key, at, "a power of two up to 128"));
            }
        }
        // A bad value is only warned about.
        Kind::IgnoredReserve => {}
        Kind::IgnoredReserveList => return tokens.list_end(key, at),
    }
    Ok(at)
}

fn large_segment_size(tokens: &Tokens, at: usize) -> Result<u64, ConfError> {
    let key = "large_segment_size_mb";
    let minimum = super::rounding::MIN_OWN_SEGMENT / MIB;
    let found = tokens.size(key, at)?;
    if found <= minimum {
        return Err(ConfError::TooSmall {
            key: key.to_owned(),
            relation: "more than",
            minimum,
            found,
        });
    }
    Ok(found.min(u64::MAX / MIB) * MIB)
}

/// A size in MiB that has to reach the large segment size, in bytes.
fn limited_size(
    settings: &Settings,
    tokens: &Tokens,
    key: &str,
    at: usize,
) -> Result<u64, ConfError> {
    let minimum = settings.large_segment_size / MIB;
    let found = tokens.size(key, at)?;
    let inclusive = tokens.version.allows_smallest_split_size();
    if found < minimum || (found == minimum && !inclusive) {
        return Err(ConfError::TooSmall {
            key: key.to_owned(),
            relation: if inclusive { "at least" } else { "more than" },
            minimum,
            found,
        });
    }
    Ok(found.min(u64::MAX / MIB) * MIB)
}

/// `roundup_power2_divisions:8` or `roundup_power2_divisions:[64:8,256:4,1024:4,>:1]`.
///
/// The list form fills everything below its first interval with the first value, but leaves the
/// gaps between later intervals at 0; `>` fills from the last interval named (up to 2.8,
/// overwriting it) or from the one after it (2.9 on).
fn roundup(
    settings: &mut Settings,
    tokens: &Tokens,
    key: &str,
    mut at: usize,
) -> Result<usize, ConfError> {
    let divisions = &mut settings.roundup_power2_divisions;
    if tokens.text(at) != "[" {
        let value = tokens.size(key, at)?;
        if !value.is_power_of_two() {
            return Err(tokens.value_error(key, at, "a power of two"));
        }
        *divisions = [value; ROUNDUP_INTERVALS];
        return Ok(at);
    }
    let skip_last = usize::from(tokens.version.has_lenient_separators());
    let mut is_first = true;
    let mut last = 0;
    loop {
        at += 1;
        let interval = tokens.required(at, "] or an interval in MiB")?;
        if interval == "]" {
            return Ok(at);
        }
        let interval_at = at;
        at = tokens.value_of(at)?;
        let value = tokens.size(key, at)?;
        if value != 0 && !value.is_power_of_two() {
            return Err(tokens.value_error(key, at, "a power of two, or 0"));
        }
        if interval == ">" {
            for slot in divisions.iter_mut().skip(last + skip_last) {
                *slot = value;
            }
        } else {
            let mib = tokens.size(key, interval_at)?;
            if !mib.is_power_of_two() {
                return Err(tokens.value_error(key, interval_at, "a power of two or >"));
            }
            let index = interval_of_mib(mib);
            if is_first {
                is_first = false;
                for slot in divisions.iter_mut().take(index) {
                    *slot = value;
                }
            }
            if let Some(slot) = divisions.get_mut(index) {
                *slot = value;
            }
            last = index;
        }
        if tokens.required(at + 1, "] or ,")? != "]" {
            at += 1;
            tokens.separator(at, ',')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: TorchVersion = TorchVersion::new(2, 6);
    const NEW: TorchVersion = TorchVersion::NEWEST;

    fn read(conf: &str, version: TorchVersion) -> Result<Settings, ConfError> {
        parse(&Settings::default(), conf, version)
    }

    fn divisions(conf: &str, version: TorchVersion) -> [u64; ROUNDUP_INTERVALS] {
        read(conf, version).unwrap().roundup_power2_divisions
    }

    #[test]
    fn the_usual_strings_read_the_same_everywhere() {
        for version in [OLD, TorchVersion::new(2, 9), NEW] {
            let conf = "max_split_size_mb: 128, expandable_segments:True,\
                        garbage_collection_threshold:0.6,backend:native";
            let settings = read(conf, version).unwrap();
            assert_eq!(settings.max_split_size, 128 * MIB);
            assert!(settings.expandable_segments);
            assert!((settings.garbage_collection_threshold - 0.6).abs() < 1e-12);
            assert_eq!(read("", version).unwrap(), Settings::default());
        }
    }

    #[test]
    fn lists_leave_gaps_at_zero() {
        // 64 is the first interval: 1…64 MiB get its value; 128 and 512 stay off.
        let conf = "roundup_power2_divisions:[64:8,256:4,1024:4,>:1]";
        let expected_new = [8, 8, 8, 8, 8, 8, 8, 0, 4, 0, 4, 1, 1, 1, 1, 1];
        assert_eq!(divisions(conf, NEW), expected_new);
        let expected_old = [8, 8, 8, 8, 8, 8, 8, 0, 4, 0, 1, 1, 1, 1, 1, 1];
        assert_eq!(divisions(conf, OLD), expected_old);
        assert_eq!(divisions("roundup_power2_divisions:8", OLD), [8; 16]);
        assert_eq!(divisions("roundup_power2_divisions:[]", NEW), [0; 16]);
        assert!(read("roundup_power2_divisions:[3:8]", NEW).is_err());
        assert!(read("roundup_power2_divisions:[4:3]", NEW).is_err());
        assert!(read("roundup_power2_divisions:[4:2", NEW).is_err());
        assert!(read("roundup_power2_divisions:0", NEW).is_err());
    }

    #[test]
    fn separators_are_enforced_only_by_old_versions() {
        let conf = "max_split_size_mb,64";
        assert_eq!(read(conf, NEW).unwrap().max_split_size, 64 * MIB);
        assert!(matches!(read(conf, OLD), Err(ConfError::Separator { .. })));
        for version in [OLD, NEW] {
            assert!(matches!(
                read("max_split_size_mb=64", version),
                Err(ConfError::UnknownKey { .. })
            ));
            assert!(read("max_split_size_mb:", version).is_err());
            assert!(read("max_split_size_mb", version).is_err());
        }
    }

    #[test]
    fn options_without_effect_are_told_apart() {
        let conf = "roundup_power2_divisions:[256:1,>:2], pinned_use_background_threads:True,\
                    max_split_size_mb:64,release_lock_on_cudamalloc:True";
        let kept = [
            "pinned_use_background_threads:True",
            "release_lock_on_cudamalloc:True",
        ];
        assert_eq!(without_effect(conf), kept);
        assert!(without_effect("").is_empty());
    }

    #[test]
    fn sizes_have_a_minimum() {
        assert!(read("max_split_size_mb:20", OLD).is_err());
        assert!(read("max_split_size_mb:20", NEW).is_ok());
        assert!(read("max_split_size_mb:19", NEW).is_err());
        assert!(read("large_segment_size_mb:10", NEW).is_err());
        assert!(read("large_segment_size_mb:11", NEW).is_ok());
        // The minimum follows the segment size wherever it stands in the string.
        assert!(read("max_split_size_mb:32,large_segment_size_mb:64", NEW).is_err());
        let settings = read("large_segment_size_mb:64", NEW).unwrap();
        assert_eq!(settings.max_non_split_rounding, 64 * MIB);
        assert!(read("large_segment_size_mb:64", OLD).is_err());
    }

    #[test]
    fn numbers_are_read_like_the_c_library_reads_them() {
        assert_eq!(
            read("max_split_size_mb:64abc", NEW).unwrap().max_split_size,
            64 * MIB
        );
        // stoull wraps a negative number; the result is capped to what fits in bytes.
        assert_eq!(
            read("max_split_size_mb:-1", NEW).unwrap().max_split_size,
            (u64::MAX / MIB) * MIB
        );
        assert!(read("max_split_size_mb:99999999999", OLD).is_err());
        assert!(read("max_split_size_mb:abc", NEW).is_err());
        assert!(read("garbage_collection_threshold:0.5x", NEW).is_ok());
        assert!(read("garbage_collection_threshold:1.0", NEW).is_err());
        assert!(read("garbage_collection_threshold:nan", NEW).is_err());
        assert!(read("garbage_collection_threshold:.5e", NEW).is_ok());
    }

    #[test]
    fn booleans_are_spelt_as_in_python() {
        assert!(read("expandable_segments:true", NEW).is_err());
        assert!(
            !read("expandable_segments:False", NEW)
                .unwrap()
                .expandable_segments
        );
        assert!(
            read("backend:cudaMallocAsync", NEW)
                .unwrap()
                .is_malloc_async
        );
        assert!(read("backend:jemalloc", NEW).is_err());
        assert!(read("per_process_memory_fraction:0.5", OLD).is_err());
        assert!(read("pinned_num_register_threads:3", NEW).is_err());
        assert!(read("expandable_segments_reserve_by_class:[a:0.5,b:4G]", NEW).is_ok());
    }
}
