//! Who holds the memory: the live allocations as a flame graph or a tree.

mod graph;
mod tree;

use egui::Ui;
use profiler_core::attribution::{CleanStackId, FlameGraph, LayerId};
use profiler_core::replay::{AllocationId, Moment};
use profiler_core::units;

use crate::ask::{Asked, Kept, Subject};
use crate::selection::Selection;

/// Which allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Live at the chosen moment.
    #[default]
    Moment,
    /// Live at the peak.
    Peak,
    /// Born in the chosen range and live at its end.
    Growth,
}

/// What is asked of the background.
#[derive(Clone, PartialEq)]
pub struct Question {
    /// Of which device.
    pub subject: Subject,
    /// Live at this moment.
    pub moment: Moment,
    /// And born after this one.
    pub born_after: Option<Moment>,
    /// And kept by the filter.
    pub kept: Kept,
    /// By layer, else by stack.
    pub by_layer: bool,
}

/// The graph of `question`.
#[must_use]
pub fn build(question: &Question) -> Option<FlameGraph> {
    let subject = &question.subject;
    let replay = subject.replay()?;
    let born_after = question.born_after;
    let live: Vec<AllocationId> = replay
        .live_at(question.moment)
        .into_iter()
        .filter(|&id| question.kept.has(id.0))
        .filter(|&id| born_after.is_none_or(|after| replay.allocations.get(id).born > after))
        .collect();
    let document = &subject.document;
    Some(if question.by_layer {
        document.attribution.flame_by_layer(replay, &live)
    } else {
        document
            .attribution
            .flame_by_stack(&document.snapshot, replay, &live)
    })
}

/// The pane.
pub struct FlamePane {
    scope: Scope,
    by_layer: bool,
    as_tree: bool,
    closed: std::collections::HashSet<(u32, u32)>,
    asked: Asked<Question, (bool, FlameGraph)>,
}

impl FlamePane {
    /// A pane that wakes `context`.
    #[must_use]
    pub fn new(context: &egui::Context) -> Self {
        let work = |question: Question, _: &dyn Fn() -> bool| {
            build(&question).map(|graph| (question.by_layer, graph))
        };
        Self {
            scope: Scope::default(),
            by_layer: false,
            as_tree: false,
            closed: std::collections::HashSet::new(),
            asked: Asked::new(context, "flame graph", work),
        }
    }

    /// Whether something is being worked out for it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_busy()
    }

    /// Shows the pane; a click narrows every pane to what was clicked.
    pub fn ui(&mut self, ui: &mut Ui, subject: Subject, kept: Kept, selection: &mut Selection) {
        ui.horizontal(|ui| {
            ui.selectable_value(&mut self.scope, Scope::Moment, "At the moment");
            ui.selectable_value(&mut self.scope, Scope::Peak, "At the peak");
            ui.add_enabled_ui(selection.range.is_some(), |ui| {
                ui.selectable_value(&mut self.scope, Scope::Growth, "Growth over the range")
                    .on_hover_text("born in the range and live at its end")
                    .on_disabled_hover_text("choose a range: drag in the timeline with Shift");
            });
            ui.separator();
            ui.selectable_value(&mut self.by_layer, false, "By stack");
            ui.selectable_value(&mut self.by_layer, true, "By layer");
            ui.separator();
            ui.selectable_value(&mut self.as_tree, false, "Graph");
            ui.selectable_value(&mut self.as_tree, true, "Tree");
            if selection.filter.stack.is_some() || selection.filter.layer.is_some() {
                ui.separator();
                if ui.button("Show all again").clicked() {
                    (selection.filter.stack, selection.filter.layer) = (None, None);
                }
            }
        });
        let peak = subject.prepared().map_or(0, |prepared| prepared.peak.0);
        let (moment, born_after) = match (self.scope, selection.range) {
            (Scope::Peak, _) => (peak, None),
            (Scope::Growth, Some((from, to))) => (to, Some(from)),
            _ => (selection.moment, None),
        };
        // The filter's own moment would leave nothing of another one.
        let by_layer = self.by_layer;
        self.asked.want(Question {
            subject,
            moment,
            born_after,
            kept,
            by_layer,
        });
        let Some((by_layer, graph)) = self.asked.answer() else {
            ui.spinner();
            return;
        };
        let Some(root) = graph.nodes.first() else {
            return;
        };
        ui.label(format!(
            "{} in {} allocations",
            units::bytes(root.total.requested),
            crate::text::count(root.total.count)
        ));
        let clicked = if self.as_tree {
            tree::tree_ui(ui, graph, &mut self.closed)
        } else {
            graph::graph_ui(ui, graph)
        };
        if let Some(node) = clicked.and_then(|at| graph.nodes.get(at)) {
            let filter = &mut selection.filter;
            match (node.number, by_layer) {
                (0, _) => (filter.stack, filter.layer) = (None, None),
                (number, true) => filter.layer = Some(LayerId(number)),
                (number, false) => filter.stack = Some(CleanStackId(number)),
            }
        }
    }
}
