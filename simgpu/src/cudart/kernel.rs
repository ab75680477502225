//! Kernels: registered, configured, launched, and never run.

use std::ffi::{c_int, c_uint, c_void};

use crate::ffi::{Out, new_handle};
use crate::runtime::{SUCCESS, runtime};

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFatBinary() -> usize {
    new_handle()
}

crate::ffi::succeed! {
    __cudaRegisterFatBinaryEnd __cudaRegisterFunction __cudaRegisterVar __cudaUnregisterFatBinary
    __cudaInitModule __cudaPopCallConfiguration
    cudaFuncSetAttribute cudaFuncSetCacheConfig cudaKernelSetAttributeForDevice cudaLibraryUnload
}

crate::ffi::create_handle! { __cudaGetKernel }

/// A non-zero answer makes the compiler's launch stub skip the call (`crt/device_functions.h`: the
/// launch `f<<<...>>>(args)` is `push(...) ? (void)0 : f(args)`).
#[unsafe(no_mangle)]
extern "C" fn __cudaPushCallConfiguration() -> c_uint {
    runtime().launched();
    1
}

fn launched() -> c_int {
    runtime().launched();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaLaunchKernel() -> c_int {
    launched()
}

#[unsafe(no_mangle)]
extern "C" fn __cudaLaunchKernel() -> c_int {
    launched()
}

#[unsafe(no_mangle)]
extern "C" fn cudaLaunchKernelExC() -> c_int {
    launched()
}

#[unsafe(no_mangle)]
extern "C" fn cudaLaunchCooperativeKernel() -> c_int {
    launched()
}

/// `struct cudaFuncAttributes`, the same 144 bytes in CUDA 12.4 and 13.2.
#[repr(C)]
struct FuncAttributes {
    shared_bytes: usize,
    const_bytes: usize,
    local_bytes: usize,
    max_threads_per_block: c_int,
    registers: c_int,
    ptx_version: c_int,
    binary_version: c_int,
    cache_mode_ca: c_int,
    max_dynamic_shared_bytes: c_int,
    preferred_carveout: c_int,
    cluster_dim_must_be_set: c_int,
    required_cluster: [c_int; 3],
    cluster_scheduling: c_int,
    non_portable_cluster: c_int,
    reserved: [c_int; 16],
}

const _: () = assert!(size_of::<FuncAttributes>() == 144);

/// Every kernel is one that fits anywhere: 32 registers, no shared memory, compiled for the device.
#[unsafe(no_mangle)]
extern "C" fn cudaFuncGetAttributes(
    attributes: Out<FuncAttributes>,
    _function: *const c_void,
) -> c_int {
    let model = &runtime().config.model;
    let version = model.major * 10 + model.minor;
    attributes.set(FuncAttributes {
        shared_bytes: 0,
        const_bytes: 0,
        local_bytes: 0,
        max_threads_per_block: 1024,
        registers: 32,
        ptx_version: version,
        binary_version: version,
        cache_mode_ca: 0,
        max_dynamic_shared_bytes: 48 << 10,
        preferred_carveout: -1,
        cluster_dim_must_be_set: 0,
        required_cluster: [0; 3],
        cluster_scheduling: 0,
        non_portable_cluster: 0,
        reserved: [0; 16],
    });
    SUCCESS
}

/// Blocks of a kernel that fit on a multiprocessor: as many as its threads allow.
fn occupancy(blocks: Out<c_int>, block_size: c_int) -> c_int {
    let model = &runtime().config.model;
    let by_threads = model.threads_per_multiprocessor / block_size.max(1);
    blocks.set(by_threads.clamp(1, model.blocks_per_multiprocessor));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: Out<c_int>,
    _function: *const c_void,
    block_size: c_int,
    _shared: usize,
) -> c_int {
    occupancy(blocks, block_size)
}

#[unsafe(no_mangle)]
extern "C" fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: Out<c_int>,
    _function: *const c_void,
    block_size: c_int,
    _shared: usize,
    _flags: c_uint,
) -> c_int {
    occupancy(blocks, block_size)
}

// Code loaded at run time would have to run to be of use.
crate::ffi::not_supported! {
    crate::runtime::NOT_SUPPORTED;
    cudaLibraryGetGlobal cudaLibraryGetKernel cudaLibraryGetKernelCount cudaLibraryGetManaged
    cudaLibraryGetUnifiedFunction cudaLibraryLoadData cudaLibraryLoadFromFile cudaGetSymbolAddress
}
