//! The driver: what `libcuda.so.1` exports to PyTorch and to memory tools.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::config::{self, Site};
use crate::cudart::device::{attribute_value, cuda_version, error_text, known};
use crate::ffi::{Out, put_text, succeed};
use crate::runtime::{
    INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, Place, SUCCESS, current_device, runtime,
    set_current_device,
};
use crate::window::GRANULARITY;

/// `CUDA_ERROR_INVALID_CONTEXT`.
const INVALID_CONTEXT: c_int = 201;
/// The handle of a device's primary context: this plus the device.
const CONTEXT: usize = 0x5300_0000;

fn status(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(SUCCESS)
}

fn put<T>(out: Out<T>, result: Result<T, c_int>) -> c_int {
    match result {
        Ok(value) => {
            out.set(value);
            SUCCESS
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    if runtime().device_count() == 0 {
        NO_DEVICE
    } else {
        SUCCESS
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<c_int>) -> c_int {
    version.set(cuda_version());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(code: c_int, text: Out<*const c_char>) -> c_int {
    text.set(error_text(code));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(code: c_int, text: Out<*const c_char>) -> c_int {
    text.set(error_text(code));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Out<c_int>) -> c_int {
    count.set(runtime().device_count() as c_int);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) -> c_int {
    put(
        device,
        known(ordinal).map(|_| ordinal).ok_or(INVALID_DEVICE),
    )
}

fn site(device: c_int) -> Result<Site, c_int> {
    known(device)
        .and_then(|device| runtime().site(device))
        .ok_or(INVALID_DEVICE)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: Out<u8>, room: c_int, device: c_int) -> c_int {
    let Ok(site) = site(device) else {
        return INVALID_DEVICE;
    };
    let room = usize::try_from(room).unwrap_or(0);
    if put_text(name, room, &runtime().config.name_of(site)) {
        SUCCESS
    } else {
        INVALID_VALUE
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) -> c_int {
    put(uuid, site(device).map(|site| config::uuid(site.board)))
}

/// Of a MIG instance its own, where the older call gives the board's.
#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) -> c_int {
    let own = |site: Site| {
        if runtime().config.mig.is_empty() {
            config::uuid(site.board)
        } else {
            config::instance_uuid(site)
        }
    };
    put(uuid, site(device).map(own))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) -> c_int {
    put(
        bytes,
        site(device).map(|site| runtime().config.capacity_of(site) as usize),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> c_int {
    let model = &runtime().config.model;
    put(
        value,
        site(device).map(|site| attribute_value(attribute, model, site.board)),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetPCIBusId(buffer: Out<u8>, room: c_int, device: c_int) -> c_int {
    match site(device) {
        Ok(site) => {
            let bus = crate::cudart::device::pci_bus(site.board);
            let id = format!("0000:{bus:02X}:00.0");
            if put_text(buffer, usize::try_from(room).unwrap_or(0), &id) {
                SUCCESS
            } else {
                INVALID_VALUE
            }
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> c_int {
    match runtime().memory(current_device()) {
        Some((free_bytes, total_bytes)) => {
            free.set(free_bytes as usize);
            total.set(total_bytes as usize);
            SUCCESS
        }
        None => INVALID_CONTEXT,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(
    device: c_int,
    flags: Out<c_uint>,
    active: Out<c_int>,
) -> c_int {
    let Some(device) = known(device) else {
        return INVALID_DEVICE;
    };
    flags.set(0);
    active.set(c_int::from(runtime().has_context(device)));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Out<usize>, device: c_int) -> c_int {
    let Some(device) = known(device) else {
        return INVALID_DEVICE;
    };
    put(
        context,
        runtime().ensure_context(device).map(|()| CONTEXT + device),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: Out<usize>) -> c_int {
    let device = current_device();
    context.set(if runtime().has_context(device) {
        CONTEXT + device
    } else {
        0
    });
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> c_int {
    match context.checked_sub(CONTEXT) {
        Some(device) if device < runtime().device_count() => {
            set_current_device(device);
            SUCCESS
        }
        _ if context == 0 => SUCCESS,
        _ => INVALID_CONTEXT,
    }
}

thread_local! {
    /// The devices that were current before each context pushed on this thread.
    static PUSHED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: usize) -> c_int {
    let before = current_device();
    let code = cuCtxSetCurrent(context);
    if code == SUCCESS {
        PUSHED.with_borrow_mut(|pushed| pushed.push(before));
    }
    code
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(context: Out<usize>) -> c_int {
    match PUSHED.with_borrow_mut(Vec::pop) {
        Some(before) => {
            context.set(CONTEXT + current_device());
            set_current_device(before);
            SUCCESS
        }
        None => INVALID_CONTEXT,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(device: Out<c_int>) -> c_int {
    device.set(current_device() as c_int);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(_stream: usize, context: Out<usize>) -> c_int {
    cuCtxGetCurrent(context)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, address: u64) -> c_int {
    match runtime().range_of(address) {
        Some((start, length)) => {
            base.set(start);
            size.set(length as usize);
            SUCCESS
        }
        None => INVALID_VALUE,
    }
}

/// The attributes asked of an address: memory type (2), pointer (3), device ordinal (9).
#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(value: Out<u32>, attribute: c_int, address: u64) -> c_int {
    let Place::Device(device) = runtime().place(address) else {
        return INVALID_VALUE;
    };
    match attribute {
        2 => value.set(2), // CU_MEMORYTYPE_DEVICE
        9 => value.set(device as u32),
        _ => return crate::runtime::NOT_SUPPORTED,
    }
    SUCCESS
}

/// The head of `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AllocationProp {
    kind: c_int,
    handle_types: c_int,
    location_kind: c_int,
    location: c_int,
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressReserve(
    address: Out<u64>,
    size: usize,
    _alignment: usize,
    _wanted: u64,
    _flags: u64,
) -> c_int {
    put(address, runtime().reserve(size as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressFree(address: u64, _size: usize) -> c_int {
    status(runtime().unreserve(address))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemCreate(
    handle: Out<u64>,
    size: usize,
    prop: Out<AllocationProp>,
    _flags: u64,
) -> c_int {
    let device = prop.get().and_then(|prop| known(prop.location));
    let Some(device) = device else {
        return INVALID_VALUE;
    };
    put(handle, runtime().create_physical(device, size as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRelease(handle: u64) -> c_int {
    status(runtime().release_physical(handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRetainAllocationHandle(handle: Out<u64>, address: u64) -> c_int {
    put(handle, runtime().retain_physical(address))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemMap(
    address: u64,
    size: usize,
    _offset: usize,
    handle: u64,
    _flags: u64,
) -> c_int {
    status(runtime().map(address, size as u64, handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemUnmap(address: u64, size: usize) -> c_int {
    status(runtime().unmap(address, size as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAllocationGranularity(
    granularity: Out<usize>,
    _prop: *const c_void,
    _option: c_int,
) -> c_int {
    granularity.set(GRANULARITY as usize);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel() -> c_int {
    runtime().launched();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchCooperativeKernel() -> c_int {
    cuLaunchKernel()
}

succeed! {
    cuMemSetAccess cuMemsetD32Async cuStreamWriteValue32 cuFuncSetAttribute cuFuncSetCacheConfig
    cuModuleUnload cuTensorMapEncodeTiled cuLogsUnregisterCallback cuDevicePrimaryCtxRelease
    cuDevicePrimaryCtxRelease_v2
}

// Code loaded at run time, memory shared with other processes, multicast and green contexts.
crate::ffi::not_supported! {
    crate::runtime::NOT_SUPPORTED;
    cuFuncGetAttribute cuKernelGetAttribute cuLinkAddData_v2 cuLinkComplete cuLinkCreate_v2
    cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleLoadDataEx
    cuOccupancyMaxActiveBlocksPerMultiprocessor cuMemExportToShareableHandle
    cuMemImportFromShareableHandle cuMemGetAllocationPropertiesFromHandle cuMulticastAddDevice
    cuMulticastBindMem cuMulticastCreate cuMulticastUnbind cuGreenCtxCreate cuGreenCtxDestroy
    cuGreenCtxStreamCreate cuCtxFromGreenCtx cuDevResourceGenerateDesc cuDeviceGetDevResource
    cuDevSmResourceSplitByCount cuLogsRegisterCallback
}
