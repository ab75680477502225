//! Which process is which: ids across containers, and whether a process is still the same.
//!
//! NVML gives process ids as the driver knows them. In a container those are, with most drivers,
//! the host's, which the container cannot look up; `/proc/self/status` (`NSpid`, proc(5)) tells
//! them only where the host's `/proc` is mounted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::board::ProcessSample;

/// The inode of the first process-id namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// How a process of NVML's list was told to be the one looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// By its id.
    ProcessId,
    /// By its id in the outermost namespace that `/proc` shows.
    OuterProcessId,
    /// Inferred: no other process on the board holds as much as PyTorch reserved.
    OnlyCandidate,
}

/// This process as it and its surroundings see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The id as this process sees it.
    pub process: u32,
    /// The id in the outermost visible namespace, where that is another.
    pub outer_process: Option<u32>,
    /// Its process-id namespace, as `/proc/self/ns/pid` names it.
    pub namespace: Option<String>,
}

impl Own {
    /// Asks `/proc`. Where there is none, only the id is known.
    #[must_use]
    pub fn new() -> Self {
        let process = std::process::id();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        Self {
            process,
            outer_process: outer_process(&status).filter(|&outer| outer != process),
            namespace: namespace.map(|path| path.to_string_lossy().into_owned()),
        }
    }

    /// Whether this process sees only part of the machine's processes: it is in a container.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.namespace
            .as_deref()
            .is_some_and(|name| name != FIRST_NAMESPACE)
    }
}

/// Whether ids in this process-id namespace are those that the driver knows.
#[must_use]
pub fn is_first(namespace: &str) -> bool {
    namespace == FIRST_NAMESPACE
}

/// The first number of `NSpid`: the id in the outermost namespace that this `/proc` shows.
fn outer_process(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Finds a process in NVML's list: by id, else the only one that can be it.
///
/// `reserved_bytes` is what its PyTorch holds there. A process that holds less is another one that
/// happens to have the same number (in a container, the host's).
#[must_use]
pub fn find(
    list: &[ProcessSample],
    process: u32,
    outer_process: Option<u32>,
    reserved_bytes: u64,
) -> Option<(u32, Told)> {
    let holds_enough =
        |one: &&ProcessSample| one.used_bytes.is_none_or(|bytes| bytes >= reserved_bytes);
    let with_id = |id: u32| {
        list.iter()
            .filter(holds_enough)
            .any(|one| one.process == id)
    };
    if let Some(outer) = outer_process
        && with_id(outer)
    {
        return Some((outer, Told::OuterProcessId));
    }
    if with_id(process) {
        return Some((process, Told::ProcessId));
    }
    let mut candidates = list.iter().filter(holds_enough);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) if reserved_bytes > 0 || list.len() == 1 => {
            Some((only.process, Told::OnlyCandidate))
        }
        _ => None,
    }
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)): tells
/// a reused id apart. None without `/proc`, without such a process, or once it has ended.
#[must_use]
pub fn start_ticks(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Characters of a process's name that are kept.
const NAME_CHARS: usize = 80;

/// A process's program and, for an interpreter, its script: `python train.py`. None if it cannot
/// be looked up.
#[must_use]
pub fn name(process: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let last = |path: &str| {
        let name = Path::new(path).file_name();
        name.map_or_else(
            || path.to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    let program = last(words.first()?);
    // A path of an interpreter's first arguments; options are of no use to tell two apart.
    let script = words.iter().skip(1).find(|word| !word.starts_with('-'));
    let text = match script {
        Some(script) if program.starts_with("python") => format!("{program} {}", last(script)),
        _ => program,
    };
    Some(text.chars().take(NAME_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn list(entries: &[(u32, Option<u64>)]) -> Vec<ProcessSample> {
        let of = |&(process, used_bytes): &(u32, Option<u64>)| ProcessSample {
            process,
            used_bytes,
        };
        entries.iter().map(of).collect()
    }

    #[test]
    fn ids_are_read_from_the_outermost_namespace() {
        assert_eq!(outer_process("Name:\tx\nNSpid:\t4211\t77\t1\n"), Some(4211));
        assert_eq!(outer_process("Name:\tx\n"), None);
    }

    #[test]
    fn processes_are_told_by_id_first() {
        let all = list(&[(77, Some(GIB)), (4211, Some(3 * GIB))]);
        assert_eq!(
            find(&all, 77, Some(4211), GIB),
            Some((4211, Told::OuterProcessId))
        );
        assert_eq!(find(&all, 77, None, GIB), Some((77, Told::ProcessId)));
        // The host's process 77 holds less than we do: it is not us.
        assert_eq!(
            find(&all, 77, None, 2 * GIB),
            Some((4211, Told::OnlyCandidate))
        );
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        let all = list(&[(9000, Some(3 * GIB)), (9001, Some(4 * GIB))]);
        assert_eq!(find(&all, 77, None, GIB), None);
        assert_eq!(
            find(&all, 77, None, 4 * GIB),
            Some((9001, Told::OnlyCandidate))
        );
        assert_eq!(find(&all, 77, None, 5 * GIB), None);
        assert_eq!(find(&all, 77, None, 0), None);
        assert_eq!(
            find(&list(&[(9000, Some(1))]), 77, None, 0),
            Some((9000, Told::OnlyCandidate))
        );
        assert_eq!(find(&[], 77, None, 0), None);
        // Without figures any of several may be it.
        assert_eq!(find(&list(&[(1, None), (2, None)]), 77, None, GIB), None);
    }

    #[test]
    fn this_process_is_known() {
        let own = Own::new();
        assert_eq!(own.process, std::process::id());
        if cfg!(target_os = "linux") {
            assert!(start_ticks(own.process).is_some());
            assert!(name(own.process).unwrap().starts_with("device_watch"));
        }
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
