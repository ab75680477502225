//! Where the reserved bytes go: over time as stacked areas, and at the chosen moment.

use std::sync::Arc;

use egui::{
    Color32, ColorImage, Rect, Role, Sense, Stroke, TextureHandle, TextureOptions, Ui, WidgetInfo,
    pos2,
};
use profiler_core::metrics::{Fragmentation, FragmentationHistory, fragmentation_at};
use profiler_core::replay::Moment;
use profiler_core::units;

use crate::ask::{Asked, Subject};
use crate::prepare::AxisKind;
use crate::selection::Selection;
use crate::strip::Strip;
use crate::timeline::Geometry;
use crate::tokens::Theme;

/// What is asked of the background.
#[derive(Clone, PartialEq)]
struct Question {
    subject: Subject,
    axis: AxisKind,
    from: f64,
    to: f64,
    columns: usize,
    rows: usize,
    theme: Theme,
}

/// Stacked areas over the visible stretch. Each column is one real moment of its stretch: the
/// first with the most bytes that are reserved and not in use by the program, so that the parts
/// of a column add up to what was reserved then.
struct Drawn {
    question: Question,
    image: Arc<ColorImage>,
    high: f64,
    history: FragmentationHistory,
}

/// The pane.
pub struct FragmentationPane {
    asked: Asked<Question, Drawn>,
    moment: Asked<(Subject, Moment), Fragmentation>,
    texture: Option<TextureHandle>,
}

/// The parts of the reserved bytes with their colours, from the bottom.
fn parts(of: &Fragmentation, theme: &Theme) -> [(&'static str, u64, Color32, &'static str); 6] {
    [
        (
            "requested",
            of.requested_bytes,
            theme.requested,
            "what the program asked for and has",
        ),
        (
            "rounding",
            of.rounding_bytes,
            theme.rounding,
            "added by the allocator's size steps",
        ),
        (
            "slack",
            of.slack_bytes,
            theme.slack,
            "remainders too small to be split off",
        ),
        (
            "pending",
            of.pending_bytes,
            theme.pending,
            "freed; another stream may still use it",
        ),
        (
            "split free",
            of.split_free_bytes,
            theme.split_free,
            "gaps beside live blocks",
        ),
        (
            "whole free",
            of.whole_free_bytes,
            theme.whole_free,
            "free segments; can be returned",
        ),
    ]
}

impl FragmentationPane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let at = |(subject, moment): (Subject, Moment), _: &dyn Fn() -> bool| {
            let replay = subject.replay()?;
            Some(fragmentation_at(&subject.document.snapshot, replay, moment))
        };
        Self {
            asked: Asked::new(
                context,
                "fragmentation",
                |question, _: &dyn Fn() -> bool| draw(question),
            ),
            moment: Asked::new(context, "fragmentation now", at),
            texture: None,
        }
    }

    /// Whether something is being worked out for it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_busy() || self.moment.is_busy()
    }

    /// Shows the pane.
    pub fn ui(&mut self, ui: &mut Ui, subject: Subject, selection: &mut Selection) {
        let theme = Theme::of(ui.visuals());
        self.moment.want((subject.clone(), selection.moment));
        self.now_ui(ui, &theme);
        let area = ui.available_rect_before_wrap();
        let response = ui.allocate_rect(area, Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Fragmentation over time"));
        let scale = ui.ctx().pixels_per_point();
        let pixels = |points: f32| (points * scale).round().clamp(1.0, 8192.0) as usize;
        let view = selection.view;
        let is_new = self.asked.want(Question {
            subject: subject.clone(),
            axis: view.axis,
            from: view.from,
            to: view.to,
            columns: pixels(area.width()),
            rows: pixels(area.height()),
            theme,
        });
        ui.painter().rect_filled(area, 0.0, theme.canvas);
        let Some(drawn) = self.asked.answer() else {
            ui.put(
                Rect::from_center_size(area.center(), egui::vec2(20.0, 20.0)),
                egui::Spinner::new(),
            );
            return;
        };
        if is_new {
            let image = egui::ImageData::Color(Arc::clone(&drawn.image));
            match &mut self.texture {
                Some(texture) => texture.set(image, TextureOptions::NEAREST),
                None => {
                    let name = "fragmentation";
                    let texture = ui.ctx().load_texture(name, image, TextureOptions::NEAREST);
                    self.texture = Some(texture);
                }
            }
        }
        let geometry = Geometry {
            rect: area,
            from: view.from,
            to: view.to,
            low: 0.0,
            high: drawn.high,
        };
        if let Some(texture) = self
            .texture
            .as_ref()
            .filter(|_| drawn.question.axis == view.axis)
        {
            let place = geometry.place(drawn.question.from, drawn.question.to, 0.0, drawn.high);
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            let painter = ui.painter().with_clip_rect(area);
            painter.image(texture.id(), place, whole, Color32::WHITE);
        }
        let Some(prepared) = subject.prepared() else {
            return;
        };
        let axis = prepared.axis(view.axis);
        let x = geometry.x(axis.position_of(selection.moment));
        if area.x_range().contains(x) {
            let line = [pos2(x, area.top()), pos2(x, area.bottom())];
            ui.painter()
                .line_segment(line, Stroke::new(1.0, theme.cursor));
        }
        if let Some(at) = response.interact_pointer_pos() {
            selection.moment = axis.moment_at(geometry.position(at.x));
        }
        ui.painter().text(
            area.left_top() + egui::vec2(6.0, 4.0),
            egui::Align2::LEFT_TOP,
            format!(
                "0 to {}: each column is its stretch's moment of most bytes lost",
                units::bytes(drawn.high as u64)
            ),
            egui::FontId::proportional(crate::tokens::SMALL_TEXT),
            theme.text,
        );
    }

    fn now_ui(&self, ui: &mut Ui, theme: &Theme) {
        let Some(now) = self.moment.answer() else {
            return;
        };
        ui.horizontal_wrapped(|ui| {
            ui.strong(format!("reserved {} =", units::bytes(now.reserved_bytes)));
            for (name, bytes, color, what) in parts(now, theme) {
                let (rect, _) = ui.allocate_exact_size(egui::vec2(12.0, 12.0), Sense::hover());
                ui.painter().rect_filled(rect, 2.0, color);
                ui.label(format!("{name} {}", units::bytes(bytes)))
                    .on_hover_text(what);
            }
        });
        if let Some(drawn) = self.asked.answer() {
            let history = &drawn.history;
            let used = history.utilisation();
            ui.label(format!(
                "highest reserved {}, of which {:.1} % active; highest active over highest \
                 reserved {:.1} %; most lost {} after {} events",
                units::bytes(history.at_reserved_peak.reserved_bytes),
                used.at_reserved_peak * 100.0,
                used.peak_over_peak * 100.0,
                units::bytes(history.at_worst.lost_bytes()),
                crate::text::count(u64::from(history.worst_moment)),
            ));
        }
    }
}

fn draw(question: Question) -> Option<Drawn> {
    let subject = &question.subject;
    let (replay, prepared) = subject.replay().zip(subject.prepared())?;
    let axis = prepared.axis(question.axis);
    let per_column = (question.to - question.from) / question.columns as f64;
    let edges: Vec<(Moment, Moment)> = (0..question.columns)
        .map(|column| {
            let from = question.from + per_column * column as f64;
            axis.moments_in(from, from + per_column)
        })
        .collect();
    let mut worst: Vec<Option<Fragmentation>> = vec![None; question.columns];
    let mut before: Option<(Moment, Fragmentation)> = None;
    let mut column = 0;
    // A moment stays in force until the next: put it into every column it reaches.
    let mut put = |from: Moment, until: Moment, parts: &Fragmentation, column: &mut usize| {
        while *column < edges.len() && edges[*column].1 < from {
            *column += 1;
        }
        let mut at = *column;
        while at < edges.len() && edges[at].0 < until {
            let slot = &mut worst[at];
            if slot
                .as_ref()
                .is_none_or(|known| parts.lost_bytes() > known.lost_bytes())
            {
                *slot = Some(*parts);
            }
            at += 1;
        }
    };
    let history =
        FragmentationHistory::walk(&subject.document.snapshot, replay, |moment, parts| {
            if let Some((from, held)) = before.replace((moment, *parts)) {
                put(from, moment, &held, &mut column);
            }
        });
    if let Some((from, held)) = before {
        put(from, Moment::MAX, &held, &mut column);
    }
    let high = worst
        .iter()
        .flatten()
        .map(|parts| parts.reserved_bytes)
        .max()
        .unwrap_or(0);
    let high = (high as f64 * 1.08).max(16.0);
    let (columns, rows) = (question.columns, question.rows);
    let mut pixels = vec![question.theme.canvas; columns * rows];
    let mut strip = Strip::new(rows, question.theme.band_edge);
    let scale = rows as f64 / high;
    for (column, held) in worst.iter().enumerate() {
        strip.clear(question.theme.canvas);
        let mut low = 0.0;
        for (_, bytes, color, _) in held.iter().flat_map(|held| parts(held, &question.theme)) {
            let top = low + bytes as f64 * scale;
            strip.band(low, top, 0, color);
            low = top;
        }
        strip.finish();
        for (up, &pixel) in strip.pixels.iter().enumerate() {
            pixels[(rows - 1 - up) * columns + column] = pixel;
        }
    }
    let image = Arc::new(ColorImage::new([columns, rows], pixels));
    Some(Drawn {
        question,
        image,
        high,
        history,
    })
}
