//! Points between events: what the state was after the first so many of them.

/// The state after the first `n` events of a device: 0 is before the first event, the number of
/// events is the final state. Event row `r` leads from moment `r` to moment `r + 1`.
pub type Moment = u32;

/// A moment that does not come: what is live at the end of the recording has died at `NEVER`.
pub const NEVER: Moment = u32::MAX;
