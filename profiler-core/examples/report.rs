//! Writes the report of a snapshot: `cargo run --example report -- FILE OUT.html [--redact]`.

use profiler_core::attribution::Attribution;
use profiler_core::replay::Replay;
use profiler_core::report::{ReportInput, ReportOptions, html};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, out, flags @ ..] = arguments.as_slice() else {
        return Err("usage: report FILE OUT.html [--redact]".into());
    };
    let snapshot = profiler_core::read::read(&std::fs::read(file)?)?;
    let replay = Replay::new(&snapshot);
    let attribution = Attribution::new(&snapshot, &replay);
    let input = ReportInput {
        snapshot: &snapshot,
        replay: &replay,
        attribution: &attribution,
        device_total_bytes: None,
    };
    let name = std::path::Path::new(file).file_name().unwrap_or_default();
    let options = ReportOptions {
        title: name.to_string_lossy().into_owned(),
        redact: flags.iter().any(|flag| flag == "--redact"),
        device: None,
    };
    std::fs::write(out, html(&input, &options))?;
    Ok(())
}
