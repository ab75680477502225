//! Numbers about a replayed recording: fragmentation, utilisation, free memory.

mod curves;
mod fragmentation;
mod free_blocks;
mod outside;

pub use curves::{Curves, Part, over_time};
pub use fragmentation::{
    Fragmentation, FragmentationHistory, Utilisation, fragmentation_at, ratio,
};
pub use free_blocks::{FreeClass, FreeMemory, free_memory};
pub use outside::{Outside, OutsidePoint};
