//! The same as a tree of rows that open and close.

use std::collections::HashSet;

use egui::{Align2, FontId, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler_core::attribution::FlameGraph;
use profiler_core::units;

use crate::tokens::{ROW_HEIGHT, SMALL_TEXT, Theme};

/// Points that a child is moved to the right.
const INDENT: f32 = 14.0;

/// Draws `graph` as rows; gives the node that was clicked. `closed` has the depth and number of
/// nodes whose children are hidden.
pub(super) fn tree_ui(
    ui: &mut Ui,
    graph: &FlameGraph,
    closed: &mut HashSet<(u32, u32)>,
) -> Option<usize> {
    let theme = Theme::of(ui.visuals());
    let whole = graph.nodes.first().map_or(0, |root| root.total.requested);
    let mut rows: Vec<usize> = Vec::new();
    let mut hidden_below: Option<u32> = None;
    for (at, node) in graph.nodes.iter().enumerate() {
        if hidden_below.is_some_and(|depth| node.depth > depth) {
            continue;
        }
        hidden_below = closed
            .contains(&(node.depth, node.number))
            .then_some(node.depth);
        rows.push(at);
    }
    let mut clicked = None;
    egui::ScrollArea::vertical().auto_shrink(false).show_rows(
        ui,
        ROW_HEIGHT,
        rows.len(),
        |ui, visible| {
            for &at in rows.get(visible).unwrap_or(&[]) {
                let Some(node) = graph.nodes.get(at) else {
                    continue;
                };
                let size = vec2(ui.available_width(), ROW_HEIGHT);
                let (rect, response) = ui.allocate_exact_size(size, Sense::click());
                let label = if at == 0 { "everything" } else { &node.label };
                let bytes = units::bytes(node.total.requested);
                response.widget_info(|| {
                    WidgetInfo::labeled(Role::TreeItem, true, format!("{label}: {bytes}"))
                });
                if response.hovered() {
                    ui.painter().rect_filled(rect, 0.0, theme.grid);
                }
                let has_children = graph
                    .nodes
                    .get(at + 1)
                    .is_some_and(|next| next.depth > node.depth);
                let key = (node.depth, node.number);
                let left = rect.left() + 190.0 + node.depth as f32 * INDENT;
                let arrow = Rect::from_min_size(pos2(left, rect.top()), vec2(INDENT, ROW_HEIGHT));
                let font = FontId::proportional(SMALL_TEXT + 1.0);
                let text = |at, align, text: &str| {
                    ui.painter().text(at, align, text, font.clone(), theme.text);
                };
                text(
                    rect.left_center() + vec2(90.0, 0.0),
                    Align2::RIGHT_CENTER,
                    &bytes,
                );
                let share = units::percent(node.total.requested, whole);
                text(
                    rect.left_center() + vec2(170.0, 0.0),
                    Align2::RIGHT_CENTER,
                    &share,
                );
                if has_children {
                    let sign = if closed.contains(&key) { "+" } else { "−" };
                    text(arrow.center(), Align2::CENTER_CENTER, sign);
                }
                text(
                    pos2(arrow.right() + 2.0, rect.center().y),
                    Align2::LEFT_CENTER,
                    label,
                );
                let pointer = response.interact_pointer_pos();
                if response.clicked() && has_children && pointer.is_some_and(|p| arrow.contains(p))
                {
                    if !closed.remove(&key) {
                        closed.insert(key);
                    }
                } else if response.clicked() {
                    clicked = Some(at);
                }
            }
        },
    );
    clicked
}
