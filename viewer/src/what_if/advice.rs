//! A search for the settings that serve the program best.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egui::{Grid, RichText, Ui};
use profiler_core::allocator::{AdviseOptions, Capacity, DeviceAdvice, advise};
use profiler_core::units;

use crate::ask::{Asked, Subject};
use crate::tokens::Theme;

/// How many settings are listed.
const LISTED: usize = 6;

type Found = Result<DeviceAdvice, String>;

/// A search under way, or done.
pub(super) struct Search {
    asked: Asked<(Subject, Capacity), Found>,
    question: (Subject, Capacity),
    done: Arc<AtomicU64>,
}

impl Search {
    /// Starts a search that wakes `context` as it goes on.
    #[must_use]
    pub(super) fn new(context: &egui::Context, subject: Subject, capacity: Capacity) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let (theirs, wake) = (Arc::clone(&done), context.clone());
        let work = move |(subject, capacity): (Subject, Capacity), is_stale: &dyn Fn() -> bool| {
            let options = AdviseOptions {
                capacity,
                ..AdviseOptions::default()
            };
            let found = advise(&subject.document.snapshot, &options, &mut |done, all| {
                theirs.store(done.saturating_mul(100) / all.max(1), Ordering::Relaxed);
                wake.request_repaint();
                if is_stale() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if is_stale() {
                return None;
            }
            let device = subject.replay()?.device;
            Some(match found {
                Ok(advice) => {
                    let mut devices = advice.devices.into_iter();
                    devices.find(|one| one.device == device.0).ok_or_else(|| {
                        "this device has no history to search settings for".to_owned()
                    })
                }
                Err(error) => Err(error.to_string()),
            })
        };
        Self {
            asked: Asked::new(context, "advice", work),
            question: (subject, capacity),
            done,
        }
    }

    /// Whether it is still searching.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.asked.is_busy()
    }

    /// Shows what was found; gives the settings to try, if some were chosen. False if the search
    /// is not wanted any more.
    pub(super) fn ui(&mut self, ui: &mut Ui, chosen: &mut Option<String>) -> bool {
        let theme = Theme::of(ui.visuals());
        self.asked.want(self.question.clone());
        let advice = match self.asked.answer() {
            None => {
                let mut goes_on = true;
                ui.horizontal(|ui| {
                    let done = self.done.load(Ordering::Relaxed) as f32 / 100.0;
                    ui.add(
                        egui::ProgressBar::new(done)
                            .desired_width(160.0)
                            .show_percentage(),
                    );
                    goes_on = !ui.button("Stop").clicked();
                });
                return goes_on;
            }
            Some(Err(why)) => {
                ui.colored_label(theme.oom, why);
                return true;
            }
            Some(Ok(advice)) => advice,
        };
        ui.label(RichText::new(crate::text::plain(&advice.verdict)).strong());
        Grid::new("advice")
            .num_columns(4)
            .spacing([12.0, 3.0])
            .striped(true)
            .show(ui, |ui| {
                for head in ["settings", "peak reserved", "runs from", "driver calls"] {
                    ui.label(RichText::new(head).small().weak());
                }
                ui.end_row();
                for candidate in advice.candidates.iter().take(LISTED) {
                    let name = match (candidate.conf.as_str(), candidate.is_recorded) {
                        ("", true) => "the defaults, as recorded",
                        ("", false) => "the defaults",
                        (conf, _) => conf,
                    };
                    let link = ui.link(name).on_hover_text("Try these settings");
                    if link.clicked() {
                        *chosen = Some(candidate.conf.clone());
                    }
                    ui.label(units::bytes(candidate.simulated.reserved_peak_bytes));
                    ui.label(
                        candidate
                            .smallest_capacity_bytes
                            .map_or("–".to_owned(), units::bytes),
                    );
                    ui.label(crate::text::count(candidate.driver_calls()));
                    ui.end_row();
                }
            });
        let bound = &advice.bound;
        ui.label(
            RichText::new(format!(
                "No setting can do with less than {}, the most bytes alive at once; a placement \
                 that knows the future takes {}.",
                units::bytes(bound.load_bytes),
                units::bytes(bound.packing_bytes)
            ))
            .small()
            .weak(),
        );
        true
    }
}
