//! `simulate` and `advise` as a user runs them: schemas, refusals, tables, and the same numbers as
//! the library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use profiler_core::allocator::{AdviseOptions, Capacity, WhatIf, advise, simulate};
use profiler_core::read::read;
use profiler_core::snapshot::Snapshot;
use profiler_core::units;
use serde_json::Value;

/// Runs out of memory under the default settings; expandable segments avoid it.
const OOM: &str = "oom-variable-length.pickle";
/// Runs to its end; begins with memory held.
const RING: &str = "ring-buffer.pickle";

fn sample(name: &str) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    samples.join(name)
}

fn snapshot(name: &str) -> Snapshot {
    read(&std::fs::read(sample(name)).unwrap()).unwrap()
}

fn run(verb: &str, file: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpumemprof"))
        .arg(verb)
        .arg(sample(file))
        .args(more)
        .output()
        .unwrap()
}

fn text(verb: &str, file: &str, more: &[&str]) -> String {
    let output = run(verb, file, more);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb} {file} {more:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(verb: &str, file: &str, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&text(verb, file, &more)).unwrap()
}

/// The exit code and what was said on standard error.
fn refusal(verb: &str, more: &[&str]) -> (i32, String) {
    let output = run(verb, OOM, more);
    assert!(output.stdout.is_empty(), "{verb} {more:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors)
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// What the library makes of the same question.
fn simulated(name: &str, what_if: &WhatIf) -> Value {
    let simulation = simulate(&snapshot(name), what_if, &mut |_, _| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let device = &simulation.devices[0];
    serde_json::json!({ "recorded": device.recorded, "simulated": device.simulated })
}

#[test]
fn the_json_of_simulate_keeps_its_contract() {
    let report = json(
        "simulate",
        OOM,
        &["--alloc-conf", "expandable_segments:True"],
    );
    assert_eq!(report["schema"], "gpumemprof.simulate/1");
    assert_eq!(report["alloc_conf"], "expandable_segments:True");
    assert!(report["file"].as_str().unwrap().ends_with(OOM));
    assert!(
        report["assumptions"]
            .as_array()
            .unwrap()
            .iter()
            .all(Value::is_string)
    );
    let device = &report["devices"][0];
    assert_eq!(device["device"], 0);
    assert_eq!(device["fidelity"], 1.0);
    let expected = [
        "alloc_retries",
        "allocated_peak_bytes",
        "oom_event",
        "requested_peak_bytes",
        "reserved_peak_bytes",
        "segment_allocs",
        "segment_frees",
    ];
    for run in ["recorded", "simulated"] {
        let mut found = keys(&device[run]);
        found.sort_unstable();
        assert_eq!(found, expected, "{run}");
    }
    assert_eq!(device["recorded"]["oom_event"], 5815);
    assert_eq!(device["simulated"]["oom_event"], Value::Null);
    assert_eq!(device["ending"], "avoided-out-of-memory");
    let curve = device["fragmentation"].as_array().unwrap();
    assert!((2..=100).contains(&curve.len()));
    let highest = curve
        .iter()
        .map(|point| point["reserved_bytes"].as_u64())
        .max();
    assert_eq!(
        highest.unwrap(),
        device["simulated"]["reserved_peak_bytes"].as_u64()
    );
}

#[test]
fn what_is_printed_is_what_the_library_says() {
    let cases: [(&[&str], WhatIf); 4] = [
        (&[], WhatIf::default()),
        (
            &["--alloc-conf", "max_split_size_mb:64", "--capacity", "none"],
            WhatIf {
                conf: Some("max_split_size_mb:64".into()),
                capacity: Capacity::Unlimited,
                ..WhatIf::default()
            },
        ),
        (
            &["--capacity", "2GiB"],
            WhatIf {
                capacity: Capacity::Bytes(2 << 30),
                ..WhatIf::default()
            },
        ),
        (
            &["--capacity", "a100-40gb", "--alloc-conf", ""],
            WhatIf {
                conf: Some(String::new()),
                capacity: Capacity::Bytes(40 << 30),
                ..WhatIf::default()
            },
        ),
    ];
    for (arguments, what_if) in cases {
        let ours = simulated(OOM, &what_if);
        let report = json("simulate", OOM, arguments);
        for run in ["recorded", "simulated"] {
            assert_eq!(report["devices"][0][run], ours[run], "{arguments:?} {run}");
        }
        // The table rounds the same numbers.
        let table = text("simulate", OOM, arguments);
        let row = table
            .lines()
            .find(|line| line.contains("peak reserved"))
            .unwrap();
        for run in ["recorded", "simulated"] {
            let bytes = ours[run]["reserved_peak_bytes"].as_u64().unwrap();
            assert!(row.contains(&units::bytes(bytes)), "{arguments:?}: {row}");
        }
    }
}

#[test]
fn less_memory_runs_out_earlier() {
    let report = json("simulate", OOM, &["--capacity", "2GiB"]);
    let device = &report["devices"][0];
    assert_eq!(device["capacity_bytes"], 2_u64 << 30);
    assert_eq!(device["ending"], "out-of-memory");
    assert!(device["simulated"]["oom_event"].as_u64().unwrap() < 5815);
    assert!(device["simulated"]["reserved_peak_bytes"].as_u64().unwrap() <= 2 << 30);
    let said = text("simulate", OOM, &["--capacity", "2GiB"]);
    assert!(
        said.starts_with("device 0: runs out of memory at event "),
        "{said}"
    );
}

#[test]
fn a_layer_can_be_left_out_and_a_phase_scaled() {
    let file = "metadata-and-annotations.pickle.zst";
    let peak = |more: &[&str]| {
        let report = json("simulate", file, more);
        report["devices"][0]["simulated"]["requested_peak_bytes"]
            .as_u64()
            .unwrap()
    };
    let recorded = peak(&[]);
    let one = peak(&["--drop", "blocks.3.attn"]);
    assert!(one < recorded);
    // A layer contains those inside it.
    assert!(peak(&["--drop", "blocks"]) < one);
    assert!(peak(&["--scale", "forward=1.5"]) > recorded);
    assert_eq!(peak(&["--scale", "forward=1"]), recorded);
    let report = json("simulate", file, &["--scale", "forward=1.5"]);
    let assumptions = report["assumptions"].to_string();
    assert!(
        assumptions.contains("Dropped and resized allocations"),
        "{assumptions}"
    );
}

#[test]
fn what_pytorch_refuses_is_bad_usage() {
    for (conf, reason) in [
        ("foo:1", "has no allocator option \"foo\""),
        (
            "max_split_size_mb:1",
            "max_split_size_mb must be at least 20, found 1",
        ),
        (
            "expandable_segments:true",
            "expects True or False, found \"true\"",
        ),
        ("roundup_power2_divisions:3", "expects a power of two"),
        (
            "max_split_size_mb",
            "the settings end after \"max_split_size_mb\"",
        ),
    ] {
        let (code, said) = refusal("simulate", &["--alloc-conf", conf]);
        assert_eq!(code, 2, "{conf}: {said}");
        assert!(
            said.contains("would be refused") && said.contains(reason),
            "{conf}: {said}"
        );
    }
    let (code, said) = refusal("simulate", &["--alloc-conf", "backend:cudaMallocAsync"]);
    assert_eq!(code, 2);
    assert!(said.contains("no caching allocator to simulate"), "{said}");
    // 2.6 does not know what 2.15 does.
    let newer = ["--alloc-conf", "large_segment_size_mb:64"];
    assert_eq!(run("simulate", OOM, &newer).status.code(), Some(0));
    let (code, said) = refusal("simulate", &[&newer[..], &["--torch", "2.6"]].concat());
    assert_eq!(code, 2);
    assert!(
        said.contains("PyTorch 2.6 has no allocator option"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_answered_says_why() {
    for verb in ["simulate", "advise"] {
        let (code, said) = refusal(verb, &["--capacity", "much"]);
        assert_eq!(code, 2, "{verb}");
        assert!(
            said.contains("a size such as 24GiB") && said.contains("a100-40gb"),
            "{said}"
        );
        let output = run(verb, RING, &["--capacity", "1MiB"]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("begins with 1.65 GiB already reserved"),
            "{said}"
        );
    }
    let (code, said) = refusal("simulate", &["--drop", "no.such.layer"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("no.such.layer") && said.contains("peak --by layer"),
        "{said}"
    );
    assert_eq!(refusal("simulate", &["--scale", "sideways=2"]).0, 2);
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, r#"{"segments": [], "device_traces": [[]]}"#).unwrap();
    for verb in ["simulate", "advise"] {
        let output = Command::new(env!("CARGO_BIN_EXE_gpumemprof"))
            .arg(verb)
            .arg(&empty)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("no allocation history to simulate"), "{said}");
    }
}

#[test]
fn advice_gives_the_line_to_paste_and_its_evidence() {
    let said = text("advise", OOM, &[]);
    let first = said.lines().next().unwrap();
    assert_eq!(
        first,
        "device 0: This setting runs where the recorded one runs out of memory."
    );
    let export = "  export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
    assert_eq!(
        said.lines().filter(|line| *line == export).count(),
        1,
        "{said}"
    );
    assert!(!said.contains('\u{1b}'), "colours in a pipe");
    for part in [
        "runs from",
        "no allocator does with less",
        "Fidelity 100 %",
        "rtx3060-12gb",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = json("advise", OOM, &[]);
    assert_eq!(report["schema"], "gpumemprof.advise/1");
    let device = &report["devices"][0];
    let ours = advise(&snapshot(OOM), &AdviseOptions::default(), &mut |_, _| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(*device, serde_json::to_value(&ours.devices[0]).unwrap());
    assert_eq!(device["best"]["is_rescue"], true);
    let capacity = device["capacity_bytes"].as_u64().unwrap();
    assert_eq!(capacity, 2_831_155_200);
    let candidates = device["candidates"].as_array().unwrap();
    for candidate in candidates {
        // It runs in the memory there was only if that is enough for everything.
        let runs = candidate["at_capacity"]["oom_event"].is_null();
        let smallest = candidate["smallest_capacity_bytes"].as_u64().unwrap();
        assert_eq!(runs, smallest <= capacity, "{candidate}");
        assert!(
            smallest >= device["bound"]["load_bytes"].as_u64().unwrap(),
            "{candidate}"
        );
    }
    let count = |key: &str| candidates.iter().filter(|c| c[key] == true).count();
    assert_eq!(count("is_recorded"), 1);
    assert!(device["bound"]["packing_bytes"].as_u64() >= device["bound"]["load_bytes"].as_u64());
    assert_eq!(device["bound"]["counts_failed_requests"], true);
}

#[test]
fn advice_says_when_nothing_helps() {
    let said = text("advise", RING, &[]);
    assert!(
        said.starts_with("device 0: No setting tried helps"),
        "{said}"
    );
    assert!(!said.contains("export "), "{said}");
    // More is live at once than the device had: no setting can help, and that is said.
    let said = text("advise", "oom-expandable-torch-2.6.pickle", &[]);
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("device 0: No setting can make the program fit: "),
        "{first}"
    );
    assert!(
        first.contains("are live at once, and PyTorch could have 2.64 GiB"),
        "{first}"
    );
    let report = json("advise", "oom-expandable-torch-2.6.pickle", &[]);
    let device = &report["devices"][0];
    assert!(device["best"].is_null());
    assert!(device["bound"]["load_bytes"].as_u64() > device["capacity_bytes"].as_u64());
}

#[test]
fn a_name_of_a_gpu_is_a_capacity() {
    let report = json("advise", OOM, &["--capacity", "a100-40gb"]);
    assert_eq!(report["devices"][0]["capacity_bytes"], 40_u64 << 30);
    // On that device nothing fails: the advice is about the peak alone.
    assert_eq!(report["devices"][0]["best"]["is_rescue"], false);
}
