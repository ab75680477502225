//! Messages that go over several lines of a log.

use super::message::{Amount, OomMessage, amount_at_start, number_after};

/// How many lines after a message's first one are looked at for its figures.
const FIGURE_LINES: usize = 6;

/// The message of PyTorch's `cudaMallocAsync` backend that begins on the line `first`
/// (`c10/cuda/CUDAMallocAsyncAllocator.cpp`): a line for each figure.
pub(super) fn async_allocator<'a>(
    first: &str,
    following: impl Iterator<Item = &'a str>,
) -> Option<OomMessage> {
    if !first.contains("would exceed allowed memory. (out of memory)") {
        return None;
    }
    let mut message = OomMessage {
        backend: "cudaMallocAsync".to_owned(),
        rank: number_after(first, "[rank"),
        device: number_after(first, "Allocation on device "),
        ..OomMessage::default()
    };
    let mut is_limit = false;
    for line in following.take(FIGURE_LINES) {
        let value: Option<Amount> = line
            .rsplit_once(": ")
            .and_then(|(_, value)| amount_at_start(value));
        let place = if line.contains("Currently allocated") {
            &mut message.allocated
        } else if line.contains("Requested  ") {
            &mut message.requested
        } else if line.contains("Device limit  ") {
            &mut message.total
        } else if line.contains("Free (according to CUDA)") {
            &mut message.free
        } else if line.contains("PyTorch limit") {
            // Its figure is on a line of its own.
            is_limit = true;
            continue;
        } else if is_limit && line.contains("  : ") {
            &mut message.allowed
        } else {
            break;
        };
        *place = value;
    }
    // Without a memory fraction the limit is all that 64 bits can say, which is no figure.
    Some(message)
}

/// How many lines before an error of CUDA's the words may stand that tell whose it was.
const NCCL_LINES: u64 = 64;

/// Where NCCL was last named, by rank: ranks' lines come mixed.
#[derive(Debug, Default)]
pub(super) struct NcclLines {
    named: Vec<(Option<u64>, u64)>,
}

/// Ranks remembered. A log that has more is looked at for its newest.
const MAX_RANKS: usize = 64;

impl NcclLines {
    /// The message on the line `number`, if it is the last of NCCL's words on a failed call of
    /// CUDA's (`Cuda failure 2 'out of memory'`, `checks.h`): PyTorch puts the name before it, on
    /// a line of its own.
    pub(super) fn message(&mut self, number: u64, line: &str) -> Option<OomMessage> {
        let lower = line.to_ascii_lowercase();
        let rank = number_after(line, "[rank");
        if lower.contains("nccl") {
            self.named.retain(|&(of, _)| of != rank);
            if self.named.len() >= MAX_RANKS {
                self.named.remove(0);
            }
            self.named.push((rank, number));
            return None;
        }
        if !(lower.contains("cuda failure") && lower.contains("out of memory")) {
            return None;
        }
        let named = self.named.iter().find(|&&(of, _)| of == rank)?;
        (number.saturating_sub(named.1) <= NCCL_LINES).then(|| OomMessage {
            backend: "NCCL".to_owned(),
            rank,
            ..OomMessage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::oom::{MessageClass, OomMessage, find_messages};

    fn only(text: &str) -> OomMessage {
        let mut found = find_messages(text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        found.remove(0)
    }

    fn async_text(allocated: &str, limit: &str) -> String {
        format!(
            "[rank1]: torch.OutOfMemoryError: Allocation on device 3 would exceed allowed memory. (out of memory)\n\
             [rank1]: Currently allocated     : {allocated} GiB\n\
             [rank1]: Requested               : 512.00 MiB\n\
             [rank1]: Device limit            : 2.00 GiB\n\
             [rank1]: Free (according to CUDA): 22.00 MiB\n\
             [rank1]: PyTorch limit (set by user-supplied memory fraction)\n\
             [rank1]:                         : {limit} GiB\nthe next line : 7.00 GiB\n"
        )
    }

    #[test]
    fn the_asynchronous_allocator_says_a_figure_a_line() {
        let bytes = |amount: Option<crate::oom::Amount>| amount.map(|amount| amount.bytes);
        let message = only(&async_text("1.75", "17179869184.00"));
        assert_eq!(
            (message.line, message.rank, message.device),
            (1, Some(1), Some(3))
        );
        assert_eq!(bytes(message.requested), Some(512 << 20));
        assert_eq!(bytes(message.allocated), Some(7 << 28));
        assert_eq!(bytes(message.total), Some(2 << 30));
        assert_eq!(bytes(message.free), Some(22 << 20));
        assert_eq!(message.allowed, None);
        assert_eq!(message.class(), MessageClass::Capacity);
        // What its pool keeps and does not use is not told.
        let message = only(&async_text("1.25", "17179869184.00"));
        assert_eq!(message.class(), MessageClass::NotTold);
        let message = only(&async_text("0.75", "1.00"));
        assert_eq!(bytes(message.allowed), Some(1 << 30));
        assert_eq!(message.class(), MessageClass::Limit);
    }

    #[test]
    fn nccl_names_itself_lines_before() {
        let text = "[rank0]: torch.distributed.DistBackendError: NCCL error in: \
                    ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1333, unhandled cuda error \
                    (run with NCCL_DEBUG=INFO for details), NCCL version 2.18.1\n\
                    [rank0]: ncclUnhandledCudaError: Call to CUDA function failed.\n\
                    [rank1]: something else\n\
                    [rank0]: Last error:\n";
        for end in [
            "[rank0]: Cuda failure 'out of memory'\n",
            "[rank0]: Cuda failure 2 'out of memory'\n",
        ] {
            let message = only(&format!("{text}{end}"));
            assert_eq!((message.backend.as_str(), message.line), ("NCCL", 5));
            assert_eq!(message.class(), MessageClass::OutsideAllocator);
        }
        // Another rank's, too far away, or nobody's.
        let far = "x\n".repeat(100);
        for text in [
            format!("{text}[rank1]: Cuda failure 2 'out of memory'\n"),
            format!("{text}{far}[rank0]: Cuda failure 2 'out of memory'\n"),
            "Cuda failure 2 'out of memory'\n".to_owned(),
        ] {
            assert!(find_messages(&text).is_empty(), "{text}");
        }
    }
}
