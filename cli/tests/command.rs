//! The command as a user runs it: output, exit codes, JSON schemas.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../samples")
        .join(name)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpumemprof"))
        .args(arguments)
        .output()
        .unwrap()
}

fn run_on(verb: &str, file: &str, more: &[&str]) -> Output {
    let path = sample(file);
    let mut arguments = vec![verb, path.to_str().unwrap()];
    arguments.extend(more);
    run(&arguments)
}

fn json(verb: &str, file: &str, more: &[&str]) -> Value {
    let mut more = more.to_vec();
    more.push("--json");
    let output = run_on(verb, file, &more);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb} {file}: {errors}");
    assert!(output.stderr.is_empty(), "{verb} {file}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn stats_keep_their_contract() {
    let stats = json("stats", "two-devices.pickle.gz", &[]);
    assert_eq!(stats["schema"], "gpumemprof.stats/1");
    assert!(
        stats["file"]
            .as_str()
            .unwrap()
            .ends_with("two-devices.pickle.gz")
    );
    assert_eq!(stats["torch_format"], "2.14+");
    assert!(stats["warnings"].is_array());
    let devices = stats["devices"].as_array().unwrap();
    let numbers: Vec<i64> = devices
        .iter()
        .map(|d| d["device"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 1]);
    // The allocator's own counters at the end of that program.
    let first = &devices[0];
    assert_eq!(first["requested_peak_bytes"], 1_604_784_232_u64);
    assert_eq!(first["reserved_peak_bytes"], 1_767_899_136_u64);
    assert_eq!(first["allocated_final_bytes"], 344_686_592_u64);
    assert_eq!(first["active_final_bytes"], 344_686_592_u64);
    assert_eq!(first["requested_final_bytes"], 337_870_848_u64);
    assert_eq!(first["reserved_final_bytes"], 1_767_899_136_u64);
    assert_eq!(first["ooms"], 0);
    assert!(first["peak_event"].is_u64());
}

#[test]
fn every_verb_reads_every_sample() {
    let mut names: Vec<String> = std::fs::read_dir(sample(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".pickle"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for name in &names {
        for verb in ["stats", "peak", "allocations", "fragmentation", "oom"] {
            let value = json(verb, name, &[]);
            assert_eq!(value["schema"], format!("gpumemprof.{verb}/1"), "{name}");
            let text = run_on(verb, name, &[]);
            assert!(text.status.success(), "{verb} {name}");
            assert!(!text.stdout.is_empty(), "{verb} {name}");
            assert!(
                !text.stdout.contains(&0x1b),
                "{verb} {name}: colours in a pipe"
            );
        }
    }
}

#[test]
fn the_groups_of_every_grouping_add_up() {
    for file in ["oom-variable-length.pickle", "ring-buffer.pickle"] {
        for by in [
            "layer",
            "stack",
            "function",
            "file",
            "line",
            "category",
            "metadata",
            "annotation",
            "range",
            "compile-context",
            "step",
            "phase",
            "stream",
            "pool",
            "kind",
            "size",
        ] {
            let peak = json("peak", file, &["--by", by]);
            assert_eq!(peak["by"], by, "{file}");
            let sum = |key: &str| -> u64 {
                let groups = peak["groups"].as_array().unwrap().iter();
                groups.map(|group| group[key].as_u64().unwrap()).sum()
            };
            for key in ["requested_bytes", "block_bytes", "allocations"] {
                assert_eq!(peak[key].as_u64(), Some(sum(key)), "{file} by {by}: {key}");
            }
            assert_eq!(peak["inferred_bytes"].as_u64(), Some(sum("inferred_bytes")));
            let parts = ["recorded_bytes", "inferred_bytes", "unknown_bytes"];
            let told: u64 = parts.iter().map(|key| peak[key].as_u64().unwrap()).sum();
            assert_eq!(
                peak["requested_bytes"].as_u64(),
                Some(told),
                "{file} by {by}"
            );
        }
    }
}

#[test]
fn the_oom_is_explained() {
    let report = json(
        "oom",
        "oom-variable-length.pickle",
        &["--device-total", "3GiB"],
    );
    let oom = &report["ooms"][0];
    assert_eq!(oom["class"], "fragmentation_spread");
    let evidence = &oom["evidence"];
    assert_eq!(evidence["requested_bytes"], 250 << 20);
    assert_eq!(evidence["device_free_bytes"], 218 << 20);
    assert_eq!(evidence["compatible_largest_bytes"], 48 << 20);
    assert_eq!(oom["missing_bytes"], 32 << 20);
    let reserved = evidence["parts"]["reserved_bytes"].as_u64().unwrap();
    let outside = evidence["outside_bytes"].as_u64().unwrap();
    assert_eq!(reserved + outside + (218 << 20), 3 << 30);
    assert!(!oom["advice"].as_array().unwrap().is_empty());

    let report = json("oom", "oom-expandable-torch-2.6.pickle", &[]);
    let advice = report["ooms"][0]["advice"].to_string();
    assert!(
        !advice.contains("expandable_segments:True"),
        "it is on already: {advice}"
    );
}

#[test]
fn the_groups_of_a_moment_add_up() {
    for by in [
        "layer", "stack", "function", "file", "line", "category", "metadata",
    ] {
        for at in ["peak", "oom", "start", "end", "100", "0.05s"] {
            let report = json(
                "peak",
                "oom-variable-length.pickle",
                &["--by", by, "--at", at],
            );
            let groups = report["groups"].as_array().unwrap();
            let sum: u64 = groups
                .iter()
                .map(|g| g["requested_bytes"].as_u64().unwrap())
                .sum();
            assert_eq!(
                Some(sum),
                report["requested_bytes"].as_u64(),
                "by {by} at {at}"
            );
            let shares = ["recorded_bytes", "inferred_bytes", "unknown_bytes"];
            let shares: u64 = shares.iter().map(|key| report[key].as_u64().unwrap()).sum();
            assert_eq!(shares, sum, "by {by} at {at}");
        }
    }
}

#[test]
fn allocations_are_filtered_and_sorted() {
    let file = "oom-variable-length.pickle";
    let all = json("allocations", file, &["-n", "0", "--live-at", "peak"]);
    let rows = all["allocations"].as_array().unwrap();
    assert_eq!(rows.len() as u64, all["matching"].as_u64().unwrap());
    let sizes: Vec<u64> = rows
        .iter()
        .map(|r| r["requested_bytes"].as_u64().unwrap())
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b));
    let peak = json("peak", file, &[])["requested_bytes"].as_u64().unwrap();
    assert_eq!(sizes.iter().sum::<u64>(), peak);
    let some = json(
        "allocations",
        file,
        &["-n", "0", "--filter", "cross_entropy"],
    );
    let some = some["allocations"].as_array().unwrap();
    assert!(!some.is_empty());
    assert!(
        some.iter()
            .all(|row| row.to_string().contains("cross_entropy"))
    );
}

#[test]
fn bad_files_end_with_1_and_say_why() {
    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken
        .write_all(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        .unwrap();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let missing = sample("no such file.pickle");
    for path in [broken.path(), empty.path(), &missing, &sample("")] {
        for verb in ["stats", "peak", "allocations", "fragmentation", "oom"] {
            let output = run(&[verb, path.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(1), "{verb} {}", path.display());
            assert!(output.stdout.is_empty());
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(message.starts_with("error: "), "{message}");
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
    }
    let output = run(&["stats", broken.path().to_str().unwrap()]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("GLOBAL") && message.contains("os.system"),
        "{message}"
    );
}

#[test]
fn bad_usage_ends_with_2() {
    for arguments in [
        &["stats"][..],
        &["nonsense"],
        &["stats", "x", "--nonsense"],
        &["peak", "x", "--by", "colour"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output = run_on("peak", "ring-buffer.pickle", &["--at", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run_on("peak", "ring-buffer.pickle", &["--at", "99999999"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn help_and_completions_are_there() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("fragmentation")
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success());
        assert!(
            String::from_utf8(script.stdout)
                .unwrap()
                .contains("gpumemprof")
        );
    }
}

#[test]
fn a_report_never_replaces_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.pickle.gz");
    std::fs::copy(sample("two-devices.pickle.gz"), &file).unwrap();
    let path = file.to_str().unwrap();
    let output = run(&["report", path, "--force", "--output", path]);
    assert_eq!(output.status.code(), Some(2));
    let before = std::fs::read(sample("two-devices.pickle.gz")).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn a_report_follows_links_and_leaves_pipes_in_place() {
    use std::os::unix::fs::FileTypeExt as _;

    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (
        folder.path().join("real.html"),
        folder.path().join("link.html"),
    );
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let more = ["--force", "--output", link.to_str().unwrap()];
    assert!(
        run_on("report", "two-devices.pickle.gz", &more)
            .status
            .success()
    );
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(
        std::fs::read_to_string(&target)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );

    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    let more = ["--force", "--output", pipe.to_str().unwrap()];
    assert!(
        run_on("report", "two-devices.pickle.gz", &more)
            .status
            .success()
    );
    assert!(reader.join().unwrap().starts_with("<!DOCTYPE html>"));
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
}

#[cfg(unix)]
#[test]
fn an_endless_device_is_refused() {
    let output = run(&["stats", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is a device"));
}

#[test]
fn view_says_where_there_is_no_display_or_no_viewer() {
    let view = |display: &str| {
        let empty = tempfile::tempdir().unwrap();
        // A copy, so that no viewer lies beside it.
        let command = empty.path().join("gpumemprof");
        std::fs::copy(env!("CARGO_BIN_EXE_gpumemprof"), &command).unwrap();
        Command::new(&command)
            .args(["view", "run.pickle"])
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET")
            .env("DISPLAY", display)
            .env("PATH", empty.path())
            .output()
            .unwrap()
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    if cfg!(all(unix, not(target_os = "macos"))) {
        let output = view("");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("no display"), "{}", said(&output));
        assert!(said(&output).contains("gpumemprof report run.pickle"));
    }
    let output = view(":99");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cargo install"), "{}", said(&output));
    assert!(said(&output).contains("gpumemprof report run.pickle"));
}

#[cfg(unix)]
#[test]
fn view_starts_the_viewer_with_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let viewer = folder.path().join("gpumemprof-viewer");
    std::fs::write(
        &viewer,
        "#!/bin/sh\necho \"opened $*\"\nexit $VIEWER_ENDS\n",
    )
    .unwrap();
    std::fs::set_permissions(&viewer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = folder.path().join("gpumemprof");
    std::fs::copy(env!("CARGO_BIN_EXE_gpumemprof"), &command).unwrap();
    let view = |ends: &str| {
        Command::new(&command)
            .args(["view", "a.pickle", "b.json"])
            .env("DISPLAY", ":99")
            .env("VIEWER_ENDS", ends)
            .output()
            .unwrap()
    };
    let output = view("0");
    assert!(output.status.success());
    assert_eq!(output.stdout, b"opened a.pickle b.json\n");
    let output = view("3");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("gpumemprof-viewer"));
}

/// Free bytes in the wrong places are not to blame where they would not have been enough anyway, and
/// other programs hold more than was asked for.
#[test]
fn what_lies_outside_is_blamed_before_scattered_crumbs() {
    let verdict = |more: &[&str]| {
        let said = json("oom", "oom-variable-length.pickle", more);
        said["ooms"][0]["class"].clone()
    };
    let alone = "fragmentation_spread";
    assert_eq!(verdict(&[]), alone);
    // A context of a few hundred MiB explains nothing.
    assert_eq!(verdict(&["--device-total", "3GiB"]), alone);
    assert_eq!(verdict(&["--device-total", "80GiB"]), "outside_py_torch");
    // A recorder was told of the device.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("run.pickle");
    std::fs::copy(sample("oom-variable-length.pickle"), &copy).unwrap();
    let sidecar = r#"{"schema": "gpumemprof.sidecar/1",
                      "run": {"devices": [{"device": 0, "total_bytes": 85899345920}]}}"#;
    std::fs::write(folder.path().join("run.gpumemprof.json"), sidecar).unwrap();
    let output = run(&["oom", copy.to_str().unwrap(), "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ooms"][0]["class"], "outside_py_torch");
}
