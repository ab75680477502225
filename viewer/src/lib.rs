//! The gpumemprof viewer.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod app;
pub mod ask;
pub mod commands;
pub mod filter;
pub mod flame;
pub mod load;
pub mod memory_map;
pub mod narrow;
#[cfg(not(target_arch = "wasm32"))]
mod native;
pub mod panes;
pub mod prepare;
pub mod selection;
pub mod strip;
pub mod table;
pub mod timeline;
pub mod tokens;
pub mod worker;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{WindowError, run};
