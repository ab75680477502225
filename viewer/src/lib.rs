//! The gpumemprof viewer: widgets for recordings of millions of allocations, and the window made
//! of them.
//!
//! * [`prepare`]: what is computed once per file beyond the core's replay.
//! * [`timeline`], [`memory_map`], [`flame`], [`table`]: the widgets. Each draws at its pane's
//!   resolution in the background, and shows the result with what has an outline or a label.
//! * [`what_if`]: the recorded program under other allocator settings.
//! * [`panes`]: fragmentation, out of memory, details, what the file says of itself.
//! * [`selection`], [`filter`], [`narrow`]: what all of them follow.
//! * [`app`]: the window that links them, a widget itself: [`app::Viewer`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod app;
pub mod ask;
pub mod commands;
pub mod filter;
pub mod flame;
pub mod follow;
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
pub mod text;
pub mod timeline;
pub mod tokens;
#[cfg(target_arch = "wasm32")]
mod web;
pub mod what_if;
mod window;
pub mod worker;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{WindowError, run};
#[cfg(target_arch = "wasm32")]
pub use web::run_in_page;
