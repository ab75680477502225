//! A run packed into one file (`.gpumem`): a tar, usually in gzip, of snapshots with their sidecars.
//!
//! Any tar will do: the first member whose name ends like a snapshot's is read, with the sidecar
//! that is named after it ([`crate::sidecar::Sidecar::file_name`]). The layout is POSIX ustar's
//! (IEEE Std 1003.1, `pax`); pax and GNU extension headers are skipped, which is right for the
//! short plain names of a run.

use super::ReadError;

/// Bytes of a header, and of the unit that contents are padded to.
const BLOCK: usize = 512;
/// The most members looked at; a run has under a hundred.
const MAX_MEMBERS: usize = 10_000;

/// One file in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its path, which is never opened, only compared.
    pub(super) name: &'a str,
    /// Its content.
    pub(super) content: &'a [u8],
}

/// Whether `bytes` begin with a ustar header.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The regular files of the archive, in order.
pub(super) fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, ReadError> {
    let mut out = Vec::new();
    let mut at = 0_usize;
    while let Some(header) = bytes.get(at..at.saturating_add(BLOCK)) {
        if header.iter().all(|&byte| byte == 0) || out.len() >= MAX_MEMBERS {
            break;
        }
        let damaged = |problem: &str| ReadError::Unpack {
            format: "tar",
            problem: format!("{problem} at byte {at}"),
        };
        let size = header.get(124..136).and_then(octal);
        let size = size.ok_or_else(|| damaged("a size that is no octal number"))?;
        let start = at + BLOCK;
        let end = start.checked_add(size);
        let content = end.and_then(|end| bytes.get(start..end));
        let content = content.ok_or_else(|| damaged("a member that goes on past the end"))?;
        let kind = header.get(156).copied().unwrap_or(0);
        let name = header.get(..100).map(text).unwrap_or_default();
        if matches!(kind, 0 | b'0') {
            out.push(Member { name, content });
        }
        let padded = size.checked_next_multiple_of(BLOCK);
        let next = padded.and_then(|padded| start.checked_add(padded));
        at = next.ok_or_else(|| damaged("a member without an end"))?;
    }
    Ok(out)
}

/// The snapshot to read, and its sidecar if it has one.
pub(super) fn snapshot<'a>(members: &[Member<'a>]) -> Option<(Member<'a>, Option<&'a [u8]>)> {
    let is_snapshot = |name: &str| {
        [".pickle", ".pkl", ".pickle.gz", ".pickle.zst", ".pickle.xz"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    let found = members.iter().find(|member| is_snapshot(member.name))?;
    let sidecar = crate::sidecar::Sidecar::file_name(found.name);
    let beside = members.iter().find(|member| member.name == sidecar);
    Some((*found, beside.map(|member| member.content)))
}

/// Text up to its first NUL; "" if it is not UTF-8.
fn text(field: &[u8]) -> &str {
    let end = field.iter().position(|&byte| byte == 0);
    let field = field.get(..end.unwrap_or(field.len())).unwrap_or(field);
    std::str::from_utf8(field).unwrap_or_default()
}

/// Octal digits, with blanks before and a blank or NUL behind them.
fn octal(field: &[u8]) -> Option<usize> {
    usize::from_str_radix(text(field).trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut out = vec![0; BLOCK];
        out[..name.len()].copy_from_slice(name.as_bytes());
        out[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        out[156] = b'0';
        out[257..262].copy_from_slice(b"ustar");
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    #[test]
    fn the_snapshot_is_found_with_its_sidecar() {
        let bytes = [
            member("run/readme.txt", b"x"),
            member("run/oom-1.pickle", &[7; 600]),
            member("run/oom-1.gpumemprof.json", b"{}"),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        assert!(is_tar(&bytes));
        let members = members(&bytes).unwrap();
        let (found, sidecar) = snapshot(&members).unwrap();
        assert_eq!((found.name, found.content.len()), ("run/oom-1.pickle", 600));
        assert_eq!(sidecar, Some(&b"{}"[..]));
    }

    #[test]
    fn damaged_archives_are_refused() {
        let whole = member("a.pickle", &[7; 600]);
        assert!(members(&whole[..700]).is_err());
        let mut odd = whole.clone();
        odd[124] = b'9';
        assert!(members(&odd).is_err());
        let mut huge = whole;
        huge[124..136].copy_from_slice(b"777777777777");
        assert!(members(&huge).is_err());
    }
}
