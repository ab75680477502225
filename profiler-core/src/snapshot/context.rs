//! What a recorder told of the run around a snapshot. All of it is a stranger's word.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::DeviceId;
use crate::capped::{list, map};

/// The most arguments, variables, devices, frames and tensors of a batch. Recorders write no more
/// than 64 of each but devices.
const MAX_ITEMS: usize = 256;

/// The run, the place in it, and the failure that the snapshot was taken at. What was not told is
/// None or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunContext {
    /// The process and its surroundings.
    pub run: RunFacts,
    /// Its rank.
    pub rank: Option<u64>,
    /// What ran when the snapshot was taken.
    pub current: RunPlace,
    /// The newest batches that went into the model, oldest first.
    pub batches: Vec<Batch>,
    /// The failure that the snapshot was taken at.
    pub failure: Option<RunFailure>,
}

impl RunContext {
    /// The memory of `device` in bytes, as PyTorch told the recorder.
    #[must_use]
    pub fn device_total_bytes(&self, device: DeviceId) -> Option<u64> {
        let mut devices = self.run.devices.iter();
        let found = devices.find(|known| known.device == device.0)?;
        found.total_bytes.filter(|&bytes| bytes <= MAX_DEVICE_BYTES)
    }
}

/// More than any device has: a larger figure is no device's memory.
const MAX_DEVICE_BYTES: u64 = 1 << 50;

/// A process and what it ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RunFacts {
    /// Version of the recorder.
    pub gpumemprof: Option<String>,
    /// Version of PyTorch.
    pub torch: Option<String>,
    /// The CUDA release that PyTorch was built for.
    pub cuda: Option<String>,
    /// The ROCm release, likewise.
    pub hip: Option<String>,
    /// Version of Python.
    pub python: Option<String>,
    /// Operating system and machine.
    pub platform: Option<String>,
    /// Name of the machine.
    pub host: Option<String>,
    /// Process id, as the process sees it.
    pub process: Option<u64>,
    /// The program and its arguments.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub argv: Vec<String>,
    /// When this was told, in microseconds since the Unix epoch.
    pub time_us: Option<i64>,
    /// Environment variables that matter to memory.
    #[serde(deserialize_with = "map::<_, _, MAX_ITEMS>")]
    pub environment: BTreeMap<String, String>,
    /// The devices that the process sees.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub devices: Vec<RunDevice>,
}

impl RunFacts {
    /// Whether nothing was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A device, as PyTorch describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RunDevice {
    /// PyTorch's number.
    pub device: i32,
    /// What it is called.
    pub name: Option<String>,
    /// Its memory, bytes.
    pub total_bytes: Option<u64>,
}

/// Where a program was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunPlace {
    /// The module.
    pub module: Option<String>,
    /// Forward, backward, optimizer or data.
    pub phase: Option<String>,
    /// The training step.
    pub step: Option<i64>,
    /// The micro-batch in it, from 0.
    pub micro_batch: Option<i64>,
}

/// The program may have set metadata of its own, in any form: what is not of the recorder's is
/// passed over.
impl<'de> Deserialize<'de> for RunPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let text = |name: &str| found.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| found.get(name)?.as_i64();
        Ok(Self {
            module: text("module"),
            phase: text("phase"),
            step: number("step"),
            micro_batch: number("micro_batch"),
        })
    }
}

/// A forward pass of an outermost module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Pass {
    /// The module, where that is known.
    pub module: Option<String>,
    /// Shapes and types of the tensors that went in: `input_ids (8, 512)int64`.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub inputs: Vec<String>,
}

/// What had gone into the model that ran when something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct FailedInputs {
    /// Whether it was a step of training, which others can be compared to.
    pub is_training: bool,
    /// The passes.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub passes: Vec<Pass>,
}

/// A micro-batch as it went into the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Batch {
    /// The training step.
    pub step: i64,
    /// The micro-batch in it, from 0.
    pub micro_batch: i64,
    /// Its passes through outermost modules.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub passes: Vec<Pass>,
    /// What was allocated when it went in, bytes, by PyTorch's number of the device.
    #[serde(deserialize_with = "map::<_, _, MAX_ITEMS>")]
    pub allocated_bytes: BTreeMap<String, u64>,
}

impl Batch {
    /// What was allocated on `device` when it went in, if that was told.
    #[must_use]
    pub fn allocated_on(&self, device: DeviceId) -> Option<u64> {
        self.allocated_bytes.get(&device.0.to_string()).copied()
    }
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The error ended the program, or a thread of it.
    Raised,
    /// The program went on with its work.
    Recovered,
    /// The program caught the error; whether it went on is not told.
    Caught,
    /// Not told.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// In a sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Raised => "raised: the error ended the program",
            Self::Recovered => "recovered: the program went on",
            Self::Caught => "caught: the program handled the error",
            Self::Unknown => "unknown: nothing was recorded after the error",
        }
    }
}

/// The failure that a snapshot was taken at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RunFailure {
    /// PyTorch's number of the device.
    pub device: Option<i32>,
    /// What the allocator asked the driver for, bytes.
    pub driver_request_bytes: Option<u64>,
    /// What the driver had free, bytes.
    pub device_free_bytes: Option<u64>,
    /// The device's memory, or the memory fraction's limit, bytes.
    pub device_total_bytes: Option<u64>,
    /// When, in microseconds since the Unix epoch.
    pub time_us: Option<i64>,
    /// How many failures the process had had by then, this one included.
    pub count: Option<u64>,
    /// `file:line function` of the program's frames, innermost first.
    #[serde(deserialize_with = "list::<_, _, MAX_ITEMS>")]
    pub python_stack: Vec<String>,
    /// What ran when it happened, where that was told with it.
    pub current: Option<RunPlace>,
    /// What had gone into the model that ran; None outside of one, and where that was not told.
    pub inputs: Option<FailedInputs>,
    /// What became of it.
    pub outcome: Outcome,
    /// The exception's text, where the allocator's observer was not told of the failure.
    pub message: Option<String>,
}
