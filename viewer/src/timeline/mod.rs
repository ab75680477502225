//! The timeline: every allocation as its band over time.
//!
//! [`draw`] makes the picture, [`Track`] has it drawn in the background, [`timeline_ui`] shows it.

mod columns;
mod geometry;
mod lanes;
mod minimap;
mod overlay;
mod pane;
mod raster;
mod stack;
mod sweep;
mod ticks;
mod track;
mod view;

pub use geometry::Geometry;
pub use pane::{Hover, axis_length, timeline_ui};
pub use raster::{Frame, Picture, Source, draw};
pub use sweep::{Live, Sweep};
pub use ticks::{binary_step, bytes_label, decimal_step, marks, time_label};
pub use track::{Drawn, Request, Track};
pub use view::View;
