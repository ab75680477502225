//! `record_function` ranges as PyTorch 2.5 and later keep them (`external_annotations`).

use super::{DeviceId, StringId};

/// Whether a range opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `START`.
    Start,
    /// `END`.
    End,
}

/// One end of a `record_function` range. There is no thread or pairing id: ranges are matched
/// per device and name as a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The range's name, for example `ProfilerStep#12`.
    pub name: StringId,
    /// Open or close.
    pub stage: Stage,
    /// The device that was current.
    pub device: DeviceId,
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
}
