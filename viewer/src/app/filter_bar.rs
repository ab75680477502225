//! The line with the filter: its text, and what else narrows the panes.

use egui::{Key, Popup, Ui};
use profiler_core::attribution::Category;
use profiler_core::attribution::{CleanStackId, frame_label};
use profiler_core::units;

use crate::filter::Filter;

use super::Viewer;

/// The texts being written.
#[derive(Default)]
pub(super) struct FilterText {
    /// Puts the keyboard there in the next frame.
    pub(super) wants_focus: bool,
    min_bytes: String,
    max_bytes: String,
    min_events: String,
    max_events: String,
}

impl Viewer {
    /// The filter's text, its menu, and a button for each thing that narrows.
    pub(super) fn filter_ui(&mut self, ui: &mut Ui) {
        let edit = egui::TextEdit::singleline(&mut self.selection.filter.text)
            .hint_text("Filter: code, layer, 0x…")
            .desired_width(170.0);
        let response = ui.add(edit);
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, "Filter"));
        if std::mem::take(&mut self.filter_text.wants_focus) {
            response.request_focus();
        }
        if response.has_focus() && ui.input(|input| input.key_pressed(Key::Escape)) {
            response.surrender_focus();
        }
        let button = ui.button("More…");
        Popup::menu(&button)
            .close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside)
            .show(|ui| self.menu_ui(ui));
        self.chips_ui(ui);
    }

    fn menu_ui(&mut self, ui: &mut Ui) {
        ui.set_min_width(300.0);
        let moment = self.selection.moment;
        let range = self.selection.range;
        let filter = &mut self.selection.filter;
        let text = &mut self.filter_text;
        egui::Grid::new("filter menu")
            .num_columns(2)
            .show(ui, |ui| {
                let number = |ui: &mut Ui, name: &str, text: &mut String, hint: &str| {
                    let label = ui.label(name);
                    ui.add(
                        egui::TextEdit::singleline(text)
                            .hint_text(hint)
                            .desired_width(110.0),
                    )
                    .labelled_by(label.id);
                    ui.end_row();
                };
                number(ui, "At least", &mut text.min_bytes, "1 MiB");
                number(ui, "At most", &mut text.max_bytes, "20 MiB");
                number(ui, "Lives at least (events)", &mut text.min_events, "100");
                number(ui, "Lives at most (events)", &mut text.max_events, "1000");
                filter.min_bytes = units::parse_bytes(&text.min_bytes);
                filter.max_bytes = units::parse_bytes(&text.max_bytes);
                filter.min_events = text.min_events.trim().parse().ok();
                filter.max_events = text.max_events.trim().parse().ok();
                ui.label("Category");
                let chosen = filter.category.and_then(|at| Category::ALL.get(at));
                egui::ComboBox::from_id_salt("category")
                    .selected_text(chosen.map_or("any", |category| category.name()))
                    .show_ui(ui, |ui| {
                        ui.selectable_value(&mut filter.category, None, "any");
                        for (at, category) in Category::ALL.into_iter().enumerate() {
                            ui.selectable_value(&mut filter.category, Some(at), category.name());
                        }
                    });
                ui.end_row();
                for (name, slot) in [("Stream", &mut filter.stream), ("Pool", &mut filter.pool)] {
                    ui.label(name);
                    let mut text = slot.map_or_else(String::new, |number| number.to_string());
                    let edit = egui::TextEdit::singleline(&mut text).hint_text("any");
                    if ui.add(edit.desired_width(60.0)).changed() {
                        *slot = text.trim().parse().ok();
                    }
                    ui.end_row();
                }
            });
        ui.checkbox(&mut filter.never_freed, "Never freed");
        ui.checkbox(&mut self.selection.only_kept, "Stack only what is kept");
        if ui.button("Live at the chosen moment").clicked() {
            filter.live_at = Some(moment);
        }
        ui.add_enabled_ui(range.is_some(), |ui| {
            if ui.button("Born in the chosen range").clicked() {
                filter.born_in = range;
            }
        });
        if ui.button("Clear the filter").clicked() {
            *filter = Filter::default();
            *text = FilterText::default();
        }
    }

    /// One button for each condition; a click removes it.
    fn chips_ui(&mut self, ui: &mut Ui) {
        let Some(subject) = self.subject() else {
            return;
        };
        let document = &subject.document;
        let filter = &mut self.selection.filter;
        let chip = |ui: &mut Ui, text: String| {
            ui.button(format!("{text} ×"))
                .on_hover_text("Remove from the filter")
                .clicked()
        };
        if let Some(stack) = filter.stack
            && chip(ui, format!("under {}", stack_label(document, stack)))
        {
            filter.stack = None;
        }
        if let Some(layer) = filter.layer
            && chip(
                ui,
                format!("layer {}", document.attribution.layers.path(layer)),
            )
        {
            filter.layer = None;
        }
        if let Some(moment) = filter.live_at
            && chip(
                ui,
                format!("live after {} events", units::count(u64::from(moment))),
            )
        {
            filter.live_at = None;
        }
        if let Some((from, to)) = filter.born_in
            && chip(ui, format!("born in {from}–{to}"))
        {
            filter.born_in = None;
        }
        if filter.never_freed && chip(ui, "never freed".to_owned()) {
            filter.never_freed = false;
        }
        if let Some(category) = filter.category.and_then(|at| Category::ALL.get(at))
            && chip(ui, category.name().replace('_', " "))
        {
            filter.category = None;
        }
        if let Some(bytes) = filter.min_bytes
            && chip(ui, format!("at least {}", units::bytes(bytes)))
        {
            filter.min_bytes = None;
            self.filter_text.min_bytes.clear();
        }
        if let Some(bytes) = filter.max_bytes
            && chip(ui, format!("at most {}", units::bytes(bytes)))
        {
            filter.max_bytes = None;
            self.filter_text.max_bytes.clear();
        }
    }
}

fn stack_label(document: &crate::prepare::Document, stack: CleanStackId) -> String {
    let frame = document
        .attribution
        .clean
        .split(stack)
        .map(|(frame, _)| frame);
    let label = frame.map_or_else(String::new, |frame| frame_label(&document.snapshot, frame));
    label.chars().take(40).collect()
}
