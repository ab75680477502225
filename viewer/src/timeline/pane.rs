//! The timeline widget: tracks above each other on one time axis, and the overview.

use std::sync::Arc;

use egui::{Rect, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler_core::replay::{AllocationId, Moment};
use profiler_core::units;

use crate::prepare::{Mask, site_label};
use crate::selection::Selection;
use crate::tokens::{self, Theme};

use super::geometry::Geometry;
use super::lanes::{lanes_height, lanes_ui};
use super::overlay;
use super::raster::Frame;
use super::track::{Request, Track};
use super::{View, minimap};

/// The most pixels a picture has on one side: what graphics drivers surely take.
const MAX_PIXELS: f32 = 8192.0;

/// What is under the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hover {
    /// On which track.
    pub track: usize,
    /// At which moment.
    pub moment: Moment,
    /// Which allocation, if any.
    pub allocation: Option<AllocationId>,
}

/// Shows `tracks`, moved and picked by the pointer through `selection`. `masks` has what the
/// filter keeps of each track; None for all.
pub fn timeline_ui(
    ui: &mut Ui,
    tracks: &mut [Track],
    masks: &[Option<Arc<Mask>>],
    selection: &mut Selection,
) -> Option<Hover> {
    let theme = Theme::of(ui.visuals());
    let area = ui.available_rect_before_wrap();
    ui.allocate_rect(area, Sense::hover());
    ui.painter().rect_filled(area, 0.0, theme.canvas);
    let length = axis_length(tracks, selection);
    let below = tokens::TIME_AXIS_HEIGHT + tokens::MINIMAP_HEIGHT;
    let left = area.left() + tokens::BYTE_AXIS_WIDTH;
    let plots = Rect::from_min_max(pos2(left, area.top()), area.max - vec2(2.0, below));
    let count = tracks.len().max(1) as f32;
    let mut hover = None;
    for (number, track) in tracks.iter_mut().enumerate() {
        track.collect(ui.ctx());
        let height = plots.height() / count;
        let top = plots.top() + height * number as f32;
        let rect = Rect::from_min_size(pos2(left, top), vec2(plots.width(), height));
        let mask = masks.get(number).cloned().flatten();
        let found = track_ui(ui, track, number, rect, mask, selection, length, &theme);
        hover = hover.or(found);
    }
    let axis = Rect::from_min_size(
        pos2(left, plots.bottom()),
        vec2(plots.width(), tokens::TIME_AXIS_HEIGHT),
    );
    overlay::time_axis(ui, axis, &selection.view, &theme);
    let map = Rect::from_min_size(
        pos2(left, axis.bottom()),
        vec2(plots.width(), tokens::MINIMAP_HEIGHT - 2.0),
    );
    if let Some(track) = tracks.get_mut(selection.track) {
        minimap::minimap_ui(ui, map, track, selection, length, &theme);
    }
    hover
}

/// The length of the axis that all tracks share: that of the longest.
#[must_use]
pub fn axis_length(tracks: &[Track], selection: &Selection) -> f64 {
    let length = |track: &Track| track.prepared().axis(selection.view.axis).length();
    tracks.iter().map(length).fold(1.0, f64::max)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, from the function above"
)]
fn track_ui(
    ui: &mut Ui,
    track: &mut Track,
    number: usize,
    rect: Rect,
    mask: Option<Arc<Mask>>,
    selection: &mut Selection,
    length: f64,
    theme: &Theme,
) -> Option<Hover> {
    let lanes = lanes_height(track.lanes());
    let lanes_rect = Rect::from_min_size(rect.min, vec2(rect.width(), lanes));
    let rect = Rect::from_min_max(pos2(rect.left(), rect.top() + lanes), rect.max);
    let full = visible_top(track, &selection.view);
    let (low, high) = selection.view.bytes.unwrap_or((0.0, full));
    let geometry = Geometry {
        rect,
        from: selection.view.from,
        to: selection.view.to,
        low,
        high,
    };
    ask(ui, track, &geometry, mask, selection, theme);
    track.await_first(ui.ctx());
    overlay::byte_axis(ui, &geometry, theme);
    overlay::picture(ui, track, &geometry, selection.view.axis);
    let response = ui.interact(
        rect,
        ui.scope_id().with(("timeline", number)),
        Sense::click_and_drag(),
    );
    let label = format!("Timeline of {}", track.title());
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, &label));
    navigate(ui, &response, &geometry, full, length, selection);
    let hover = response.hover_pos().map(|at| {
        let position = geometry.position(at.x);
        let (moment, allocation) = pick(track, &geometry, at.x, at.y).unwrap_or_else(|| {
            (
                track
                    .prepared()
                    .axis(selection.view.axis)
                    .moment_at(position),
                None,
            )
        });
        Hover {
            track: number,
            moment,
            allocation,
        }
    });
    if response.clicked()
        && let Some(hover) = hover
    {
        (selection.track, selection.moment) = (number, hover.moment);
        selection.allocation = hover.allocation;
    }
    choose_range(ui, &response, &geometry, number, track, selection);
    overlay::marks(ui, track, number, &geometry, selection, theme);
    overlay::title(ui, track, &geometry, number == selection.track, theme);
    lanes_ui(ui, track, number, lanes_rect, &geometry, selection, theme);
    if let Some(hover) = hover {
        overlay::crosshair(ui, &geometry, response.hover_pos(), theme);
        if !response.dragged() {
            response.on_hover_ui_at_pointer(|ui| hover_ui(ui, track, hover));
        }
    }
    hover
}

/// What fits the visible stretch of `track`: a little more than its highest point.
fn visible_top(track: &Track, view: &View) -> f64 {
    let (replay, prepared) = (track.replay(), track.prepared());
    let (first, last) = prepared.axis(view.axis).moments_in(view.from, view.to);
    let reserved = prepared
        .reserved
        .extremes(&replay.reserved, first, last)
        .high;
    let requested = prepared
        .requested
        .extremes(&replay.requested, first, last)
        .high;
    let allocated = prepared
        .allocated
        .extremes(&prepared.allocated_curve, first, last)
        .high;
    (reserved.max(requested).max(allocated) as f64 * 1.06).max(16.0)
}

/// Asks for the picture of what is visible, one pixel for one pixel.
fn ask(
    ui: &Ui,
    track: &mut Track,
    geometry: &Geometry,
    mask: Option<Arc<Mask>>,
    selection: &Selection,
    theme: &Theme,
) {
    let scale = ui.ctx().pixels_per_point();
    let pixels = |points: f32| (points * scale).round().clamp(1.0, MAX_PIXELS) as usize;
    let columns = pixels(geometry.rect.width());
    let frame = Frame {
        from: geometry.from,
        per_column: (geometry.to - geometry.from) / columns as f64,
        columns,
        low: geometry.low,
        high: geometry.high,
        rows: pixels(geometry.rect.height()),
    };
    track.want(Request {
        frame,
        axis: selection.view.axis,
        keys: selection.keys,
        mask,
        only_kept: selection.only_kept,
        selected: selection.allocation,
        theme: *theme,
    });
}

/// The moment and allocation drawn at a point of the screen.
fn pick(
    track: &Track,
    geometry: &Geometry,
    x: f32,
    y: f32,
) -> Option<(Moment, Option<AllocationId>)> {
    let (drawn, _) = track.drawn()?;
    let frame = &drawn.picture.frame;
    let column = (geometry.position(x) - frame.from) / frame.per_column;
    let up = (geometry.bytes(y) - frame.low) / frame.bytes_per_row();
    if column < 0.0 || up < 0.0 || column >= frame.columns as f64 {
        return None;
    }
    let moment = drawn.picture.moments.get(column as usize).copied()?;
    let row = frame.rows.checked_sub(1 + up as usize);
    let allocation = row.and_then(|row| drawn.picture.allocation_at(column as usize, row));
    Some((moment, allocation))
}

/// Wheel, pinch and drag.
fn navigate(
    ui: &Ui,
    response: &Response,
    geometry: &Geometry,
    full: f64,
    length: f64,
    selection: &mut Selection,
) {
    if let Some(at) = response.hover_pos() {
        let (scroll, pinch, modifiers) = ui.input(|input| {
            (
                input.smooth_scroll_delta(),
                input.zoom_delta(),
                input.modifiers,
            )
        });
        let view = &mut selection.view;
        if pinch != 1.0 {
            *view = view.bytes_zoomed(1.0 / f64::from(pinch), geometry.bytes(at.y), full);
        } else if scroll.y != 0.0 && !modifiers.shift {
            // A notch of a usual wheel is 50 points: a quarter closer.
            let factor = (-f64::from(scroll.y) / 175.0).exp();
            *view = view.zoomed(factor, geometry.position(at.x), length);
        }
        if scroll.x != 0.0 {
            *view = view.panned(-f64::from(scroll.x) * geometry.per_point(), length);
        }
    }
    let is_ranging = ui.input(|input| input.modifiers.shift);
    if response.dragged_by(egui::PointerButton::Primary) && !is_ranging {
        let change = response.drag_delta();
        let view = selection
            .view
            .panned(-f64::from(change.x) * geometry.per_point(), length);
        selection.view = view.bytes_panned(f64::from(change.y) * geometry.bytes_per_point(), full);
    }
    if response.double_clicked() {
        selection.view = View::whole(selection.view.axis, length);
    }
}

/// Dragging with Shift, or with the other button, chooses a stretch of time.
fn choose_range(
    ui: &Ui,
    response: &Response,
    geometry: &Geometry,
    number: usize,
    track: &Track,
    selection: &mut Selection,
) {
    let is_ranging = ui.input(|input| input.modifiers.shift);
    let dragged = response.dragged_by(egui::PointerButton::Secondary)
        || (is_ranging && response.dragged_by(egui::PointerButton::Primary));
    let pointer = response.interact_pointer_pos();
    let pressed = ui.input(|input| input.pointer.press_origin());
    if let (true, Some(at), Some(from)) = (dragged, pointer, pressed) {
        let axis = track.prepared().axis(selection.view.axis);
        let moment = |x: f32| axis.moment_at(geometry.position(x));
        let (a, b) = (moment(from.x), moment(at.x));
        selection.track = number;
        selection.range = Some((a.min(b), a.max(b)));
        selection.moment = b;
    }
    if response.secondary_clicked() {
        selection.range = None;
    }
}

/// What the pointer is on, in words.
fn hover_ui(ui: &mut Ui, track: &Track, hover: Hover) {
    let replay = track.replay();
    ui.label(format!(
        "after {} events: {} requested, {} reserved",
        crate::text::count(u64::from(hover.moment)),
        units::bytes(replay.requested.at(hover.moment)),
        units::bytes(replay.reserved.at(hover.moment)),
    ));
    let Some(id) = hover.allocation else { return };
    let block = replay.allocations.get(id);
    ui.strong(format!(
        "{} · {}",
        units::bytes(block.requested),
        site_label(&track.document, block.stack)
    ));
    if let Some(known) = track.document.attribution.devices.get(track.device) {
        let (category, evidence) = known.category(id);
        let layer = track.document.attribution.layers.path(known.layer(id).0);
        let mut words = vec![category.name().replace('_', " ")];
        if evidence == profiler_core::attribution::Evidence::Inferred {
            words.push("(inferred)".to_owned());
        }
        if !layer.is_empty() {
            words.push(format!("· {layer}"));
        }
        ui.label(words.join(" "));
    }
    ui.weak("click for details");
}
