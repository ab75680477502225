//! The flame graph: callers above, callees below, as wide as the bytes they hold.

use egui::{Color32, FontId, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler_core::attribution::{FlameGraph, FlameNode, FrameOrigin};
use profiler_core::units;

use crate::text::elided;
use crate::tokens::{
    CATEGORICAL, FLAME_ROW_HEIGHT, MIN_TEXT_WIDTH, SMALL_TEXT, Theme, shade, text_on,
};

/// The narrowest box drawn, in points. What is narrower is still in the box around it, whose
/// sum is exact.
const MIN_WIDTH: f64 = 0.7;

/// Where a node is, as shares of the root from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    from: f64,
    to: f64,
}

/// The extents of all nodes, children side by side from the left.
pub(super) fn extents(graph: &FlameGraph) -> Vec<Extent> {
    let whole = graph
        .nodes
        .first()
        .map_or(0, |root| root.total.requested)
        .max(1) as f64;
    let mut out: Vec<Extent> = Vec::with_capacity(graph.nodes.len());
    // Where the next child of each node begins.
    let mut next: Vec<f64> = Vec::with_capacity(graph.nodes.len());
    for (at, node) in graph.nodes.iter().enumerate() {
        let width = node.total.requested as f64 / whole;
        let parent = node.parent as usize;
        let from = if at == 0 {
            0.0
        } else {
            next.get(parent).copied().unwrap_or(0.0)
        };
        if at > 0
            && let Some(next) = next.get_mut(parent)
        {
            *next += width;
        }
        out.push(Extent {
            from,
            to: from + width,
        });
        next.push(from);
    }
    out
}

/// Draws `graph`; gives the node that was clicked.
pub(super) fn graph_ui(ui: &mut Ui, graph: &FlameGraph) -> Option<usize> {
    let theme = Theme::of(ui.visuals());
    let extents = extents(graph);
    let mut clicked = None;
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| {
            let depth = graph.nodes.iter().map(|node| node.depth).max().unwrap_or(0) as f32 + 1.0;
            let size = vec2(ui.available_width(), depth * FLAME_ROW_HEIGHT);
            let (area, response) = ui.allocate_exact_size(size, Sense::click());
            response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Flame graph"));
            let visible = ui.clip_rect();
            let width = f64::from(area.width());
            let pointer = response.hover_pos();
            let mut hovered = None;
            for (at, (node, extent)) in graph.nodes.iter().zip(&extents).enumerate() {
                let top = area.top() + node.depth as f32 * FLAME_ROW_HEIGHT;
                if (extent.to - extent.from) * width < MIN_WIDTH
                    || top > visible.bottom()
                    || top + FLAME_ROW_HEIGHT < visible.top()
                {
                    continue;
                }
                let x = |share: f64| area.left() + (share * width) as f32;
                let rect = Rect::from_min_max(
                    pos2(x(extent.from), top),
                    pos2(x(extent.to), top + FLAME_ROW_HEIGHT - 1.0),
                );
                let is_hovered = pointer.is_some_and(|at| rect.contains(at));
                if is_hovered {
                    hovered = Some(at);
                }
                box_ui(ui, node, rect, is_hovered, &theme);
            }
            if let Some(at) = hovered {
                if response.clicked() {
                    clicked = Some(at);
                }
                response.on_hover_ui_at_pointer(|ui| hover_ui(ui, graph, at));
            }
        });
    clicked
}

fn box_ui(ui: &Ui, node: &FlameNode, rect: Rect, is_hovered: bool, theme: &Theme) {
    let fill = color_of(node, theme);
    let fill = if is_hovered { shade(fill, 3) } else { fill };
    let gap = if rect.width() > 3.0 { 0.5 } else { 0.0 };
    ui.painter()
        .rect_filled(rect.shrink2(vec2(gap, 0.0)), 1.0, fill);
    if rect.width() > MIN_TEXT_WIDTH {
        let painter = ui
            .painter()
            .with_clip_rect(rect.intersect(ui.clip_rect()).shrink(1.0));
        let text = if node.depth == 0 {
            "everything"
        } else {
            &node.label
        };
        let font = FontId::proportional(SMALL_TEXT);
        let color = text_on(fill);
        if let Some(text) = elided(&painter, text, &font, color, rect.width() - 6.0) {
            let at = rect.left_center() + vec2(3.0, -text.size().y / 2.0);
            painter.galley(at, text, color);
        }
    }
}

/// Whose code it is; layers alternate by depth.
fn color_of(node: &FlameNode, theme: &Theme) -> Color32 {
    let base = match node.origin {
        Some(FrameOrigin::Project) => CATEGORICAL[1],
        Some(FrameOrigin::Library) => CATEGORICAL[4],
        Some(FrameOrigin::Native) => theme.other,
        None if node.depth == 0 => theme.grid,
        None => CATEGORICAL[2],
    };
    shade(base, (node.number % 4) as i32 - 2)
}

fn hover_ui(ui: &mut Ui, graph: &FlameGraph, at: usize) {
    let (Some(node), Some(root)) = (graph.nodes.get(at), graph.nodes.first()) else {
        return;
    };
    ui.strong(if at == 0 { "everything" } else { &node.label });
    ui.label(format!(
        "{} in {} allocations, {}",
        units::bytes(node.total.requested),
        crate::text::count(node.total.count),
        units::percent(node.total.requested, root.total.requested)
    ));
    ui.label(format!("{} of its own", units::bytes(node.own.requested)));
    ui.weak("click: show only this, in every pane");
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_core::attribution::Sums;

    #[test]
    fn children_lie_side_by_side_inside_their_parent() {
        let node = |parent, depth, requested| FlameNode {
            label: String::new(),
            number: 0,
            origin: None,
            parent,
            depth,
            total: Sums {
                count: 1,
                requested,
                block: requested,
            },
            own: Sums::default(),
        };
        let graph = FlameGraph {
            nodes: vec![
                node(0, 0, 128),
                node(0, 1, 64),
                node(1, 2, 16),
                node(0, 1, 32),
            ],
        };
        let found: Vec<(f64, f64)> = extents(&graph)
            .into_iter()
            .map(|extent| (extent.from, extent.to))
            .collect();
        assert_eq!(found, [(0.0, 1.0), (0.0, 0.5), (0.0, 0.125), (0.5, 0.75)]);
    }
}
