//! Allocations as rows: millions of them, of which the visible ones are drawn.

mod csv;
mod row;

use egui::{Align2, FontId, Key, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler_core::replay::AllocationId;

pub use csv::{MAX_CSV_ROWS, write_csv};
pub use row::cell;

use crate::ask::Subject;
use crate::narrow::{Column, Narrowed, Sort};
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
const WIDTHS: [f32; 9] = [118.0, 92.0, 92.0, 84.0, 84.0, 92.0, 50.0, 110.0, 190.0];
/// How many of them, from the left, hold numbers: those never shrink, because a number that is
/// cut off reads as another number.
const NUMBERS: usize = 7;
/// What is left for the last column at least, in points: columns of text shrink for it.
const LAST_WIDTH: f32 = 200.0;

/// Each column's width in a table as wide as `all`.
fn widths(all: f32) -> [f32; 10] {
    let mut out = [0.0; 10];
    let (numbers, texts) = WIDTHS.split_at(NUMBERS);
    let fixed: f32 = numbers.iter().sum();
    let wanted: f32 = texts.iter().sum();
    let scale = ((all - fixed - LAST_WIDTH) / wanted).clamp(0.3, 1.0);
    for (at, (out, width)) in out.iter_mut().zip(WIDTHS).enumerate() {
        *out = if at < NUMBERS { width } else { width * scale };
    }
    out[9] = (all - fixed - wanted * scale).max(0.0);
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
    header_ui(ui, state);
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
    for (line, &row) in rows.iter().skip(state.first).take(visible + 1).enumerate() {
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

fn header_ui(ui: &mut Ui, state: &mut TableState) {
    let spacing = ui.spacing().item_spacing;
    let widths = widths(ui.available_width() - BAR_WIDTH);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        for (index, column) in Column::ALL.into_iter().enumerate() {
            let is_sorted = state.sort.column == column;
            let arrow = match (is_sorted, state.sort.descending) {
                (false, _) => "",
                (true, false) => " 1–9",
                (true, true) => " 9–1",
            };
            let text = egui::RichText::new(format!("{}{arrow}", column.title()))
                .size(12.0)
                .strong();
            let width = widths.get(index).copied().unwrap_or(0.0);
            let button = egui::Button::new(text)
                .frame(false)
                .min_size(vec2(width, 18.0));
            let label = format!("Sort by {}", column.title());
            let response = ui
                .add_sized([width, 18.0], button.truncate())
                .on_hover_text(&label);
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
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
        }
    });
    ui.spacing_mut().item_spacing = spacing;
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
    let widths = widths(rect.width());
    let color = if is_selected {
        ui.visuals().selection.stroke.color
    } else {
        theme.text
    };
    for (index, column) in Column::ALL.into_iter().enumerate() {
        let width = widths.get(index).copied().unwrap_or(0.0);
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        left += width;
        let text = cell(subject, id, column);
        let painter = ui.painter().with_clip_rect(place.shrink2(vec2(3.0, 0.0)));
        let is_number = index < NUMBERS;
        let (at, align) = if is_number {
            (place.right_center() - vec2(6.0, 0.0), Align2::RIGHT_CENTER)
        } else {
            (place.left_center() + vec2(4.0, 0.0), Align2::LEFT_CENTER)
        };
        let font = if is_number {
            font.clone()
        } else {
            plain.clone()
        };
        painter.text(at, align, text, font, color);
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
    response.clicked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_width_and_the_columns_fill_the_table() {
        for all in [720.0, 935.0, 1200.0, 3500.0] {
            let widths = widths(all);
            assert_eq!(widths[..NUMBERS], WIDTHS[..NUMBERS]);
            let sum: f32 = widths.iter().sum();
            assert!((sum - all).abs() < 0.1, "{all}: {sum}");
        }
    }
}
