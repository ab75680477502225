//! Devices as this process's CUDA sees them.
//!
//! Nothing here starts a context: one costs hundreds of MiB, and a process that has one cannot fork
//! children that use CUDA. Free memory is asked for only where the process has a context already.

#![allow(unsafe_code, reason = "the driver is a C library; see each SAFETY")]

use cudarc::driver::sys;
use serde::Serialize;

/// A device in CUDA's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// CUDA's number.
    pub device: i32,
    /// 32 hexadecimal digits in groups, with no prefix: of the board, or of the MIG instance.
    pub uuid: Option<String>,
    /// `0000:01:00.0`.
    pub pci_bus_id: Option<String>,
    /// What programs can use, bytes.
    pub total_bytes: Option<u64>,
    /// `cuMemGetInfo`'s free bytes; None if this process has no context there.
    pub free_bytes: Option<u64>,
}

/// The calls in use. cudarc panics where the driver lacks one, so all are looked up before.
const CALLS: [&[u8]; 12] = [
    b"cuInit\0",
    b"cuDeviceGetCount\0",
    b"cuDeviceGet\0",
    b"cuDeviceGetUuid_v2\0",
    b"cuDeviceGetPCIBusId\0",
    b"cuDeviceTotalMem_v2\0",
    b"cuDevicePrimaryCtxGetState\0",
    b"cuDevicePrimaryCtxRetain\0",
    b"cuDevicePrimaryCtxRelease_v2\0",
    b"cuCtxPushCurrent_v2\0",
    b"cuCtxPopCurrent_v2\0",
    b"cuMemGetInfo_v2\0",
];

/// The devices of this process. `CUDA_VISIBLE_DEVICES` counts as it was when CUDA started.
///
/// Call it only in a process that uses CUDA anyway: it initialises the driver interface.
///
/// # Errors
/// A sentence, if there is no driver, one older than 11.4, or no device.
pub fn devices() -> Result<Vec<CudaDevice>, String> {
    // SAFETY: loads the driver's library, which any CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Err("CUDA's driver (libcuda.so.1) is not here".to_owned());
    }
    // SAFETY: the library can be loaded, as was just seen.
    let library = unsafe { sys::culib() };
    for call in CALLS {
        // SAFETY: the symbol is only looked up, never called through this type.
        if unsafe { library.get::<unsafe extern "C" fn()>(call) }.is_err() {
            let name =
                String::from_utf8_lossy(call.strip_suffix(b"\0").unwrap_or(call)).into_owned();
            return Err(format!(
                "CUDA's driver has no {name}: it is older than release 11.4"
            ));
        }
    }
    let mut count = 0;
    // SAFETY: cuInit may be called any number of times; the out-argument is ours.
    unsafe {
        check("cuInit", sys::cuInit(0))?;
        check("cuDeviceGetCount", sys::cuDeviceGetCount(&raw mut count))?;
    }
    Ok((0..count).map(device).collect())
}

fn check(call: &str, result: sys::CUresult) -> Result<(), String> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        sys::CUresult::CUDA_ERROR_NO_DEVICE => {
            Err("CUDA sees no device (is CUDA_VISIBLE_DEVICES empty?)".to_owned())
        }
        other => Err(format!("{call}: CUDA error {}", other as u32)),
    }
}

fn device(ordinal: i32) -> CudaDevice {
    let mut out = CudaDevice {
        device: ordinal,
        ..CudaDevice::default()
    };
    let mut handle = 0;
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    let mut bus = [0_u8; 32];
    let mut total = 0_usize;
    let is_done = |result| result == sys::CUresult::CUDA_SUCCESS;
    // SAFETY: the driver is initialised and `ordinal` below its count; each out-argument is ours
    // and of the size given.
    unsafe {
        if !is_done(sys::cuDeviceGet(&raw mut handle, ordinal)) {
            return out;
        }
        if is_done(sys::cuDeviceGetUuid_v2(&raw mut uuid, handle)) {
            out.uuid = Some(uuid_text(uuid.bytes.map(|byte| byte as u8)));
        }
        let room = i32::try_from(bus.len()).unwrap_or(0);
        if is_done(sys::cuDeviceGetPCIBusId(
            bus.as_mut_ptr().cast(),
            room,
            handle,
        )) {
            let text = bus.split(|&byte| byte == 0).next().unwrap_or_default();
            out.pci_bus_id = Some(String::from_utf8_lossy(text).into_owned());
        }
        if is_done(sys::cuDeviceTotalMem_v2(&raw mut total, handle)) {
            out.total_bytes = Some(total as u64);
        }
    }
    out.free_bytes = free_bytes(handle);
    out
}

/// `cuMemGetInfo` in the primary context of a device, if that is active.
fn free_bytes(device: sys::CUdevice) -> Option<u64> {
    let (mut flags, mut active) = (0, 0);
    let (mut free, mut total) = (0_usize, 0_usize);
    let mut context = std::ptr::null_mut();
    let is_done = |result| result == sys::CUresult::CUDA_SUCCESS;
    // SAFETY: `device` is the driver's own handle and every out-argument is ours. The context is
    // retained while it is current and released after; retaining an active one starts nothing.
    unsafe {
        let state = sys::cuDevicePrimaryCtxGetState(device, &raw mut flags, &raw mut active);
        if !is_done(state) || active == 0 {
            return None;
        }
        if !is_done(sys::cuDevicePrimaryCtxRetain(&raw mut context, device)) {
            return None;
        }
        let mut answer = None;
        if is_done(sys::cuCtxPushCurrent_v2(context)) {
            if is_done(sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)) {
                answer = Some(free as u64);
            }
            let mut popped = std::ptr::null_mut();
            sys::cuCtxPopCurrent_v2(&raw mut popped);
        }
        sys::cuDevicePrimaryCtxRelease_v2(device);
        answer
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_in_groups() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8);
        assert_eq!(uuid_text(bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
