//! The line with the filter: its text, and what else narrows the panes.

use egui::{Key, Popup, Ui};
use profiler_core::attribution::Category;
use profiler_core::attribution::{CleanStackId, frame_label};
use profiler_core::units;

use crate::filter::Filter;
use crate::tokens::Theme;

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
    stream: String,
    pool: String,
}

/// The most letters on a button that removes a condition; all are in its tooltip.
const MAX_CHIP: usize = 40;

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
                let (min, max) = (&mut filter.min_bytes, &mut filter.max_bytes);
                condition_ui(ui, ("At least", "1 MiB"), &mut text.min_bytes, min);
                condition_ui(ui, ("At most", "20 MiB"), &mut text.max_bytes, max);
                let (min, max) = (&mut filter.min_events, &mut filter.max_events);
                let name = ("Lives at least (events)", "100");
                condition_ui(ui, name, &mut text.min_events, min);
                let name = ("Lives at most (events)", "1000");
                condition_ui(ui, name, &mut text.max_events, max);
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
                condition_ui(ui, ("Stream", "any"), &mut text.stream, &mut filter.stream);
                condition_ui(ui, ("Pool", "any"), &mut text.pool, &mut filter.pool);
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
            let mut shown: String = text.chars().take(MAX_CHIP).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            ui.button(format!("{shown} ×"))
                .on_hover_text(format!("{text}\nRemove from the filter"))
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
                format!(
                    "live after {} events",
                    crate::text::count(u64::from(moment))
                ),
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
        for (name, bytes) in [
            ("at least", &mut filter.min_bytes),
            ("at most", &mut filter.max_bytes),
        ] {
            if let Some(known) = *bytes
                && chip(ui, format!("{name} {}", units::bytes(known)))
            {
                *bytes = None;
            }
        }
        for (name, number, unit) in [
            ("lives at least", &mut filter.min_events, " events"),
            ("lives at most", &mut filter.max_events, " events"),
            ("stream", &mut filter.stream, ""),
            ("pool", &mut filter.pool, ""),
        ] {
            if let Some(known) = *number {
                let known = crate::text::count(u64::from(known));
                if chip(ui, format!("{name} {known}{unit}")) {
                    *number = None;
                }
            }
        }
    }
}

/// A number that a condition can have.
trait Condition: Copy + PartialEq {
    /// What `text` says, if it says one.
    fn parse(text: &str) -> Option<Self>;
    /// As text that says exactly this.
    fn write(self) -> String;
}

/// Bytes.
impl Condition for u64 {
    fn parse(text: &str) -> Option<Self> {
        units::parse_bytes(text)
    }

    fn write(self) -> String {
        let short = units::bytes(self);
        let is_exact = units::parse_bytes(&short) == Some(self);
        if is_exact { short } else { self.to_string() }
    }
}

/// Events, or the number of a stream or pool.
impl Condition for u32 {
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn write(self) -> String {
        self.to_string()
    }
}

/// A row of the menu: `value` as `text` to be written. What is being written stays as it is;
/// otherwise the text follows the value, which may come from elsewhere.
fn condition_ui<T: Condition>(
    ui: &mut Ui,
    (name, hint): (&str, &str),
    text: &mut String,
    value: &mut Option<T>,
) {
    let label = ui.label(name);
    let is_understood = text.trim().is_empty() || T::parse(text).is_some();
    let mut edit = egui::TextEdit::singleline(text)
        .hint_text(hint)
        .desired_width(110.0);
    if !is_understood {
        edit = edit.text_color(Theme::of(ui.visuals()).oom);
    }
    let response = ui.add(edit).labelled_by(label.id);
    if response.changed() {
        *value = T::parse(text);
    } else if !response.has_focus() && T::parse(text) != *value {
        *text = value.map_or_else(String::new, T::write);
    }
    if !is_understood {
        response.on_hover_text(format!("not understood; for example {hint}"));
    }
    ui.end_row();
}

fn stack_label(document: &crate::prepare::Document, stack: CleanStackId) -> String {
    let frame = document
        .attribution
        .clean
        .split(stack)
        .map(|(frame, _)| frame);
    frame.map_or_else(String::new, |frame| frame_label(&document.snapshot, frame))
}
