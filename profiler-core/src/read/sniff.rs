//! What a file is, by its first bytes.

use super::ReadError;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pickle.
    Pickle,
    /// JSON.
    Json,
    /// HTML.
    Html,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// xz.
    Xz,
    /// tar, as a packed run (`.gpumem`) is inside its gzip.
    Tar,
}

/// Formats people mix up with snapshots: their first bytes, name, and advice.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (
        b"PK\x03\x04",
        "a zip file, as torch.save writes",
        "a memory snapshot is written by torch.cuda.memory._dump_snapshot(path), not by \
         torch.save; if it is a zipped snapshot, unzip it",
    ),
    (
        b"PK\x05\x06",
        "an empty zip file",
        "give the snapshot that torch.cuda.memory._dump_snapshot(path) wrote",
    ),
    (
        b"version https://git-lfs",
        "a Git LFS pointer",
        "the file itself is not here: run `git lfs pull`",
    ),
    (
        b"\x89PNG",
        "a PNG picture",
        "give the snapshot the picture was made of",
    ),
    (
        b"BZh",
        "bzip2 data",
        "unpack it with `bunzip2` first; gzip, zstd and xz are read as they are",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7-Zip archive",
        "unpack it first; gzip, zstd and xz are read as they are",
    ),
    (
        b"\x7fELF",
        "a program or library",
        "give the snapshot that torch.cuda.memory._dump_snapshot(path) wrote",
    ),
    (
        b"\x93NUMPY",
        "a NumPy array",
        "give the snapshot that torch.cuda.memory._dump_snapshot(path) wrote",
    ),
    (
        b"%PDF",
        "a PDF",
        "give the snapshot that torch.cuda.memory._dump_snapshot(path) wrote",
    ),
];

const ADVICE: &str = "give the file that torch.cuda.memory._dump_snapshot(path) wrote";

/// The format of `bytes`, or what they are instead.
pub(super) fn sniff(bytes: &[u8]) -> Result<Kind, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    for &(magic, found, advice) in OTHERS {
        if bytes.starts_with(magic) {
            return Err(ReadError::NotASnapshot {
                found: found.to_owned(),
                advice,
            });
        }
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return Ok(Kind::Gzip);
    }
    if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        return Ok(Kind::Zstd);
    }
    if bytes.starts_with(b"\xfd7zXZ\x00") {
        return Ok(Kind::Xz);
    }
    if super::tar::is_tar(bytes) {
        return Ok(Kind::Tar);
    }
    // Protocols 2 and later say so; 0 and 1 begin with MARK, or with an empty list or dict. JSON
    // and HTML begin with bytes that are no opcodes.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    match (bytes.first(), text.first()) {
        (Some(0x80 | b'(' | b']' | b'}'), _) => Ok(Kind::Pickle),
        (_, Some(b'{' | b'[')) => Ok(Kind::Json),
        (_, Some(b'<')) => Ok(Kind::Html),
        (Some(0), _) if bytes.iter().take(4096).all(|&byte| byte == 0) => {
            Err(ReadError::NotASnapshot {
                found: "zeros".to_owned(),
                advice: "the disk was full or the copy failed: dump or copy the file again",
            })
        }
        _ => Err(ReadError::NotASnapshot {
            found: describe(bytes),
            advice: ADVICE,
        }),
    }
}

/// The error for a Chrome trace.
pub(super) fn chrome_trace() -> ReadError {
    ReadError::NotASnapshot {
        found: "a Chrome trace, as torch.profiler writes".to_owned(),
        advice: "record a memory snapshot with torch.cuda.memory._record_memory_history() and \
                 torch.cuda.memory._dump_snapshot(path)",
    }
}

/// The first bytes for a message.
fn describe(bytes: &[u8]) -> String {
    let head = bytes.get(..bytes.len().min(32)).unwrap_or(bytes);
    let is_text = head
        .iter()
        .all(|&byte| (0x20..0x7f).contains(&byte) || byte.is_ascii_whitespace());
    if is_text {
        let text = String::from_utf8_lossy(head);
        return format!("text that begins \"{}\"", text.escape_debug());
    }
    let hex: Vec<String> = head
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("bytes that begin {}", hex.join(" "))
}
