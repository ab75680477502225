//! Recorded and simulated reserved bytes on one axis: the timeline's.

use egui::{
    Align2, Color32, FontId, Pos2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use profiler_core::replay::Curve;
use profiler_core::units;

use crate::ask::Subject;
use crate::prepare::{Axis, Pyramid};
use crate::selection::Selection;
use crate::timeline::Geometry;
use crate::tokens::{CATEGORICAL, SMALL_TEXT, Theme};

use super::run::Outcome;

/// The colour of the simulated curve, in both themes.
pub(super) const SIMULATED: Color32 = CATEGORICAL[5];

/// Draws both curves over the visible stretch of the timeline. A click chooses a moment.
pub(super) fn curves_ui(
    ui: &mut Ui,
    rect: Rect,
    subject: &Subject,
    outcome: &Outcome,
    selection: &mut Selection,
    theme: &Theme,
) {
    let Some((replay, prepared)) = subject.replay().zip(subject.prepared()) else {
        return;
    };
    let id = ui.scope_id().with("what-if curves");
    let response = ui.interact(rect, id, Sense::click_and_drag());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Canvas, true, "Reserved bytes, recorded and simulated")
    });
    let view = selection.view;
    let axis = prepared.axis(view.axis);
    let (first, last) = axis.moments_in(view.from, view.to);
    let recorded = prepared
        .reserved
        .extremes(&replay.reserved, first, last)
        .high;
    let simulated = outcome
        .reserved_pyramid
        .extremes(&outcome.reserved, first, last)
        .high;
    let highest = recorded.max(simulated).max(1);
    // A limit far above everything would only flatten the curves.
    let limit = outcome
        .simulation
        .capacity
        .filter(|&limit| limit < highest.saturating_mul(2));
    let geometry = Geometry {
        rect,
        from: view.from,
        to: view.to,
        low: 0.0,
        high: highest.max(limit.unwrap_or(0)) as f64 * 1.3,
    };
    let painter = ui.painter().with_clip_rect(rect);
    painter.rect_filled(rect, 0.0, theme.canvas);
    let line = |curve: &Curve, pyramid: &Pyramid, width: f32, color: Color32| {
        let points = line(&geometry, &axis, curve, pyramid);
        painter.add(Shape::line(points, Stroke::new(width, color)));
    };
    line(&replay.reserved, &prepared.reserved, 2.5, theme.weak_text);
    line(&outcome.reserved, &outcome.reserved_pyramid, 1.5, SIMULATED);
    if let Some(limit) = limit {
        let y = geometry.y(limit as f64);
        let ends = [pos2(rect.left(), y), pos2(rect.right(), y)];
        painter.extend(Shape::dashed_line(
            &ends,
            Stroke::new(1.0, theme.oom),
            6.0,
            4.0,
        ));
    }
    if let Some(row) = outcome.simulation.simulated.oom_event {
        let x = geometry.x(axis.position_of(row.saturating_add(1)));
        let ends = [pos2(x, rect.top() + 20.0), pos2(x, rect.bottom())];
        painter.line_segment(ends, Stroke::new(1.5, theme.oom));
    }
    let x = geometry.x(axis.position_of(selection.moment));
    let ends = [pos2(x, rect.top() + 20.0), pos2(x, rect.bottom())];
    painter.line_segment(ends, Stroke::new(1.0, theme.cursor));
    legend(&painter, rect, limit, theme);
    if let Some(at) = response.interact_pointer_pos() {
        selection.moment = axis.moment_at(geometry.position(at.x));
    }
    if let Some(at) = response.hover_pos() {
        let moment = axis.moment_at(geometry.position(at.x));
        response.on_hover_text_at_pointer(format!(
            "after {} events\nrecorded {}\nsimulated {}",
            crate::text::count(u64::from(moment)),
            units::bytes(replay.reserved.at(moment)),
            units::bytes(outcome.reserved.at(moment)),
        ));
    }
}

/// Through the exact extremes of each point's stretch.
fn line(geometry: &Geometry, axis: &Axis<'_>, curve: &Curve, pyramid: &Pyramid) -> Vec<Pos2> {
    let columns = geometry.rect.width().max(1.0) as usize;
    let mut points = Vec::with_capacity(columns * 2);
    for column in 0..columns {
        let left = geometry.rect.left() + column as f32;
        let from = geometry.position(left);
        let (first, last) = axis.moments_in(from, from + geometry.per_point());
        let found = pyramid.extremes(curve, first, last);
        // Coming from below it goes up first, and the other way round.
        let (low, high) = (geometry.y(found.low as f64), geometry.y(found.high as f64));
        let x = left + 0.5;
        let was: f32 = points.last().map_or(low, |point: &Pos2| point.y);
        let ends = if (was - low).abs() <= (was - high).abs() {
            [low, high]
        } else {
            [high, low]
        };
        points.push(pos2(x, ends[0]));
        if ends[0] != ends[1] {
            points.push(pos2(x, ends[1]));
        }
    }
    points
}

fn legend(painter: &egui::Painter, rect: Rect, limit: Option<u64>, theme: &Theme) {
    let font = FontId::proportional(SMALL_TEXT);
    let mut at = rect.left_top() + vec2(6.0, 3.0);
    let title = painter.text(at, Align2::LEFT_TOP, "reserved", font.clone(), theme.text);
    at.x = title.right() + 12.0;
    let mut entry = |color: Color32, text: String| {
        let swatch = Rect::from_min_size(at + vec2(0.0, 6.0), vec2(14.0, 3.0));
        painter.rect_filled(swatch, 0.0, color);
        let text = painter.text(
            at + vec2(19.0, 0.0),
            Align2::LEFT_TOP,
            text,
            font.clone(),
            theme.text,
        );
        at.x = text.right() + 14.0;
    };
    entry(theme.weak_text, "recorded".to_owned());
    entry(SIMULATED, "simulated".to_owned());
    if let Some(limit) = limit {
        entry(theme.oom, format!("limit {}", units::bytes(limit)));
    }
}
