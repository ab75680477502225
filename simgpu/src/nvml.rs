//! NVML: what `libnvidia-ml.so.1` exports to PyTorch and to monitoring tools. Memory figures come from
//! the counters that the runtime writes.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{self, MAX_DEVICES, Site};
use crate::cudart::device::pci_bus;
use crate::ffi::{Out, put_text, text, text_field};
use crate::runtime::runtime;

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NO_PERMISSION: c_int = 4;
const NOT_FOUND: c_int = 6;
const INSUFFICIENT_SIZE: c_int = 7;
const DRIVER_NOT_LOADED: c_int = 9;
const FUNCTION_NOT_FOUND: c_int = 13;
const GPU_IS_LOST: c_int = 15;

/// The driver release that is reported: one that knows CUDA 13.2's interfaces.
const DRIVER_VERSION: &str = "595.45.04";

/// The handle of a board: this plus its number.
const DEVICE: usize = 0x5400_0000;
/// The handle of a MIG instance: this plus 16 times the board plus the instance.
const INSTANCE: usize = 0x5410_0000;

/// Memory queries so far, for the fault "lost after N".
static MEMORY_QUERIES: AtomicU64 = AtomicU64::new(0);

fn init() -> c_int {
    if runtime().config.nvml_faults.no_driver {
        DRIVER_NOT_LOADED
    } else {
        SUCCESS
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_int {
    init()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> c_int {
    init()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> c_int {
    init()
}

crate::ffi::succeed! { nvmlShutdown }

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(code: c_int) -> *const c_char {
    match code {
        SUCCESS => c"Success",
        INVALID_ARGUMENT => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        NO_PERMISSION => c"Insufficient Permissions",
        NOT_FOUND => c"Not Found",
        INSUFFICIENT_SIZE => c"Insufficient Size",
        DRIVER_NOT_LOADED => c"Driver Not Loaded",
        FUNCTION_NOT_FOUND => c"Function Not Found",
        GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    }
    .as_ptr()
}

fn text_out(buffer: Out<u8>, room: c_uint, value: &str) -> c_int {
    if put_text(buffer, room as usize, value) {
        SUCCESS
    } else {
        INSUFFICIENT_SIZE
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetDriverVersion(buffer: Out<u8>, room: c_uint) -> c_int {
    text_out(buffer, room, DRIVER_VERSION)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetNVMLVersion(buffer: Out<u8>, room: c_uint) -> c_int {
    text_out(buffer, room, &format!("13.{DRIVER_VERSION}"))
}

/// The highest CUDA release the simulated driver knows: 13.2.
#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion(version: Out<c_int>) -> c_int {
    version.set(13_020);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: Out<c_int>) -> c_int {
    nvmlSystemGetCudaDriverVersion(version)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetProcessName(pid: c_uint, buffer: Out<u8>, room: c_uint) -> c_int {
    if runtime().config.others.iter().any(|other| other.pid == pid) {
        return text_out(buffer, room, &format!("/simulated/process-{pid}"));
    }
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => text_out(buffer, room, &path.to_string_lossy()),
        Err(_) => NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount_v2(count: Out<c_uint>) -> c_int {
    count.set(runtime().config.devices as c_uint);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount(count: Out<c_uint>) -> c_int {
    nvmlDeviceGetCount_v2(count)
}

/// The handle of the instance with a UUID.
fn instance_of_uuid(uuid: &str) -> Option<usize> {
    let config = &runtime().config;
    let sites = (0..config.devices).flat_map(|board| config.sites(board));
    let found = sites
        .filter(|site| site.instance < config.mig.len())
        .find(|&site| config::instance_uuid_text(site) == uuid)?;
    Some(INSTANCE + 16 * found.board + found.instance)
}

/// The handle of a board when there is one and it is not lost.
fn handle_out(device: Out<usize>, board: Option<usize>) -> c_int {
    match board {
        Some(board) if board < runtime().config.devices => {
            device.set(DEVICE + board);
            SUCCESS
        }
        _ => NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: Out<usize>) -> c_int {
    match handle_out(device, usize::try_from(index).ok()) {
        NOT_FOUND => INVALID_ARGUMENT,
        code => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, device: Out<usize>) -> c_int {
    nvmlDeviceGetHandleByIndex_v2(index, device)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: Out<usize>) -> c_int {
    let Some(uuid) = text(uuid) else {
        return INVALID_ARGUMENT;
    };
    if let Some(instance) = instance_of_uuid(uuid) {
        device.set(instance);
        return SUCCESS;
    }
    handle_out(
        device,
        (0..MAX_DEVICES).find(|&board| config::uuid_text(board) == uuid),
    )
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(id: *const c_char, device: Out<usize>) -> c_int {
    let Some(id) = text(id) else {
        return INVALID_ARGUMENT;
    };
    // domain:bus:device.function, the domain as four or eight digits.
    let bus = id
        .split(':')
        .nth(1)
        .and_then(|bus| u32::from_str_radix(bus, 16).ok());
    handle_out(
        device,
        (0..MAX_DEVICES).find(|&board| Some(pci_bus(board)) == bus),
    )
}

/// The board of a handle, its own or of an instance on it; an error code when there is none or it is
/// lost.
fn board(device: usize) -> Result<usize, c_int> {
    let machine = runtime();
    let board = match instance(device) {
        Some(site) => Some(site.board),
        None => device.checked_sub(DEVICE),
    };
    let board = board
        .filter(|&board| board < machine.config.devices)
        .ok_or(INVALID_ARGUMENT)?;
    match machine.config.nvml_faults.lost_after {
        Some(queries) if board == 0 && MEMORY_QUERIES.load(Ordering::Relaxed) >= queries => {
            Err(GPU_IS_LOST)
        }
        _ => Ok(board),
    }
}

/// The instance of a handle.
fn instance(device: usize) -> Option<Site> {
    let number = device.checked_sub(INSTANCE)?;
    let (board, instance) = (number / 16, number % 16);
    (instance < runtime().config.mig.len()).then_some(Site { board, instance })
}

/// The sites that a handle's figures are of: an instance, or all of a board.
fn sites(device: usize, board: usize) -> Vec<Site> {
    match instance(device) {
        Some(site) => vec![site],
        None => runtime().config.sites(board).collect(),
    }
}

/// A board's answer to a question of one value.
fn answer<T>(device: usize, out: Out<T>, value: impl FnOnce(usize) -> Result<T, c_int>) -> c_int {
    match board(device).and_then(value) {
        Ok(value) => {
            out.set(value);
            SUCCESS
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetName(device: usize, buffer: Out<u8>, room: c_uint) -> c_int {
    match board(device) {
        Ok(_) => match instance(device) {
            Some(site) => text_out(buffer, room, &runtime().config.name_of(site)),
            None => text_out(buffer, room, runtime().config.model.name),
        },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUUID(device: usize, buffer: Out<u8>, room: c_uint) -> c_int {
    match board(device) {
        Ok(board) => match instance(device) {
            Some(site) => text_out(buffer, room, &config::instance_uuid_text(site)),
            None => text_out(buffer, room, &config::uuid_text(board)),
        },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetIndex(device: usize, index: Out<c_uint>) -> c_int {
    answer(device, index, |board| Ok(board as c_uint))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMinorNumber(device: usize, number: Out<c_uint>) -> c_int {
    answer(device, number, |board| Ok(board as c_uint))
}

/// `nvmlPciInfo_t`.
#[repr(C)]
struct PciInfo {
    bus_id_legacy: [u8; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    device_id: c_uint,
    subsystem_id: c_uint,
    bus_id: [u8; 32],
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPciInfo_v3(device: usize, info: Out<PciInfo>) -> c_int {
    answer(device, info, |board| {
        let bus = pci_bus(board);
        Ok(PciInfo {
            bus_id_legacy: text_field(&format!("0000:{bus:02X}:00.0")),
            domain: 0,
            bus,
            device: 0,
            device_id: runtime().config.model.pci_device << 16 | 0x10DE,
            subsystem_id: 0,
            bus_id: text_field(&format!("00000000:{bus:02X}:00.0")),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: usize,
    major: Out<c_int>,
    minor: Out<c_int>,
) -> c_int {
    minor.set(runtime().config.model.minor);
    answer(device, major, |_| Ok(runtime().config.model.major))
}

/// Bytes in all, kept by the driver, free and used of a board or an instance. The driver's part is in
/// the total and not in the used bytes, as in `nvmlMemory_v2_t`.
fn memory(device: usize, board: usize) -> [u64; 4] {
    MEMORY_QUERIES.fetch_add(1, Ordering::Relaxed);
    let machine = runtime();
    let used = sites(device, board)
        .into_iter()
        .fold(0_u64, |sum, site| sum.saturating_add(machine.used(site)));
    let config = &machine.config;
    let (capacity, reserved) = match instance(device) {
        Some(site) => (config.capacity_of(site), 0),
        None => (config.capacity, config.reserved),
    };
    [
        capacity.saturating_add(reserved),
        reserved,
        capacity.saturating_sub(used),
        used,
    ]
}

/// `nvmlMemory_t`: the first version counts the driver's part as used.
#[repr(C)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Memory2 {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo(device: usize, out: Out<Memory>) -> c_int {
    answer(device, out, |board| {
        let [total, reserved, free, used] = memory(device, board);
        Ok(Memory {
            total,
            free,
            used: used.saturating_add(reserved),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: usize, out: Out<Memory2>) -> c_int {
    if runtime().config.nvml_faults.memory_v1 {
        return FUNCTION_NOT_FOUND;
    }
    // The caller says which structure it passed: its size, and the version in the upper bits.
    let version = size_of::<Memory2>() as c_uint | 2 << 24;
    if out.get().map(|memory| memory.version) != Some(version) {
        return INVALID_ARGUMENT;
    }
    answer(device, out, |board| {
        let [total, reserved, free, used] = memory(device, board);
        Ok(Memory2 {
            version,
            total,
            reserved,
            free,
            used,
        })
    })
}

/// `nvmlProcessInfo_v1_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Process1 {
    pid: c_uint,
    used: u64,
}

/// `nvmlProcessInfo_v2_t`, which version 3 of the call fills too.
#[repr(C)]
#[derive(Clone, Copy)]
struct Process2 {
    pid: c_uint,
    used: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// The processes in a site: the simulated ones and the others.
fn processes(site: Site) -> Vec<(u32, u64)> {
    let machine = runtime();
    let mut all = machine.counters.processes(site);
    for (pid, _) in &mut all {
        *pid = pid.saturating_add(machine.config.pid_offset);
    }
    all.extend((machine.config.others_in(site)).map(|other| (other.pid, other.bytes)));
    if machine.config.nvml_faults.no_process_memory {
        // NVML_VALUE_NOT_AVAILABLE.
        all.iter_mut().for_each(|(_, bytes)| *bytes = u64::MAX);
    }
    all
}

/// Fills a list as NVML does: the caller's count is the room, the answer's the number of processes;
/// too little room is an error that says how much is needed.
fn process_list<T: Copy>(
    version: u8,
    device: usize,
    count: Out<c_uint>,
    list: Out<T>,
    entry: impl Fn((u32, u64)) -> T,
) -> c_int {
    let board = match board(device) {
        Ok(board) => board,
        Err(code) => return code,
    };
    let faults = &runtime().config.nvml_faults;
    if faults.processes_version != 0 && version > faults.processes_version {
        return FUNCTION_NOT_FOUND;
    }
    if faults.no_permission {
        return NO_PERMISSION;
    }
    let Some(room) = count.get() else {
        return INVALID_ARGUMENT;
    };
    let mut all: Vec<_> = sites(device, board)
        .into_iter()
        .flat_map(processes)
        .collect();
    all.sort_unstable();
    let entries: Vec<T> = all.into_iter().map(entry).collect();
    count.set(entries.len() as c_uint);
    if entries.len() > room as usize {
        return INSUFFICIENT_SIZE;
    }
    list.set_all(&entries);
    SUCCESS
}

fn process2((pid, used): (u32, u64)) -> Process2 {
    Process2 {
        pid,
        used,
        gpu_instance: u32::MAX,
        compute_instance: u32::MAX,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeRunningProcesses(
    device: usize,
    count: Out<c_uint>,
    list: Out<Process1>,
) -> c_int {
    process_list(1, device, count, list, |(pid, used)| Process1 { pid, used })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeRunningProcesses_v2(
    device: usize,
    count: Out<c_uint>,
    list: Out<Process2>,
) -> c_int {
    process_list(2, device, count, list, process2)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: usize,
    count: Out<c_uint>,
    list: Out<Process2>,
) -> c_int {
    process_list(3, device, count, list, process2)
}

/// No process draws on a simulated device, and none uses its multi-process service.
fn empty_list(device: usize, count: Out<c_uint>) -> c_int {
    if runtime().config.nvml_faults.no_permission {
        return NO_PERMISSION;
    }
    answer(device, count, |_| Ok(0))
}

fn versioned_empty_list(version: u8, device: usize, count: Out<c_uint>) -> c_int {
    let newest = runtime().config.nvml_faults.processes_version;
    if newest != 0 && version > newest {
        return FUNCTION_NOT_FOUND;
    }
    empty_list(device, count)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGraphicsRunningProcesses(device: usize, count: Out<c_uint>) -> c_int {
    empty_list(device, count)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v2(device: usize, count: Out<c_uint>) -> c_int {
    versioned_empty_list(2, device, count)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: usize, count: Out<c_uint>) -> c_int {
    versioned_empty_list(3, device, count)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: usize,
    count: Out<c_uint>,
) -> c_int {
    empty_list(device, count)
}

/// `nvmlUtilization_t`, percent.
#[repr(C)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// Whether kernels were launched on a board since this process last asked.
fn is_busy(board: usize) -> bool {
    static SEEN: [AtomicU64; MAX_DEVICES] = [const { AtomicU64::new(0) }; MAX_DEVICES];
    let launches = runtime().counters.launches(board);
    SEEN[board].swap(launches, Ordering::Relaxed) != launches
}

/// All or nothing: 100 when kernels were launched since the last question, else 0.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUtilizationRates(device: usize, out: Out<Utilization>) -> c_int {
    answer(device, out, |board| {
        let gpu = if is_busy(board) { 100 } else { 0 };
        Ok(Utilization { gpu, memory: 0 })
    })
}

/// A constant 40 °C: heat is not simulated.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTemperature(
    device: usize,
    _sensor: c_uint,
    celsius: Out<c_uint>,
) -> c_int {
    answer(device, celsius, |_| Ok(40))
}

/// A constant fifth of the power limit, milliwatts: power is not simulated.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPowerUsage(device: usize, milliwatts: Out<c_uint>) -> c_int {
    answer(device, milliwatts, |_| {
        Ok(runtime().config.model.power_limit_w * 200)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: usize, milliwatts: Out<c_uint>) -> c_int {
    answer(device, milliwatts, |_| {
        Ok(runtime().config.model.power_limit_w * 1000)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPowerManagementLimit(device: usize, milliwatts: Out<c_uint>) -> c_int {
    nvmlDeviceGetEnforcedPowerLimit(device, milliwatts)
}

/// A clock of a board in MHz: graphics (0), SM (1), memory (2), video (3). Always the highest.
fn clock(device: usize, kind: c_uint, mhz: Out<c_uint>) -> c_int {
    let model = &runtime().config.model;
    answer(device, mhz, |_| match kind {
        0 | 1 | 3 => Ok(model.clock_mhz as c_uint),
        2 => Ok(model.memory_clock_mhz as c_uint),
        _ => Err(INVALID_ARGUMENT),
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetClockInfo(device: usize, kind: c_uint, mhz: Out<c_uint>) -> c_int {
    clock(device, kind, mhz)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMaxClockInfo(device: usize, kind: c_uint, mhz: Out<c_uint>) -> c_int {
    clock(device, kind, mhz)
}

/// Nothing slows a simulated clock.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(device: usize, reasons: Out<u64>) -> c_int {
    answer(device, reasons, |_| Ok(0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCurrentClocksEventReasons(device: usize, reasons: Out<u64>) -> c_int {
    answer(device, reasons, |_| Ok(0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPerformanceState(device: usize, state: Out<c_uint>) -> c_int {
    answer(device, state, |_| Ok(0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetEccMode(
    device: usize,
    current: Out<c_uint>,
    pending: Out<c_uint>,
) -> c_int {
    let ecc = runtime().config.model.ecc;
    pending.set(c_uint::from(ecc));
    answer(device, current, |_| {
        if ecc { Ok(1) } else { Err(NOT_SUPPORTED) }
    })
}

/// No simulated memory cell has flipped.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: usize,
    _kind: c_uint,
    _counter: c_uint,
    count: Out<u64>,
) -> c_int {
    let ecc = runtime().config.model.ecc;
    answer(
        device,
        count,
        |_| if ecc { Ok(0) } else { Err(NOT_SUPPORTED) },
    )
}

/// MIG is on where instances are configured, and off where the model has it.
#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigMode(
    device: usize,
    current: Out<c_uint>,
    pending: Out<c_uint>,
) -> c_int {
    let config = &runtime().config;
    let is_on = !config.mig.is_empty();
    pending.set(c_uint::from(is_on));
    answer(device, current, |_| {
        if is_on || config.model.mig {
            Ok(c_uint::from(is_on))
        } else {
            Err(NOT_SUPPORTED)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMaxMigDeviceCount(device: usize, count: Out<c_uint>) -> c_int {
    let config = &runtime().config;
    let has_mig = config.model.mig || !config.mig.is_empty();
    answer(device, count, |_| Ok(if has_mig { 7 } else { 0 }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: usize,
    index: c_uint,
    out: Out<usize>,
) -> c_int {
    answer(device, out, |board| {
        if (index as usize) < runtime().config.mig.len() {
            Ok(INSTANCE + 16 * board + index as usize)
        } else {
            Err(NOT_FOUND)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceIsMigDeviceHandle(device: usize, is_mig: Out<c_uint>) -> c_int {
    answer(device, is_mig, |_| {
        Ok(c_uint::from(instance(device).is_some()))
    })
}

/// `nvmlGpuFabricInfo_v2_t` after its version: no fabric.
#[repr(C)]
#[derive(Clone, Copy)]
struct FabricInfo {
    version: c_uint,
    cluster: [u8; 16],
    status: c_uint,
    clique: c_uint,
    /// `NVML_GPU_FABRIC_STATE_NOT_SUPPORTED` is 0.
    state: u8,
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetGpuFabricInfoV(device: usize, info: Out<FabricInfo>) -> c_int {
    let Some(asked) = info.get() else {
        return INVALID_ARGUMENT;
    };
    answer(device, info, |_| {
        Ok(FabricInfo {
            version: asked.version,
            cluster: [0; 16],
            status: 0,
            clique: 0,
            state: 0,
        })
    })
}

// Links between boards, fans, and what else monitoring tools ask for and simulated boards have not.
crate::ffi::not_supported! {
    NOT_SUPPORTED;
    nvmlDeviceGetNvLinkRemoteDeviceType nvmlDeviceGetNvLinkRemotePciInfo_v2 nvmlDeviceGetNvLinkState
    nvmlDeviceGetP2PStatus nvmlDeviceGetFanSpeed nvmlDeviceGetFanSpeed_v2
    nvmlDeviceGetProcessUtilization nvmlDeviceGetMemoryErrorCounter nvmlDeviceGetSerial
    nvmlDeviceGetBrand nvmlDeviceGetPcieThroughput nvmlDeviceGetBAR1MemoryInfo
    nvmlDeviceGetTotalEnergyConsumption nvmlDeviceGetAttributes_v2
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle nvmlDeviceGetAccountingMode
    nvmlDeviceGetPersistenceMode nvmlDeviceGetComputeMode
}
