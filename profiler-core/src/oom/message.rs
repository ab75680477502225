//! Out-of-memory errors from their text alone, as logs have them.
//!
//! The wordings are those of `c10/cuda/CUDACachingAllocator.cpp` from PyTorch 0.4 to 2.15, of the
//! HIP, XPU, NPU and MPS allocators, of THC before 1.0, and of the libraries beside the allocator
//! (cuBLAS, cuDNN, NCCL, the driver). A message rounds to two decimals, so every figure read from
//! one is known to half a hundredth of its unit: [`Amount`] carries that.

use serde::Serialize;

use super::several_lines::{self, NcclLines};

/// A figure of a message, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// The figure as written, turned into bytes.
    pub bytes: u64,
    /// How far the true figure may be from it: half of the last decimal written.
    pub uncertainty_bytes: u64,
}

/// Memory that another process, or this one, holds according to the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessUse {
    /// Its id as the driver knows it: in a container, the host's.
    pub process: u64,
    /// What it holds.
    pub amount: Amount,
}

/// What one message says. Every field is None or empty where the message is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OomMessage {
    /// `CUDA`, `HIP`, `XPU`, `NPU`, `MPS`; `cudaMallocAsync` for PyTorch's other allocator on CUDA;
    /// `NCCL`, `cuBLAS`, `cuDNN` or `CUDA driver` for errors that no allocator of PyTorch's raised.
    pub backend: String,
    /// The line it was found on, counted from 1.
    pub line: u64,
    /// The rank that torchrun's prefix (`[rank3]:`) names.
    pub rank: Option<u64>,
    /// Number of the device.
    pub device: Option<u64>,
    /// What was asked for.
    pub requested: Option<Amount>,
    /// The message says only "more than 1EB".
    pub is_absurd_request: bool,
    /// The device's whole memory.
    pub total: Option<Amount>,
    /// What the driver had free.
    pub free: Option<Amount>,
    /// What PyTorch's tensors held.
    pub allocated: Option<Amount>,
    /// What PyTorch had reserved in all.
    pub reserved: Option<Amount>,
    /// What PyTorch had reserved and not allocated, as the message says it.
    pub reserved_unallocated: Option<Amount>,
    /// What this process held through Metal beside PyTorch's buffers, the unused parts of PyTorch's
    /// own heaps included (`MPSAllocator.mm`: `currentAllocatedSize` less the buffers).
    pub other_allocations: Option<Amount>,
    /// What private pools (CUDA graphs) held.
    pub private_pools: Option<Amount>,
    /// What this process held in all, PyTorch or not.
    pub this_process: Option<Amount>,
    /// The limit that `set_per_process_memory_fraction` set.
    pub allowed: Option<Amount>,
    /// What the message says of processes by number.
    pub processes: Vec<ProcessUse>,
}

/// What a message allows to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageClass {
    /// The request is larger than the device.
    RequestTooBig,
    /// The driver had more free than was asked for: a limit was in the way, or the free memory
    /// was gone by the time it was asked.
    DriverHadFree,
    /// What was held and what was asked for reach the limit that the message names.
    Limit,
    /// What PyTorch had reserved and not used, with the driver's free memory, would have been
    /// enough: it was in pieces, or belonged to another stream, pool or size class.
    Fragmentation,
    /// Everything free together was too little, and more than a process's usual context lies
    /// outside PyTorch.
    OutsidePyTorch,
    /// Everything free together was too little.
    Capacity,
    /// Raised outside PyTorch's allocator.
    OutsideAllocator,
    /// The figures do not decide it.
    NotTold,
}

impl MessageClass {
    /// In a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::RequestTooBig => "a single request larger than the device",
            Self::DriverHadFree => "the driver had enough free: a limit, or a race for it",
            Self::Limit => "the limit for this process: what it held and asked for reaches it",
            Self::Fragmentation => {
                "fragmentation: enough was free in all, but not where it could be used"
            }
            Self::OutsidePyTorch => "memory outside PyTorch",
            Self::Capacity => "capacity: the memory in use leaves too little",
            Self::OutsideAllocator => "raised outside PyTorch's allocator",
            Self::NotTold => "the message does not tell why",
        }
    }
}

/// What the CUDA context and libraries of a process may take before they are worth blaming, as in
/// the verdict on snapshots.
const USUAL_CONTEXT_BYTES: u64 = 1 << 30;

impl OomMessage {
    /// What was reserved and not allocated: as said, or the difference of what was said.
    #[must_use]
    pub fn unused(&self) -> Option<Amount> {
        self.reserved_unallocated.or_else(|| {
            let (reserved, allocated) = (self.reserved?, self.allocated?);
            Some(Amount {
                bytes: reserved.bytes.saturating_sub(allocated.bytes),
                uncertainty_bytes: reserved
                    .uncertainty_bytes
                    .saturating_add(allocated.uncertainty_bytes),
            })
        })
    }

    /// What this process held in tensors and asked for, which [`Self::allowed`] limits; on MPS with
    /// what it held through Metal besides. None where the message names no limit, or not all parts.
    #[must_use]
    pub fn held_and_requested(&self) -> Option<Amount> {
        self.allowed?;
        let (held, requested) = (self.allocated?, self.requested?);
        if self.backend == "MPS" {
            return Some(sum(&[held, self.other_allocations?, requested]));
        }
        Some(sum(&[held, requested]))
    }

    /// Whether the limit that the message names was in the way. MPS refuses either because of it
    /// or because the system gave nothing, and figures that reach it tell the first. The others
    /// count whole segments, which are no fewer bytes than the tensors in them.
    fn reaches_limit(&self) -> bool {
        let (Some(wanted), Some(allowed)) = (self.held_and_requested(), self.allowed) else {
            return false;
        };
        if self.backend == "MPS" {
            !surely_more(allowed, wanted)
        } else {
            surely_more(wanted, allowed)
        }
    }

    /// What was neither PyTorch's nor free. None where total, free or reserved is not said, and
    /// where what is said contradicts itself.
    #[must_use]
    pub fn outside(&self) -> Option<Amount> {
        let (total, free) = (self.total?, self.free?);
        let held = match (self.reserved, self.allocated, self.reserved_unallocated) {
            (Some(reserved), ..) => reserved,
            (None, Some(allocated), Some(unused)) => sum(&[allocated, unused]),
            _ => return None,
        };
        let taken = sum(&[free, held]);
        if surely_more(taken, total) {
            return None;
        }
        Some(Amount {
            bytes: total.bytes.saturating_sub(taken.bytes),
            uncertainty_bytes: total
                .uncertainty_bytes
                .saturating_add(taken.uncertainty_bytes),
        })
    }

    /// The verdict that the figures allow. Comparisons that the rounding could turn are
    /// [`MessageClass::NotTold`], but for the limit of MPS.
    #[must_use]
    pub fn class(&self) -> MessageClass {
        if !matches!(
            self.backend.as_str(),
            "CUDA" | "HIP" | "XPU" | "NPU" | "MPS" | "cudaMallocAsync"
        ) {
            return MessageClass::OutsideAllocator;
        }
        if self.is_absurd_request {
            return MessageClass::RequestTooBig;
        }
        let Some(requested) = self.requested else {
            return MessageClass::NotTold;
        };
        if self
            .total
            .is_some_and(|total| surely_more(requested, total))
        {
            return MessageClass::RequestTooBig;
        }
        if self.reaches_limit() {
            return MessageClass::Limit;
        }
        let Some(free) = self.free else {
            return MessageClass::NotTold;
        };
        if surely_more(free, requested) {
            return MessageClass::DriverHadFree;
        }
        let Some(unused) = self.unused() else {
            // Whatever was kept unused, tensors and request together are more than the device.
            return match (self.total, self.allocated) {
                (Some(total), Some(held)) if surely_more(sum(&[held, requested]), total) => {
                    MessageClass::Capacity
                }
                _ => MessageClass::NotTold,
            };
        };
        let all = sum(&[free, unused]);
        if surely_more(all, requested) {
            return MessageClass::Fragmentation;
        }
        if !surely_more(requested, all) {
            return MessageClass::NotTold;
        }
        let missing = requested.bytes.saturating_sub(all.bytes);
        let blamable = self.outside().map_or(0, |outside| {
            outside
                .bytes
                .saturating_sub(outside.uncertainty_bytes)
                .saturating_sub(USUAL_CONTEXT_BYTES)
        });
        if blamable >= missing && blamable > 0 {
            MessageClass::OutsidePyTorch
        } else {
            MessageClass::Capacity
        }
    }
}

/// All of `amounts`, and all their roundings.
fn sum(amounts: &[Amount]) -> Amount {
    let total = |of: fn(&Amount) -> u64| amounts.iter().map(of).fold(0, u64::saturating_add);
    Amount {
        bytes: total(|amount| amount.bytes),
        uncertainty_bytes: total(|amount| amount.uncertainty_bytes),
    }
}

/// Whether `a` is more than `b` however both were rounded.
fn surely_more(a: Amount, b: Amount) -> bool {
    a.bytes.saturating_sub(a.uncertainty_bytes) > b.bytes.saturating_add(b.uncertainty_bytes)
}

/// The most messages taken from one log: a loop that runs out of memory prints the same one over
/// and over.
const MAX_MESSAGES: usize = 10_000;
/// The most bytes of one line looked at; the longest known message has under 1,000.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Every out-of-memory message of a log, in order. A traceback that repeats its message (`raise …
/// from`, rank prefixes) gives one entry per line it stands on.
#[must_use]
pub fn find_messages(text: &str) -> Vec<OomMessage> {
    let mut found = Vec::new();
    let mut nccl = NcclLines::default();
    let mut lines = text.lines();
    let mut number = 0;
    while let Some(line) = lines.next() {
        number += 1;
        if found.len() >= MAX_MESSAGES {
            break;
        }
        let line = start_of(line);
        let following = lines.clone().map(start_of);
        let message = parse_line(line)
            .or_else(|| several_lines::async_allocator(line, following))
            .or_else(|| nccl.message(number, line));
        if let Some(mut message) = message {
            message.line = number;
            found.push(message);
        }
    }
    found
}

/// As much of a line as is looked at.
fn start_of(line: &str) -> &str {
    let mut end = line.len().min(MAX_LINE_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default()
}

/// The message on one line, if there is one.
fn parse_line(line: &str) -> Option<OomMessage> {
    let lower = line.to_ascii_lowercase();
    if !lower.contains("memory") && !lower.contains("alloc") {
        return None;
    }
    let rank = number_after(line, "[rank");
    let allocator = ["CUDA", "HIP", "XPU", "NPU", "MPS backend"]
        .into_iter()
        .find_map(|name| {
            let at = line.find(&format!("{name} out of memory"))?;
            Some((name, line.get(at..)?))
        });
    if let Some((name, text)) = allocator {
        let backend = name.strip_suffix(" backend").unwrap_or(name);
        return Some(OomMessage {
            rank,
            ..parse_allocator(backend, text)
        });
    }
    let backend = outside_backend(line, &lower)?;
    Some(OomMessage {
        backend: backend.to_owned(),
        rank,
        ..OomMessage::default()
    })
}

/// Who raised an error that is not the caching allocator's.
fn outside_backend(line: &str, lower: &str) -> Option<&'static str> {
    let has = |text: &str| line.contains(text);
    if has("CUBLAS_STATUS_ALLOC_FAILED") {
        Some("cuBLAS")
    } else if has("CUDNN_STATUS_ALLOC_FAILED")
        || has("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")
    {
        Some("cuDNN")
    } else if lower.contains("nccl") && lower.contains("out of memory") {
        Some("NCCL")
    } else if has("CUDA error: out of memory")
        || has("CUDA_ERROR_OUT_OF_MEMORY")
        || lower.contains("cudaerrormemoryallocation")
    {
        Some("CUDA driver")
    } else if (lower.contains("cuda runtime error (2)") || lower.contains("error=2"))
        && lower.contains("out of memory")
    {
        // THC, before PyTorch 1.0: its allocator raised these, but says no figure.
        Some("CUDA")
    } else {
        None
    }
}

fn parse_allocator(backend: &str, text: &str) -> OomMessage {
    let before = |phrase: &str| amount_before(text, phrase);
    let after = |phrase: &str| amount_after(text, phrase);
    OomMessage {
        backend: backend.to_owned(),
        device: number_after(text, "(GPU ")
            .or_else(|| number_after(text, "(NPU "))
            .or_else(|| number_after(text, "GPU ")),
        requested: after("Tried to allocate "),
        is_absurd_request: text.contains("more than 1EB"),
        // "capacty" is how PyTorch 2.1 spelt it.
        total: before(" total capacity")
            .or_else(|| after("total capacity of "))
            .or_else(|| after("total capacty of ")),
        free: before(" free;").or_else(|| before(" is free")),
        allocated: before(" already allocated")
            .or_else(|| before(" is allocated by PyTorch"))
            .or_else(|| before(" allocated by PyTorch"))
            .or_else(|| after("MPS allocated: ")),
        reserved: before(" reserved in total by PyTorch"),
        // "cached" of versions before 1.4 is what is reserved beyond what is allocated
        // (`amount_cached - amount_allocated`, THCCachingAllocator.cpp and
        // CUDACachingAllocator.cpp of 1.0 to 1.3).
        reserved_unallocated: before(" is reserved by PyTorch but unallocated")
            .or_else(|| before(" cached)")),
        other_allocations: after("other allocations: "),
        private_pools: before(" allocated in private pools"),
        this_process: before(" memory in use").filter(|_| text.contains("this process has ")),
        allowed: before(" allowed").or_else(|| after("max allowed: ")),
        processes: processes(text),
        ..OomMessage::default()
    }
}

/// `Process 21422 has 23.57 GiB memory in use`, every one.
fn processes(text: &str) -> Vec<ProcessUse> {
    let parts = text.split("Process ").skip(1).take(1_000);
    parts
        .filter_map(|part| {
            let (process, rest) = part.split_once(" has ")?;
            Some(ProcessUse {
                process: process.parse().ok()?,
                amount: amount_at_start(rest)?,
            })
        })
        .collect()
}

pub(super) fn number_after(text: &str, phrase: &str) -> Option<u64> {
    let rest = text.split_once(phrase)?.1;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

fn amount_after(text: &str, phrase: &str) -> Option<Amount> {
    amount_at_start(text.split_once(phrase)?.1)
}

/// `12.50 MiB …`, also `0 bytes …` and `459.07 MB …`.
pub(super) fn amount_at_start(text: &str) -> Option<Amount> {
    let mut words = text.split_ascii_whitespace();
    amount(words.next()?, words.next()?)
}

/// The amount whose two words end where `phrase` begins.
fn amount_before(text: &str, phrase: &str) -> Option<Amount> {
    let mut words = text.split_once(phrase)?.0.rsplit([' ', '(']);
    let unit = words.next()?;
    amount(words.next()?, unit)
}

/// `number` and `unit` in bytes. PyTorch's `KiB` to `GiB`, and the `KB` to `GB` of MPS before 2.6,
/// are all powers of 1024 (`format_size` of the two allocators).
fn amount(number: &str, unit: &str) -> Option<Amount> {
    let unit = unit.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let shift = match unit {
        "bytes" | "byte" | "B" => 0_u32,
        "KiB" | "KB" => 10,
        "MiB" | "MB" => 20,
        "GiB" | "GB" => 30,
        "TiB" | "TB" => 40,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 9 || !is_digits(whole) || !is_digits(decimals) {
        return None;
    }
    // Below a KiB the figure is exact; above it was rounded.
    let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let unit_bytes = 1_u128 << shift;
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let bytes = digits.checked_mul(unit_bytes)? / scale;
    let uncertainty = if shift == 0 {
        0
    } else {
        (unit_bytes / scale).div_ceil(2)
    };
    Some(Amount {
        bytes: u64::try_from(bytes).ok()?,
        uncertainty_bytes: u64::try_from(uncertainty).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> OomMessage {
        let mut found = find_messages(text);
        assert_eq!(found.len(), 1, "{text}");
        found.remove(0)
    }

    fn bytes(amount: Option<Amount>) -> Option<u64> {
        amount.map(|amount| amount.bytes)
    }

    #[test]
    fn a_current_message_is_read_in_full() {
        let message = only(
            "[rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 22.50 GiB. GPU 1 \
             has a total capacity of 31.50 GiB of which 12.50 GiB is free. Process 77 has 1.00 GiB \
             memory in use. Including non-PyTorch memory, this process has 18.75 GiB memory in \
             use. 20.00 GiB allowed; Of the allocated memory 9.00 GiB is allocated by PyTorch, \
             with 46.00 MiB allocated in private pools (e.g., CUDA Graphs), and 9.25 GiB is \
             reserved by PyTorch but unallocated.",
        );
        const GIB: u64 = 1 << 30;
        assert_eq!(message.rank, Some(3));
        assert_eq!(message.device, Some(1));
        assert_eq!(bytes(message.requested), Some(22 * GIB + GIB / 2));
        assert_eq!(bytes(message.total), Some(31 * GIB + GIB / 2));
        assert_eq!(bytes(message.free), Some(12 * GIB + GIB / 2));
        assert_eq!(bytes(message.allocated), Some(9 * GIB));
        assert_eq!(bytes(message.reserved_unallocated), Some(9 * GIB + GIB / 4));
        assert_eq!(bytes(message.private_pools), Some(46 << 20));
        assert_eq!(bytes(message.allowed), Some(20 * GIB));
        assert_eq!(message.processes.len(), 1);
        // 9.00 GiB in tensors and 22.50 GiB asked for, with 20.00 GiB allowed.
        assert_eq!(message.class(), MessageClass::Limit);
    }

    #[test]
    fn rounding_never_decides() {
        // 1.00 GiB asked, 0.50 + 0.50 GiB free: the true sum may lie on either side.
        let message = only(
            "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 4.00 \
             GiB of which 512.00 MiB is free. Of the allocated memory 1.00 GiB is allocated by \
             PyTorch, and 512.00 MiB is reserved by PyTorch but unallocated.",
        );
        assert_eq!(message.class(), MessageClass::NotTold);
    }

    #[test]
    fn a_limit_is_told_by_all_that_counts_against_it() {
        let message = |other: &str| {
            only(&format!(
                "RuntimeError: MPS backend out of memory (MPS allocated: 9.57 GiB, other \
                 allocations: {other} GiB, max allowed: 27.20 GiB). Tried to allocate 292.50 MiB \
                 on private pool."
            ))
        };
        let reached = message("17.35");
        assert_eq!(bytes(reached.other_allocations), Some(18_629_420_646));
        let wanted = reached.held_and_requested().unwrap();
        let allowed = reached.allowed.unwrap();
        assert!(wanted.bytes > allowed.bytes);
        assert_eq!(reached.class(), MessageClass::Limit);
        // A gigabyte below the limit something else is wrong.
        assert_eq!(message("16.35").class(), MessageClass::NotTold);
    }

    #[test]
    fn contradictions_give_no_remainder() {
        let message = |reserved: &str| {
            only(&format!(
                "CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0; 4.00 GiB total capacity; \
                 1.00 GiB already allocated; 1.00 GiB free; {reserved} GiB reserved in total by \
                 PyTorch)"
            ))
        };
        assert_eq!(bytes(message("2.00").outside()), Some(1 << 30));
        assert_eq!(bytes(message("3.00").outside()), Some(0));
        assert_eq!(message("5.00").outside(), None);
    }

    #[test]
    fn other_lines_are_none() {
        for text in [
            "",
            "Epoch 3: memory allocated 3.0 GiB",
            "RuntimeError: CUDA error: device-side assert triggered",
            "the process ran out of memory and was killed",
            "\u{1f4a5}",
        ] {
            assert!(find_messages(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn errors_of_other_libraries_are_named() {
        for (text, backend) in [
            (
                "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "cuBLAS",
            ),
            (
                "ncclUnhandledCudaError: Call to CUDA function failed. NCCL WARN Cuda failure 2 'out of memory'",
                "NCCL",
            ),
            ("RuntimeError: CUDA error: out of memory", "CUDA driver"),
            (
                "torch.AcceleratorError: CUDA error: out of memory",
                "CUDA driver",
            ),
        ] {
            let message = only(text);
            assert_eq!(message.backend, backend);
            assert_eq!(message.class(), MessageClass::OutsideAllocator);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = find_messages(&text);
            let _ = find_messages(&format!("CUDA out of memory. Tried to allocate {text}"));
        }
    }
}
