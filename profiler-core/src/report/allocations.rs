//! The kept allocations as the page's columns.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::attribution::DeviceAttribution;
use crate::replay::{AllocationId, DeviceReplay, NEVER};
use crate::snapshot::StringId;

use super::columns::{deltas, exact};
use super::labels::{category_row, evidence_letter};
use super::page_data::PageData;

/// Kept allocations, one row each, in order of birth.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AllocationColumns {
    /// Moments of birth, as differences.
    born: Vec<i64>,
    /// Moments from birth to death; −1 if live at the end.
    life: Vec<i64>,
    /// Rows and moments of those that waited for another stream before they died.
    waiting: Vec<(u32, u32)>,
    /// Requested bytes.
    size: Vec<u64>,
    /// What the block has beyond the request.
    extra: Vec<u64>,
    /// Stack nodes.
    stack: Vec<u32>,
    /// Layer rows.
    layer: Vec<u32>,
    /// Letters for how the layer is known.
    layer_known: String,
    /// Digits: category rows.
    category: String,
    /// Letters for how the category is known.
    category_known: String,
    /// Rows of `addresses`.
    address: Vec<u32>,
    /// Each address once, hexadecimal.
    addresses: Vec<String>,
    /// How many allocations had the address before.
    use_index: Vec<u32>,
    /// Rows and streams of those not on the default stream.
    streams: Vec<(u32, i64)>,
    /// Rows and pools of those not in the default pool.
    pools: Vec<(u32, (u64, u64))>,
    /// Rows and text rows of metadata, recorded annotations included.
    metadata: Vec<(u32, u32)>,
    /// How many rows from the start were live before recording began.
    before_recording: u32,
}

/// The columns of `ids`, which are in order of birth.
pub(super) fn allocation_columns(
    page: &mut PageData<'_>,
    replay: &DeviceReplay,
    device: Option<&DeviceAttribution>,
    ids: &[AllocationId],
) -> AllocationColumns {
    let snapshot = page.labels.snapshot;
    let mut columns = AllocationColumns::default();
    let mut addresses: HashMap<u64, u32, FixedState> = HashMap::default();
    let mut born = Vec::with_capacity(ids.len());
    for (row, &id) in ids.iter().enumerate() {
        let row = row as u32;
        let allocation = replay.allocations.get(id);
        born.push(u64::from(allocation.born));
        let lives_on = allocation.died == NEVER;
        let life = i64::from(allocation.died) - i64::from(allocation.born);
        columns.life.push(if lives_on { -1 } else { life });
        if allocation.free_requested < allocation.died && allocation.free_requested != NEVER {
            columns.waiting.push((row, allocation.free_requested));
        }
        columns.size.push(exact(allocation.requested));
        columns.extra.push(exact(
            allocation.block_size.saturating_sub(allocation.requested),
        ));
        columns.stack.push(page.stack(allocation.stack));
        let label = page.labels.of(device, id);
        columns.layer.push(page.layer(label.layer));
        columns.layer_known.push(evidence_letter(label.layer_known));
        let digit = char::from_digit(category_row(label.category), 10);
        columns.category.push(digit.unwrap_or('0'));
        columns
            .category_known
            .push(evidence_letter(label.category_known));
        let next = addresses.len() as u32;
        let address = *addresses.entry(allocation.address).or_insert_with(|| {
            columns.addresses.push(format!("{:x}", allocation.address));
            next
        });
        columns.address.push(address);
        columns.use_index.push(allocation.use_index);
        let stream = snapshot.streams.pointer(allocation.stream);
        if stream != 0 {
            columns.streams.push((row, stream));
        }
        let pool = snapshot.pools.id(allocation.pool);
        if pool != (0, 0) {
            columns.pools.push((row, pool));
        }
        if let Some(text) = metadata(page, replay, device, id) {
            columns.metadata.push((row, text));
        }
        columns.before_recording += u32::from(allocation.born == 0);
    }
    columns.born = deltas(born);
    columns
}

/// What the program said of an allocation: its annotation, else its `user_metadata`.
fn metadata(
    page: &mut PageData<'_>,
    replay: &DeviceReplay,
    device: Option<&DeviceAttribution>,
    id: AllocationId,
) -> Option<u32> {
    let snapshot = page.labels.snapshot;
    let annotated = device.and_then(|device| device.annotation(id));
    let recorded = || {
        let event = replay.allocations.get(id).alloc_event()?;
        let trace = snapshot.trace(replay.device)?;
        Some(trace.events.user_metadata(event as usize))
    };
    let text = annotated
        .or_else(recorded)
        .filter(|&text| text != StringId::EMPTY)?;
    Some(page.texts.text(snapshot.strings.get(text)))
}

impl AllocationColumns {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.size.len()
    }
}
