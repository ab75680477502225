//! Layers: the modules of a model, as a tree.
//!
//! A recorded layer has the name the program gave it, `blocks.3.attn`. An inferred one is a chain
//! of module calls, each named by the file that defines the called module, the line of the call
//! and, where one line made several calls, their order:
//!
//! ```text
//! model@37 › model@16[3] › Linear@10[0]
//! │          │             └ the first call of a Linear from line 10 of that module's forward
//! │          └ the fourth call from line 16 of that forward, of a module defined in model.py
//! └ the module called in line 37 of the training script, defined in model.py
//! ```

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::Snapshot;

use super::evidence::Evidence;
use super::frame_class::is_python_file;
use super::stack_facts::{CallId, StackFactsTable};

/// A row of [`Layers`]. `LayerId(0)` is "not told".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub u32);

impl LayerId {
    /// The layer could not be told.
    pub const UNKNOWN: Self = Self(0);
}

#[derive(Clone, Debug)]
struct Layer {
    parent: LayerId,
    name: String,
    evidence: Evidence,
    /// Whether the name is an attribute of the parent's (`blocks.3`), not a place of a call.
    is_attribute: bool,
}

/// Every layer of a snapshot, as a tree.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Row of `LayerId(n)` at `n − 1`.
    layers: Vec<Layer>,
    recorded: HashMap<(LayerId, String), LayerId, FixedState>,
    /// By parent, place and order among the calls of that place.
    inferred: HashMap<(LayerId, CallId, u32), LayerId, FixedState>,
    /// Layers of compiled code, by parent and name.
    compiled: HashMap<(LayerId, String), LayerId, FixedState>,
}

impl Layers {
    /// More layers than this are not told apart; their allocations belong to the parent.
    const MAX: usize = 1_000_000;

    /// The layer a program called `path` (`blocks.3.attn`).
    pub(crate) fn intern_recorded(&mut self, path: &str) -> LayerId {
        let mut at = LayerId::UNKNOWN;
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let key = (at, part.to_owned());
            at = match self.recorded.get(&key) {
                Some(&known) => known,
                None if self.layers.len() >= Self::MAX => return at,
                None => {
                    self.layers.push(Layer {
                        parent: at,
                        name: part.to_owned(),
                        evidence: Evidence::Recorded,
                        is_attribute: true,
                    });
                    let id = LayerId(self.layers.len() as u32);
                    self.recorded.insert(key, id);
                    id
                }
            };
        }
        at
    }

    /// The layer of the `order`-th call of `call` by one call of `parent`. It has no name until
    /// [`Self::name_inferred`].
    pub(crate) fn intern_call(&mut self, parent: LayerId, call: CallId, order: u32) -> LayerId {
        if let Some(&known) = self.inferred.get(&(parent, call, order)) {
            return known;
        }
        if self.layers.len() >= Self::MAX {
            return parent;
        }
        self.layers.push(Layer {
            parent,
            name: String::new(),
            evidence: Evidence::Inferred,
            is_attribute: false,
        });
        let id = LayerId(self.layers.len() as u32);
        self.inferred.insert((parent, call, order), id);
        id
    }

    /// The layer that the source lines of compiled code call `name` below `parent`: an attribute
    /// of the module (`blocks.0`) or, where the line does not tell it, the place of the call.
    pub(crate) fn intern_traced(
        &mut self,
        parent: LayerId,
        name: &str,
        is_attribute: bool,
    ) -> LayerId {
        self.intern_compiled(parent, name.to_owned(), Evidence::Inferred, is_attribute)
    }

    /// The stand-in for the unknown layers of the compiled region `name` (`compile_context`). That
    /// it was this region is recorded; which module it was is not told.
    pub(crate) fn intern_region(&mut self, name: &str) -> LayerId {
        let name = format!("compiled region ‹{}›", region_name(name));
        self.intern_compiled(LayerId::UNKNOWN, name, Evidence::Recorded, false)
    }

    fn intern_compiled(
        &mut self,
        parent: LayerId,
        name: String,
        evidence: Evidence,
        is_attribute: bool,
    ) -> LayerId {
        let key = (parent, name);
        if let Some(&known) = self.compiled.get(&key) {
            return known;
        }
        if self.layers.len() >= Self::MAX {
            return parent;
        }
        self.layers.push(Layer {
            parent,
            name: key.1.clone(),
            evidence,
            is_attribute,
        });
        let id = LayerId(self.layers.len() as u32);
        self.compiled.insert(key, id);
        id
    }

    /// The innermost layer that contains all of `of`; unknown if none does, or `of` is empty.
    pub(crate) fn around_all(&self, of: &[LayerId]) -> LayerId {
        let Some((first, rest)) = of.split_first() else {
            return LayerId::UNKNOWN;
        };
        let mut common = self.ancestry(*first);
        for other in rest {
            let ancestry = self.ancestry(*other);
            let same = common.iter().zip(&ancestry).take_while(|(a, b)| a == b);
            let length = same.count();
            common.truncate(length);
        }
        common.last().copied().unwrap_or_default()
    }

    /// Whether `inner` is `outer` or inside of it.
    pub(crate) fn contains(&self, outer: LayerId, inner: LayerId) -> bool {
        let mut at = inner;
        while at != LayerId::UNKNOWN {
            if at == outer {
                return true;
            }
            at = self.parent(at);
        }
        false
    }

    /// Names the layers of [`Self::intern_call`].
    pub(crate) fn name_inferred(&mut self, snapshot: &Snapshot, facts: &StackFactsTable) {
        let mut keys: Vec<_> = self.inferred.iter().map(|(key, id)| (*id, *key)).collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        for (id, (parent, call, order)) in keys {
            let mut name = call_name(snapshot, facts, call);
            if self.inferred.contains_key(&(parent, call, 1)) {
                name.push_str(&format!("[{order}]"));
            }
            if let Some(layer) = self.row_mut(id) {
                layer.name = name;
            }
        }
    }

    /// The inferred layers with their callers and places, in order of first appearance.
    pub(crate) fn inferred_calls(&self) -> Vec<(LayerId, LayerId, CallId)> {
        let mut calls: Vec<_> = self
            .inferred
            .iter()
            .map(|((parent, call, _), id)| (*id, *parent, *call))
            .collect();
        calls.sort_unstable();
        calls
    }

    /// The last part of the layer's path: `attn`, `Linear@10[0]`; empty for the unknown layer.
    #[must_use]
    pub fn name(&self, id: LayerId) -> &str {
        self.row(id).map_or("", |layer| layer.name.as_str())
    }

    /// The layer that contains `id`.
    #[must_use]
    pub fn parent(&self, id: LayerId) -> LayerId {
        self.row(id).map_or(LayerId::UNKNOWN, |layer| layer.parent)
    }

    /// How the layer is known.
    #[must_use]
    pub fn evidence(&self, id: LayerId) -> Evidence {
        self.row(id)
            .map_or(Evidence::Unknown, |layer| layer.evidence)
    }

    /// The layers from the outermost module to `id`.
    #[must_use]
    pub fn ancestry(&self, id: LayerId) -> Vec<LayerId> {
        let mut out = Vec::new();
        let mut at = id;
        while let Some(layer) = self.row(at) {
            out.push(at);
            at = layer.parent;
        }
        out.reverse();
        out
    }

    /// The whole path: `blocks.3.attn`, `model@37 › Linear@10`; empty for the unknown layer.
    #[must_use]
    pub fn path(&self, id: LayerId) -> String {
        let mut path = String::new();
        let mut is_dotted = false;
        for at in self.ancestry(id) {
            let is_attribute = self.row(at).is_some_and(|layer| layer.is_attribute);
            if !path.is_empty() {
                path.push_str(if is_dotted && is_attribute {
                    "."
                } else {
                    " › "
                });
            }
            path.push_str(self.name(at));
            is_dotted = is_attribute;
        }
        path
    }

    /// How many layers there are, the unknown one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.len() + 1
    }

    /// Whether no layer is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    fn row(&self, id: LayerId) -> Option<&Layer> {
        self.layers.get(usize::try_from(id.0.checked_sub(1)?).ok()?)
    }

    fn row_mut(&mut self, id: LayerId) -> Option<&mut Layer> {
        self.layers
            .get_mut(usize::try_from(id.0.checked_sub(1)?).ok()?)
    }
}

/// `model@16`: the stem of the callee's file and the line of the call. Calls by a container
/// (`nn.Sequential`) all come from one line of PyTorch, which is left out.
fn call_name(snapshot: &Snapshot, facts: &StackFactsTable, id: CallId) -> String {
    let Some(call) = facts.call(id) else {
        return String::new();
    };
    let path = |frame| {
        let file = snapshot.frames.get(frame).filename;
        snapshot.strings.get(file).replace('\\', "/")
    };
    let callee = path(call.callee);
    let name = if callee.contains("torch/nn/modules/") || callee.contains("torch/ao/nn/") {
        torch_module_name(stem(&callee)).to_owned()
    } else {
        stem(&callee).to_owned()
    };
    match call.site {
        Some(site) if is_python_file(&path(site)) => {
            if path(site).ends_with("torch/nn/modules/container.py") {
                name
            } else {
                format!("{name}@{}", snapshot.frames.get(site).line)
            }
        }
        _ => name,
    }
}

/// `0/0` of `Torch-Compiled Region: 0/0`, the name Dynamo gives its `record_function` ranges.
pub(crate) fn region_name(context: &str) -> &str {
    let id = context.strip_prefix("Torch-Compiled Region");
    let id = id.map(|id| id.trim_start_matches(':').trim());
    id.filter(|id| !id.is_empty()).unwrap_or(context)
}

/// How a call of a module defined in `file` from line `line` is named: `model@16`, `Linear@10`.
pub(crate) fn place_name(file: &str, line: u64) -> String {
    let file = file.replace('\\', "/");
    let name = if file.contains("torch/nn/modules/") {
        torch_module_name(stem(&file))
    } else {
        stem(&file)
    };
    format!("{name}@{line}")
}

fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".py").unwrap_or(file);
    if stem.is_empty() { path } else { stem }
}

/// The class that a file of `torch/nn/modules` defines, where it is one class or one family.
fn torch_module_name(stem: &str) -> &str {
    match stem {
        "batchnorm" => "BatchNorm",
        "container" => "Sequential",
        "conv" => "Conv",
        "dropout" => "Dropout",
        "instancenorm" => "InstanceNorm",
        "linear" => "Linear",
        "normalization" => "Norm",
        "rnn" => "RNN",
        "sparse" => "Embedding",
        "upsampling" => "Upsample",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_paths_share_their_parents() {
        let mut layers = Layers::default();
        let attn = layers.intern_recorded("blocks.3.attn");
        let mlp = layers.intern_recorded("blocks.3.mlp");
        assert_eq!(layers.parent(attn), layers.parent(mlp));
        assert_eq!(layers.path(attn), "blocks.3.attn");
        assert_eq!(layers.name(mlp), "mlp");
        assert_eq!(layers.intern_recorded("blocks.3.attn"), attn);
        assert_eq!(layers.intern_recorded("..."), LayerId::UNKNOWN);
        assert_eq!(layers.path(LayerId::UNKNOWN), "");
        assert_eq!(layers.path(LayerId(99)), "");
    }
}
