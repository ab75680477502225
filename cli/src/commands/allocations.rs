//! `gpumemprof allocations FILE`: single allocations, sorted and filtered.

use profiler_core::attribution::{Attribution, DeviceAttribution, frame_label};
use profiler_core::replay::{Allocation, AllocationId, DeviceReplay, NEVER};
use profiler_core::snapshot::Snapshot;
use profiler_core::units;
use serde::Serialize;

use crate::args::{AllocationsArguments, AllocationsBy};
use crate::output::{Align, JsonWarning};
use crate::{CommandError, input, moment, output};

/// The JSON form, schema `gpumemprof.allocations/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: String,
    device: i32,
    /// How many allocations passed the filters; those listed may be fewer.
    matching: usize,
    matching_requested_bytes: u64,
    /// How many are listed.
    listed: usize,
    allocations: Vec<Row>,
    warnings: Vec<JsonWarning<'a>>,
}

/// One allocation.
#[derive(Serialize)]
struct Row {
    /// The address in hexadecimal and how many allocations had it before.
    id: String,
    address: u64,
    requested_bytes: u64,
    block_bytes: u64,
    /// Row of its `alloc` event; null if it was made before recording.
    alloc_event: Option<u32>,
    /// Row of its `free_completed` event; null if it was live at the end.
    free_event: Option<u32>,
    stream: i64,
    pool: (u64, u64),
    layer: String,
    layer_evidence: &'static str,
    category: &'static str,
    category_evidence: &'static str,
    metadata: String,
    /// The cleaned stack, innermost first.
    stack: Vec<String>,
}

/// Prints the list.
pub(super) fn run(arguments: &AllocationsArguments) -> Result<(), CommandError> {
    let (snapshot, replay) = input::load(&arguments.input)?;
    let device = input::pick_device(&replay, arguments.device)?;
    let live_at = arguments.live_at.as_deref();
    let live_at = live_at
        .map(|text| moment::parse(text, &snapshot, device))
        .transpose()?;
    let attribution = Attribution::new(&snapshot, &replay);
    let nothing = DeviceAttribution::default();
    let list = List {
        snapshot: &snapshot,
        replay: device,
        attribution: &attribution,
        device: attribution.device(device.device).unwrap_or(&nothing),
    };

    let candidates = match live_at {
        Some(moment) => device.live_at(moment),
        None => device.allocations.ids().collect(),
    };
    let mut ids: Vec<AllocationId> = candidates
        .into_iter()
        .filter(|&id| {
            let big = arguments
                .min_size
                .is_none_or(|min| list.get(id).requested >= min);
            big && arguments
                .filter
                .as_deref()
                .is_none_or(|text| list.matches(id, text))
        })
        .collect();
    sort(&mut ids, arguments.sort, device);
    let matching = ids.len();
    let bytes = ids
        .iter()
        .map(|&id| list.get(id).requested)
        .fold(0, u64::saturating_add);
    ids.truncate(output::row_limit(arguments.limit));
    if arguments.json {
        return output::json(&Report {
            schema: "gpumemprof.allocations/1",
            file: arguments.input.file.display().to_string(),
            device: device.device.0,
            matching,
            matching_requested_bytes: bytes,
            listed: ids.len(),
            allocations: ids.iter().map(|&id| list.row(id)).collect(),
            warnings: output::json_warnings(&snapshot, &replay.warnings),
        });
    }
    output::warn(&[&snapshot.warnings, &replay.warnings]);
    output::heading(&format!(
        "{}  {}: {} found, {} requested",
        arguments.input.file.display(),
        input::device_words(device.device),
        units::counted(matching as u64, "allocation", "allocations"),
        units::bytes(bytes)
    ))?;
    list.print(&ids)?;
    let more = (matching - ids.len()) as u64;
    if more > 0 {
        output::line(&format!("({} more; -n 0 shows all)", units::count(more)))?;
    }
    Ok(())
}

/// Sorts by `by`; equals by age, so that the order is always the same.
fn sort(ids: &mut [AllocationId], by: AllocationsBy, replay: &DeviceReplay) {
    let get = |id: &AllocationId| replay.allocations.get(*id);
    match by {
        AllocationsBy::Size => {
            ids.sort_by_cached_key(|id| (std::cmp::Reverse(get(id).requested), *id));
        }
        AllocationsBy::Lifetime => ids.sort_by_cached_key(|id| {
            let allocation = get(id);
            let end = allocation.died.min(replay.event_count().saturating_add(1));
            (std::cmp::Reverse(end.saturating_sub(allocation.born)), *id)
        }),
        AllocationsBy::Born => ids.sort_unstable(),
        AllocationsBy::Address => ids.sort_by_cached_key(|id| (get(id).address, *id)),
    }
}

struct List<'a> {
    snapshot: &'a Snapshot,
    replay: &'a DeviceReplay,
    attribution: &'a Attribution,
    device: &'a DeviceAttribution,
}

impl List<'_> {
    fn get(&self, id: AllocationId) -> Allocation {
        self.replay.allocations.get(id)
    }

    fn stack(&self, allocation: &Allocation) -> impl Iterator<Item = String> {
        let clean = self.attribution.clean.of(allocation.stack);
        let frames = self.attribution.clean.clean_frames(clean);
        frames.map(|frame| frame_label(self.snapshot, frame))
    }

    fn layer(&self, id: AllocationId) -> String {
        self.attribution.layers.path(self.device.layer(id).0)
    }

    fn metadata(&self, allocation: &Allocation) -> &str {
        let event = allocation.alloc_event();
        let text = event.and_then(|event| {
            let trace = self.snapshot.trace(self.replay.device)?;
            Some(trace.events.user_metadata(event as usize))
        });
        text.map_or("", |text| self.snapshot.strings.get(text))
    }

    fn matches(&self, id: AllocationId, text: &str) -> bool {
        let allocation = self.get(id);
        self.layer(id).contains(text)
            || self.device.category(id).0.name().contains(text)
            || self.metadata(&allocation).contains(text)
            || format!("0x{:x}", allocation.address).contains(text)
            || self.stack(&allocation).any(|frame| frame.contains(text))
    }

    fn row(&self, id: AllocationId) -> Row {
        let allocation = self.get(id);
        let (_, layer_evidence) = self.device.layer(id);
        let (category, category_evidence) = self.device.category(id);
        Row {
            id: format!("0x{:x}_{}", allocation.address, allocation.use_index),
            address: allocation.address,
            requested_bytes: allocation.requested,
            block_bytes: allocation.block_size,
            alloc_event: allocation.alloc_event(),
            free_event: allocation.free_event(),
            stream: self.snapshot.streams.pointer(allocation.stream),
            pool: self.snapshot.pools.id(allocation.pool),
            layer: self.layer(id),
            layer_evidence: layer_evidence.name(),
            category: category.name(),
            category_evidence: category_evidence.name(),
            metadata: self.metadata(&allocation).to_owned(),
            stack: self.stack(&allocation).collect(),
        }
    }

    fn print(&self, ids: &[AllocationId]) -> Result<(), CommandError> {
        let columns = [
            ("requested", Align::Right),
            ("alloc", Align::Right),
            ("free", Align::Right),
            ("address", Align::Whole),
            ("category", Align::Short),
            ("layer", Align::Short),
            ("allocated at", Align::Short),
        ];
        let row = |&id: &AllocationId| {
            let allocation = self.get(id);
            let event = |row: Option<u32>, none: &str| {
                row.map_or(none.to_owned(), |row| units::count(u64::from(row)))
            };
            let freed = if allocation.died == NEVER {
                "live"
            } else {
                "end"
            };
            vec![
                units::bytes(allocation.requested),
                event(allocation.alloc_event(), "before"),
                event(allocation.free_event().filter(|_| freed != "live"), freed),
                format!("0x{:x}", allocation.address),
                self.device.category(id).0.name().to_owned(),
                self.layer(id),
                self.stack(&allocation).next().unwrap_or_default(),
            ]
        };
        output::table(&columns, ids.iter().map(row).collect())
    }
}
