//! Advice about what is around PyTorch.

use crate::oom::{OomClass, OomVerdict};
use crate::units;

use super::{Advice, Certainty, advice};

/// Advice about what is around PyTorch.
pub(super) fn surroundings(verdict: &OomVerdict, list: &mut Vec<Advice>) {
    let evidence = &verdict.evidence;
    match verdict.class {
        OomClass::Limit => list.push(Advice {
            is_enough: true,
            ..advice(
                "Raise the memory limit",
                format!(
                    "The driver had {} free and was asked for {}: a memory fraction \
                 (set_per_process_memory_fraction, per_process_memory_fraction), or a limit set \
                 from outside the process, was in the way.",
                    units::bytes(evidence.device_free_bytes),
                    units::bytes(evidence.driver_request_bytes)
                ),
                0,
                Certainty::Exact,
            )
        }),
        OomClass::RequestTooBig => list.push(advice(
            "Split the request",
            format!(
                "One tensor of {} is larger than the {} that PyTorch could have had in all. \
                 Compute it in chunks, or check its shape.",
                units::bytes(evidence.requested_bytes),
                units::bytes(evidence.reachable_bytes())
            ),
            evidence.requested_bytes,
            Certainty::Exact,
        )),
        _ => {}
    }
    if let Some(outside) = evidence.outside_bytes.filter(|&bytes| bytes > 0) {
        list.push(advice(
            "Look at what uses the device beside PyTorch's allocator",
            format!(
                "{} are used outside it: the CUDA context, libraries, NCCL, other processes.",
                units::bytes(outside)
            ),
            outside,
            Certainty::UpperBound,
        ));
    }
}
