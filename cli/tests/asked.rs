//! What is refused and why, what a log allows to be said, and how moments and devices are named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The exit code, what was printed, and what was said on standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gpumemprof"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn sample(name: &str) -> String {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    samples.join(name).to_str().unwrap().to_owned()
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs out of memory.
const OOM: &str = "oom-variable-length.pickle";

const MPS: &str = "RuntimeError: MPS backend out of memory (MPS allocated: 9.57 GiB, other \
    allocations: 17.35 GiB, max allowed: 27.20 GiB). Tried to allocate 292.50 MiB on private \
    pool.\n";

#[test]
fn logs_are_read_in_every_form_and_their_roundings_shown() {
    let folder = tempfile::tempdir().unwrap();
    let plain = file(&folder, "plain.log", MPS.as_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(MPS.as_bytes()).unwrap();
    let packed = file(&folder, "packed.log.gz", &packed.finish().unwrap());
    let wide: Vec<u8> = std::iter::once(0xfeff_u16)
        .chain(MPS.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let wide = file(&folder, "wide.log", &wide);
    for path in [plain, packed, wide] {
        let (code, text, _) = run(&["oom", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{}", path.display());
        for expected in [
            "1 out-of-memory message\n",
            "the limit for this process",
            "other allocations",
            "17.35 GiB",
            "27.21 GiB ± ",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let (_, text, said) = run(&[
            "oom",
            path.to_str().unwrap(),
            "--json",
            "--device-total",
            "32GiB",
        ]);
        assert!(said.contains("--device-total is not used"), "{said}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["messages"][0]["class"], "limit");
        assert!(json["messages"][0]["other_allocations"]["bytes"].is_u64());
    }
}

#[test]
fn a_log_without_a_message_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.log", "step 1 loss 2.0\nstep 2 loss 1.9\n"),
        ("b.log", "[rank0]: step 1\n[rank0]: step 2\n"),
        ("c.log", "(EngineCore pid=3) INFO loading\n"),
    ] {
        let path = file(&folder, name, text.as_bytes());
        let (code, _, said) = run(&["oom", path.to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(said.contains("no out-of-memory message"), "{said}");
        assert!(said.contains(name), "{said}");
    }
    let json = file(&folder, "d.json", b"{\"segments\": [");
    let (_, _, said) = run(&["oom", json.to_str().unwrap()]);
    assert!(said.contains("JSON is damaged"), "{said}");
    let (_, help, _) = run(&["oom", "--help"]);
    assert!(
        help.contains("log") && help.contains("80GB is 80GiB"),
        "{help}"
    );
}

#[test]
fn impossible_settings_are_refused() {
    let path = sample(OOM);
    for (arguments, why) in [
        (&["simulate", &path, "--torch", "1.0"][..], "1.13 to 2.15"),
        (&["simulate", &path, "--torch", "9.9"], "1.13 to 2.15"),
        (
            &["simulate", &path, "--capacity", "0"],
            "none is for no limit",
        ),
        (
            &["advise", &path, "--capacity", "0GiB"],
            "none is for no limit",
        ),
        (
            &[
                "simulate",
                &path,
                "--capacity",
                "none",
                "--memory-fraction",
                "0.5",
            ],
            "--capacity",
        ),
        (&["top", "--bind", "0.0.0.0"], "--prometheus"),
        (&["peak", &path, "--at", "infs"], "as a moment"),
        (&["peak", &path, "--at", "nans"], "as a moment"),
        (&["peak", &path, "--device", "gpu"], "host"),
    ] {
        let (code, text, said) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(text.is_empty(), "{arguments:?}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn a_memory_fraction_is_told_with_its_whole() {
    let path = sample(OOM);
    let arguments = ["simulate", &path, "--memory-fraction", "0.5", "--capacity"];
    let with = |more: &[&str]| run(&[&arguments[..], more].concat());
    let (_, text, _) = with(&["8GiB"]);
    let line = "a limit of 4.00 GiB: the memory fraction 0.5 of the 8.00 GiB given";
    assert!(text.contains(line), "{text}");
    let (_, text, _) = with(&["recorded"]);
    assert!(text.contains("the device's whole memory"), "{text}");
    let (_, text, _) = with(&["8GiB", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["devices"][0]["limit_bytes"], 4_u64 << 30);
}

#[test]
fn moments_outside_the_recording_are_not_there() {
    let path = sample(OOM);
    for at in ["99999s", "-1s", "1999-01-01T00:00:00Z"] {
        let at = format!("--at={at}");
        let (code, text, said) = run(&["peak", &path, &at]);
        assert_eq!(code, 1, "{at}");
        assert!(text.is_empty());
        assert!(
            said.contains("outside the recording, which goes from 20"),
            "{said}"
        );
    }
    let json = |at: &str| {
        let (_, text, _) = run(&["peak", &path, "--json", "--at", at]);
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["at"].take();
        json
    };
    assert_eq!(json("1\u{202f}000"), json("1000"));
}

#[test]
fn pipes_get_plain_numbers() {
    for verb in ["stats", "peak", "allocations", "fragmentation", "oom"] {
        let (_, text, _) = run(&[verb, &sample(OOM)]);
        assert!(!text.contains('\u{202f}'), "{verb}: {text}");
    }
}

#[test]
fn allocations_say_how_many_are_not_listed() {
    let path = sample(OOM);
    let (_, text, _) = run(&["allocations", &path, "-n", "3", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["listed"], 3);
    let more = json["matching"].as_u64().unwrap() - 3;
    let (_, text, _) = run(&["allocations", &path, "-n", "3"]);
    let line = format!("({more} more; -n 0 shows all)\n");
    assert!(text.ends_with(&line), "{text}");
    let (_, text, _) = run(&["allocations", &path, "-n", "0"]);
    assert!(!text.contains("more; -n 0"));
}

#[test]
fn devices_are_named() {
    let (code, _, said) = run(&["peak", &sample("two-devices.pickle.gz"), "--device", "99"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("no device 99 in this file; it has devices 0 and 1"),
        "{said}"
    );
}

#[test]
fn a_report_that_has_no_folder_names_it() {
    let path = sample(OOM);
    let (code, _, said) = run(&["report", &path, "-o", "/no such folder/x.html"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("there is no folder /no such folder"),
        "{said}"
    );
    assert!(!said.contains(".tmp"), "{said}");
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let (code, _, said) = run(&["top", "--once", "--nvml", "/no such.so"]);
    assert_eq!(code, 1);
    assert!(said.contains("/no such.so"), "{said}");
}
