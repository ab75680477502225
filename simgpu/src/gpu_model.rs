//! The GPUs that can be simulated, with the figures of their public data sheets.

/// Properties of a GPU model.
///
/// Sources: NVIDIA's architecture white papers and data sheets (A100, H100, H200, L4, Ada), the
/// compute-capability tables of the CUDA C++ Programming Guide, and, for `memory_mib`, the total
/// that `nvidia-smi` shows on such a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GpuModel {
    /// What the user types.
    pub(crate) key: &'static str,
    /// The marketing name as the driver reports it.
    pub(crate) name: &'static str,
    /// Compute capability.
    pub(crate) major: i32,
    /// Compute capability, minor part.
    pub(crate) minor: i32,
    /// Streaming multiprocessors.
    pub(crate) multiprocessors: i32,
    /// Resident threads per multiprocessor.
    pub(crate) threads_per_multiprocessor: i32,
    /// Resident blocks per multiprocessor.
    pub(crate) blocks_per_multiprocessor: i32,
    /// Shared memory per multiprocessor, KiB.
    pub(crate) shared_kib: usize,
    /// Largest shared memory one block may ask for, KiB.
    pub(crate) shared_per_block_kib: usize,
    /// L2 cache, MiB.
    pub(crate) l2_mib: i32,
    /// Highest SM clock, MHz.
    pub(crate) clock_mhz: i32,
    /// Memory clock, MHz.
    pub(crate) memory_clock_mhz: i32,
    /// Memory bus width, bits.
    pub(crate) bus_bits: i32,
    /// Total memory, MiB.
    pub(crate) memory_mib: u64,
    /// Board power limit, watts.
    pub(crate) power_limit_w: u32,
    /// PCI device id (the vendor is 0x10DE).
    pub(crate) pci_device: u32,
    /// ECC on the device memory.
    pub(crate) ecc: bool,
    /// Can be split by MIG.
    pub(crate) mig: bool,
}

const A100_40: GpuModel = GpuModel {
    key: "a100-40",
    name: "NVIDIA A100-SXM4-40GB",
    major: 8,
    minor: 0,
    multiprocessors: 108,
    threads_per_multiprocessor: 2048,
    blocks_per_multiprocessor: 32,
    shared_kib: 164,
    shared_per_block_kib: 163,
    l2_mib: 40,
    clock_mhz: 1410,
    memory_clock_mhz: 1215,
    bus_bits: 5120,
    memory_mib: 40_960,
    power_limit_w: 400,
    pci_device: 0x20B0,
    ecc: true,
    mig: true,
};

const H100: GpuModel = GpuModel {
    key: "h100",
    name: "NVIDIA H100 80GB HBM3",
    major: 9,
    minor: 0,
    multiprocessors: 132,
    threads_per_multiprocessor: 2048,
    blocks_per_multiprocessor: 32,
    shared_kib: 228,
    shared_per_block_kib: 227,
    l2_mib: 50,
    clock_mhz: 1980,
    memory_clock_mhz: 2619,
    bus_bits: 5120,
    memory_mib: 81_559,
    power_limit_w: 700,
    pci_device: 0x2330,
    ecc: true,
    mig: true,
};

const L4: GpuModel = GpuModel {
    key: "l4",
    name: "NVIDIA L4",
    major: 8,
    minor: 9,
    multiprocessors: 58,
    threads_per_multiprocessor: 1536,
    blocks_per_multiprocessor: 24,
    shared_kib: 100,
    shared_per_block_kib: 99,
    l2_mib: 48,
    clock_mhz: 2040,
    memory_clock_mhz: 6251,
    bus_bits: 192,
    memory_mib: 23_034,
    power_limit_w: 72,
    pci_device: 0x27B8,
    ecc: true,
    mig: false,
};

/// Every model, by key.
pub(crate) const MODELS: [GpuModel; 6] = [
    A100_40,
    GpuModel {
        key: "a100-80",
        name: "NVIDIA A100-SXM4-80GB",
        memory_clock_mhz: 1593,
        memory_mib: 81_920,
        pci_device: 0x20B2,
        ..A100_40
    },
    H100,
    GpuModel {
        key: "h200",
        name: "NVIDIA H200",
        memory_clock_mhz: 3201,
        bus_bits: 6144,
        memory_mib: 143_771,
        pci_device: 0x2335,
        ..H100
    },
    L4,
    GpuModel {
        key: "rtx4090",
        name: "NVIDIA GeForce RTX 4090",
        multiprocessors: 128,
        l2_mib: 72,
        clock_mhz: 3105,
        memory_clock_mhz: 10_501,
        bus_bits: 384,
        memory_mib: 24_564,
        power_limit_w: 450,
        pci_device: 0x2684,
        ecc: false,
        ..L4
    },
];

/// The model used when none is asked for.
pub(crate) const DEFAULT_MODEL: GpuModel = H100;

/// The model with this key, letter case ignored.
pub(crate) fn find(key: &str) -> Option<GpuModel> {
    MODELS
        .into_iter()
        .find(|model| model.key.eq_ignore_ascii_case(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_found() {
        for model in MODELS {
            assert_eq!(find(&model.key.to_uppercase()), Some(model));
        }
        assert_eq!(find("voodoo2"), None);
    }
}
