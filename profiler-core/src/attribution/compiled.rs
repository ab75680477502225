//! Layers of allocations made by compiled code.
//!
//! Compiled code has no module calls on its stacks. `augment_with_fx_traces` (PyTorch 2.10) adds
//! to a frame of generated code the source lines its graph node came from:
//!
//! ```text
//! File "model.py", line 31, in forward
//!     x = self.blocks[0](x)
//! File "model.py", line 12, in forward
//!     x = x + self.attn(x)
//! ```
//!
//! reads as `blocks.0.attn`, below the module that was compiled. Without it the compiled region
//! (`compile_context`) stands in.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{FrameId, Snapshot, StackId, StringId, Trace};

use super::layer::{LayerId, Layers, place_name};
use super::traceback;

/// Finds the layers of compiled code.
pub(crate) struct CompiledLayers<'a> {
    snapshot: &'a Snapshot,
    has_traces: bool,
    /// The `fx_original_trace` of the innermost frame that has one, by stack.
    texts: HashMap<StackId, StringId, FixedState>,
    /// By the layer around and the traceback.
    traced: HashMap<(LayerId, StringId), LayerId, FixedState>,
    regions: HashMap<StringId, LayerId, FixedState>,
}

impl<'a> CompiledLayers<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            has_traces: snapshot.frames.iter().any(|(_, frame)| frame.fx != 0),
            texts: HashMap::default(),
            traced: HashMap::default(),
            regions: HashMap::default(),
        }
    }

    /// The layer that source lines of generated code tell, below `around`; `around` if there are
    /// none.
    pub(crate) fn traced(
        &mut self,
        layers: &mut Layers,
        stack: StackId,
        around: LayerId,
    ) -> LayerId {
        if !self.has_traces {
            return around;
        }
        let snapshot = self.snapshot;
        let text = *self.texts.entry(stack).or_insert_with(|| {
            let mut frames = snapshot.stacks.frames(stack).take(MAX_FRAMES);
            frames
                .find_map(|frame| original_trace(snapshot, frame))
                .unwrap_or_default()
        });
        if text == StringId::EMPTY {
            return around;
        }
        *self
            .traced
            .entry((around, text))
            .or_insert_with(|| layer_of_trace(layers, snapshot.strings.get(text), around))
    }

    /// The stand-in layer of the compiled region that event `row` was made in, if any.
    pub(crate) fn region(
        &mut self,
        layers: &mut Layers,
        trace: &Trace,
        row: u32,
    ) -> Option<LayerId> {
        let context = trace.events.compile_context(row as usize);
        (context != StringId::EMPTY).then(|| {
            let name = self.snapshot.strings.get(context);
            *self
                .regions
                .entry(context)
                .or_insert_with(|| layers.intern_region(name))
        })
    }
}

/// Frames of a stack that are searched for an `fx_original_trace`; recorded stacks have up to some
/// two hundred.
const MAX_FRAMES: usize = 1024;

/// Deeper module nesting than this is cut.
const MAX_DEPTH: usize = 64;

fn original_trace(snapshot: &Snapshot, frame: FrameId) -> Option<StringId> {
    let node = snapshot.frames.fx(snapshot.frames.get(frame))?;
    Some(node.original_trace).filter(|text| *text != StringId::EMPTY)
}

/// Follows the `forward`s of the traceback `text`, each called by the line of the one before.
fn layer_of_trace(layers: &mut Layers, text: &str, around: LayerId) -> LayerId {
    let lines = traceback::parse(text);
    let mut layer = around;
    for (at, line) in lines.iter().enumerate().take(MAX_DEPTH) {
        let next = lines.get(at + 1);
        if next.is_some_and(|next| next.function != "forward") {
            // A method or a function, not a module.
            continue;
        }
        // Only `self` of a module's `forward` or method: any function may have the last line, and
        // a script's first line calls the compiled module itself.
        match (traceback::called_attribute(line.code), next) {
            (Some(path), _) => {
                for name in path.split('.').filter(|name| !name.is_empty()) {
                    layer = layers.intern_traced(layer, name, true);
                }
            }
            (None, Some(callee)) => {
                let name = place_name(callee.file, line.line);
                layer = layers.intern_traced(layer, &name, false);
            }
            (None, None) => {}
        }
    }
    layer
}
