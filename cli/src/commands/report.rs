//! `gpumemprof report FILE`: the self-contained HTML page.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use profiler_core::attribution::Attribution;
use profiler_core::report::{ReportInput, ReportOptions, html};
use profiler_core::units;

use crate::args::ReportArguments;
use crate::{CommandError, input, output};

/// Writes the report and says where it is.
pub(super) fn run(arguments: &ReportArguments) -> Result<(), CommandError> {
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| beside(&arguments.input.file));
    // A path the user names is the user's to overwrite, as with any compiler's -o.
    if arguments.output.is_none() && path.exists() && !arguments.force {
        return Err(CommandError::NotThere(format!(
            "{} exists already; --force overwrites it, --output names another",
            path.display()
        )));
    }
    if is_same_file(&path, &arguments.input.file) {
        return Err(CommandError::Usage(format!(
            "the report would replace the snapshot {}: name another --output",
            path.display()
        )));
    }
    let (snapshot, replay) = input::load(&arguments.input)?;
    let spinner = input::Bar::spinner(
        input::is_quick(&arguments.input, &snapshot),
        "writing the report",
    );
    input::check_device_total(arguments.device_total, &replay)?;
    let attribution = Attribution::new(&snapshot, &replay);
    let page = html(
        &ReportInput {
            snapshot: &snapshot,
            replay: &replay,
            attribution: &attribution,
            device_total_bytes: arguments.device_total,
        },
        &ReportOptions {
            title: file_name(&arguments.input.file),
            redact: arguments.redact,
            device: None,
        },
    );
    write_whole(&path, page.as_bytes())?;
    drop(spinner);
    output::warn(&[&snapshot.warnings, &replay.warnings]);
    if !is_file_to_be(&path) {
        // It may be the standard output, where the page must stay alone.
        return Ok(());
    }
    output::line(&format!(
        "{} ({})",
        path.display(),
        units::bytes(page.len() as u64)
    ))
}

/// The report's path if none is given: the snapshot's with `.html` added.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".html");
    PathBuf::from(name)
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Whether both paths, links followed, lead to one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether `path` is a file, or nothing yet; not a device, a pipe or a folder.
fn is_file_to_be(path: &Path) -> bool {
    path.metadata().map_or(true, |metadata| metadata.is_file())
}

/// Writes `bytes` so that `path` holds either all of them or what it held before. A link is
/// followed, and what is no file (`/dev/stdout`) is written to, not replaced.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let failed = |source| CommandError::Write {
        path: path.to_owned(),
        source,
    };
    if !is_file_to_be(path) {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        return file
            .and_then(|mut file| file.write_all(bytes))
            .map_err(failed);
    }
    let followed = path.canonicalize();
    let path = followed.as_deref().unwrap_or(path);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("there is no folder {}", folder.display()),
        )));
    }
    // The temporary file's name, which the error has, is nothing to the user.
    let in_folder = |error: std::io::Error| {
        let why = std::io::Error::from(error.kind());
        failed(std::io::Error::new(
            error.kind(),
            format!("the folder {}: {why}", folder.display()),
        ))
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(in_folder)?;
    file.write_all(bytes).map_err(failed)?;
    readable_by_all(file.as_file()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Temporary files are private; a report is like any other file.
#[cfg(unix)]
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
