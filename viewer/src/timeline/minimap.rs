//! The whole recording in a strip, with a window on what is visible.

use egui::{Color32, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2};

use crate::selection::Selection;
use crate::tokens::Theme;

use super::geometry::Geometry;
use super::raster::Frame;
use super::track::{Request, Track};

/// Shows the strip; dragging in it moves the view, dragging with Shift chooses a new one.
pub(super) fn minimap_ui(
    ui: &Ui,
    rect: Rect,
    track: &mut Track,
    selection: &mut Selection,
    length: f64,
    theme: &Theme,
) {
    let scale = ui.ctx().pixels_per_point();
    let top = (track.prepared().highest(track.replay()) as f64 * 1.06).max(16.0);
    let pixels = |points: f32| (points * scale).round().clamp(1.0, 8192.0) as usize;
    let columns = pixels(rect.width());
    if !track.awaits_picture() {
        track.want_overview(Request {
            frame: Frame {
                from: 0.0,
                per_column: length / columns as f64,
                columns,
                low: 0.0,
                high: top,
                rows: pixels(rect.height()),
            },
            axis: selection.view.axis,
            keys: selection.keys,
            mask: None,
            only_kept: false,
            selected: None,
            theme: *theme,
        });
    }
    let geometry = Geometry {
        rect,
        from: 0.0,
        to: length,
        low: 0.0,
        high: top,
    };
    if let Some((drawn, texture)) = track
        .overview()
        .filter(|(d, _)| d.axis == selection.view.axis)
    {
        let frame = &drawn.picture.frame;
        let to = frame.from + frame.per_column * frame.columns as f64;
        let place = geometry.place(frame.from, to, frame.low, frame.high);
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        ui.painter()
            .with_clip_rect(rect)
            .image(texture.id(), place, whole, Color32::WHITE);
    }
    let response = ui.interact(
        rect,
        ui.scope_id().with("overview"),
        Sense::click_and_drag(),
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Overview"));
    let view = selection.view;
    if let Some(at) = response.interact_pointer_pos() {
        let position = geometry.position(at.x);
        let shift = ui.input(|input| input.modifiers.shift);
        let origin = ui.input(|input| input.pointer.press_origin());
        selection.view = match origin.filter(|_| shift) {
            Some(from) => view.showing(geometry.position(from.x), position, length),
            None => view.panned(position - (view.from + view.to) / 2.0, length),
        };
    }
    let outside = theme.canvas.gamma_multiply(0.6);
    let (from, to) = (
        geometry.x(selection.view.from),
        geometry.x(selection.view.to),
    );
    let to = to.max(from + 2.0);
    let left = Rect::from_min_max(rect.min, pos2(from, rect.bottom()));
    let right = Rect::from_min_max(pos2(to, rect.top()), rect.max);
    ui.painter().rect_filled(left, 0.0, outside);
    ui.painter().rect_filled(right, 0.0, outside);
    let window = Rect::from_min_max(pos2(from, rect.top()), pos2(to, rect.bottom()));
    ui.painter().rect_stroke(
        window,
        0.0,
        Stroke::new(1.0, theme.cursor),
        StrokeKind::Inside,
    );
}
