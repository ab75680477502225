//! What the fuzzer of the whole pipeline found worth keeping: snapshots that no allocator made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::both::read_both_ways;
use common::pipeline::run_pipeline;

#[test]
fn everything_is_made_of_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pipeline_corpus");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        match read_both_ways(&bytes) {
            Ok(snapshot) => drop(run_pipeline(&snapshot, "fuzz", files % 2 == 0)),
            Err(error) => panic!("{}: {error}", path.display()),
        }
        files += 1;
    }
    assert!(files > 50, "{files} files in the corpus");
}
