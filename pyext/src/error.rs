//! One tree of exceptions, `gpumemprof.Error` at its root.

use gpumemprof_cli::CommandError;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(
    gpumemprof,
    Error,
    PyException,
    "Anything that gpumemprof raises of its own."
);
create_exception!(
    gpumemprof,
    ReadError,
    Error,
    "A file is no readable memory snapshot."
);
create_exception!(
    gpumemprof,
    NotInSnapshotError,
    Error,
    "What was asked for (a device, a moment, a grouping) is not in this snapshot."
);
create_exception!(
    gpumemprof,
    RecordingError,
    Error,
    "Recording is not possible here, or not as asked."
);

/// Adds the exceptions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("ReadError", py.get_type::<ReadError>())?;
    module.add("NotInSnapshotError", py.get_type::<NotInSnapshotError>())?;
    module.add("RecordingError", py.get_type::<RecordingError>())?;
    Ok(())
}

/// The Python exception for a command's failure. A file that cannot be opened or written stays an
/// `OSError` with its errno, so that `except FileNotFoundError` works.
pub(crate) fn from_command(error: CommandError) -> PyErr {
    match error {
        CommandError::Open { path, source } | CommandError::Write { path, source } => {
            match source.raw_os_error() {
                // With errno and a name, OSError picks its subclass itself.
                Some(errno) => PyOSError::new_err((
                    errno,
                    std::io::Error::from_raw_os_error(errno).to_string(),
                    path,
                )),
                None => source.into(),
            }
        }
        CommandError::Read { .. } => ReadError::new_err(error.to_string()),
        CommandError::NotThere(_) | CommandError::Usage(_) => {
            NotInSnapshotError::new_err(error.to_string())
        }
        other => Error::new_err(other.to_string()),
    }
}
