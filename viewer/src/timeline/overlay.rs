//! What egui draws around and over the timeline's picture.

use egui::{Align2, Color32, FontId, Pos2, Rect, Shape, Stroke, Ui, pos2, vec2};
use profiler_core::replay::Moment;

use crate::prepare::AxisKind;
use crate::selection::Selection;
use crate::tokens::{self, Theme};

use super::View;
use super::geometry::Geometry;
use super::ticks::{binary_step, bytes_label, decimal_step, marks as tick_marks, time_label};
use super::track::Track;

/// The picture, where its stretch is now; beneath it the overview, so that what is not drawn yet
/// is coarse and never blank.
pub(super) fn picture(ui: &Ui, track: &Track, geometry: &Geometry, axis: AxisKind) {
    let painter = ui.painter().with_clip_rect(geometry.rect);
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    for drawn in [track.overview(), track.drawn()] {
        let Some((drawn, texture)) = drawn.filter(|(drawn, _)| drawn.axis == axis) else {
            continue;
        };
        let frame = &drawn.picture.frame;
        let to = frame.from + frame.per_column * frame.columns as f64;
        let place = geometry.place(frame.from, to, frame.low, frame.high);
        painter.image(texture.id(), place, whole, Color32::WHITE);
    }
}

/// Labels of bytes, with lines across.
pub(super) fn byte_axis(ui: &Ui, geometry: &Geometry, theme: &Theme) {
    let rect = geometry.rect;
    let step = binary_step(geometry.high - geometry.low, f64::from(rect.height()), 34.0);
    let font = FontId::proportional(tokens::SMALL_TEXT);
    for bytes in tick_marks(geometry.low, geometry.high, step) {
        let y = geometry.y(bytes);
        if y < rect.top() + 6.0 {
            continue;
        }
        let line = [pos2(rect.left() - 4.0, y), pos2(rect.left(), y)];
        ui.painter()
            .line_segment(line, Stroke::new(1.0, theme.weak_text));
        let at = pos2(rect.left() - 6.0, y.min(rect.bottom() - 6.0));
        ui.painter().text(
            at,
            Align2::RIGHT_CENTER,
            bytes_label(bytes),
            font.clone(),
            theme.text,
        );
    }
}

/// Labels of time.
pub(super) fn time_axis(ui: &Ui, rect: Rect, view: &View, theme: &Theme) {
    let geometry = Geometry {
        rect,
        from: view.from,
        to: view.to,
        low: 0.0,
        high: 1.0,
    };
    let step = decimal_step(view.span(), f64::from(rect.width()), 110.0).max(1.0);
    let font = FontId::proportional(tokens::SMALL_TEXT);
    for position in tick_marks(view.from, view.to, step) {
        let x = geometry.x(position);
        let line = [pos2(x, rect.top()), pos2(x, rect.top() + 4.0)];
        ui.painter()
            .line_segment(line, Stroke::new(1.0, theme.weak_text));
        let label = time_label(view.axis, position);
        let at = pos2(x, rect.top() + 4.0);
        let align = if x < rect.left() + 30.0 {
            Align2::LEFT_TOP
        } else if x > rect.right() - 30.0 {
            Align2::RIGHT_TOP
        } else {
            Align2::CENTER_TOP
        };
        ui.painter()
            .text(at, align, label, font.clone(), theme.text);
    }
    let unit = match view.axis {
        AxisKind::Events => "event",
        AxisKind::Clock => "time",
    };
    let at = pos2(rect.left() - 6.0, rect.top() + 4.0);
    ui.painter()
        .text(at, Align2::RIGHT_TOP, unit, font, theme.weak_text);
}

/// The file and device, at the top left.
pub(super) fn title(ui: &Ui, track: &Track, geometry: &Geometry, is_active: bool, theme: &Theme) {
    let color = if is_active {
        theme.text
    } else {
        theme.weak_text
    };
    let mut text = track.title();
    if let Some((drawn, _)) = track.drawn()
        && drawn.picture.unseen_births > 0
    {
        let unseen = crate::text::count(drawn.picture.unseen_births);
        text.push_str(&format!(
            "   {unseen} allocations live and die between two columns"
        ));
    }
    let font = FontId::proportional(tokens::SMALL_TEXT);
    let at = geometry.rect.left_top() + vec2(6.0, 4.0);
    let galley = ui.painter().layout_no_wrap(text, font, color);
    let behind = Rect::from_min_size(at, galley.size()).expand(2.0);
    ui.painter()
        .rect_filled(behind, 2.0, theme.canvas.gamma_multiply(0.8));
    ui.painter().galley(at, galley, color);
}

/// The chosen moment, stretch and allocation, the peak and the failures.
pub(super) fn marks(
    ui: &Ui,
    track: &Track,
    number: usize,
    geometry: &Geometry,
    selection: &Selection,
    theme: &Theme,
) {
    let painter = ui.painter().with_clip_rect(geometry.rect);
    let axis = track.prepared().axis(selection.view.axis);
    // In the middle of its moment where moments are wide.
    let middle = |moment: Moment| match axis.kind {
        AxisKind::Events => f64::from(moment) + 0.5,
        AxisKind::Clock => axis.position_of(moment),
    };
    let (top, bottom) = (geometry.rect.top(), geometry.rect.bottom());
    if number == selection.track {
        if let Some((from, to)) = selection.range {
            let edges = [
                axis.position_of(from),
                axis.position_of(to.saturating_add(1)),
            ];
            let [from, to] = edges.map(|at| geometry.x(at).clamp(-1e5, 1e5));
            let rect = Rect::from_min_max(pos2(from, top), pos2(to, bottom));
            painter.rect_filled(rect, 0.0, theme.cursor.gamma_multiply(0.12));
        }
        selected_band(&painter, track, geometry, theme);
    }
    let (peak, bytes) = track.prepared().peak;
    let at = pos2(geometry.x(middle(peak)), geometry.y(bytes as f64));
    if geometry.rect.expand(4.0).contains(at) {
        let tip = [at, at + vec2(-5.0, -8.0), at + vec2(5.0, -8.0)];
        painter.add(Shape::convex_polygon(
            tip.to_vec(),
            theme.peak,
            Stroke::NONE,
        ));
        let font = FontId::proportional(tokens::SMALL_TEXT);
        let text = format!("peak {}", profiler_core::units::bytes(bytes));
        let right = at.x > geometry.rect.right() - 110.0;
        let (align, x) = if right {
            (Align2::RIGHT_BOTTOM, -8.0)
        } else {
            (Align2::LEFT_BOTTOM, 8.0)
        };
        painter.text(at + vec2(x, -2.0), align, text, font, theme.peak);
    }
    let ooms = &track.prepared().ooms;
    let mut last_x = f32::NEG_INFINITY;
    for &oom in ooms {
        let x = geometry.x(middle(oom));
        if x - last_x < 1.0 || !geometry.rect.x_range().contains(x) {
            continue;
        }
        last_x = x;
        painter.line_segment([pos2(x, top), pos2(x, bottom)], Stroke::new(1.5, theme.oom));
        let font = FontId::proportional(tokens::SMALL_TEXT);
        let right = x > geometry.rect.right() - 40.0;
        let galley = painter.layout_no_wrap("OOM".to_owned(), font, theme.oom);
        let dx = if right { -galley.size().x - 5.0 } else { 5.0 };
        let at = pos2(x + dx, bottom - galley.size().y - 4.0);
        let behind = Rect::from_min_size(at, galley.size()).expand2(vec2(3.0, 1.0));
        painter.rect_filled(behind, 2.0, theme.canvas.gamma_multiply(0.85));
        painter.galley(at, galley, theme.oom);
    }
    if number == selection.track {
        let x = geometry.x(middle(selection.moment));
        painter.line_segment(
            [pos2(x, top), pos2(x, bottom)],
            Stroke::new(1.0, theme.cursor),
        );
    }
}

/// The outline of the chosen allocation as the picture has it.
fn selected_band(painter: &egui::Painter, track: &Track, geometry: &Geometry, theme: &Theme) {
    let Some((drawn, _)) = track.drawn() else {
        return;
    };
    let frame = &drawn.picture.frame;
    let selected = &drawn.picture.selected;
    let stroke = Stroke::new(1.5, theme.selection);
    let mut column = 0;
    while column < selected.len() {
        let Some((mut low, mut high)) = selected[column] else {
            column += 1;
            continue;
        };
        // One level piece of the band; a step between two pieces is the end of one.
        let start = column;
        while let Some(Some((l, h))) = selected.get(column) {
            if (*l, *h) != (low, high) {
                break;
            }
            (low, high) = (*l, *h);
            column += 1;
        }
        let from = frame.from + frame.per_column * start as f64;
        let to = frame.from + frame.per_column * column as f64;
        let place = geometry.place(from, to, low as f64, high as f64);
        let (a, b) = (place.left(), place.right());
        painter.line_segment([pos2(a, place.top()), pos2(b, place.top())], stroke);
        painter.line_segment([pos2(a, place.bottom()), pos2(b, place.bottom())], stroke);
        let is_first = start == 0 || selected[start - 1].is_none();
        let is_last = selected.get(column).copied().flatten().is_none();
        for (is_end, x) in [(is_first, a), (is_last, b)] {
            if is_end {
                painter.line_segment([pos2(x, place.top()), pos2(x, place.bottom())], stroke);
            }
        }
    }
}

/// Lines through the pointer.
pub(super) fn crosshair(ui: &Ui, geometry: &Geometry, at: Option<Pos2>, theme: &Theme) {
    let Some(at) = at else { return };
    let rect = geometry.rect;
    let stroke = Stroke::new(1.0, theme.cursor.gamma_multiply(0.35));
    ui.painter()
        .line_segment([pos2(at.x, rect.top()), pos2(at.x, rect.bottom())], stroke);
}
