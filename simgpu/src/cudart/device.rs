//! Devices, versions, errors and entry points.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use super::device_prop::{DeviceProp12, DeviceProp13};
use crate::ffi::{Out, put_text, text, to_int};
use crate::gpu_model::GpuModel;
use crate::runtime::{
    INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, NOT_FOUND, NOT_READY, NOT_SUPPORTED, OUT_OF_MEMORY,
    SUCCESS, current_device, error, last_error, runtime, set_current_device,
};

/// The PCI bus number of a board.
pub(crate) fn pci_bus(board: usize) -> u32 {
    0x18 + 8 * board as u32
}

/// The CUDA release that is simulated, as `1000 * major + 10 * minor`: 12.4 when the PyTorch in this
/// process was linked with `libcudart.so.12` (2.6 to 2.8's wheels), else 13.2 (2.15's).
pub(crate) fn cuda_version() -> c_int {
    static VERSION: OnceLock<c_int> = OnceLock::new();
    *VERSION.get_or_init(|| {
        if links_runtime_12().unwrap_or(false) {
            12_040
        } else {
            13_020
        }
    })
}

/// Whether the smallest of PyTorch's libraries, mapped into this process, names CUDA 12's runtime.
fn links_runtime_12() -> Option<bool> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|path| path.ends_with("/libtorch_global_deps.so"))?;
    let library = std::fs::read(path).ok()?;
    let name = b"libcudart.so.12\0";
    Some(library.windows(name.len()).any(|window| window == name))
}

#[unsafe(no_mangle)]
extern "C" fn cudaRuntimeGetVersion(version: Out<c_int>) -> c_int {
    version.set(cuda_version());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaDriverGetVersion(version: Out<c_int>) -> c_int {
    version.set(cuda_version());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetDeviceCount(count: Out<c_int>) -> c_int {
    let devices = runtime().device_count();
    count.set(to_int(devices));
    if devices == 0 {
        error(NO_DEVICE)
    } else {
        SUCCESS
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetDevice(device: Out<c_int>) -> c_int {
    device.set(to_int(current_device()));
    SUCCESS
}

/// The runtime's number of a device that exists.
pub(crate) fn known(device: c_int) -> Option<usize> {
    usize::try_from(device)
        .ok()
        .filter(|&device| device < runtime().device_count())
}

#[unsafe(no_mangle)]
extern "C" fn cudaSetDevice(device: c_int) -> c_int {
    let Some(device) = known(device) else {
        return error(INVALID_DEVICE);
    };
    set_current_device(device);
    // Since CUDA 12 this starts the context.
    match runtime().ensure_context(device) {
        Ok(()) => SUCCESS,
        Err(code) => error(code),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetDeviceProperties_v2(prop: Out<DeviceProp12>, device: c_int) -> c_int {
    let machine = runtime();
    let Some(site) = known(device).and_then(|device| machine.site(device)) else {
        return error(INVALID_DEVICE);
    };
    prop.set(DeviceProp12::of(&machine.config, site));
    SUCCESS
}

/// CUDA 13's; CUDA 12 exports another structure under this name, which PyTorch's builds do not use.
#[unsafe(no_mangle)]
extern "C" fn cudaGetDeviceProperties(prop: Out<DeviceProp13>, device: c_int) -> c_int {
    let machine = runtime();
    let Some(site) = known(device).and_then(|device| machine.site(device)) else {
        return error(INVALID_DEVICE);
    };
    prop.set(DeviceProp13::of(&machine.config, site));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> c_int {
    let machine = runtime();
    let Some(site) = known(device).and_then(|device| machine.site(device)) else {
        return error(INVALID_DEVICE);
    };
    let model = &machine.config.model;
    value.set(attribute_value(attribute, model, site.board));
    SUCCESS
}

/// An attribute by its number, the same in `cudaDeviceAttr` and `CUdevice_attribute`; zero ("no") for
/// what is not listed.
pub(crate) fn attribute_value(attribute: c_int, model: &GpuModel, board: usize) -> c_int {
    match attribute {
        1..=3 => 1024,                // threads per block, block x and y
        4 => 64,                      // block z
        5 => c_int::MAX,              // grid x
        6 | 7 => 65_535,              // grid y and z
        8 => 48 << 10,                // shared memory per block
        9 => 65_536,                  // constant memory
        10 => 32,                     // warp size
        11 => c_int::MAX,             // pitch
        12 | 82 => 65_536,            // registers per block, per multiprocessor
        13 => model.clock_mhz * 1000, // kHz
        14 | 30 => 512,               // texture and surface alignment
        15 | 19 | 31 | 41 => 1, // overlap, host mapping, concurrent kernels, unified addresses
        16 => model.multiprocessors,
        32 => c_int::from(model.ecc),
        33 => pci_bus(board) as c_int,
        36 => model.memory_clock_mhz * 1000,
        37 => model.bus_bits,
        38 => model.l2_mib << 20,
        39 => model.threads_per_multiprocessor,
        40 => 3,  // copy engines
        51 => 32, // texture pitch alignment
        75 => model.major,
        76 => model.minor,
        78..=80 => 1, // stream priorities, L1 for globals and locals
        81 => (model.shared_kib << 10) as c_int,
        83 | 90 | 91 | 95 => 1, // managed memory, preemption, registered host pointers, cooperative
        97 => (model.shared_per_block_kib << 10) as c_int,
        99 | 102 | 103 => 1, // host registration, virtual memory, POSIX file handles
        106 => model.blocks_per_multiprocessor,
        111 => 1024,                          // shared memory the system keeps per block
        115 | 125 => 1,                       // memory pools, IPC events
        120 => c_int::from(model.major >= 9), // thread block clusters
        _ => 0,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceGetPCIBusId(buffer: Out<u8>, room: c_int, device: c_int) -> c_int {
    let Some(site) = known(device).and_then(|device| runtime().site(device)) else {
        return error(INVALID_DEVICE);
    };
    let id = format!("0000:{:02X}:00.0", pci_bus(site.board));
    if put_text(buffer, usize::try_from(room).unwrap_or(0), &id) {
        SUCCESS
    } else {
        error(INVALID_VALUE)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) -> c_int {
    least.set(0);
    greatest.set(-5);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) -> c_int {
    match (known(device), known(peer)) {
        (Some(device), Some(peer)) => {
            can.set(c_int::from(device != peer));
            SUCCESS
        }
        _ => error(INVALID_DEVICE),
    }
}

crate::ffi::succeed! {
    cudaDeviceEnablePeerAccess cudaProfilerStart cudaProfilerStop cudaDeviceReset
    cudaDeviceSetLimit cudaDeviceGetGraphMemAttribute cudaDeviceSetGraphMemAttribute
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceSynchronize() -> c_int {
    runtime().synchronize(None);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetLastError() -> c_int {
    last_error(true)
}

#[unsafe(no_mangle)]
extern "C" fn cudaPeekAtLastError() -> c_int {
    last_error(false)
}

/// Name and text of an error code, in the runtime's words.
fn error_words(code: c_int) -> (&'static std::ffi::CStr, &'static std::ffi::CStr) {
    match code {
        SUCCESS => (c"cudaSuccess", c"no error"),
        INVALID_VALUE => (c"cudaErrorInvalidValue", c"invalid argument"),
        OUT_OF_MEMORY => (c"cudaErrorMemoryAllocation", c"out of memory"),
        NO_DEVICE => (c"cudaErrorNoDevice", c"no CUDA-capable device is detected"),
        INVALID_DEVICE => (c"cudaErrorInvalidDevice", c"invalid device ordinal"),
        crate::runtime::INVALID_HANDLE => (
            c"cudaErrorInvalidResourceHandle",
            c"invalid resource handle",
        ),
        NOT_FOUND => (c"cudaErrorSymbolNotFound", c"named symbol not found"),
        NOT_READY => (c"cudaErrorNotReady", c"device not ready"),
        NOT_SUPPORTED => (c"cudaErrorNotSupported", c"operation not supported"),
        _ => (c"cudaErrorUnknown", c"unknown error"),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorName(code: c_int) -> *const c_char {
    error_words(code).0.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorString(code: c_int) -> *const c_char {
    error_words(code).1.as_ptr()
}

/// The text of an error code for the driver's `cuGetErrorString`.
pub(crate) fn error_text(code: c_int) -> *const c_char {
    error_words(code).1.as_ptr()
}

/// The address of an exported driver function, under its name or a versioned one.
fn entry_point(symbol: &str) -> Option<*mut c_void> {
    ["", "_v3", "_v2"].iter().find_map(|suffix| {
        let name = CString::new(format!("{symbol}{suffix}")).ok()?;
        // SAFETY: a NUL-terminated name looked up in this library's own handle, which stays loaded.
        let address = unsafe { libc::dlsym(own_handle()?, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    })
}

/// The loader's handle of this library.
fn own_handle() -> Option<*mut c_void> {
    static HANDLE: OnceLock<usize> = OnceLock::new();
    let handle = *HANDLE.get_or_init(|| {
        // SAFETY: zero bits are a valid `Dl_info`; `dladdr` only reads the address and fills it.
        let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: the address is that of a function here; `info` is valid for writes.
        let found = unsafe { libc::dladdr(own_handle as *const c_void, &raw mut info) };
        if found == 0 || info.dli_fname.is_null() {
            return 0;
        }
        // SAFETY: `dli_fname` is the loader's own NUL-terminated path; RTLD_NOLOAD loads nothing.
        unsafe { libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD) as usize }
    });
    (handle != 0).then_some(handle as *mut c_void)
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetDriverEntryPoint(
    symbol: *const c_char,
    function: Out<*mut c_void>,
    _flags: u64,
    status: Out<c_uint>,
) -> c_int {
    find_entry_point(symbol, function, status)
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetDriverEntryPointByVersion(
    symbol: *const c_char,
    function: Out<*mut c_void>,
    _version: c_uint,
    _flags: u64,
    status: Out<c_uint>,
) -> c_int {
    find_entry_point(symbol, function, status)
}

fn find_entry_point(
    symbol: *const c_char,
    function: Out<*mut c_void>,
    status: Out<c_uint>,
) -> c_int {
    let Some(name) = text(symbol) else {
        return error(INVALID_VALUE);
    };
    match entry_point(name) {
        Some(address) => {
            function.set(address);
            status.set(0); // cudaDriverEntryPointSuccess
            SUCCESS
        }
        None => {
            crate::ffi::trace(&format!("{name} is not there"));
            function.set(std::ptr::null_mut());
            status.set(1); // cudaDriverEntryPointSymbolNotFound
            if status.is_null() {
                error(NOT_FOUND)
            } else {
                SUCCESS
            }
        }
    }
}
