//! What other allocator settings, or another device, would have done: sliders, and the recorded
//! program run again under them.

mod advice;
mod conf;
mod controls;
mod curves;
mod maps;
mod run;

use std::sync::Arc;

use egui::{
    Color32, ColorImage, Grid, Rect, RichText, ScrollArea, TextureHandle, TextureOptions, Ui,
    UiBuilder, pos2, vec2,
};
use profiler_core::allocator::{
    Capacity, Ending, Summary, TorchVersion, environment_line, recorded_settings,
};
use profiler_core::units;

use crate::ask::{Asked, Subject};
use crate::selection::Selection;
use crate::text::elided;
use crate::tokens::Theme;

use advice::Search;
pub use conf::{conf_of, parse, uniform_divisions};
pub use controls::Wish;
pub use run::{Answer, Outcome, Question, Runner};

/// The pane.
pub struct WhatIfPane {
    context: egui::Context,
    /// Which recording the wish is about, and its settings.
    about: Option<(Subject, String)>,
    /// What is to be tried.
    pub wish: Wish,
    asked: Asked<Question, Answer>,
    maps: Asked<maps::Question, maps::Drawn>,
    textures: [Option<TextureHandle>; 2],
    search: Option<Search>,
}

impl WhatIfPane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let mut runner = Runner::default();
        let run = move |question, is_stale: &dyn Fn() -> bool| runner.run(question, is_stale);
        let draw =
            |question: maps::Question, is_stale: &dyn Fn() -> bool| maps::draw(&question, is_stale);
        Self {
            context: context.clone(),
            about: None,
            wish: Wish {
                conf: String::new(),
                capacity: Capacity::Recorded,
                memory_fraction: None,
            },
            asked: Asked::new(context, "what if", run),
            maps: Asked::new(context, "what-if maps", draw),
            textures: [None, None],
            search: None,
        }
    }

    /// The latest finished run.
    #[must_use]
    pub fn outcome(&self) -> Option<&Arc<Outcome>> {
        self.asked.answer().and_then(|answer| answer.as_ref().ok())
    }

    /// Whether something is being run or drawn.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let is_searching = self.search.as_ref().is_some_and(Search::is_busy);
        self.asked.is_busy() || self.maps.is_busy() || is_searching
    }

    /// Shows the pane.
    pub fn ui(&mut self, ui: &mut Ui, subject: &Subject, selection: &mut Selection) {
        let recorded = self.settle_on(subject);
        self.asked.want(Question {
            subject: subject.clone(),
            conf: (self.wish.conf != recorded).then(|| self.wish.conf.clone()),
            capacity: self.wish.capacity,
            memory_fraction: self.wish.memory_fraction,
        });
        let area = ui.available_rect_before_wrap();
        let gap = 14.0;
        let controls = (area.width() * 0.3).clamp(286.0, 380.0);
        let numbers = (area.width() * 0.33).clamp(304.0, 560.0);
        let column = |left: f32, width: f32| {
            Rect::from_min_size(pos2(left, area.top()), vec2(width, area.height()))
        };
        let mut at = area.left();
        self.column_ui(ui, column(at, controls), "controls", |pane, ui| {
            pane.controls_ui(ui, subject, &recorded);
        });
        at += controls + gap;
        self.column_ui(ui, column(at, numbers), "numbers", |pane, ui| {
            pane.numbers_ui(ui, subject);
        });
        at += numbers + gap;
        let rest = (area.right() - at).max(40.0);
        self.pictures_ui(ui, column(at, rest), subject, selection);
        ui.allocate_rect(area, egui::Sense::hover());
    }

    /// Takes up the recorded settings of another recording; gives them.
    fn settle_on(&mut self, subject: &Subject) -> String {
        let is_same = |(known, _): &(Subject, String)| {
            known.document.is_same_reading(&subject.document) && known.device == subject.device
        };
        match self.about.take_if(|about| is_same(about)) {
            Some((_, recorded)) => {
                self.about = Some((subject.clone(), recorded.clone()));
                recorded
            }
            None => {
                let recorded = conf_of(&recorded_settings(&subject.document.snapshot));
                self.wish.conf.clone_from(&recorded);
                (self.wish.capacity, self.wish.memory_fraction) = (Capacity::Recorded, None);
                self.search = None;
                self.about = Some((subject.clone(), recorded.clone()));
                recorded
            }
        }
    }

    fn column_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        salt: &str,
        content: impl FnOnce(&mut Self, &mut Ui),
    ) {
        let mut column = ui.new_child(UiBuilder::new().id_salt(salt).max_rect(rect));
        column.set_clip_rect(rect.intersect(ui.clip_rect()));
        ScrollArea::vertical()
            .id_salt(salt)
            .auto_shrink(false)
            .show(&mut column, |ui| {
                content(self, ui);
            });
    }

    fn controls_ui(&mut self, ui: &mut Ui, subject: &Subject, recorded: &str) {
        let snapshot = &subject.document.snapshot;
        let version = TorchVersion::at_least(&snapshot.features);
        let peak = subject
            .replay()
            .map_or(0, |replay| replay.reserved.peak().1);
        controls::controls_ui(ui, &mut self.wish, version, peak);
        ui.horizontal_wrapped(|ui| {
            let is_changed = self.wish.conf != recorded
                || self.wish.capacity != Capacity::Recorded
                || self.wish.memory_fraction.is_some();
            if ui
                .add_enabled(is_changed, egui::Button::new("As recorded"))
                .clicked()
            {
                self.wish.conf = recorded.to_owned();
                (self.wish.capacity, self.wish.memory_fraction) = (Capacity::Recorded, None);
            }
            // The search runs on threads, which a web page does not have.
            if cfg!(not(target_arch = "wasm32")) && ui.button("Find the best settings").clicked() {
                let search = Search::new(&self.context, subject.clone(), self.wish.capacity);
                self.search = Some(search);
            }
        });
    }

    fn numbers_ui(&mut self, ui: &mut Ui, subject: &Subject) {
        let theme = Theme::of(ui.visuals());
        let mut chosen = None;
        if let Some(search) = &mut self.search {
            if !search.ui(ui, &mut chosen) {
                self.search = None;
            }
            ui.separator();
        }
        if let Some(conf) = chosen {
            self.wish.conf = conf;
        }
        let is_running = self.asked.is_busy();
        match self.asked.answer() {
            None => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("running the recorded program again");
                });
            }
            Some(Err(why)) => {
                ui.colored_label(theme.oom, why);
            }
            Some(Ok(outcome))
                if outcome
                    .question
                    .subject
                    .document
                    .is_same_reading(&subject.document) =>
            {
                outcome_ui(ui, outcome, is_running, &theme);
            }
            Some(Ok(_)) => {
                ui.spinner();
            }
        }
    }

    fn pictures_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        subject: &Subject,
        selection: &mut Selection,
    ) {
        let Some(outcome) = self.outcome().cloned() else {
            return;
        };
        if !outcome
            .question
            .subject
            .document
            .is_same_reading(&subject.document)
        {
            return;
        }
        let theme = Theme::of(ui.visuals());
        let split = rect.top() + (rect.height() * 0.5).round();
        let above = Rect::from_min_max(rect.min, pos2(rect.right(), split - 4.0));
        curves::curves_ui(ui, above, subject, &outcome, selection, &theme);
        let scale = ui.ctx().pixels_per_point();
        let pixels = |points: f32| (points * scale).round().clamp(1.0, 8192.0) as usize;
        let width = ((rect.width() - 10.0) / 2.0).max(1.0);
        let caption = 18.0;
        let height = (rect.bottom() - split - caption).max(1.0);
        let is_new = self.maps.want(maps::Question {
            outcome: Arc::clone(&outcome),
            keys: selection.keys,
            columns: pixels(width),
            rows: pixels(height),
            theme,
        });
        let Some(drawn) = self.maps.answer() else {
            return;
        };
        let images = [&drawn.recorded, &drawn.simulated];
        let event = outcome
            .simulation
            .simulated_map
            .as_ref()
            .map_or(0, |map| u64::from(map.event));
        for (at, (image, title)) in images
            .into_iter()
            .zip(["recorded", "simulated"])
            .enumerate()
        {
            let texture = &mut self.textures[at];
            if is_new || texture.is_none() {
                upload(ui, texture, image);
            }
            let left = rect.left() + (width + 10.0) * at as f32;
            let place = Rect::from_min_size(pos2(left, split + caption), vec2(width, height));
            let bytes = drawn.bytes.get(at).copied().unwrap_or(0);
            let caption = format!("{title}: {}", units::bytes(bytes));
            let font = egui::FontId::proportional(crate::tokens::SMALL_TEXT);
            let color = ui.visuals().text_color();
            if let Some(caption) = elided(ui.painter(), &caption, &font, color, width) {
                let at = pos2(left, split + 1.0);
                ui.painter().galley(at, caption, color);
            }
            if let Some(texture) = texture {
                let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                ui.painter()
                    .image(texture.id(), place, whole, Color32::WHITE);
            }
            let id = ui.scope_id().with(("what-if map", at));
            let response = ui.interact(place, id, egui::Sense::hover());
            let label = format!("Memory map, {title}");
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Canvas, true, &label));
            response.on_hover_text(format!(
                "What is held at event {}, {title}: at the failure, or where most is held",
                crate::text::count(event)
            ));
        }
    }
}

/// A number of a run, and what it is called.
type Named = (&'static str, fn(&Summary) -> u64);

fn upload(ui: &Ui, texture: &mut Option<TextureHandle>, image: &ColorImage) {
    let image = egui::ImageData::Color(Arc::new(image.clone()));
    match texture {
        Some(texture) => texture.set(image, TextureOptions::NEAREST),
        None => {
            *texture = Some(
                ui.ctx()
                    .load_texture("what-if map", image, TextureOptions::NEAREST),
            );
        }
    }
}

fn outcome_ui(ui: &mut Ui, outcome: &Outcome, is_running: bool, theme: &Theme) {
    let simulation = &outcome.simulation;
    let (recorded, simulated) = (&simulation.recorded, &simulation.simulated);
    ui.horizontal_wrapped(|ui| {
        let (text, is_bad) = verdict(outcome);
        let color = if is_bad {
            theme.oom
        } else {
            ui.visuals().strong_text_color()
        };
        ui.label(RichText::new(text).strong().color(color));
        if is_running {
            ui.spinner();
        }
    });
    if let Some(conf) = &outcome.question.conf {
        ui.horizontal_wrapped(|ui| {
            let line = environment_line(conf, outcome.dialect);
            if ui
                .button("Copy")
                .on_hover_text("Copies the line for your shell")
                .clicked()
            {
                ui.ctx().copy_text(format!("export {line}"));
            }
            ui.label(RichText::new(line).monospace().small());
        });
    }
    Grid::new("what-if numbers")
        .num_columns(4)
        .spacing([10.0, 3.0])
        .show(ui, |ui| {
            for head in ["", "recorded", "simulated", "change"] {
                ui.label(RichText::new(head).small().weak());
            }
            ui.end_row();
            let peaks: [Named; 3] = [
                ("peak requested", |it| it.requested_peak_bytes),
                ("peak allocated", |it| it.allocated_peak_bytes),
                ("peak reserved", |it| it.reserved_peak_bytes),
            ];
            for (name, of) in peaks {
                row_ui(ui, name, of(recorded), of(simulated), units::bytes);
            }
            let counts: [Named; 3] = [
                ("memory taken", |it| it.segment_allocs),
                ("given back", |it| it.segment_frees),
                ("retries", |it| it.alloc_retries),
            ];
            for (name, of) in counts {
                row_ui(ui, name, of(recorded), of(simulated), crate::text::count);
            }
        });
    ui.add_space(4.0);
    let fidelity = &simulation.fidelity;
    if fidelity.is_exact() {
        ui.label(
            RichText::new(format!(
                "Fidelity 100 %: under the recorded settings the model puts all {} allocations \
                 where the recording has them.",
                crate::text::count(fidelity.allocations)
            ))
            .small(),
        );
    } else {
        let share = fidelity.share() * 100.0;
        ui.colored_label(
            theme.oom,
            format!("Fidelity {share:.2} %: what follows from it is an estimate."),
        );
        if let Some(first) = &fidelity.first_disagreement {
            let event = crate::text::count(u64::from(first.event));
            ui.label(
                RichText::new(format!(
                    "First disagreement, event {event}: {}",
                    first.explanation
                ))
                .small(),
            );
        }
    }
    if !outcome.assumptions.is_empty() {
        let title = format!(
            "What the recording does not tell ({})",
            outcome.assumptions.len()
        );
        egui::CollapsingHeader::new(title).show(ui, |ui| {
            for assumption in &outcome.assumptions {
                ui.label(RichText::new(format!("• {assumption}")).small());
            }
        });
    }
}

fn row_ui(ui: &mut Ui, name: &str, recorded: u64, simulated: u64, text: fn(u64) -> String) {
    ui.label(name);
    ui.monospace(text(recorded));
    ui.monospace(text(simulated));
    let sign = match simulated.cmp(&recorded) {
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "+",
    };
    let difference = text(simulated.abs_diff(recorded));
    let change = if sign.is_empty() {
        "same".to_owned()
    } else if recorded == 0 {
        format!("+{difference}")
    } else {
        let percent = simulated.abs_diff(recorded) as f64 / recorded as f64 * 100.0;
        format!("{sign}{percent:.1} %")
    };
    ui.label(change)
        .on_hover_text(format!("{sign}{difference}"));
    ui.end_row();
}

/// What became of the program, and whether it is bad news.
fn verdict(outcome: &Outcome) -> (String, bool) {
    let simulation = &outcome.simulation;
    let event = |row: u32| crate::text::count(u64::from(row));
    match simulation.ending {
        Ending::OutOfMemory { event: row, .. } => (
            format!(
                "Runs out of memory at event {}; the recording does not.",
                event(row)
            ),
            true,
        ),
        Ending::AvoidedOutOfMemory { event: row } => (
            format!(
                "Does not run out of memory at event {}, where the recording does.",
                event(row)
            ),
            false,
        ),
        Ending::Finished | Ending::Stopped => match simulation.simulated.oom_event {
            Some(row) => (
                format!(
                    "Runs out of memory at event {}, as the recording does.",
                    event(row)
                ),
                true,
            ),
            None => ("Runs to the end of the recording.".to_owned(), false),
        },
    }
}
