//! The memory map: every segment with its blocks and gaps at one moment, to scale.

mod layout;
mod raster;

use std::sync::Arc;

use egui::{
    Color32, ColorImage, Rect, Role, Sense, TextureHandle, TextureOptions, Ui, WidgetInfo, pos2,
};
use profiler_core::replay::{AllocationId, BlockUse, Moment};
use profiler_core::units;

use crate::ask::{Asked, Kept, Subject};
use crate::prepare::site_label;
use crate::selection::Selection;
use crate::tokens::Theme;

pub use layout::{Cell, MapLayout};
pub use raster::{Drawn, Question, draw};

/// The pane.
pub struct MapPane {
    asked: Asked<Question, Drawn>,
    texture: Option<TextureHandle>,
}

impl MapPane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let mut keys = None;
        let work = move |question: Question, is_stale: &dyn Fn() -> bool| {
            draw(&question, &mut keys, is_stale)
        };
        Self {
            asked: Asked::new(context, "memory map", work),
            texture: None,
        }
    }

    /// Whether something is being worked out for it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_busy()
    }

    /// Shows the map at the chosen moment; a click chooses the block's allocation.
    pub fn ui(&mut self, ui: &mut Ui, subject: Subject, kept: Kept, selection: &mut Selection) {
        let theme = Theme::of(ui.visuals());
        legend_ui(ui, &theme, self.asked.answer());
        let area = ui.available_rect_before_wrap();
        let response = ui.allocate_rect(area, Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Memory map"));
        let scale = ui.ctx().pixels_per_point();
        let pixels = |points: f32| (points * scale).round().clamp(1.0, 8192.0) as usize;
        let question = Question {
            subject: subject.clone(),
            moment: selection.moment,
            kept,
            keys: selection.keys,
            selected: selection.allocation,
            columns: pixels(area.width()),
            rows: pixels(area.height()),
            theme,
        };
        if self.asked.want(question)
            && let Some(drawn) = self.asked.answer()
        {
            upload(ui.ctx(), &mut self.texture, &drawn.image);
        }
        ui.painter().rect_filled(area, 0.0, theme.canvas);
        let Some((drawn, texture)) = self.asked.answer().zip(self.texture.as_ref()) else {
            return;
        };
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        ui.painter()
            .image(texture.id(), area, whole, Color32::WHITE);
        let Some(at) = response.hover_pos() else {
            return;
        };
        let share = |at: f32, from: f32, size: f32, count: usize| {
            ((at - from) / size.max(1.0) * count as f32).max(0.0) as usize
        };
        let column = share(at.x, area.left(), area.width(), drawn.columns);
        let row = share(at.y, area.top(), area.height(), drawn.rows);
        let Some(cell) = drawn.cell_at(column, row) else {
            return;
        };
        if response.clicked()
            && let BlockUse::Allocated(id) | BlockUse::Pending(id) = cell.used_by
        {
            selection.allocation = Some(id);
        }
        let moment = drawn.moment;
        let cells = &drawn.layout.cells;
        let number = drawn.number_at(column, row);
        response.on_hover_ui_at_pointer(|ui| {
            hover_ui(ui, &subject, cell, moment);
            neighbours_ui(ui, &subject, cells, number);
        });
    }
}

fn upload(context: &egui::Context, texture: &mut Option<TextureHandle>, image: &Arc<ColorImage>) {
    let image = egui::ImageData::Color(Arc::clone(image));
    match texture {
        Some(texture) => texture.set(image, TextureOptions::NEAREST),
        None => *texture = Some(context.load_texture("memory map", image, TextureOptions::NEAREST)),
    }
}

fn legend_ui(ui: &mut Ui, theme: &Theme, drawn: Option<&Drawn>) {
    ui.horizontal_wrapped(|ui| {
        let sums = drawn.map(|drawn| drawn.layout.sums).unwrap_or_default();
        for (color, text, bytes) in [
            (
                theme.split_free,
                "free between live blocks",
                sums.split_free,
            ),
            (theme.stream_free, "free, other stream", sums.stream_free),
            (theme.pool_free, "free, private pool", sums.pool_free),
            (
                theme.whole_free,
                "free segment, can be returned",
                sums.whole_free,
            ),
            (theme.rounding, "rounding and slack", sums.rounding),
            (theme.pending, "freed, waiting for a stream", sums.pending),
        ] {
            let (rect, _) = ui.allocate_exact_size(egui::vec2(12.0, 12.0), Sense::hover());
            ui.painter().rect_filled(rect, 2.0, color);
            ui.label(format!("{text}: {}", units::bytes(bytes)));
        }
    });
}

/// What a block or gap is, in words.
fn hover_ui(ui: &mut Ui, subject: &Subject, cell: &Cell, moment: Moment) {
    let Some(replay) = subject.replay() else {
        return;
    };
    let segment = &cell.segment;
    match cell.used_by {
        BlockUse::Free => {
            ui.strong(format!(
                "{} free at {:#x}",
                units::bytes(cell.size),
                cell.address
            ));
            ui.label(cell.free.why());
        }
        BlockUse::Allocated(id) | BlockUse::Pending(id) => {
            let block = replay.allocations.get(id);
            ui.strong(format!(
                "{} at {:#x}",
                units::bytes(block.requested),
                cell.address
            ));
            ui.label(site_label(&subject.document, block.stack));
            let age = u64::from(moment.saturating_sub(block.born));
            let age = crate::text::count(age);
            ui.label(format!(
                "block of {}, {age} events old",
                units::bytes(cell.size)
            ));
            if matches!(cell.used_by, BlockUse::Pending(_)) {
                ui.label("freed; another stream may still use it");
            }
        }
    }
    let kind = if segment.is_expandable {
        "expandable segment"
    } else {
        "segment"
    };
    ui.weak(format!(
        "{} {kind} of {} at {:#x}, stream {}",
        segment.kind.name(),
        units::bytes(segment.size),
        segment.address,
        segment.stream.0,
    ));
}

fn neighbours_ui(ui: &mut Ui, subject: &Subject, cells: &[Cell], number: Option<usize>) {
    let Some(number) = number else { return };
    let Some(here) = cells.get(number) else {
        return;
    };
    let neighbour = |at: Option<usize>| {
        at.and_then(|at| cells.get(at))
            .filter(|cell| cell.segment.address == here.segment.address)
    };
    let sides = [
        ("before", neighbour(number.checked_sub(1))),
        ("after", neighbour(Some(number + 1))),
    ];
    for (side, cell) in sides {
        let text = match cell.map(|cell| (cell.size, cell.used_by)) {
            None => "the segment's edge".to_owned(),
            Some((size, BlockUse::Free)) => format!("{} free", units::bytes(size)),
            Some((size, BlockUse::Allocated(id) | BlockUse::Pending(id))) => {
                format!("{}, {}", units::bytes(size), neighbour_site(subject, id))
            }
        };
        ui.weak(format!("{side}: {text}"));
    }
}

fn neighbour_site(subject: &Subject, id: AllocationId) -> String {
    let stack = subject
        .replay()
        .map(|replay| replay.allocations.get(id).stack);
    stack.map_or_else(String::new, |stack| site_label(&subject.document, stack))
}
