//! NVML, opened at run time.

use std::ffi::OsString;
use std::path::PathBuf;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::board::{self, Board};
use crate::legacy::Legacy;

/// An opened NVML and the boards that were there then.
#[derive(Debug)]
pub struct Driver {
    pub(crate) nvml: Nvml,
    pub(crate) legacy: Option<Legacy>,
    /// The driver's release, as in `595.45.04`.
    pub version: Option<String>,
    /// The boards, by index.
    pub boards: Vec<Board>,
}

impl Driver {
    /// Loads NVML (from `library`, or else where the loader finds it) and lists the boards.
    ///
    /// # Errors
    /// A sentence for the user, if there is no library, no driver, or no permission.
    pub fn open(library: Option<PathBuf>) -> Result<Self, String> {
        let given = library.clone();
        let names: Vec<OsString> = match library {
            Some(path) => vec![path.into_os_string()],
            // `libnvidia-ml.so` is in the development package only; drivers bring the `.so.1`.
            None if cfg!(windows) => vec!["nvml.dll".into()],
            None => vec!["libnvidia-ml.so.1".into(), "libnvidia-ml.so".into()],
        };
        let mut problem = NvmlError::LibraryNotFound;
        for name in names {
            match Nvml::builder().lib_path(&name).init() {
                Ok(nvml) => {
                    let boards = board::boards(&nvml).map_err(|error| explain(&error))?;
                    return Ok(Self {
                        version: nvml.sys_driver_version().ok(),
                        legacy: Legacy::open(&name),
                        boards,
                        nvml,
                    });
                }
                // A second name is tried only where the first is no library.
                Err(error @ NvmlError::LibloadingError(_)) => problem = error,
                Err(error) => return Err(explain(&error)),
            }
        }
        Err(match given {
            // The loader's words name the file and what is wrong with it.
            Some(path) => format!(
                "cannot load NVML from {}: {}",
                path.display(),
                match &problem {
                    NvmlError::LibloadingError(error) => error.to_string(),
                    other => explain(other),
                }
            ),
            None => explain(&problem),
        })
    }
}

/// What an error means to a user.
pub(crate) fn explain(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "NVML (libnvidia-ml.so.1) is not here, so the device cannot be watched: it comes with \
             the NVIDIA driver; in a container, start it with the NVIDIA runtime"
                .to_owned()
        }
        NvmlError::NoPermission => {
            "NVML does not let this user read the device; the rest works".to_owned()
        }
        NvmlError::DriverNotLoaded => {
            "the NVIDIA driver is not loaded, so the device cannot be watched".to_owned()
        }
        NvmlError::GpuLost => {
            "the GPU fell off the bus or is otherwise lost (NVML: GPU is lost); see the kernel log \
             for Xid messages"
                .to_owned()
        }
        other => format!("NVML: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let missing = PathBuf::from("/no such folder/libnvidia-ml.so.1");
        let error = Driver::open(Some(missing)).unwrap_err();
        assert!(
            error.starts_with("cannot load NVML from /no such folder/libnvidia-ml.so.1: "),
            "{error}"
        );
    }
}
