//! Why allocations failed, and what would have helped.

use egui::{RichText, ScrollArea, Ui};
use profiler_core::oom::{Advice, Certainty, OomVerdict, judge_all};
use profiler_core::replay::Moment;
use profiler_core::units;

use crate::ask::{Asked, Subject};
use crate::prepare::site_label;
use crate::tokens::Theme;

type Judged = Vec<(OomVerdict, Vec<Advice>)>;

/// The pane.
pub struct OomPane {
    asked: Asked<(Subject, Option<u64>), Judged>,
    total_text: String,
}

impl OomPane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let judge = |(subject, total): (Subject, Option<u64>), _: &dyn Fn() -> bool| {
            let document = &subject.document;
            let replay = subject.replay()?;
            Some(judge_all(
                &document.snapshot,
                replay,
                &document.attribution,
                total,
            ))
        };
        Self {
            asked: Asked::new(context, "out of memory", judge),
            total_text: String::new(),
        }
    }

    /// Whether something is being worked out for it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_busy()
    }

    /// Shows the pane; gives the moment to go to, if one was asked for.
    pub fn ui(&mut self, ui: &mut Ui, subject: Subject) -> Option<Moment> {
        let theme = Theme::of(ui.visuals());
        let total = units::parse_bytes(&self.total_text);
        ui.horizontal(|ui| {
            let label = ui.label("Device memory, if you know it (the file does not say):");
            let edit = egui::TextEdit::singleline(&mut self.total_text).desired_width(80.0);
            ui.add(edit.hint_text("80 GiB")).labelled_by(label.id);
            if total.is_none() && !self.total_text.trim().is_empty() {
                ui.colored_label(theme.oom, "expected bytes, for example 80 GiB");
            }
        });
        self.asked.want((subject.clone(), total));
        let Some(judged) = self.asked.answer() else {
            ui.spinner();
            return None;
        };
        if judged.is_empty() {
            ui.label("No allocation failed in this recording.");
            return None;
        }
        let mut go = None;
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            for (verdict, advice) in judged {
                if verdict_ui(ui, &subject, verdict, &theme) {
                    go = Some(verdict.evidence.moment);
                }
                for one in advice {
                    advice_ui(ui, one, &theme);
                }
                ui.separator();
            }
        });
        go
    }
}

fn verdict_ui(ui: &mut Ui, subject: &Subject, verdict: &OomVerdict, theme: &Theme) -> bool {
    let evidence = &verdict.evidence;
    let mut go = false;
    ui.horizontal_wrapped(|ui| {
        ui.label(
            RichText::new(verdict.class.title())
                .strong()
                .color(theme.oom),
        );
        go = ui.button("Go there").clicked();
    });
    ui.label(site_label(&subject.document, evidence.stack));
    let rows = [
        ("requested", evidence.requested_bytes),
        ("missing at least", verdict.missing_bytes),
        ("reserved by PyTorch", evidence.parts.reserved_bytes),
        ("free inside PyTorch", evidence.parts.free_bytes()),
        (
            "of that, open to this request",
            evidence.compatible_free_bytes,
        ),
        ("largest gap open to it", evidence.compatible_largest_bytes),
        ("free on the device", evidence.device_free_bytes),
    ];
    egui::Grid::new(("verdict", evidence.event))
        .num_columns(2)
        .show(ui, |ui| {
            for (name, bytes) in rows {
                ui.label(name);
                ui.monospace(units::bytes(bytes));
                ui.end_row();
            }
            if let Some(outside) = evidence.outside_bytes {
                ui.label("outside PyTorch");
                ui.monospace(units::bytes(outside));
                ui.end_row();
            }
        });
    go
}

fn advice_ui(ui: &mut Ui, advice: &Advice, theme: &Theme) {
    ui.horizontal_wrapped(|ui| {
        ui.strong(crate::text::plain(&advice.title));
        let bound = match advice.certainty {
            Certainty::Exact => "",
            Certainty::Simulated => "in a simulation ",
            Certainty::UpperBound => "up to ",
        };
        ui.label(format!("frees {bound}{}", units::bytes(advice.frees_bytes)));
        if advice.is_enough {
            ui.colored_label(theme.peak, "enough for this request");
        }
    });
    ui.label(crate::text::plain(&advice.detail));
    if let Some(setting) = &advice.setting {
        ui.horizontal(|ui| {
            ui.monospace(setting);
            if ui.button("Copy").clicked() {
                ui.ctx().copy_text(setting.clone());
            }
        });
    }
    ui.add_space(4.0);
}
