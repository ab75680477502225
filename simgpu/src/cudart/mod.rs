//! The CUDA runtime: what `libcudart.so.12` and `libcudart.so.13` export to PyTorch.

pub(crate) mod device;
mod device_prop;
mod graph;
mod kernel;
mod memory;
mod stream;
