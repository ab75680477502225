//! What was seen of a device from outside PyTorch while it was recorded.

use super::DeviceId;

/// One device, as the driver and its processes showed it. All times are microseconds since the
/// Unix epoch, on the clock of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceWatch {
    /// PyTorch's number of the device.
    pub device: DeviceId,
    /// Memory of the board (or MIG instance), bytes.
    pub total_bytes: Option<u64>,
    /// Whether the recorded process could be told in the driver's list only because no other
    /// could be it (as in a container, where the driver gives the host's process ids).
    pub is_inferred: bool,
    /// Looks at the driver's figures, oldest first.
    pub looks: Vec<DeviceLook>,
    /// PyTorch's own counters, oldest first.
    pub counters: Vec<CounterLook>,
    /// Other processes on the device when the snapshot was taken, those that hold most first.
    pub others: Vec<OtherProcess>,
}

/// The driver's figures at one time, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceLook {
    /// When the driver was asked.
    pub time_us: i64,
    /// When it had answered.
    pub until_us: i64,
    /// Held by all programs.
    pub used_bytes: Option<u64>,
    /// Held by the recorded process.
    pub process_bytes: Option<u64>,
    /// Held by the other processes in the driver's list.
    pub others_bytes: Option<u64>,
}

/// The allocator's counters at one time, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterLook {
    /// When.
    pub time_us: i64,
    /// Reserved then.
    pub reserved_bytes: u64,
    /// All that was ever reserved and given back, added up: where two looks have the same, nothing
    /// was reserved or given back between them.
    pub turnover_bytes: u64,
}

/// Another process on the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherProcess {
    /// Its id, as the driver says it.
    pub process: u32,
    /// Its program, if that could be looked up.
    pub name: Option<String>,
    /// What it held, bytes.
    pub used_bytes: Option<u64>,
}
