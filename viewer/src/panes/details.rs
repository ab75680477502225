//! Everything known of the chosen allocation.

use egui::{CollapsingHeader, Grid, ScrollArea, Ui};
use profiler_core::attribution::{DeviceAttribution, Evidence, frame_label};
use profiler_core::replay::{Allocation, AllocationId, NEVER, Origin};
use profiler_core::units;

use crate::ask::{Asked, Subject};
use crate::panes::source::{Source, source_of};
use crate::selection::Selection;

/// The most earlier and later users of an address that are listed.
const MAX_TENANTS: usize = 50;

/// What takes a walk to find out.
struct Found {
    /// Allocations at the same address, in order of birth.
    tenants: Vec<AllocationId>,
    /// Where in those the chosen one is.
    place: usize,
    source: Option<Source>,
}

/// The pane.
pub struct DetailsPane {
    asked: Asked<(Subject, AllocationId), Found>,
    is_raw: bool,
}

impl DetailsPane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let find = |(subject, id): (Subject, AllocationId), _: &dyn Fn() -> bool| {
            let allocations = &subject.replay()?.allocations;
            let block = allocations.get(id);
            let tenants: Vec<AllocationId> = allocations
                .ids()
                .filter(|&id| allocations.get(id).address == block.address)
                .collect();
            let place = tenants.iter().position(|&tenant| tenant == id).unwrap_or(0);
            let source = source_of(&subject.document, block.stack);
            Some(Found {
                tenants,
                place,
                source,
            })
        };
        Self {
            asked: Asked::new(context, "details", find),
            is_raw: false,
        }
    }

    /// Whether something is being worked out for it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_busy()
    }

    /// Shows the pane.
    pub fn ui(&mut self, ui: &mut Ui, subject: &Subject, selection: &mut Selection) {
        let Some(replay) = subject.replay() else {
            return;
        };
        let Some(id) = selection.allocation else {
            ui.weak("Click an allocation in the timeline, the map or the table.");
            return;
        };
        let block = replay.allocations.get(id);
        self.asked.want((subject.clone(), id));
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.heading(units::bytes(block.requested));
            facts_ui(ui, subject, id, &block);
            ui.horizontal(|ui| {
                if ui.button("To birth").clicked() {
                    selection.moment = block.born;
                }
                if block.died != NEVER && ui.button("To death").clicked() {
                    selection.moment = block.died;
                }
            });
            ui.separator();
            self.stack_ui(ui, subject, &block);
            self.found_ui(ui, subject, id, selection);
        });
    }

    fn stack_ui(&mut self, ui: &mut Ui, subject: &Subject, block: &Allocation) {
        let document = &subject.document;
        let snapshot = &document.snapshot;
        ui.horizontal(|ui| {
            ui.strong("Stack");
            ui.selectable_value(&mut self.is_raw, false, "cleaned");
            ui.selectable_value(&mut self.is_raw, true, "as recorded");
            if ui.button("Copy").clicked() {
                ui.ctx().copy_text(self.stack_text(subject, block));
            }
        });
        if block.stack.is_empty() {
            ui.weak("No stack was recorded for it.");
            return;
        }
        if self.is_raw {
            for frame in snapshot.stacks.frames(block.stack) {
                let frame = snapshot.frames.get(frame);
                let (name, file) = (
                    snapshot.strings.get(frame.name),
                    snapshot.strings.get(frame.filename),
                );
                ui.label(format!("{name}\n    {file}:{}", frame.line));
            }
        } else {
            let frames = document
                .attribution
                .clean
                .frames(&snapshot.stacks, block.stack);
            if frames.is_empty() {
                ui.weak("Only frames of the interpreter and the allocator; see as recorded.");
            }
            for frame in frames {
                ui.label(frame_label(snapshot, frame.frame));
            }
        }
    }

    fn stack_text(&self, subject: &Subject, block: &Allocation) -> String {
        let snapshot = &subject.document.snapshot;
        let lines: Vec<String> = if self.is_raw {
            let frames = snapshot
                .stacks
                .frames(block.stack)
                .map(|id| snapshot.frames.get(id));
            frames
                .map(|frame| {
                    let name = snapshot.strings.get(frame.name);
                    format!(
                        "{name} ({}:{})",
                        snapshot.strings.get(frame.filename),
                        frame.line
                    )
                })
                .collect()
        } else {
            let clean = &subject.document.attribution.clean;
            let frames = clean.frames(&snapshot.stacks, block.stack).into_iter();
            frames
                .map(|frame| frame_label(snapshot, frame.frame))
                .collect()
        };
        lines.join("\n")
    }

    fn found_ui(
        &self,
        ui: &mut Ui,
        subject: &Subject,
        id: AllocationId,
        selection: &mut Selection,
    ) {
        let Some(found) = self.asked.answer() else {
            return;
        };
        if found.tenants.get(found.place) != Some(&id) {
            return;
        }
        if let Some(source) = &found.source {
            CollapsingHeader::new(format!("Source: {}", source.path)).show(ui, |ui| {
                for (number, line, is_here) in &source.lines {
                    let text = egui::RichText::new(format!("{number:>5}  {line}")).monospace();
                    ui.label(if *is_here { text.strong() } else { text.weak() });
                }
            });
        }
        let others = found.tenants.len() - 1;
        let title = format!(
            "Users of the address: {} others",
            crate::text::count(others as u64)
        );
        CollapsingHeader::new(title)
            .default_open(false)
            .show(ui, |ui| {
                let from = found.place.saturating_sub(MAX_TENANTS / 2);
                let Some(replay) = subject.replay() else {
                    return;
                };
                for &tenant in found.tenants.iter().skip(from).take(MAX_TENANTS) {
                    let block = replay.allocations.get(tenant);
                    let site = crate::prepare::site_label(&subject.document, block.stack);
                    let text = format!(
                        "{} after {} events: {site}",
                        units::bytes(block.requested),
                        crate::text::count(u64::from(block.born))
                    );
                    if ui.selectable_label(tenant == id, text).clicked() {
                        selection.allocation = Some(tenant);
                        selection.moment = block.born;
                    }
                }
            });
    }
}

/// What is known and how.
fn facts_ui(ui: &mut Ui, subject: &Subject, id: AllocationId, block: &Allocation) {
    let document = &subject.document;
    let clock = subject.prepared().map(|prepared| &prepared.clock);
    let when = |moment: u32| {
        let events = format!("after {} events", crate::text::count(u64::from(moment)));
        match clock.filter(|clock| clock.is_known()) {
            Some(clock) => {
                format!(
                    "{events}, {}",
                    units::duration_us(clock.since_start_us(moment))
                )
            }
            None => events,
        }
    };
    let none = DeviceAttribution::default();
    let known = document
        .attribution
        .devices
        .get(subject.device)
        .unwrap_or(&none);
    let (category, how) = known.category(id);
    let (layer, layer_how) = known.layer(id);
    let told = |text: String, how: Evidence| match how {
        Evidence::Recorded => format!("{text} (recorded)"),
        Evidence::Inferred => format!("{text} (inferred)"),
        Evidence::Unknown => "not known".to_owned(),
    };
    let mut rows: Vec<(&str, String)> = vec![
        ("address", format!("{:#x}", block.address)),
        (
            "requested",
            format!(
                "{} ({} bytes)",
                units::bytes(block.requested),
                block.requested
            ),
        ),
        (
            "block",
            format!(
                "{}, {} more than requested",
                units::bytes(block.block_size),
                units::bytes(block.block_size.saturating_sub(block.requested))
            ),
        ),
        (
            "born",
            match block.origin {
                Origin::Recorded => when(block.born),
                Origin::BeforeRecording => "before recording began".to_owned(),
                Origin::AfterRecording => "after the trace ended".to_owned(),
            },
        ),
        (
            "freed",
            match (block.free_requested, block.died) {
                (_, NEVER) => "not in the recording".to_owned(),
                (requested, died) if requested == NEVER || requested + 1 >= died => when(died),
                (requested, died) => format!("{}; done {}", when(requested), when(died)),
            },
        ),
        ("category", told(category.name().replace('_', " "), how)),
        (
            "layer",
            told(document.attribution.layers.path(layer), layer_how),
        ),
        ("phase", known.phase(id).name().to_owned()),
        ("stream", stream_text(document, block)),
        ("pool", pool_text(document, block)),
        ("segment", block.kind.name().to_owned()),
    ];
    if let Some(step) = known.step(id).and_then(|at| known.steps.steps.get(at)) {
        rows.push(("step", step.number.to_string()));
    }
    let trace = document.snapshot.trace(known.device);
    if let (Some(trace), Some(event)) = (trace, block.alloc_event()) {
        let event = trace.events.get(event as usize);
        let texts = [
            ("metadata", event.user_metadata),
            ("compile context", event.compile_context),
            ("internal", event.internal_metadata),
            ("forward frames", event.forward_frames),
        ];
        for (name, text) in texts {
            let text = document.snapshot.strings.get(text);
            if !text.is_empty() {
                rows.push((name, text.to_owned()));
            }
        }
    }
    if let Some(text) = known.annotation(id) {
        rows.push(("annotation", document.snapshot.strings.get(text).to_owned()));
    }
    Grid::new("facts").num_columns(2).show(ui, |ui| {
        for (name, text) in rows {
            ui.weak(name);
            ui.add(egui::Label::new(text).wrap());
            ui.end_row();
        }
    });
}

fn stream_text(document: &crate::prepare::Document, block: &Allocation) -> String {
    match document.snapshot.streams.pointer(block.stream) {
        0 => "default".to_owned(),
        pointer => format!("{} ({pointer:#x})", block.stream.0),
    }
}

fn pool_text(document: &crate::prepare::Document, block: &Allocation) -> String {
    match document.snapshot.pools.id(block.pool) {
        (0, 0) => "default".to_owned(),
        (a, b) => format!("({a}, {b})"),
    }
}
