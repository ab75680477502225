//! Allocations as rows: millions of them, of which the visible ones are drawn.

mod csv;
mod row;

use egui::{Align2, FontId, Key, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler_core::replay::{AllocationId, Moment};

pub use csv::{MAX_CSV_ROWS, write_csv};
pub use row::cell;

use crate::ask::Subject;
use crate::narrow::{Column, Narrowed, Sort};
use crate::text::elided;
use crate::tokens::{ROW_HEIGHT, SMALL_TEXT, Theme};

/// Where the table is scrolled to and how it is sorted.
///
/// Rows are counted in whole numbers: as a distance in `f32` points, ten million rows would not
/// be told apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableState {
    /// The first visible row.
    pub first: usize,
    /// The order.
    pub sort: Sort,
    /// Points scrolled that are not a whole row yet.
    rest: f32,
    /// The chosen allocation when it was last scrolled to.
    shown: Option<AllocationId>,
}

/// Widths of the columns in points; the last takes what is left.
const WIDTHS: [f32; 9] = [116.0, 90.0, 90.0, 84.0, 84.0, 92.0, 54.0, 96.0, 204.0];
/// The columns that hold moments: as wide as the recording's last one needs.
const MOMENTS: std::ops::Range<usize> = 3..5;
/// Points that a digit or a space between groups of them takes, and what is around a number.
const DIGIT_WIDTH: f32 = 7.4;
const AROUND_NUMBER: f32 = 14.0;
/// How many of them, from the left, hold numbers: those never shrink, because a number that is
/// cut off reads as another number.
const NUMBERS: usize = 7;
/// What is left for the last column at least, in points, as long as the layer's can shrink for it.
const LAST_WIDTH: f32 = 216.0;
/// The same as long as the category's can, whose names are short and had better be whole.
const SHORT_LAST_WIDTH: f32 = 180.0;
/// The share of its width that a column of text keeps.
const LEAST: f32 = 0.3;

/// Each column's width in a table as wide as `all`, of a recording with the final moment `last`.
fn widths(all: f32, last: Moment) -> [f32; 10] {
    let [.., category, layer] = WIDTHS;
    let mut out = [0.0; 10];
    out[..WIDTHS.len()].copy_from_slice(&WIDTHS);
    let digits = crate::text::count(u64::from(last)).chars().count() as f32;
    let moment = (digits * DIGIT_WIDTH + AROUND_NUMBER).max(60.0);
    out[MOMENTS].fill(moment);
    let numbers: f32 = out[..NUMBERS].iter().sum();
    let room = all - numbers;
    out[8] = (room - category - LAST_WIDTH).clamp(layer * LEAST, layer);
    out[7] = (room - out[8] - SHORT_LAST_WIDTH).clamp(category * LEAST, category);
    out[9] = (all - numbers - out[7] - out[8]).max(0.0);
    out
}

/// Width of the scroll bar, in points.
const BAR_WIDTH: f32 = 12.0;

/// Shows the table; gives the allocation that was clicked.
pub fn table_ui(
    ui: &mut Ui,
    subject: &Subject,
    narrowed: Option<&Narrowed>,
    state: &mut TableState,
    selected: Option<AllocationId>,
) -> Option<AllocationId> {
    let theme = Theme::of(ui.visuals());
    let last = subject.prepared().map_or(0, |prepared| prepared.last);
    header_ui(ui, state, last);
    let Some(narrowed) = narrowed else {
        ui.spinner();
        return None;
    };
    let area = ui.available_rect_before_wrap();
    let response = ui.allocate_rect(area, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Table, true, "Allocations"));
    let rows = &narrowed.order;
    let visible = (area.height() / ROW_HEIGHT).floor().max(1.0) as usize;
    let last_first = rows.len().saturating_sub(visible);
    scroll(ui, &response, state, visible);
    if selected.is_some() && selected != state.shown {
        reveal(narrowed, state, selected, visible);
    }
    state.shown = selected;
    state.first = state.first.min(last_first);
    let bar_width = BAR_WIDTH;
    let mut clicked = None;
    for (line, &row) in rows.iter().skip(state.first).take(visible).enumerate() {
        let top = area.top() + line as f32 * ROW_HEIGHT;
        let rect = Rect::from_min_size(
            pos2(area.left(), top),
            vec2(
                area.width() - bar_width,
                ROW_HEIGHT.min(area.bottom() - top),
            ),
        );
        if rect.height() < ROW_HEIGHT * 0.5 {
            break;
        }
        let id = AllocationId(row);
        if row_ui(ui, subject, id, rect, line, selected == Some(id), &theme) {
            clicked = Some(id);
        }
    }
    let bar = Rect::from_min_max(pos2(area.right() - bar_width, area.top()), area.max);
    scroll_bar(ui, bar, state, rows.len(), visible, &theme);
    if rows.is_empty() {
        let text = "No allocation fits the filter.";
        let font = FontId::proportional(14.0);
        ui.painter().text(
            area.center(),
            Align2::CENTER_CENTER,
            text,
            font,
            theme.weak_text,
        );
    }
    clicked
}

fn header_ui(ui: &mut Ui, state: &mut TableState, last: Moment) {
    let size = vec2(ui.available_width(), 18.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let widths = widths(rect.width() - BAR_WIDTH, last);
    let font = FontId::proportional(SMALL_TEXT + 1.0);
    let mut left = rect.left();
    for (index, column) in Column::ALL.into_iter().enumerate() {
        let width = widths.get(index).copied().unwrap_or(0.0);
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        left += width;
        let is_sorted = state.sort.column == column;
        let id = ui.scope_id().with(("head", index));
        let response = ui.interact(place, id, Sense::click());
        let label = format!("Sort by {}", column.title());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
        let color = if response.hovered() || is_sorted {
            ui.visuals().strong_text_color()
        } else {
            ui.visuals().text_color()
        };
        let arrow = if is_sorted { ARROW_WIDTH } else { 0.0 };
        let room = width - 10.0 - arrow;
        if let Some(text) = elided(ui.painter(), column.title(), &font, color, room) {
            let y = place.center().y - text.size().y / 2.0;
            let x = if index < NUMBERS {
                place.right() - 6.0 - arrow - text.size().x
            } else {
                place.left() + 4.0
            };
            if is_sorted {
                let at = pos2(
                    x + text.size().x + ARROW_WIDTH / 2.0 + 1.0,
                    place.center().y,
                );
                arrow_ui(ui, at, state.sort.descending, color);
            }
            ui.painter().galley(pos2(x, y), text, color);
        }
        if response.clicked() {
            // Sizes and lifetimes are wanted largest first.
            let first = !matches!(column, Column::Address | Column::Born | Column::Died);
            let descending = if is_sorted {
                !state.sort.descending
            } else {
                first
            };
            state.sort = Sort { column, descending };
            state.first = 0;
        }
        response.on_hover_text(&label);
    }
}

/// Width kept for the arrow of the sorted column, in points.
const ARROW_WIDTH: f32 = 11.0;

/// Up for smallest first. The window's font has no arrows.
fn arrow_ui(ui: &Ui, at: egui::Pos2, is_down: bool, color: egui::Color32) {
    let tip = if is_down { 3.0 } else { -3.0 };
    let corners = vec![
        at + vec2(-3.5, -tip),
        at + vec2(3.5, -tip),
        at + vec2(0.0, tip),
    ];
    let shape = egui::Shape::convex_polygon(corners, color, egui::Stroke::NONE);
    ui.painter().add(shape);
}

fn scroll(ui: &Ui, response: &egui::Response, state: &mut TableState, visible: usize) {
    if !response.contains_pointer() {
        return;
    }
    let delta = ui.input(|input| input.smooth_scroll_delta().y);
    state.rest -= delta / ROW_HEIGHT;
    let whole = state.rest.trunc();
    state.rest -= whole;
    state.first = state.first.saturating_add_signed(whole as isize);
    let pages = ui.input(|input| {
        let down = input.num_presses(Key::PageDown) as isize;
        down - input.num_presses(Key::PageUp) as isize
    });
    state.first = state.first.saturating_add_signed(pages * visible as isize);
}

/// Scrolls to the chosen allocation if it is in the table and out of sight.
fn reveal(
    narrowed: &Narrowed,
    state: &mut TableState,
    selected: Option<AllocationId>,
    visible: usize,
) {
    let at = narrowed
        .order
        .iter()
        .position(|&row| Some(AllocationId(row)) == selected);
    if let Some(at) = at
        && !(state.first..state.first + visible).contains(&at)
    {
        state.first = at.saturating_sub(visible / 2);
    }
}

fn scroll_bar(
    ui: &Ui,
    bar: Rect,
    state: &mut TableState,
    rows: usize,
    visible: usize,
    theme: &Theme,
) {
    if rows <= visible {
        return;
    }
    let response = ui.interact(
        bar,
        ui.scope_id().with("scroll bar"),
        Sense::click_and_drag(),
    );
    let share = visible as f64 / rows as f64;
    let height = (f64::from(bar.height()) * share).max(18.0) as f32;
    let way = f64::from(bar.height() - height);
    let last = (rows - visible) as f64;
    if let Some(at) = response.interact_pointer_pos() {
        let place = f64::from(at.y - bar.top() - height / 2.0) / way.max(1.0);
        state.first = (place.clamp(0.0, 1.0) * last) as usize;
    }
    let top = bar.top() + (state.first as f64 / last * way) as f32;
    let handle = Rect::from_min_size(pos2(bar.left() + 2.0, top), vec2(bar.width() - 4.0, height));
    ui.painter().rect_filled(bar, 0.0, theme.canvas);
    ui.painter().rect_filled(handle, 4.0, theme.other);
}

/// One row; true if it was clicked.
fn row_ui(
    ui: &Ui,
    subject: &Subject,
    id: AllocationId,
    rect: Rect,
    line: usize,
    is_selected: bool,
    theme: &Theme,
) -> bool {
    let response = ui.interact(rect, ui.scope_id().with(("row", line)), Sense::click());
    if is_selected {
        ui.painter()
            .rect_filled(rect, 0.0, ui.visuals().selection.bg_fill);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, 0.0, theme.grid);
    }
    let font = FontId::monospace(SMALL_TEXT + 1.0);
    let plain = FontId::proportional(SMALL_TEXT + 1.0);
    let mut left = rect.left();
    let last = subject.prepared().map_or(0, |prepared| prepared.last);
    let widths = widths(rect.width(), last);
    let color = if is_selected {
        ui.visuals().selection.stroke.color
    } else {
        theme.text
    };
    let mut cut = Vec::new();
    for (index, column) in Column::ALL.into_iter().enumerate() {
        let width = widths.get(index).copied().unwrap_or(0.0);
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        left += width;
        let text = cell(subject, id, column);
        let painter = ui.painter();
        if index < NUMBERS {
            let at = place.right_center() - vec2(6.0, 0.0);
            painter.text(at, Align2::RIGHT_CENTER, text, font.clone(), color);
        } else {
            let shown = elided(painter, &text, &plain, color, width - 10.0);
            if response.hovered() && shown.as_ref().is_none_or(|shown| shown.elided) {
                cut.push(format!("{}: {text}", column.title()));
            }
            if let Some(shown) = shown {
                let at = place.left_center() + vec2(4.0, -shown.size().y / 2.0);
                painter.galley(at, shown, color);
            }
        }
    }
    response.widget_info(|| {
        let size = cell(subject, id, Column::Size);
        let site = cell(subject, id, Column::Site);
        WidgetInfo::labeled(
            Role::Row,
            true,
            format!("Allocation {}: {size}, {site}", id.0),
        )
    });
    let is_clicked = response.clicked();
    if !cut.is_empty() {
        response.on_hover_text_at_pointer(cut.join("\n"));
    }
    is_clicked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_width_and_the_columns_fill_the_table() {
        for all in [720.0, 935.0, 1200.0, 3500.0] {
            let widths = widths(all, 99_999_999);
            assert_eq!(widths[..3], WIDTHS[..3]);
            assert!(all < 1000.0 || widths[7] == WIDTHS[7]);
            assert!(widths[3] > 10.0 * DIGIT_WIDTH);
            let sum: f32 = widths.iter().sum();
            assert!((sum - all).abs() < 0.1, "{all}: {sum}");
        }
    }
}
