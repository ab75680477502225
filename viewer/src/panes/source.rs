//! The lines of source around the call, if the file is on this machine.

use std::io::Read as _;
use std::path::Path;

use profiler_core::snapshot::StackId;

use crate::prepare::{Document, site_of};

/// Some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: String,
    /// Line numbers from 1, the lines, and whether it is the one of the call.
    pub lines: Vec<(u64, String, bool)>,
}

/// Lines shown before and after the call.
const AROUND: u64 = 4;
/// The largest file that is read: the path comes from a stranger's snapshot.
const MAX_BYTES: u64 = 4 << 20;

/// The lines around the site of `stack`. Only regular Python files are read: the snapshot names
/// the path, and could name a device or a private file.
#[must_use]
pub fn source_of(document: &Document, stack: StackId) -> Option<Source> {
    let site = site_of(document, document.attribution.clean.of(stack))?;
    let frame = document.snapshot.frames.get(site);
    let path = document.snapshot.strings.get(frame.filename);
    read_lines(path, frame.line)
}

fn read_lines(path: &str, line: u64) -> Option<Source> {
    let place = Path::new(path);
    let is_python = place.extension().is_some_and(|extension| extension == "py");
    let is_local = !path.starts_with("//") && !path.starts_with("\\\\");
    if !is_python || !is_local || !std::fs::symlink_metadata(place).ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(place).ok()?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<(u64, String, bool)> = text
        .lines()
        .zip(1_u64..)
        .filter(|&(_, number)| number + AROUND >= line && number <= line.saturating_add(AROUND))
        .map(|(text, number)| (number, text.chars().take(200).collect(), number == line))
        .collect();
    lines
        .iter()
        .any(|(_, _, is_here)| *is_here)
        .then(|| Source {
            path: path.to_owned(),
            lines,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_python_files_are_read() {
        let folder = std::env::temp_dir().join(format!("gpumemprof-source-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (python, other) = (folder.join("a.py"), folder.join("a.txt"));
        let text: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&python, &text).unwrap();
        std::fs::write(&other, &text).unwrap();
        let found = read_lines(python.to_str().unwrap(), 10).unwrap();
        assert_eq!(found.lines.len(), 9);
        assert_eq!(found.lines[4], (10, "line 10".to_owned(), true));
        assert_eq!(read_lines(python.to_str().unwrap(), 999), None);
        assert_eq!(read_lines(other.to_str().unwrap(), 10), None);
        assert_eq!(read_lines("/dev/zero", 1), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
