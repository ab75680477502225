//! Graph capture. A graph is a handle with one node: nothing in it runs.

use std::ffi::{c_int, c_uint, c_void};

use crate::ffi::{Out, new_handle};
use crate::runtime::{INVALID_VALUE, SUCCESS, error, runtime};

/// `cudaStreamCaptureStatusActive`.
const CAPTURE_ACTIVE: c_int = 1;
/// The handle that stands for the graph of a capture: this plus the capture's id.
const GRAPH_OF_CAPTURE: u64 = 0x5200_0000;

#[unsafe(no_mangle)]
extern "C" fn cudaStreamBeginCapture(stream: usize, _mode: c_int) -> c_int {
    if runtime().capture_begin(stream) {
        SUCCESS
    } else {
        error(INVALID_VALUE)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamBeginCaptureToGraph(stream: usize) -> c_int {
    cudaStreamBeginCapture(stream, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamEndCapture(stream: usize, graph: Out<usize>) -> c_int {
    if runtime().capture_end(stream) {
        graph.set(new_handle());
        SUCCESS
    } else {
        error(INVALID_VALUE)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamIsCapturing(stream: usize, status: Out<c_int>) -> c_int {
    status.set(if runtime().capture_of(stream).is_some() {
        CAPTURE_ACTIVE
    } else {
        0
    });
    SUCCESS
}

/// What both versions of the question share.
fn capture_info(stream: usize, status: Out<c_int>, id: Out<u64>, graph: Out<u64>) {
    match runtime().capture_of(stream) {
        Some(capture) => {
            status.set(CAPTURE_ACTIVE);
            id.set(capture);
            graph.set(GRAPH_OF_CAPTURE + capture);
        }
        None => status.set(0),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamGetCaptureInfo_v2(
    stream: usize,
    status: Out<c_int>,
    id: Out<u64>,
    graph: Out<u64>,
    dependencies: Out<*const c_void>,
    count: Out<usize>,
) -> c_int {
    capture_info(stream, status, id, graph);
    dependencies.set(std::ptr::null());
    count.set(0);
    SUCCESS
}

/// CUDA 13's; CUDA 12 exports a three-argument function under this name, which PyTorch's builds do
/// not use.
#[unsafe(no_mangle)]
extern "C" fn cudaStreamGetCaptureInfo(
    stream: usize,
    status: Out<c_int>,
    id: Out<u64>,
    graph: Out<u64>,
    dependencies: Out<*const c_void>,
    edges: Out<*const c_void>,
    count: Out<usize>,
) -> c_int {
    capture_info(stream, status, id, graph);
    dependencies.set(std::ptr::null());
    edges.set(std::ptr::null());
    count.set(0);
    SUCCESS
}

thread_local! {
    static CAPTURE_MODE: std::cell::Cell<c_int> = const { std::cell::Cell::new(0) };
}

#[unsafe(no_mangle)]
extern "C" fn cudaThreadExchangeStreamCaptureMode(mode: Out<c_int>) -> c_int {
    if let Some(wanted) = mode.get() {
        mode.set(CAPTURE_MODE.replace(wanted));
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaGraphInstantiate(exec: Out<usize>, _graph: usize, _flags: u64) -> c_int {
    exec.set(new_handle());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaGraphInstantiateWithFlags(exec: Out<usize>, graph: usize, flags: u64) -> c_int {
    cudaGraphInstantiate(exec, graph, flags)
}

#[unsafe(no_mangle)]
extern "C" fn cudaGraphGetNodes(_graph: usize, nodes: Out<usize>, count: Out<usize>) -> c_int {
    if !nodes.is_null() {
        nodes.set(new_handle());
    }
    count.set(1);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaGraphNodeGetDependencies(
    _node: usize,
    _dependencies: Out<usize>,
    _edges: Out<c_void>,
    count: Out<usize>,
) -> c_int {
    count.set(0);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaUserObjectCreate(
    object: Out<usize>,
    _pointer: *mut c_void,
    _destroy: *mut c_void,
    _references: c_uint,
    _flags: c_uint,
) -> c_int {
    object.set(new_handle());
    SUCCESS
}

crate::ffi::succeed! {
    cudaGraphDestroy cudaGraphExecDestroy cudaGraphLaunch cudaGraphDebugDotPrint
    cudaGraphRetainUserObject cudaUserObjectRelease cudaStreamUpdateCaptureDependencies
}

crate::ffi::not_supported! {
    crate::runtime::NOT_SUPPORTED;
    cudaGraphAddNode cudaGraphConditionalHandleCreate
}
