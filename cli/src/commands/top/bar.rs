//! A device's memory as a bar: who holds which share.

use device_watch::status::DeviceStatus;

/// The parts of a device's memory, in bytes. They add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Blocks that recorded PyTorch allocators handed out.
    pub(super) allocated: u64,
    /// What they reserved beyond that.
    pub(super) cached: u64,
    /// Held by anything else: contexts, libraries, processes that are not recorded, the driver.
    pub(super) other: u64,
    /// Left for programs.
    pub(super) free: u64,
}

/// A character for each part, so that colours are not needed to tell them apart.
pub(super) const MARKS: [char; 4] = ['█', '▓', '░', '·'];

impl Parts {
    /// Of one board; None where NVML does not say how much it has and how much is free.
    pub(super) fn of(device: &DeviceStatus) -> Option<Self> {
        let memory = &device.now.memory;
        let (total, free) = (memory.total_bytes?, memory.free_bytes?);
        let free = free.min(total);
        let used = total - free;
        let recorded = device.processes.iter().flatten();
        let recorded = recorded.filter_map(|process| process.pytorch.as_ref());
        let (mut allocated, mut reserved) = (0_u64, 0_u64);
        for one in recorded {
            allocated = allocated.saturating_add(one.counters.allocated_bytes);
            reserved = reserved.saturating_add(one.counters.reserved_bytes);
        }
        // The counters are a moment older than the board's figures: they cannot exceed them.
        let reserved = reserved.min(used);
        let allocated = allocated.min(reserved);
        Some(Self {
            allocated,
            cached: reserved - allocated,
            other: used - reserved,
            free,
        })
    }

    fn all(self) -> [u64; 4] {
        [self.allocated, self.cached, self.other, self.free]
    }

    /// How many of `width` cells each part gets: the cells add up to `width`, and a border between
    /// two parts is in the cell it falls into.
    pub(super) fn cells(self, width: usize) -> [usize; 4] {
        let total: u128 = self.all().iter().map(|&part| u128::from(part)).sum();
        let mut cells = [0; 4];
        if total == 0 {
            cells[3] = width;
            return cells;
        }
        let (mut sum, mut done) = (0_u128, 0);
        for (cell, part) in cells.iter_mut().zip(self.all()) {
            sum += u128::from(part);
            let upto = (sum * width as u128 + total / 2) / total;
            let upto = usize::try_from(upto).unwrap_or(width).min(width);
            *cell = upto - done;
            done = upto;
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_watch::board::MemorySample;
    use device_watch::pulse::PulseDevice;
    use device_watch::status::{BoardFigures, ProcessStatus, PytorchStatus};
    use proptest::prelude::*;

    fn device(free: Option<u64>, allocated: u64, reserved: u64) -> DeviceStatus {
        let pytorch = PytorchStatus {
            counters: PulseDevice {
                allocated_bytes: allocated,
                reserved_bytes: reserved,
                ..PulseDevice::default()
            },
            ..PytorchStatus::default()
        };
        DeviceStatus {
            now: BoardFigures {
                memory: MemorySample {
                    total_bytes: Some(100),
                    free_bytes: free,
                    ..MemorySample::default()
                },
                ..BoardFigures::default()
            },
            processes: Some(vec![ProcessStatus {
                pytorch: Some(pytorch),
                ..ProcessStatus::default()
            }]),
            ..DeviceStatus::default()
        }
    }

    #[test]
    fn parts_add_up() {
        let parts = Parts::of(&device(Some(40), 30, 45)).unwrap();
        assert_eq!(parts.all(), [30, 15, 15, 40]);
        assert_eq!(parts.cells(20), [6, 3, 3, 8]);
        assert_eq!(Parts::of(&device(None, 30, 45)), None);
        // Counters that are newer or older than the board's figures.
        assert_eq!(
            Parts::of(&device(Some(60), 30, 45)).unwrap().all(),
            [30, 10, 0, 60]
        );
        assert_eq!(Parts::default().cells(7), [0, 0, 0, 7]);
    }

    proptest! {
        #[test]
        fn cells_fill_the_bar(parts in any::<[u64; 4]>(), width in 0_usize..300) {
            let [allocated, cached, other, free] = parts;
            let cells = Parts { allocated, cached, other, free }.cells(width);
            prop_assert_eq!(cells.iter().sum::<usize>(), width);
        }
    }
}
