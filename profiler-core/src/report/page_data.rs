//! What the page's scripts draw from: one JSON object.

use serde::Serialize;

use crate::attribution::{Category, LayerId};
use crate::redact::Redactor;
use crate::snapshot::StackId;

use super::budget::Budget;
use super::device_data::DeviceData;
use super::labels::Labels;
use super::layers::{LayerColumns, LayerTree};
use super::stacks::{StackColumns, StackTree};
use super::text::Texts;

/// The tables shared by all devices, while they fill.
pub(super) struct PageData<'a> {
    pub(super) labels: Labels<'a>,
    pub(super) texts: Texts<'a>,
    stacks: StackTree,
    layers: LayerTree,
}

/// The whole object.
#[derive(Serialize)]
pub(super) struct PageJson {
    schema: &'static str,
    texts: Vec<String>,
    stacks: StackColumns,
    layers: LayerColumns,
    categories: Vec<&'static str>,
    devices: Vec<DeviceData>,
    /// Stacks of which only the outer frames are kept.
    cut_stacks: u64,
    /// Texts cut at the limit of characters.
    cut_texts: u64,
    redacted: bool,
}

impl<'a> PageData<'a> {
    pub(super) fn new(labels: Labels<'a>, redactor: Option<&'a Redactor>, budget: Budget) -> Self {
        let mut page = Self {
            labels,
            texts: Texts::new(redactor, budget.text_chars),
            stacks: StackTree::new(budget.stack_nodes),
            layers: LayerTree::default(),
        };
        page.layer(LayerId::UNKNOWN);
        page
    }

    /// The node of `stack`.
    pub(super) fn stack(&mut self, stack: StackId) -> u32 {
        self.stacks.stack(&self.labels, &mut self.texts, stack)
    }

    /// The row of `layer`.
    pub(super) fn layer(&mut self, layer: LayerId) -> u32 {
        self.layers
            .layer(&self.labels.attribution.layers, &mut self.texts, layer)
    }

    pub(super) fn finish(self, devices: Vec<DeviceData>, redacted: bool) -> PageJson {
        PageJson {
            schema: "gpumemprof.report/1",
            cut_stacks: self.stacks.cut(),
            cut_texts: self.texts.shortened(),
            texts: self.texts.into_list(),
            stacks: self.stacks.into_columns(),
            layers: self.layers.into_columns(),
            categories: Category::ALL
                .iter()
                .map(|category| category.name())
                .collect(),
            devices,
            redacted,
        }
    }
}
