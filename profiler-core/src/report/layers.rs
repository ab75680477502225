//! The page's layers: those of the kept allocations, and the layers around them.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::attribution::{LayerId, Layers};

use super::labels::evidence_letter;
use super::text::Texts;

/// Layers as columns. Row 0 is "could not be told".
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LayerColumns {
    /// Rows of the layers around, 0 at the top.
    parent: Vec<u32>,
    /// Text rows of the last part of the path.
    name: Vec<u32>,
    /// One letter per layer: whether its name was recorded.
    known: String,
}

/// Collects layers.
#[derive(Default)]
pub(super) struct LayerTree {
    columns: LayerColumns,
    rows: HashMap<LayerId, u32, FixedState>,
}

impl LayerTree {
    /// The row of `layer`, its ancestors' rows before it.
    pub(super) fn layer(&mut self, layers: &Layers, texts: &mut Texts<'_>, layer: LayerId) -> u32 {
        if self.columns.parent.is_empty() {
            self.columns.parent.push(0);
            self.columns.name.push(0);
            self.columns.known.push('u');
        }
        if layer == LayerId::UNKNOWN {
            return 0;
        }
        if let Some(&row) = self.rows.get(&layer) {
            return row;
        }
        let mut missing = vec![layer];
        let mut parent = 0;
        let mut at = layers.parent(layer);
        while at != LayerId::UNKNOWN {
            if let Some(&row) = self.rows.get(&at) {
                parent = row;
                break;
            }
            missing.push(at);
            at = layers.parent(at);
        }
        for layer in missing.into_iter().rev() {
            let row = self.columns.parent.len() as u32;
            self.columns.parent.push(parent);
            self.columns.name.push(texts.text(layers.name(layer)));
            self.columns
                .known
                .push(evidence_letter(layers.evidence(layer)));
            self.rows.insert(layer, row);
            parent = row;
        }
        parent
    }

    pub(super) fn into_columns(self) -> LayerColumns {
        self.columns
    }
}
