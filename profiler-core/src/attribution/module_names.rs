//! Names for inferred layers, from the names of annotated parameters.
//!
//! Annotated parameters (`blocks.0.attn.in_proj_weight`, …) draw the tree of modules that own
//! parameters. The calls of one forward draw a tree too. Where the two agree, level by level, the
//! calls get the modules' names:
//!
//! ```text
//! modules (in order of registration)         calls (in order)
//! tok                                        model@37 › Embedding@15
//! blocks ─ 0, 1, 2                           model@37 › model@16[0], [1], [2]
//! head                                       model@37 › Linear@17
//! ```
//!
//! A level agrees if its calls and its modules pair up one to one in order, a call of a PyTorch
//! module only with a module that has such parameters. A `ModuleList` is not called: its members
//! stand for it. Calls of PyTorch modules that may have no parameters (activations, dropout) may
//! be left over; nothing else may.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{Action, Snapshot};

use super::layer::{LayerId, Layers};
use super::metadata::is_module_path;
use super::stack_facts::{CallId, StackFactsTable};

/// The recorded layer that each inferred one is known by.
#[derive(Debug, Default)]
pub(crate) struct ModuleNames {
    names: HashMap<LayerId, LayerId, FixedState>,
}

#[derive(Default)]
struct Module {
    layer: LayerId,
    children: Vec<usize>,
    has_named_child: bool,
    parameters: Vec<String>,
}

impl Module {
    /// A `ModuleList` or `Sequential`: only numbered members.
    fn is_list(&self) -> bool {
        self.parameters.is_empty() && !self.children.is_empty() && !self.has_named_child
    }

    fn has_only(&self, names: &[&str]) -> bool {
        self.children.is_empty()
            && !self.parameters.is_empty()
            && self
                .parameters
                .iter()
                .all(|name| names.contains(&name.as_str()))
    }
}

/// The calls made by each layer.
type Callees = HashMap<LayerId, Vec<(LayerId, CallId)>, FixedState>;

struct Matcher<'a> {
    snapshot: &'a Snapshot,
    facts: &'a StackFactsTable,
    modules: Vec<Module>,
    callees: Callees,
    names: HashMap<LayerId, LayerId, FixedState>,
}

impl ModuleNames {
    /// Deeper module trees than this are not followed.
    const MAX_DEPTH: u32 = 64;
    /// More modules than this are not matched: the largest models have some ten thousand.
    const MAX_MODULES: usize = 100_000;
    /// More outermost modules than this are not tried.
    const MAX_ROOTS: usize = 64;
    /// More parameters of one module than this are not told apart; PyTorch's own have up to 16.
    const MAX_PARAMETERS: usize = 64;

    pub(crate) fn new(snapshot: &Snapshot, facts: &StackFactsTable, layers: &mut Layers) -> Self {
        let modules = modules(snapshot, layers);
        if modules.len() < 2 {
            return Self::default();
        }
        let mut callees = Callees::default();
        for (layer, caller, call) in layers.inferred_calls() {
            callees.entry(caller).or_default().push((layer, call));
        }
        let roots = callees.get(&LayerId::UNKNOWN).cloned().unwrap_or_default();
        let mut matcher = Matcher {
            snapshot,
            facts,
            modules,
            callees,
            names: HashMap::default(),
        };
        // The whole model is one of the outermost modules called.
        for (root, _) in roots.into_iter().take(Self::MAX_ROOTS) {
            if matcher.match_level(root, 0, 0) {
                break;
            }
        }
        Self {
            names: matcher.names,
        }
    }

    /// What `layer` is known by: its own name or that of the nearest layer around it that has
    /// one; itself if none has.
    pub(crate) fn of(&self, layers: &Layers, layer: LayerId) -> LayerId {
        if self.names.is_empty() {
            return layer;
        }
        let mut at = layer;
        while at != LayerId::UNKNOWN {
            if let Some(&name) = self.names.get(&at) {
                return name;
            }
            at = layers.parent(at);
        }
        layer
    }
}

/// The modules that own annotated parameters, in order of annotation; the model itself first.
fn modules(snapshot: &Snapshot, layers: &mut Layers) -> Vec<Module> {
    let mut modules = vec![Module::default()];
    let mut lookup: HashMap<(usize, String), usize, FixedState> = HashMap::default();
    for trace in &snapshot.traces {
        for (row, &action) in trace.events.actions().iter().enumerate() {
            if action != Action::Annotate {
                continue;
            }
            let name = snapshot.strings.get(trace.events.user_metadata(row));
            let Some((path, parameter)) = name.rsplit_once('.') else {
                continue;
            };
            if !is_module_path(name) || path.split('.').count() > ModuleNames::MAX_DEPTH as usize {
                continue;
            }
            if modules.len() > ModuleNames::MAX_MODULES {
                return Vec::new();
            }
            let mut at = 0;
            for (position, _) in path.match_indices('.').chain([(path.len(), "")]) {
                let prefix = path.get(..position).unwrap_or(path);
                let own = prefix.rsplit('.').next().unwrap_or(prefix);
                at = match lookup.get(&(at, own.to_owned())) {
                    Some(&known) => known,
                    None => {
                        let new = modules.len();
                        modules.push(Module {
                            layer: layers.intern_recorded(prefix),
                            ..Module::default()
                        });
                        if let Some(parent) = modules.get_mut(at) {
                            parent.children.push(new);
                            parent.has_named_child |= own.bytes().any(|b| !b.is_ascii_digit());
                        }
                        lookup.insert((at, own.to_owned()), new);
                        new
                    }
                };
            }
            if let Some(module) = modules.get_mut(at)
                && module.parameters.len() < ModuleNames::MAX_PARAMETERS
                && !module.parameters.iter().any(|known| known == parameter)
            {
                module.parameters.push(parameter.to_owned());
            }
        }
    }
    modules
}

impl Matcher<'_> {
    /// Pairs the calls made by `layer` with the children of `module`. Returns whether they agree.
    fn match_level(&mut self, layer: LayerId, module: usize, depth: u32) -> bool {
        let calls = self.callees.get(&layer).cloned().unwrap_or_default();
        let Some(owner) = self.modules.get(module) else {
            return false;
        };
        let mut waiting: Vec<usize> = owner.children.iter().rev().copied().collect();
        if depth > ModuleNames::MAX_DEPTH || calls.is_empty() || waiting.is_empty() {
            return false;
        }
        let mut pairs = Vec::new();
        for (callee, call) in calls {
            let file = self.callee_file(call);
            let kind = torch_module(&file);
            // A list stands for its members unless it is called itself.
            while let Some(&next) = waiting.last()
                && kind != Some("container")
                && self.modules.get(next).is_some_and(Module::is_list)
            {
                waiting.pop();
                let members = self.modules.get(next).map(|m| m.children.clone());
                waiting.extend(members.unwrap_or_default().into_iter().rev());
            }
            let fits = waiting.last().is_some_and(|&next| self.fits(kind, next));
            if fits {
                pairs.extend(waiting.pop().map(|next| (callee, next)));
            } else if !kind.is_some_and(may_have_no_parameters) {
                return false;
            }
        }
        if !waiting.is_empty() {
            return false;
        }
        for (callee, next) in pairs {
            if let Some(module) = self.modules.get(next)
                && module.layer != LayerId::UNKNOWN
            {
                self.names.insert(callee, module.layer);
            }
            self.match_level(callee, next, depth + 1);
        }
        true
    }

    fn callee_file(&self, call: CallId) -> String {
        let frame = self.facts.call(call).map(|call| call.callee);
        frame.map_or_else(String::new, |frame| {
            let file = self.snapshot.frames.get(frame).filename;
            self.snapshot.strings.get(file).replace('\\', "/")
        })
    }

    /// Whether a call of a PyTorch module of `kind` (none: of any other module) can be one of
    /// `module`, by the names of its parameters.
    fn fits(&self, kind: Option<&str>, module: usize) -> bool {
        let Some(module) = self.modules.get(module) else {
            return false;
        };
        match kind {
            None => true,
            Some("linear" | "conv" | "normalization" | "batchnorm" | "instancenorm") => {
                module.has_only(&["weight", "bias"])
            }
            Some("sparse") => module.has_only(&["weight"]),
            Some("container") => module.is_list(),
            Some("activation") => module
                .parameters
                .iter()
                .any(|name| name.ends_with("proj_weight")),
            Some("rnn") => module
                .parameters
                .iter()
                .any(|name| name.starts_with("weight_ih")),
            Some("transformer") => !module.children.is_empty(),
            Some(_) => false,
        }
    }
}

/// The stem of a file of `torch/nn/modules`.
fn torch_module(path: &str) -> Option<&str> {
    let (_, file) = path.rsplit_once("torch/nn/modules/")?;
    file.strip_suffix(".py")
}

fn may_have_no_parameters(kind: &str) -> bool {
    matches!(
        kind,
        "activation"
            | "distance"
            | "dropout"
            | "flatten"
            | "fold"
            | "linear" // Identity
            | "loss"
            | "normalization" // elementwise_affine=False
            | "padding"
            | "pixelshuffle"
            | "pooling"
            | "upsampling"
    )
}
