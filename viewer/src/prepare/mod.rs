//! What the widgets need beyond the core's replay, computed once per file off the UI thread.

mod axis;
mod document;
mod keys;
mod labels;
mod lanes;
mod mask;
mod pyramid;

pub use axis::{Axis, AxisKind, Clock};
pub use document::{Document, PreparedDevice};
pub use keys::{KeyColumn, KeyEntry, KeyKind};
pub use labels::{Labels, site_label, site_of};
pub use lanes::{Lane, Lanes, Span};
pub use mask::Mask;
pub use pyramid::{Extremes, Pyramid};
