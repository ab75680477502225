//! Unpacking gzip, zstd and xz, with one cap on what comes out of all layers of a file.

use super::{Progress, ReadError, ReadOptions, Report, sniff};
use std::io::Read;

/// How many unpacked bytes there are between two calls of the progress function.
const STEP: usize = 1 << 20;

/// How many of a layer's first bytes are looked at before the rest of it is unpacked: what is no
/// snapshot is known by then.
const HEAD: usize = 64 << 10;

/// What all compressed layers of a file may unpack to together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    limit: u64,
    left: u64,
}

impl Room {
    /// For a file of `packed` bytes. What is inside it gets no room for its own size: it would
    /// multiply with each layer.
    pub(super) fn new(packed: usize, options: &ReadOptions) -> Self {
        let limit = (packed as u64)
            .saturating_mul(options.max_unpack_ratio)
            .saturating_add(options.max_unpack_extra);
        Self { limit, left: limit }
    }
}

/// Unpacks gzip; several members one after the other are one file, as gzip itself has it.
pub(super) fn gzip(
    bytes: &[u8],
    room: &mut Room,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    // A counted slice tells how much of the input the decoder took.
    let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes);
    let total = bytes.len() as u64;
    pull(
        "gzip",
        room,
        true,
        &mut |buffer| {
            let count = decoder.read(buffer)?;
            Ok((count, total.saturating_sub(decoder.get_ref().len() as u64)))
        },
        total,
        progress,
    )
}

/// Unpacks zstd frames one after the other.
pub(super) fn zstd(
    bytes: &[u8],
    room: &mut Room,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let total = bytes.len() as u64;
    let mut rest = bytes;
    let mut out = Vec::new();
    while rest.starts_with(b"\x28\xb5\x2f\xfd") {
        let mut source = rest;
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut source)
            .map_err(|error| unpack_error("zstd", &error))?;
        let frame = pull(
            "zstd",
            room,
            out.is_empty(),
            &mut |buffer| {
                let count = decoder.read(buffer)?;
                Ok((count, total.saturating_sub(decoder.get_ref().len() as u64)))
            },
            total,
            progress,
        )?;
        drop(decoder);
        if source.len() >= rest.len() {
            break;
        }
        rest = source;
        if out.is_empty() {
            out = frame;
        } else {
            out.extend_from_slice(&frame);
        }
    }
    Ok(out)
}

/// The most KiB the decoder of an xz file may ask for: twice what `xz -9` makes necessary.
const XZ_DECODER_KIB: u32 = 128 << 10;

/// Unpacks xz; several streams one after the other are one file, as xz itself has it.
pub(super) fn xz(
    bytes: &[u8],
    room: &mut Room,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let mut decoder = lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_DECODER_KIB);
    let total = bytes.len() as u64;
    pull(
        "xz",
        room,
        true,
        &mut |buffer| {
            let count = decoder.read(buffer)?;
            Ok((count, total.saturating_sub(decoder.inner().len() as u64)))
        },
        total,
        progress,
    )
}

fn unpack_error(format: &'static str, error: &dyn std::fmt::Debug) -> ReadError {
    ReadError::Unpack {
        format,
        problem: format!("{error:?}"),
    }
}

/// Reads into the buffer and gives the count and how much of the packed bytes is used up.
type Fill<'a> = dyn FnMut(&mut [u8]) -> std::io::Result<(usize, u64)> + 'a;

/// Reads until the end, the cap or a cancel. If `is_start`, what comes is the beginning of a layer,
/// and reading ends early where that is no snapshot's.
fn pull(
    format: &'static str,
    room: &mut Room,
    is_start: bool,
    fill: &mut Fill<'_>,
    total: u64,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    let mut is_known = !is_start;
    loop {
        let used = out.len();
        out.resize(used + STEP, 0);
        let buffer = out.get_mut(used..).unwrap_or(&mut []);
        let (count, done) = fill(buffer).map_err(|error| ReadError::Unpack {
            format,
            problem: error.to_string(),
        })?;
        out.truncate(used + count);
        if count == 0 {
            return Ok(out);
        }
        room.left = (room.left)
            .checked_sub(count as u64)
            .ok_or(ReadError::UnpacksTooLarge {
                format,
                limit: room.limit,
            })?;
        if !is_known && out.len() >= HEAD {
            // Text may begin with any number of blanks.
            if !out.trim_ascii_start().is_empty() {
                sniff::sniff(&out)?;
                is_known = true;
            }
        }
        if progress(Progress { done, total }).is_break() {
            return Err(ReadError::Cancelled);
        }
    }
}
