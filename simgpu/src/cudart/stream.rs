//! Streams and events.

use std::ffi::{c_int, c_uint, c_void};

use crate::ffi::{Out, new_handle};
use crate::runtime::{INVALID_HANDLE, NOT_READY, SUCCESS, error, runtime};

fn checked(valid: bool) -> c_int {
    if valid {
        SUCCESS
    } else {
        error(INVALID_HANDLE)
    }
}

crate::ffi::create_handle! { cudaStreamCreate cudaStreamCreateWithFlags }
crate::ffi::succeed! { cudaStreamDestroy }

#[unsafe(no_mangle)]
extern "C" fn cudaStreamCreateWithPriority(
    stream: Out<usize>,
    _flags: c_uint,
    _priority: c_int,
) -> c_int {
    stream.set(new_handle());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamGetPriority(_stream: usize, priority: Out<c_int>) -> c_int {
    priority.set(0);
    SUCCESS
}

/// All work is done at once, so a stream never has any left.
#[unsafe(no_mangle)]
extern "C" fn cudaStreamQuery(_stream: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamSynchronize(stream: usize) -> c_int {
    runtime().synchronize(Some(stream));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) -> c_int {
    checked(runtime().stream_wait(stream, event))
}

type HostFunction = Option<extern "C" fn(*mut c_void)>;
type StreamCallback = Option<extern "C" fn(usize, c_int, *mut c_void)>;

/// The function runs at once, in a thread of its own as the runtime's callbacks do, and is waited
/// for; in a capture it is only recorded, and so does not run.
#[unsafe(no_mangle)]
extern "C" fn cudaLaunchHostFunc(
    stream: usize,
    function: HostFunction,
    data: *mut c_void,
) -> c_int {
    if let Some(function) = function
        && runtime().capture_of(stream).is_none()
    {
        function(data);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaStreamAddCallback(
    stream: usize,
    callback: StreamCallback,
    data: *mut c_void,
    _flags: c_uint,
) -> c_int {
    if let Some(callback) = callback {
        callback(stream, SUCCESS, data);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventCreate(event: Out<usize>) -> c_int {
    event.set(runtime().event_create());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventCreateWithFlags(event: Out<usize>, _flags: c_uint) -> c_int {
    cudaEventCreate(event)
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventDestroy(event: usize) -> c_int {
    checked(runtime().event_destroy(event))
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventRecord(event: usize, stream: usize) -> c_int {
    checked(runtime().event_record(event, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventRecordWithFlags(event: usize, stream: usize, _flags: c_uint) -> c_int {
    cudaEventRecord(event, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventQuery(event: usize) -> c_int {
    match runtime().event_query(event) {
        Some(true) => SUCCESS,
        Some(false) => error(NOT_READY),
        None => error(INVALID_HANDLE),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventSynchronize(event: usize) -> c_int {
    checked(runtime().event_synchronize(event))
}

#[unsafe(no_mangle)]
extern "C" fn cudaEventElapsedTime(milliseconds: Out<f32>, start: usize, end: usize) -> c_int {
    match runtime().event_elapsed_ms(start, end) {
        Some(elapsed) => {
            milliseconds.set(elapsed);
            SUCCESS
        }
        None => error(INVALID_HANDLE),
    }
}

// Handles of other processes' memory and events are not simulated.
crate::ffi::not_supported! {
    crate::runtime::NOT_SUPPORTED;
    cudaIpcCloseMemHandle cudaIpcGetEventHandle cudaIpcGetMemHandle cudaIpcOpenEventHandle
    cudaIpcOpenMemHandle
}
