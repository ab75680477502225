//! Lanes above the bands: steps, phases, annotations, segments returned.

use egui::{Align2, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::prepare::{Lane, Lanes, Span};
use crate::selection::Selection;
use crate::text::elided;
use crate::tokens::{self, Theme, text_on};

use super::geometry::Geometry;
use super::track::Track;

/// The most lanes shown.
const MAX_LANES: usize = 6;

/// The height of all lanes of a device, in points.
#[must_use]
pub(super) fn lanes_height(lanes: &Lanes) -> f32 {
    let spans = lanes.spans.len().min(MAX_LANES);
    let returned = usize::from(!lanes.returned.is_empty());
    (spans + returned) as f32 * tokens::LANE_HEIGHT
}

/// Draws the lanes; a click on a span chooses its stretch.
pub(super) fn lanes_ui(
    ui: &Ui,
    track: &Track,
    number: usize,
    rect: Rect,
    geometry: &Geometry,
    selection: &mut Selection,
    theme: &Theme,
) {
    let prepared = track.prepared();
    let axis = prepared.axis(selection.view.axis);
    let (first, last) = axis.moments_in(geometry.from, geometry.to);
    let mut top = rect.top();
    let row = |top: f32| {
        Rect::from_min_size(
            pos2(rect.left(), top),
            vec2(rect.width(), tokens::LANE_HEIGHT),
        )
    };
    let font = FontId::proportional(tokens::SMALL_TEXT);
    let mut before = "";
    for (index, lane) in track.lanes().spans.iter().take(MAX_LANES).enumerate() {
        let place = row(top);
        if lane.title != before {
            let at = place.left_center() - vec2(6.0, 0.0);
            ui.painter().text(
                at,
                Align2::RIGHT_CENTER,
                lane.title,
                font.clone(),
                theme.weak_text,
            );
            before = lane.title;
        }
        let painter = ui.painter().with_clip_rect(place);
        let edge = |span: &Span| {
            let left = geometry.x(axis.position_of(span.from)).max(place.left());
            let right = geometry.x(axis.position_of(span.to)).max(left + 1.0);
            axis.moment_at(geometry.position(right))
        };
        for (span, folded) in lane.visible(first, last, edge) {
            let from = geometry
                .x(axis.position_of(span.from))
                .max(place.left() - 2.0);
            let to = geometry
                .x(axis.position_of(span.to))
                .min(place.right() + 2.0);
            let to = to.max(from + 1.0);
            let fill = theme.lanes[span_color(lane, span) % 2];
            let bar = Rect::from_min_max(
                pos2(from, place.top() + 1.0),
                pos2(to, place.bottom() - 1.0),
            );
            painter.rect_filled(bar.shrink2(vec2(0.3, 0.0)), 2.0, fill);
            if folded == 0 && bar.width() > tokens::MIN_TEXT_WIDTH {
                let bar = bar.intersect(place);
                let color = text_on(fill);
                let name = elided(&painter, &span.name, &font, color, bar.width() - 7.0);
                if let Some(name) = name {
                    let at = bar.left_center() + vec2(4.0, -name.size().y / 2.0);
                    painter.galley(at, name, color);
                }
            }
        }
        let response = ui.interact(
            place,
            ui.scope_id().with(("lane", number, index)),
            Sense::click(),
        );
        let label = format!("Lane {} of {}", lane.title, track.title());
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, &label));
        let found = response
            .hover_pos()
            .and_then(|at| lane.at(axis.moment_at(geometry.position(at.x))));
        if let Some(span) = found {
            if response.clicked() {
                selection.track = number;
                selection.range = Some((span.from, span.to.saturating_sub(1).max(span.from)));
                selection.moment = track
                    .prepared()
                    .requested
                    .extremes(
                        &track.replay().requested,
                        span.from,
                        span.to.saturating_sub(1),
                    )
                    .high_moment;
            }
            let events = u64::from(span.to.saturating_sub(span.from));
            let events = crate::text::count(events);
            response.on_hover_text_at_pointer(format!(
                "{}: {events} events\nclick: choose it, and its highest moment",
                span.name
            ));
        }
        top += tokens::LANE_HEIGHT;
    }
    if !track.lanes().returned.is_empty() {
        returned_lane(ui, track, row(top), geometry, selection, theme);
    }
}

/// Alternates the colours of neighbours; phases have one each.
fn span_color(lane: &Lane, span: &Span) -> usize {
    if lane.title == "phases" {
        return span.name.len();
    }
    lane.spans.partition_point(|one| one.from < span.from)
}

/// Ticks where segments went back to the driver, at most one per point.
fn returned_lane(
    ui: &Ui,
    track: &Track,
    place: Rect,
    geometry: &Geometry,
    selection: &Selection,
    theme: &Theme,
) {
    let prepared = track.prepared();
    let axis = prepared.axis(selection.view.axis);
    let returned = &track.lanes().returned;
    let font = FontId::proportional(tokens::SMALL_TEXT);
    let at = place.left_center() - vec2(6.0, 0.0);
    ui.painter()
        .text(at, Align2::RIGHT_CENTER, "returned", font, theme.weak_text);
    let painter = ui.painter().with_clip_rect(place);
    let stroke = Stroke::new(1.0, theme.weak_text);
    for x in 0..place.width() as usize {
        let from = geometry.position(place.left() + x as f32);
        let (first, last) = axis.moments_in(from, from + geometry.per_point());
        let after = returned.partition_point(|&moment| moment < first);
        if returned.get(after).is_some_and(|&moment| moment <= last) {
            let x = place.left() + x as f32 + 0.5;
            painter.line_segment(
                [pos2(x, place.top() + 3.0), pos2(x, place.bottom() - 3.0)],
                stroke,
            );
        }
    }
}
