//! Unpacking gzip, zstd and xz, with a cap on what comes out.

use super::{Progress, ReadError, ReadOptions, Report};
use std::io::Read;

/// How many unpacked bytes there are between two calls of the progress function.
const STEP: usize = 1 << 20;

/// What a container of `packed` bytes may unpack to.
fn limit(packed: usize, options: &ReadOptions) -> u64 {
    (packed as u64)
        .saturating_mul(options.max_unpack_ratio)
        .saturating_add(options.max_unpack_extra)
}

/// Unpacks gzip; several members one after the other are one file, as gzip itself has it.
pub(super) fn gzip(
    bytes: &[u8],
    options: &ReadOptions,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    // A counted slice tells how much of the input the decoder took.
    let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes);
    let total = bytes.len() as u64;
    pull(
        "gzip",
        limit(bytes.len(), options),
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
    options: &ReadOptions,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let limit = limit(bytes.len(), options);
    let total = bytes.len() as u64;
    let mut rest = bytes;
    let mut out = Vec::new();
    while rest.starts_with(b"\x28\xb5\x2f\xfd") {
        let mut source = rest;
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut source)
            .map_err(|error| unpack_error("zstd", &error))?;
        let room = limit.saturating_sub(out.len() as u64);
        let frame = pull(
            "zstd",
            room,
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
    options: &ReadOptions,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let mut decoder = lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_DECODER_KIB);
    let total = bytes.len() as u64;
    pull(
        "xz",
        limit(bytes.len(), options),
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

/// Reads until the end, the cap or a cancel.
fn pull(
    format: &'static str,
    limit: u64,
    fill: &mut Fill<'_>,
    total: u64,
    progress: &mut Report<'_>,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    loop {
        let used = out.len();
        if used as u64 > limit {
            return Err(ReadError::UnpacksTooLarge { format, limit });
        }
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
        if progress(Progress { done, total }).is_break() {
            return Err(ReadError::Cancelled);
        }
    }
}
