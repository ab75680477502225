//! The few operations on C pointers that every exported function needs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An out-parameter of a C function: null, or valid for writing one `T`.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

// A pointer may be copied whatever it points to; deriving would ask it of `T`.
impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// An out-parameter made of a pointer that a C caller passed inside another argument.
    pub(crate) fn at(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// Whether the caller passed no pointer.
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Writes the value; nothing when the caller passed null.
    pub(crate) fn set(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: the headers require the argument to be null or valid for a write of `T`; an
            // unaligned write makes no assumption about the caller's alignment.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// Writes `values` from the pointed-to element on. The caller has checked that the C side
    /// promised room for as many.
    pub(crate) fn set_all(self, values: &[T])
    where
        T: Copy,
    {
        if !self.0.is_null() {
            // SAFETY: the C side passed a buffer with room for `values.len()` elements, as its
            // length argument says; the two regions cannot overlap, one is ours.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.0, values.len()) }
        }
    }

    /// Reads what the caller has put there: `None` for null.
    pub(crate) fn get(self) -> Option<T>
    where
        T: Copy,
    {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: non-null in/out arguments are valid for reads of `T` by the headers' contract.
        Some(unsafe { self.0.read_unaligned() })
    }
}

/// The text of a C string argument: `None` for null or text that is not UTF-8.
pub(crate) fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: a non-null `const char *` argument is a NUL-terminated string that lives for the call.
    unsafe { CStr::from_ptr(pointer) }.to_str().ok()
}

/// Copies `value` as a NUL-terminated string into a caller's buffer of `room` bytes. False when it
/// does not fit.
pub(crate) fn put_text(buffer: Out<u8>, room: usize, value: &str) -> bool {
    if buffer.is_null() || value.len() >= room {
        return false;
    }
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    buffer.set_all(&bytes);
    true
}

/// A fixed-size C string field: truncated, and padded with zeros.
pub(crate) fn text_field<const N: usize>(value: &str) -> [u8; N] {
    let mut field = [0; N];
    for (slot, byte) in field
        .iter_mut()
        .take(N.saturating_sub(1))
        .zip(value.bytes())
    {
        *slot = byte;
    }
    field
}

/// The host bytes a copy function reads from; none for null.
pub(crate) fn host_bytes<'a>(pointer: *const c_void, length: usize) -> &'a [u8] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller of a copy function passed a host range of `length` bytes to be read, and the
    // slice is used before that function returns.
    unsafe { std::slice::from_raw_parts(pointer.cast(), length) }
}

/// Writes `length` zero bytes to host memory.
pub(crate) fn zero_host(pointer: *mut c_void, length: usize) {
    if !pointer.is_null() && length > 0 {
        // SAFETY: the caller of a copy function passed a host range of `length` bytes to be written.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, length) }
    }
}

/// A new opaque handle: unique in the process, non-null, never one of CUDA's small special values.
pub(crate) fn new_handle() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0x5100_0000);
    NEXT.fetch_add(64, Ordering::Relaxed)
}

/// Exports C functions that succeed and do nothing: every status type of the replaced libraries has
/// success = 0, and the C calling convention lets a callee ignore its arguments.
macro_rules! succeed {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> std::ffi::c_int { 0 }
    )* };
}

/// Exports C functions that would compute on the device: they succeed, and count as a launch.
macro_rules! compute {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> std::ffi::c_int {
            $crate::runtime::runtime().launched();
            0
        }
    )* };
}

/// Exports C functions whose first argument receives a new opaque handle.
macro_rules! create_handle {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(out: $crate::ffi::Out<usize>) -> std::ffi::c_int {
            out.set($crate::ffi::new_handle());
            0
        }
    )* };
}

/// Exports C functions with no behaviour here: each returns `$status`, and says so once on stderr
/// when `SIMGPU_TRACE` is set.
macro_rules! not_supported {
    ($status:expr; $($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> std::ffi::c_int {
            $crate::ffi::trace(concat!(stringify!($name), " is not supported"));
            $status
        }
    )* };
}
pub(crate) use {compute, create_handle, not_supported, succeed};

/// One line on stderr when `SIMGPU_TRACE` is set.
#[allow(clippy::print_stderr, reason = "the trace has no other place to go")]
pub(crate) fn trace(message: &str) {
    if std::env::var_os("SIMGPU_TRACE").is_some() {
        eprintln!("simgpu: {message}");
    }
}

/// A problem the user must know of whatever the trace setting, on stderr.
#[allow(clippy::print_stderr, reason = "the loader gives no other channel")]
pub(crate) fn complain(message: &str) {
    eprintln!("simgpu: {message}");
}

/// C's `int` from a count that is small by construction.
pub(crate) fn to_int(value: usize) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}
