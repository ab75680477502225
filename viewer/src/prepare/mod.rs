//! What the widgets need beyond the core's replay, computed once per file off the UI thread.

mod axis;
mod device;
mod document;
mod keys;
mod labels;
mod lanes;
mod mask;
mod pyramid;

pub use axis::{Axis, AxisKind, Clock};
pub use device::PreparedDevice;
pub use document::Document;
pub use keys::{KeyColumn, KeyEntry, KeyKind};
pub use labels::{Labels, site_label, site_of};
pub use lanes::{Lane, Lanes, Span};
pub use mask::Mask;
pub use pyramid::{Extremes, Pyramid};

/// Does `a` and `b`, side by side where there are threads.
pub(crate) fn both<A: Send, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        std::thread::scope(|scope| {
            let a = scope.spawn(a);
            let b = b();
            match a.join() {
                Ok(a) => (a, b),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
    #[cfg(target_arch = "wasm32")]
    {
        (a(), b())
    }
}
