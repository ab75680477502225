//! Where the real snapshots are that are too many or not free to ship with the project.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

/// The folder of shared snapshots: `GPUMEMPROF_SHARED`, else `../shared` beside the checkout. None
/// (and a line that says so) where there is none: the test has to skip.
pub fn shared_snapshots() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("GPUMEMPROF_SHARED").map_or(beside, PathBuf::from);
    let snapshots = root.join("snapshots");
    if snapshots.is_dir() {
        return Some(snapshots);
    }
    println!("skipped: no shared snapshots at {}", snapshots.display());
    None
}

/// Every snapshot of `folder`, in order of name.
pub fn snapshot_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pickle"));
    files.sort();
    assert!(!files.is_empty(), "no snapshots in {}", folder.display());
    files
}

/// The last part of a path.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}
