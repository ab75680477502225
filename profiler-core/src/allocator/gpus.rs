//! Memory of common GPUs.

use serde::Serialize;

use super::settings::MIB;

/// A GPU by the name the command line takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// For example `a100-40gb`.
    pub name: &'static str,
    /// Its memory in bytes as `nvidia-smi` shows it. The driver keeps a little of that, and each
    /// process's CUDA context a few hundred MiB.
    pub total_bytes: u64,
}

const fn gpu(name: &'static str, mib: u64) -> Gpu {
    Gpu {
        name,
        total_bytes: mib * MIB,
    }
}

/// Common NVIDIA GPUs, smallest first; memory in MiB from the `nvidia-smi` output of each board
/// (data-centre boards with ECC on).
pub const GPUS: [Gpu; 17] = [
    gpu("rtx3060-12gb", 12_288),
    gpu("rtx4070-12gb", 12_282),
    gpu("t4-16gb", 15_360),
    gpu("rtx4080-16gb", 16_376),
    gpu("v100-16gb", 16_384),
    gpu("a10g-24gb", 23_028),
    gpu("l4-24gb", 23_034),
    gpu("rtx4090-24gb", 24_564),
    gpu("rtx3090-24gb", 24_576),
    gpu("rtx5090-32gb", 32_607),
    gpu("v100-32gb", 32_768),
    gpu("a100-40gb", 40_960),
    gpu("l40s-48gb", 46_068),
    gpu("h100-80gb", 81_559),
    gpu("a100-80gb", 81_920),
    gpu("h200-141gb", 143_771),
    gpu("b200-192gb", 183_359),
];

/// The GPU called `name`, with or without its memory: `a100-40gb`, `L4`. None if there is none,
/// or several.
#[must_use]
pub fn find_gpu(name: &str) -> Option<Gpu> {
    let name = name.trim().to_ascii_lowercase();
    if let Some(gpu) = GPUS.iter().find(|gpu| gpu.name == name) {
        return Some(*gpu);
    }
    let mut named = GPUS.iter().filter(|gpu| {
        gpu.name
            .split_once('-')
            .is_some_and(|(model, _)| model == name)
    });
    let first = named.next()?;
    named.next().is_none().then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert_eq!(
            find_gpu("a100-40gb").map(|gpu| gpu.total_bytes),
            Some(40_960 * MIB)
        );
        assert_eq!(find_gpu("L4").map(|gpu| gpu.name), Some("l4-24gb"));
        assert_eq!(find_gpu("a100"), None);
        assert_eq!(find_gpu("abacus"), None);
    }
}
