//! The gpumemprof viewer.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod app;
pub mod commands;
pub mod filter;
pub mod load;
pub mod narrow;
#[cfg(not(target_arch = "wasm32"))]
mod native;
pub mod panes;
pub mod prepare;
pub mod selection;
pub mod strip;
pub mod timeline;
pub mod tokens;
pub mod worker;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{WindowError, run};
