//! A simulated CUDA device.
//!
//! One shared library that answers in place of the CUDA runtime (12 and 13), the driver, cuBLAS,
//! cuDNN and NVML, so that an unmodified PyTorch wheel runs on a machine with no GPU. Arithmetic is
//! skipped: what a kernel would have written is not known, and a copy of it to the host gives zeros.
//! Memory is counted exactly: every segment the caching allocator asks for is an address range of a simulated
//! device with a capacity, and the runtime and NVML answer from the same counters.
//!
//! `README.md` beside this crate says how to run a program on it and lists the environment variables.
//!
//! The exported functions are C functions with the names and signatures of NVIDIA's public headers
//! (CUDA 12.4, CUDA 13.2, NVML 12, cuDNN 9); a function with no behaviour of its own returns the
//! family's "not supported" code, so a program that needs it fails loudly.

#![allow(
    unsafe_code,
    reason = "C functions exported under fixed names, called through C pointers"
)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![allow(non_snake_case, reason = "the exported names are NVIDIA's")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod config;
mod contents;
mod counters;
mod cublas;
mod cudart;
mod cudnn;
mod driver;
mod ffi;
mod gpu_model;
mod nvml;
mod runtime;
mod unsupported;
mod window;
