//! The state behind the C functions: devices, their memory, streams, events and graph captures.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::config::{Config, MAX_DEVICES, Site};
use crate::contents::Contents;
use crate::counters::{Counters, Refused};
use crate::ffi::complain;
use crate::window::{Window, rounded};

/// `cudaSuccess` and `CUDA_SUCCESS`.
pub(crate) const SUCCESS: c_int = 0;
/// `cudaErrorInvalidValue` and its driver twin.
pub(crate) const INVALID_VALUE: c_int = 1;
/// `cudaErrorMemoryAllocation` and `CUDA_ERROR_OUT_OF_MEMORY`.
pub(crate) const OUT_OF_MEMORY: c_int = 2;
/// `cudaErrorNoDevice` and its driver twin.
pub(crate) const NO_DEVICE: c_int = 100;
/// `cudaErrorInvalidDevice` and its driver twin.
pub(crate) const INVALID_DEVICE: c_int = 101;
/// `cudaErrorInvalidResourceHandle` and its driver twin.
pub(crate) const INVALID_HANDLE: c_int = 400;
/// `cudaErrorSymbolNotFound` and `CUDA_ERROR_NOT_FOUND`.
pub(crate) const NOT_FOUND: c_int = 500;
/// `cudaErrorNotReady` and its driver twin.
pub(crate) const NOT_READY: c_int = 600;
/// `cudaErrorNotSupported` and its driver twin.
pub(crate) const NOT_SUPPORTED: c_int = 801;

/// First address of device 0's `cudaMalloc` window; a tebibyte per device from here on. High in the
/// user half of the address space, below where the kernel puts libraries and stacks.
const MALLOC_BASE: u64 = 0x7000_0000_0000;
const MALLOC_LENGTH: u64 = 1 << 40;
/// First address of device 0's window for reserved (virtual) addresses; four tebibytes per device,
/// room for two dozen expandable segments of 1.125 times a large device's memory each.
const VIRTUAL_BASE: u64 = 0x2000_0000_0000;
const VIRTUAL_LENGTH: u64 = 4 << 40;

/// Physical memory made by `cuMemCreate`.
struct Physical {
    device: usize,
    size: u64,
    /// The handle itself, while not released, and each mapping.
    references: u32,
}

/// A recorded event.
#[derive(Default)]
struct Event {
    stream: usize,
    /// Queries that still answer "not ready".
    pending: u32,
    /// The capture it was recorded in; 0: none.
    capture: u64,
    recorded: Option<Instant>,
}

struct Inner {
    malloc_windows: [Option<Window>; MAX_DEVICES],
    virtual_windows: [Option<Window>; MAX_DEVICES],
    /// Page-locked host ranges, start → layout.
    host: BTreeMap<usize, std::alloc::Layout>,
    physical: HashMap<u64, Physical>,
    /// Mapped device ranges: start → (length, physical handle).
    mappings: BTreeMap<u64, (u64, u64)>,
    next_physical: u64,
    events: HashMap<usize, Event>,
    /// Streams in a capture → its id.
    captures: HashMap<usize, u64>,
    next_capture: u64,
    context_on: [bool; MAX_DEVICES],
}

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Device memory, with the runtime's device number.
    Device(usize),
    /// Page-locked host memory.
    Host,
    /// Any other host memory.
    Unknown,
}

/// The simulated machine as one process sees it.
pub(crate) struct Runtime {
    /// Its settings.
    pub(crate) config: Config,
    /// Its counters, shared with other processes.
    pub(crate) counters: Counters,
    inner: Mutex<Inner>,
    /// Streams in a capture: lets the common "is it capturing" question be answered without a lock.
    capturing: AtomicUsize,
    row: AtomicUsize,
    contents: Mutex<Contents>,
    /// Whether `contents` knows anything: most kernels find that it does not.
    knows_contents: AtomicBool,
}

thread_local! {
    static CURRENT_DEVICE: Cell<usize> = const { Cell::new(0) };
    static LAST_ERROR: Cell<c_int> = const { Cell::new(SUCCESS) };
}

/// The machine, made on first use.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let config = Config::from_env();
        let counters = Counters::open(config.state.as_deref()).or_else(|problem| {
            complain(&format!(
                "SIMGPU_STATE={}: {problem}; this process counts alone",
                config.state.as_deref().unwrap_or_default()
            ));
            Counters::open(None)
        });
        match counters {
            Ok(counters) => Runtime::new(config, counters),
            Err(problem) => {
                complain(&format!("no memory for the counters: {problem}"));
                std::process::abort()
            }
        }
    })
}

/// Remembers an error for `cudaGetLastError` and returns it.
pub(crate) fn error(code: c_int) -> c_int {
    if code != SUCCESS {
        LAST_ERROR.set(code);
    }
    code
}

/// The last error of this thread; cleared when `clear`.
pub(crate) fn last_error(clear: bool) -> c_int {
    let code = LAST_ERROR.get();
    if clear {
        LAST_ERROR.set(SUCCESS);
    }
    code
}

/// The runtime's number of this thread's current device.
pub(crate) fn current_device() -> usize {
    CURRENT_DEVICE.get()
}

/// Makes a device this thread's current one. The caller has checked that it exists.
pub(crate) fn set_current_device(device: usize) {
    CURRENT_DEVICE.set(device);
}

impl Runtime {
    fn new(config: Config, counters: Counters) -> Self {
        Self {
            config,
            counters,
            inner: Mutex::new(Inner {
                malloc_windows: Default::default(),
                virtual_windows: Default::default(),
                host: BTreeMap::new(),
                physical: HashMap::new(),
                mappings: BTreeMap::new(),
                next_physical: 1,
                events: HashMap::new(),
                captures: HashMap::new(),
                next_capture: 1,
                context_on: [false; MAX_DEVICES],
            }),
            capturing: AtomicUsize::new(0),
            row: AtomicUsize::new(usize::MAX),
            contents: Mutex::default(),
            knows_contents: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Devices that the runtime shows.
    pub(crate) fn device_count(&self) -> usize {
        self.config.visible.len()
    }

    /// The physical board, or the MIG instance on it, of a runtime device number.
    pub(crate) fn site(&self, device: usize) -> Option<Site> {
        self.config.visible.get(device).copied()
    }

    /// Starts the context of this process on a device, which holds `SIMGPU_CONTEXT` bytes.
    pub(crate) fn ensure_context(&self, device: usize) -> Result<(), c_int> {
        let site = self.site(device).ok_or(INVALID_DEVICE)?;
        let mut inner = self.lock();
        if !inner.context_on[device] {
            self.take(site, self.config.context)?;
            inner.context_on[device] = true;
            if let Some(row) = self.counters.row() {
                self.row.store(row, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether this process has a context on a device.
    pub(crate) fn has_context(&self, device: usize) -> bool {
        self.site(device).is_some() && self.lock().context_on[device]
    }

    fn take(&self, site: Site, bytes: u64) -> Result<(), c_int> {
        let others = self.config.others_bytes(site);
        let capacity = self.config.capacity_of(site);
        match self.counters.take(site, bytes, others, capacity) {
            Ok(()) => Ok(()),
            Err(Refused::OutOfMemory) => Err(OUT_OF_MEMORY),
            Err(Refused::TooManyProcesses) => {
                complain("more processes use the device than the counters have room for");
                Err(OUT_OF_MEMORY)
            }
        }
    }

    /// Bytes free and in all on a device.
    pub(crate) fn memory(&self, device: usize) -> Option<(u64, u64)> {
        let site = self.site(device)?;
        let capacity = self.config.capacity_of(site);
        Some((capacity.saturating_sub(self.used(site)), capacity))
    }

    /// Bytes used in a site, by processes of the simulation and outside it.
    pub(crate) fn used(&self, site: Site) -> u64 {
        let simulated = self.counters.used(site);
        simulated.saturating_add(self.config.others_bytes(site))
    }

    /// Allocates on the current device.
    pub(crate) fn malloc(&self, size: u64) -> Result<u64, c_int> {
        let device = current_device();
        self.ensure_context(device)?;
        let site = self.site(device).ok_or(INVALID_DEVICE)?;
        let bytes = rounded(size).ok_or(OUT_OF_MEMORY)?;
        let mut inner = self.lock();
        self.take(site, bytes)?;
        let address = window(
            &mut inner.malloc_windows[device],
            MALLOC_BASE + device as u64 * MALLOC_LENGTH,
            MALLOC_LENGTH,
        )
        .and_then(|window| window.take(bytes));
        if address.is_none() {
            self.counters.give_back(site, bytes);
        }
        address.ok_or(OUT_OF_MEMORY)
    }

    /// Frees what [`Self::malloc`] gave.
    pub(crate) fn free(&self, address: u64) -> Result<(), c_int> {
        let mut inner = self.lock();
        for (device, window) in inner.malloc_windows.iter_mut().enumerate() {
            if let Some(window) = window
                && let Some(bytes) = window.give_back(address)
                && let Some(site) = self.site(device)
            {
                self.counters.give_back(site, bytes);
                return Ok(());
            }
        }
        Err(INVALID_VALUE)
    }

    /// Start and length of the device range that holds an address.
    pub(crate) fn range_of(&self, address: u64) -> Option<(u64, u64)> {
        let inner = self.lock();
        inner
            .malloc_windows
            .iter()
            .flatten()
            .find_map(|window| window.range_of(address))
            .or_else(|| {
                let (&start, &(length, _)) = inner.mappings.range(..=address).next_back()?;
                (address - start < length).then_some((start, length))
            })
    }

    /// Reserves device addresses.
    pub(crate) fn reserve(&self, size: u64) -> Result<u64, c_int> {
        let device = current_device();
        let mut inner = self.lock();
        window(
            &mut inner.virtual_windows[device],
            VIRTUAL_BASE + device as u64 * VIRTUAL_LENGTH,
            VIRTUAL_LENGTH,
        )
        .and_then(|window| window.take(size))
        .ok_or(OUT_OF_MEMORY)
    }

    /// Gives reserved addresses back.
    pub(crate) fn unreserve(&self, address: u64) -> Result<(), c_int> {
        let mut inner = self.lock();
        inner
            .virtual_windows
            .iter_mut()
            .flatten()
            .find_map(|window| window.give_back(address))
            .map(drop)
            .ok_or(INVALID_VALUE)
    }

    /// Makes physical memory; a handle.
    pub(crate) fn create_physical(&self, device: usize, size: u64) -> Result<u64, c_int> {
        let site = self.site(device).ok_or(INVALID_DEVICE)?;
        let bytes = rounded(size)
            .filter(|&bytes| bytes == size)
            .ok_or(INVALID_VALUE)?;
        let mut inner = self.lock();
        self.take(site, bytes)?;
        let handle = inner.next_physical;
        inner.next_physical += 1;
        inner.physical.insert(
            handle,
            Physical {
                device,
                size: bytes,
                references: 1,
            },
        );
        Ok(handle)
    }

    /// Lets go of a handle; its memory is free once nothing maps it.
    pub(crate) fn release_physical(&self, handle: u64) -> Result<(), c_int> {
        let mut inner = self.lock();
        self.unreference(&mut inner, handle)
    }

    fn unreference(&self, inner: &mut Inner, handle: u64) -> Result<(), c_int> {
        let physical = inner.physical.get_mut(&handle).ok_or(INVALID_VALUE)?;
        physical.references -= 1;
        if physical.references == 0 {
            let (device, size) = (physical.device, physical.size);
            inner.physical.remove(&handle);
            if let Some(site) = self.site(device) {
                self.counters.give_back(site, size);
            }
        }
        Ok(())
    }

    /// Adds a reference to the physical memory mapped at an address; its handle.
    pub(crate) fn retain_physical(&self, address: u64) -> Result<u64, c_int> {
        let mut inner = self.lock();
        let (&start, &(length, handle)) = inner
            .mappings
            .range(..=address)
            .next_back()
            .ok_or(INVALID_VALUE)?;
        if address - start >= length {
            return Err(INVALID_VALUE);
        }
        let physical = inner.physical.get_mut(&handle).ok_or(INVALID_VALUE)?;
        physical.references += 1;
        Ok(handle)
    }

    /// Maps physical memory at reserved addresses.
    pub(crate) fn map(&self, address: u64, size: u64, handle: u64) -> Result<(), c_int> {
        let mut inner = self.lock();
        let reserved = inner
            .virtual_windows
            .iter()
            .flatten()
            .find_map(|window| window.range_of(address));
        let inside = reserved.is_some_and(|(start, length)| {
            address
                .checked_add(size)
                .is_some_and(|end| end <= start + length)
        });
        let taken = inner
            .mappings
            .range(..address.saturating_add(size))
            .next_back()
            .is_some_and(|(&start, &(length, _))| start + length > address);
        let physical = inner.physical.get_mut(&handle).ok_or(INVALID_VALUE)?;
        if !inside || taken || physical.size != size {
            return Err(INVALID_VALUE);
        }
        physical.references += 1;
        inner.mappings.insert(address, (size, handle));
        Ok(())
    }

    /// Unmaps every mapping in a range.
    pub(crate) fn unmap(&self, address: u64, size: u64) -> Result<(), c_int> {
        let mut inner = self.lock();
        let end = address.checked_add(size).ok_or(INVALID_VALUE)?;
        let found: Vec<_> = inner
            .mappings
            .range(address..end)
            .map(|(&start, &(_, handle))| (start, handle))
            .collect();
        if found.is_empty() {
            return Err(INVALID_VALUE);
        }
        for (start, handle) in found {
            inner.mappings.remove(&start);
            self.unreference(&mut inner, handle)?;
        }
        Ok(())
    }

    /// What an address belongs to.
    pub(crate) fn place(&self, address: u64) -> Place {
        // By the windows alone: every copy asks, most of them of ordinary host memory.
        for device in 0..self.device_count() as u64 {
            let malloc = MALLOC_BASE + device * MALLOC_LENGTH;
            let reserved = VIRTUAL_BASE + device * VIRTUAL_LENGTH;
            if (malloc..malloc + MALLOC_LENGTH).contains(&address)
                || (reserved..reserved + VIRTUAL_LENGTH).contains(&address)
            {
                return Place::Device(device as usize);
            }
        }
        let inner = self.lock();
        let pinned = inner
            .host
            .range(..=address as usize)
            .next_back()
            .is_some_and(|(&start, layout)| address as usize - start < layout.size());
        if pinned { Place::Host } else { Place::Unknown }
    }

    /// Page-locked host memory: ordinary memory, aligned to a page.
    pub(crate) fn host_alloc(&self, size: usize) -> Option<*mut c_void> {
        let layout = std::alloc::Layout::from_size_align(size.max(1), 4096).ok()?;
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        if pointer.is_null() {
            return None;
        }
        self.lock().host.insert(pointer as usize, layout);
        Some(pointer.cast())
    }

    /// Frees what [`Self::host_alloc`] gave.
    pub(crate) fn host_free(&self, pointer: *mut c_void) -> bool {
        let Some(layout) = self.lock().host.remove(&(pointer as usize)) else {
            return false;
        };
        // SAFETY: the pointer came from `alloc_zeroed` with this layout, and leaves the table once.
        unsafe { std::alloc::dealloc(pointer.cast(), layout) }
        true
    }

    /// A new event.
    pub(crate) fn event_create(&self) -> usize {
        let handle = crate::ffi::new_handle();
        self.lock().events.insert(handle, Event::default());
        handle
    }

    /// Forgets an event.
    pub(crate) fn event_destroy(&self, event: usize) -> bool {
        self.lock().events.remove(&event).is_some()
    }

    /// Records an event on a stream.
    pub(crate) fn event_record(&self, event: usize, stream: usize) -> bool {
        let mut inner = self.lock();
        let capture = inner.captures.get(&stream).copied().unwrap_or(0);
        let Some(event) = inner.events.get_mut(&event) else {
            return false;
        };
        *event = Event {
            stream,
            pending: if capture == 0 { self.config.pending } else { 0 },
            capture,
            recorded: Some(Instant::now()),
        };
        true
    }

    /// Whether an event's work is done: `None` for no such event. Each query brings a pending event
    /// one step nearer.
    pub(crate) fn event_query(&self, event: usize) -> Option<bool> {
        let mut inner = self.lock();
        let event = inner.events.get_mut(&event)?;
        if event.pending > 0 {
            event.pending -= 1;
            return Some(false);
        }
        Some(true)
    }

    /// Waits for an event.
    pub(crate) fn event_synchronize(&self, event: usize) -> bool {
        let mut inner = self.lock();
        inner
            .events
            .get_mut(&event)
            .map(|event| event.pending = 0)
            .is_some()
    }

    /// Milliseconds of host time between two recorded events.
    pub(crate) fn event_elapsed_ms(&self, start: usize, end: usize) -> Option<f32> {
        let inner = self.lock();
        let start = inner.events.get(&start)?.recorded?;
        let end = inner.events.get(&end)?.recorded?;
        Some(end.saturating_duration_since(start).as_secs_f32() * 1e3)
    }

    /// Makes a stream wait for an event: one that was recorded in a capture draws the stream into it.
    pub(crate) fn stream_wait(&self, stream: usize, event: usize) -> bool {
        let mut inner = self.lock();
        let Some(capture) = inner.events.get(&event).map(|event| event.capture) else {
            return false;
        };
        if capture != 0 && inner.captures.values().any(|&open| open == capture) {
            inner.captures.insert(stream, capture);
            self.capturing
                .store(inner.captures.len(), Ordering::Release);
        }
        true
    }

    /// Waits for the work of one stream, or of all.
    pub(crate) fn synchronize(&self, stream: Option<usize>) {
        if self.config.pending > 0 {
            let mut inner = self.lock();
            #[allow(clippy::iter_over_hash_type, reason = "each event alone, in any order")]
            for event in inner.events.values_mut() {
                if stream.is_none_or(|stream| stream == event.stream) {
                    event.pending = 0;
                }
            }
        }
    }

    /// Starts a capture on a stream; false when it is in one.
    pub(crate) fn capture_begin(&self, stream: usize) -> bool {
        let mut inner = self.lock();
        if inner.captures.contains_key(&stream) {
            return false;
        }
        let id = inner.next_capture;
        inner.next_capture += 1;
        inner.captures.insert(stream, id);
        self.capturing
            .store(inner.captures.len(), Ordering::Release);
        true
    }

    /// The capture a stream is in.
    pub(crate) fn capture_of(&self, stream: usize) -> Option<u64> {
        if self.capturing.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().captures.get(&stream).copied()
    }

    /// Ends a stream's capture, for every stream drawn into it.
    pub(crate) fn capture_end(&self, stream: usize) -> bool {
        let mut inner = self.lock();
        let Some(id) = inner.captures.get(&stream).copied() else {
            return false;
        };
        inner.captures.retain(|_, open| *open != id);
        self.capturing
            .store(inner.captures.len(), Ordering::Release);
        true
    }

    /// Works on what is known of device memory.
    pub(crate) fn with_contents<T>(&self, work: impl FnOnce(&mut Contents) -> T) -> T {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut contents);
        self.knows_contents
            .store(!contents.is_empty(), Ordering::Release);
        result
    }

    /// Counts a kernel launch on the current device, which may have written anywhere.
    pub(crate) fn launched(&self) {
        if self.knows_contents.load(Ordering::Acquire) {
            self.with_contents(Contents::clear);
        }
        let row = self.row.load(Ordering::Relaxed);
        if row != usize::MAX
            && let Some(site) = self.site(current_device())
        {
            self.counters.launched(row, site.board);
        }
    }
}

/// The window in `slot`, its addresses taken from the process on first use.
fn window(slot: &mut Option<Window>, base: u64, length: u64) -> Option<&mut Window> {
    if slot.is_none() {
        let wanted = base as usize as *mut c_void;
        let flags = libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE
            | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: an inaccessible mapping that replaces nothing; the result is checked.
        let got = unsafe { libc::mmap(wanted, length as usize, libc::PROT_NONE, flags, -1, 0) };
        if got != wanted {
            complain(&format!(
                "the addresses from {base:#x} are not free: {}",
                std::io::Error::last_os_error()
            ));
            return None;
        }
        *slot = Some(Window::new(base, length));
    }
    slot.as_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(settings: &'static [(&str, &str)]) -> Runtime {
        let config = Config::from_lookup(&|name| {
            settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        });
        Runtime::new(config, Counters::open(None).expect("anonymous memory"))
    }

    /// All that touches the address windows, which a process has once, is in one test.
    #[test]
    fn memory_is_counted_once_and_given_back() {
        let machine = machine(&[
            ("SIMGPU_CAPACITY", "100MiB"),
            ("SIMGPU_CONTEXT", "10MiB"),
            ("SIMGPU_OTHERS", "77=6MiB"),
        ]);
        const MIB: u64 = 1 << 20;
        assert_eq!(machine.memory(0), Some((94 * MIB, 100 * MIB)));
        let a = machine.malloc(3 * MIB).expect("room");
        assert_eq!(a, MALLOC_BASE);
        // 10 MiB of context, and 3 rounded up to 4.
        assert_eq!(machine.memory(0), Some((80 * MIB, 100 * MIB)));
        assert_eq!(machine.malloc(81 * MIB), Err(OUT_OF_MEMORY));
        assert_eq!(machine.memory(0), Some((80 * MIB, 100 * MIB)));
        assert_eq!(machine.place(a + 5), Place::Device(0));
        assert_eq!(machine.range_of(a + 5), Some((a, 4 * MIB)));
        assert_eq!(machine.place(&raw const machine as u64), Place::Unknown);
        let host = machine.host_alloc(100).expect("host memory");
        assert_eq!(machine.place(host as u64 + 99), Place::Host);
        assert!(machine.host_free(host) && !machine.host_free(host));

        let range = machine.reserve(1 << 30).expect("addresses");
        assert_eq!(machine.create_physical(0, 3 * MIB), Err(INVALID_VALUE));
        assert_eq!(machine.create_physical(0, 82 * MIB), Err(OUT_OF_MEMORY));
        let one = machine.create_physical(0, 20 * MIB).expect("room");
        assert_eq!(machine.map(range, 20 * MIB, one), Ok(()));
        assert_eq!(
            machine.map(range + 2 * MIB, 20 * MIB, one),
            Err(INVALID_VALUE)
        );
        assert_eq!(machine.map(a, 20 * MIB, one), Err(INVALID_VALUE));
        assert_eq!(machine.range_of(range + 7), Some((range, 20 * MIB)));
        assert_eq!(machine.memory(0), Some((60 * MIB, 100 * MIB)));
        // Mapped memory outlives its handle.
        assert_eq!(machine.release_physical(one), Ok(()));
        assert_eq!(machine.memory(0), Some((60 * MIB, 100 * MIB)));
        assert_eq!(machine.unmap(range, 20 * MIB), Ok(()));
        assert_eq!(machine.memory(0), Some((80 * MIB, 100 * MIB)));
        assert_eq!(machine.unreserve(range), Ok(()));
        assert_eq!(machine.free(a), Ok(()));
        assert_eq!(machine.free(a), Err(INVALID_VALUE));
        assert_eq!(machine.memory(0), Some((84 * MIB, 100 * MIB)));
    }

    #[test]
    fn events_pend_as_often_as_asked() {
        let machine = machine(&[("SIMGPU_PENDING", "2")]);
        let event = machine.event_create();
        assert_eq!(machine.event_query(event), Some(true));
        assert!(machine.event_record(event, 7));
        let answers: Vec<_> = (0..4).map(|_| machine.event_query(event)).collect();
        assert_eq!(answers, [Some(false), Some(false), Some(true), Some(true)]);
        assert!(machine.event_record(event, 7));
        machine.synchronize(Some(8));
        assert_eq!(machine.event_query(event), Some(false));
        machine.synchronize(Some(7));
        assert_eq!(machine.event_query(event), Some(true));
        assert!(machine.event_destroy(event));
        assert_eq!(machine.event_query(event), None);
    }

    #[test]
    fn a_capture_draws_in_streams_that_wait_for_it() {
        let machine = machine(&[]);
        let event = machine.event_create();
        assert!(machine.capture_begin(1) && !machine.capture_begin(1));
        assert!(machine.event_record(event, 1));
        assert!(machine.stream_wait(2, event));
        assert_eq!(machine.capture_of(1), machine.capture_of(2));
        assert_eq!(machine.capture_of(3), None);
        assert!(machine.capture_end(1) && !machine.capture_end(1));
        assert_eq!(machine.capture_of(2), None);
    }
}
