//! Device and host memory, and copies between them.

use std::ffi::{c_int, c_uint, c_void};

use super::device::known;
use crate::contents::LONGEST;
use crate::ffi::{Out, host_bytes, zero_host};
use crate::runtime::{
    INVALID_DEVICE, INVALID_VALUE, OUT_OF_MEMORY, Place, SUCCESS, current_device, error, runtime,
};

#[unsafe(no_mangle)]
extern "C" fn cudaMalloc(pointer: Out<u64>, size: usize) -> c_int {
    match runtime().malloc(size as u64) {
        Ok(address) => {
            pointer.set(address);
            SUCCESS
        }
        Err(code) => error(code),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaFree(address: u64) -> c_int {
    if address == 0 {
        // `cudaFree(0)` is the idiom that starts the context.
        return match runtime().ensure_context(current_device()) {
            Ok(()) => SUCCESS,
            Err(code) => error(code),
        };
    }
    match runtime().free(address) {
        Ok(()) => SUCCESS,
        Err(code) => error(code),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaMallocAsync(pointer: Out<u64>, size: usize, _stream: usize) -> c_int {
    cudaMalloc(pointer, size)
}

#[unsafe(no_mangle)]
extern "C" fn cudaFreeAsync(address: u64, _stream: usize) -> c_int {
    cudaFree(address)
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemGetInfo(free: Out<usize>, total: Out<usize>) -> c_int {
    let device = current_device();
    if let Err(code) = runtime().ensure_context(device) {
        return error(code);
    }
    match runtime().memory(device) {
        Some((free_bytes, total_bytes)) => {
            free.set(free_bytes as usize);
            total.set(total_bytes as usize);
            SUCCESS
        }
        None => error(INVALID_DEVICE),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaHostAlloc(pointer: Out<*mut c_void>, size: usize, _flags: c_uint) -> c_int {
    match runtime().host_alloc(size) {
        Some(address) => {
            pointer.set(address);
            SUCCESS
        }
        None => error(OUT_OF_MEMORY),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaMallocHost(pointer: Out<*mut c_void>, size: usize) -> c_int {
    cudaHostAlloc(pointer, size, 0)
}

/// Managed memory is host memory here: both sides may touch it, and it counts for no device.
#[unsafe(no_mangle)]
extern "C" fn cudaMallocManaged(pointer: Out<*mut c_void>, size: usize, _flags: c_uint) -> c_int {
    cudaHostAlloc(pointer, size, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cudaFreeHost(pointer: *mut c_void) -> c_int {
    if pointer.is_null() || runtime().host_free(pointer) {
        SUCCESS
    } else {
        error(INVALID_VALUE)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaHostGetDevicePointer(
    device: Out<*mut c_void>,
    host: *mut c_void,
    _flags: c_uint,
) -> c_int {
    device.set(host);
    SUCCESS
}

crate::ffi::succeed! {
    cudaHostRegister cudaHostUnregister
    cudaMemPoolSetAccess cudaMemPoolSetAttribute cudaMemPoolTrimTo
}

#[unsafe(no_mangle)]
extern "C" fn cudaDeviceGetDefaultMemPool(pool: Out<usize>, device: c_int) -> c_int {
    match known(device) {
        Some(device) => {
            pool.set(0x5000_0000 + device);
            SUCCESS
        }
        None => error(INVALID_DEVICE),
    }
}

/// The 64-bit attributes (current and highest use) are zero: pool use is not tracked apart.
#[unsafe(no_mangle)]
extern "C" fn cudaMemPoolGetAttribute(_pool: usize, _attribute: c_int, value: Out<u64>) -> c_int {
    value.set(0);
    SUCCESS
}

/// Copies `length` bytes. Device memory gives what is known of it, and zeros for the rest.
fn copy(target: *mut c_void, source: *const c_void, length: usize) -> c_int {
    let machine = runtime();
    let is_device = |address: u64| matches!(machine.place(address), Place::Device(_));
    let (from, to) = (source as u64, target as u64);
    match (is_device(from), is_device(to)) {
        (false, false) => {
            if !target.is_null() && !source.is_null() {
                // SAFETY: both are host ranges of `length` bytes by the function's contract; `copy`
                // allows an overlap.
                unsafe { std::ptr::copy(source.cast::<u8>(), target.cast::<u8>(), length) }
            }
        }
        (false, true) if length > LONGEST => {
            machine.with_contents(|contents| contents.forget(to, length));
        }
        (false, true) => {
            machine.with_contents(|contents| contents.write(to, host_bytes(source, length)));
        }
        (true, false) => {
            zero_host(target, length);
            for (offset, run) in machine.with_contents(|contents| contents.known(from, length)) {
                Out::at(target.wrapping_byte_add(offset).cast::<u8>()).set_all(&run);
            }
        }
        (true, true) => machine.with_contents(|contents| {
            let runs = contents.known(from, length);
            contents.forget(to, length);
            for (offset, run) in runs {
                contents.write(to + offset as u64, &run);
            }
        }),
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpy(
    target: *mut c_void,
    source: *const c_void,
    length: usize,
    _kind: c_int,
) -> c_int {
    copy(target, source, length)
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpyAsync(
    target: *mut c_void,
    source: *const c_void,
    length: usize,
    _kind: c_int,
    _stream: usize,
) -> c_int {
    copy(target, source, length)
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpy2DAsync(
    target: *mut c_void,
    target_pitch: usize,
    source: *const c_void,
    source_pitch: usize,
    width: usize,
    height: usize,
    _kind: c_int,
    _stream: usize,
) -> c_int {
    for row in 0..height {
        copy(
            target.wrapping_byte_add(row * target_pitch),
            source.wrapping_byte_add(row * source_pitch),
            width,
        );
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemcpyPeerAsync(
    target: *mut c_void,
    _target_device: c_int,
    source: *const c_void,
    _source_device: c_int,
    length: usize,
    _stream: usize,
) -> c_int {
    copy(target, source, length)
}

crate::ffi::compute! { cudaMemcpyToSymbol }

#[unsafe(no_mangle)]
extern "C" fn cudaMemset(target: *mut c_void, value: c_int, length: usize) -> c_int {
    match runtime().place(target as u64) {
        // Zeros are what is read of what is not known; another value is not kept.
        Place::Device(_) => {
            runtime().with_contents(|contents| contents.forget(target as u64, length))
        }
        Place::Host => {
            // SAFETY: page-locked host memory, `length` bytes of it by the function's contract.
            unsafe { std::ptr::write_bytes(target.cast::<u8>(), value as u8, length) }
        }
        Place::Unknown => {}
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaMemsetAsync(
    target: *mut c_void,
    value: c_int,
    length: usize,
    _stream: usize,
) -> c_int {
    cudaMemset(target, value, length)
}

/// `struct cudaPointerAttributes` of CUDA 12; CUDA 13 appends reserved words that nobody reads.
#[repr(C)]
struct PointerAttributes {
    /// `cudaMemoryType`: 0 unregistered, 1 host, 2 device, 3 managed.
    kind: c_int,
    device: c_int,
    device_pointer: u64,
    host_pointer: u64,
}

#[unsafe(no_mangle)]
extern "C" fn cudaPointerGetAttributes(
    attributes: Out<PointerAttributes>,
    pointer: *const c_void,
) -> c_int {
    let address = pointer as u64;
    attributes.set(match runtime().place(address) {
        Place::Device(device) => PointerAttributes {
            kind: 2,
            device: device as c_int,
            device_pointer: address,
            host_pointer: 0,
        },
        Place::Host => PointerAttributes {
            kind: 1,
            device: current_device() as c_int,
            device_pointer: address,
            host_pointer: address,
        },
        Place::Unknown => PointerAttributes {
            kind: 0,
            device: -2,
            device_pointer: 0,
            host_pointer: address,
        },
    });
    SUCCESS
}
