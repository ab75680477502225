//! How the panes share the window.

use egui::{CentralPanel, Panel, RichText, ScrollArea, Ui};
use profiler_core::units;

use crate::ask::{Kept, Subject};
use crate::panes::{Pane, file_ui};
use crate::table::table_ui;
use crate::timeline::{Track, timeline_ui};

use super::Viewer;

impl Viewer {
    pub(super) fn panes_ui(&mut self, ui: &mut Ui) {
        let Some(subject) = self.subject() else {
            return;
        };
        let narrow = ui.available_width() < 1000.0;
        let details = if narrow { 260.0 } else { 330.0 };
        Panel::right("details")
            .default_size(details)
            .min_size(200.0)
            .show(ui, |ui| {
                self.legend_ui(ui);
                ui.separator();
                self.details.ui(ui, &subject, &mut self.selection);
            });
        let height = ui.available_height();
        let share = self.timeline_share.clamp(0.2, 0.85);
        let panel = Panel::top("timeline")
            .resizable(false)
            .exact_size(height * share);
        let shown = panel.frame(egui::Frame::NONE).show(ui, |ui| {
            let masks = self.masks();
            let selection = &mut self.selection;
            self.hover = timeline_ui(ui, &mut self.tracks, &masks, selection);
        });
        // The edge between timeline and panes; a share of the window, so that it fits any size.
        let edge = shown.response.rect.bottom();
        let width = ui.available_rect_before_wrap().x_range();
        let handle = egui::Rect::from_x_y_ranges(width, edge - 3.0..=edge + 3.0);
        let id = ui.scope_id().with("timeline edge");
        let dragged = ui.interact(handle, id, egui::Sense::drag());
        if dragged.hovered() || dragged.dragged() {
            ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeVertical);
        }
        self.timeline_share = (share + dragged.drag_delta().y / height.max(1.0)).clamp(0.2, 0.85);
        CentralPanel::default().show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                for pane in Pane::ALL {
                    ui.selectable_value(&mut self.pane, pane, pane.title());
                }
            });
            ui.separator();
            let track = self.tracks.get(self.selection.track);
            if !track.is_some_and(Track::awaits_picture) {
                self.pane_ui(ui, subject);
            }
        });
    }

    fn pane_ui(&mut self, ui: &mut Ui, subject: Subject) {
        let kept = Kept(self.rows().and_then(|rows| rows.mask.clone()));
        match self.pane {
            Pane::Table => {
                let narrowed = self
                    .narrowed
                    .get(self.selection.track)
                    .and_then(|a| a.answer());
                if let Some(narrowed) = narrowed {
                    ui.weak(format!(
                        "{} allocations, {} requested over their lives",
                        crate::text::count(narrowed.order.len() as u64),
                        units::bytes(narrowed.requested_bytes)
                    ));
                }
                let selected = self.selection.allocation;
                let clicked = table_ui(ui, &subject, narrowed, &mut self.table, selected);
                if let Some(id) = clicked {
                    self.selection.allocation = Some(id);
                    let born = subject
                        .replay()
                        .map(|replay| replay.allocations.get(id).born);
                    self.go_to(born.unwrap_or(0));
                }
            }
            Pane::Map => self.map.ui(ui, subject, kept, &mut self.selection),
            Pane::Flame => self.flame.ui(ui, subject, kept, &mut self.selection),
            Pane::Fragmentation => self.fragmentation.ui(ui, subject, &mut self.selection),
            Pane::Oom => {
                if let Some(moment) = self.oom.ui(ui, subject) {
                    self.go_to(moment);
                }
            }
            Pane::WhatIf => self.what_if.ui(ui, &subject, &mut self.selection),
            Pane::File => file_ui(ui, &subject),
        }
    }

    /// What the colours of the timeline mean.
    fn legend_ui(&mut self, ui: &mut Ui) {
        let theme = crate::tokens::Theme::of(ui.visuals());
        let Some(track) = self.tracks.get(self.selection.track) else {
            return;
        };
        let swatch = |ui: &mut Ui, color: egui::Color32| {
            let (rect, _) = ui.allocate_exact_size(egui::vec2(11.0, 11.0), egui::Sense::hover());
            ui.painter().rect_filled(rect, 2.0, color);
        };
        ui.horizontal_wrapped(|ui| {
            for (color, name) in [(theme.reserved, "reserved"), (theme.allocated, "allocated")] {
                swatch(ui, color);
                ui.label(RichText::new(name).small());
            }
            ui.label(RichText::new("top of the bands: requested").small().weak());
        });
        let Some((drawn, _)) = track.drawn() else {
            return;
        };
        ui.label(RichText::new("Requested at the peak").small().weak());
        // Seven groups, and all of them where the window is high.
        let height = (ui.available_height() * 0.2).max(170.0);
        ScrollArea::vertical()
            .id_salt("legend")
            .max_height(height)
            .show(ui, |ui| {
                for entry in drawn.keys.entries.iter().filter(|entry| entry.count > 0) {
                    ui.horizontal(|ui| {
                        swatch(ui, entry.color.unwrap_or(theme.other));
                        ui.label(
                            RichText::new(units::bytes(entry.peak_bytes))
                                .small()
                                .monospace(),
                        );
                        let label =
                            egui::Label::new(RichText::new(&entry.label).small()).truncate();
                        ui.add(label).on_hover_text(format!(
                            "{}\n{} allocations",
                            entry.label,
                            crate::text::count(entry.count)
                        ));
                    });
                }
            });
    }
}
