//! The pickles inside the HTML that `torch.cuda._memory_viz` writes.
//!
//! Its template has `[{"name": "snapshot.pickle", "base64": "gASV…"}]`; pages of earlier versions
//! call functions with the text. So every long run of base64 in the page is a candidate.

use base64::Engine as _;

/// The shortest run of base64 taken for data: names and hashes in a page are shorter.
const MIN_RUN: usize = 64;

/// Every long run of base64, decoded; the longest first.
pub(super) fn embedded(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut runs: Vec<&[u8]> = bytes
        .split(|&byte| !is_base64(byte))
        .filter(|run| run.len() >= MIN_RUN)
        .collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    runs.into_iter().filter_map(decode)
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn decode(run: &[u8]) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
        .decode(run)
        .ok()
}
