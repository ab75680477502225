//! NVML's first interfaces, which old drivers have instead of the versioned ones.
//!
//! Without a version in its name, a function's binary form is the first: `nvml.h` maps the plain
//! names to the newest versions by macros only.

#![allow(
    unsafe_code,
    reason = "these calls have no safe wrapper; see each SAFETY"
)]

use std::ffi::{OsStr, c_int, c_uint, c_void};

use libloading::Library;
use nvml_wrapper::Device;

/// `NVML_SUCCESS`.
const SUCCESS: c_int = 0;
/// `NVML_ERROR_INSUFFICIENT_SIZE`.
const INSUFFICIENT_SIZE: c_int = 7;
/// `NVML_VALUE_NOT_AVAILABLE`, as an unsigned value.
const NOT_AVAILABLE: u64 = u64::MAX;

/// `nvmlMemory_t`. The first version counts what the driver keeps for itself as used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// `nvmlProcessInfo_v1_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Process {
    pid: c_uint,
    used: u64,
}

type MemoryCall = unsafe extern "C" fn(*mut c_void, *mut Memory) -> c_int;
type ProcessCall = unsafe extern "C" fn(*mut c_void, *mut c_uint, *mut Process) -> c_int;

/// The first interfaces, as far as the library has them.
#[derive(Debug)]
pub(crate) struct Legacy {
    memory: Option<MemoryCall>,
    processes: [Option<ProcessCall>; 2],
    /// Keeps the functions where they are.
    _library: Library,
}

impl Legacy {
    /// Looks the functions up in the library that is in use already.
    pub(crate) fn open(name: &OsStr) -> Option<Self> {
        // SAFETY: the same library was loaded a moment ago, so its initialisers have run.
        let library = unsafe { Library::new(name) }.ok()?;
        let process_call = |symbol: &[u8]| {
            // SAFETY: this is the function's type in NVML's first interface.
            unsafe { library.get::<ProcessCall>(symbol) }
                .ok()
                .map(|call| *call)
        };
        // SAFETY: as above.
        let memory = unsafe { library.get::<MemoryCall>(b"nvmlDeviceGetMemoryInfo\0") };
        Some(Self {
            memory: memory.ok().map(|call| *call),
            processes: [
                process_call(b"nvmlDeviceGetComputeRunningProcesses\0"),
                process_call(b"nvmlDeviceGetGraphicsRunningProcesses\0"),
            ],
            _library: library,
        })
    }

    /// A board's memory.
    pub(crate) fn memory(&self, device: &Device<'_>) -> Option<Memory> {
        let call = self.memory?;
        let mut memory = Memory::default();
        // SAFETY: the handle is of an initialised library that outlives `device`; the out-argument
        // is a structure of the call's own form.
        let code = unsafe { call(device.handle().cast(), &raw mut memory) };
        (code == SUCCESS).then_some(memory)
    }

    /// A board's compute (`kind` 0) or graphics (1) processes: id and bytes.
    pub(crate) fn processes(
        &self,
        device: &Device<'_>,
        kind: usize,
    ) -> Option<Vec<(u32, Option<u64>)>> {
        let call = (*self.processes.get(kind)?)?;
        // SAFETY: as in `memory`; with a count of 0 no list is written.
        let handle: *mut c_void = unsafe { device.handle() }.cast();
        let mut count: c_uint = 0;
        // SAFETY: see above.
        match unsafe { call(handle, &raw mut count, std::ptr::null_mut()) } {
            SUCCESS => return Some(Vec::new()),
            INSUFFICIENT_SIZE => {}
            _ => return None,
        }
        // Some may start between the two calls.
        count = count.saturating_add(8).min(1 << 16);
        let mut list = vec![Process::default(); count as usize];
        // SAFETY: the list has room for `count` entries.
        if unsafe { call(handle, &raw mut count, list.as_mut_ptr()) } != SUCCESS {
            return None;
        }
        list.truncate(count as usize);
        let bytes = |used| (used != NOT_AVAILABLE).then_some(used);
        Some(list.iter().map(|one| (one.pid, bytes(one.used))).collect())
    }
}
