//! The cells of one row, as text.

use profiler_core::replay::{AllocationId, NEVER, Origin};
use profiler_core::units;

use crate::ask::Subject;
use crate::narrow::Column;
use crate::prepare::site_label;

/// What `column` says of `id`. Text from the file may be in it: a stranger's.
#[must_use]
pub fn cell(subject: &Subject, id: AllocationId, column: Column) -> String {
    let Some(replay) = subject.replay() else {
        return String::new();
    };
    let block = replay.allocations.get(id);
    let known = subject.document.attribution.devices.get(subject.device);
    match column {
        Column::Address => format!("{:#x}", block.address),
        Column::Size => units::bytes(block.requested),
        Column::Block => units::bytes(block.block_size),
        Column::Born => match block.origin {
            Origin::Recorded => units::count(u64::from(block.born)),
            Origin::BeforeRecording => "before".to_owned(),
            Origin::AfterRecording => "after".to_owned(),
        },
        Column::Died if block.died == NEVER => "–".to_owned(),
        Column::Died => units::count(u64::from(block.died)),
        Column::Lifetime if block.died == NEVER => "never freed".to_owned(),
        Column::Lifetime => units::count(u64::from(block.died.saturating_sub(block.born))),
        Column::Stream => block.stream.0.to_string(),
        Column::Category => known.map_or_else(String::new, |known| {
            known.category(id).0.name().replace('_', " ")
        }),
        Column::Layer => known.map_or_else(String::new, |known| {
            subject.document.attribution.layers.path(known.layer(id).0)
        }),
        Column::Site => site_label(&subject.document, block.stack),
    }
}
