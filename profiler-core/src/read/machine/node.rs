//! Dicts and lists of no kind the snapshot has columns for: kept as they are until someone asks
//! for their text (settings, metadata), else never looked at.

use super::notes::Shape;
use super::{Machine, Place, Value};
use crate::snapshot::{StringId, WarningKind};

/// The longest JSON text kept of one value. Metadata is a few words, settings a few dozen keys;
/// a value that refers to its parts again and again could otherwise grow without end.
const MAX_JSON: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Node {
    is_dict: bool,
    depth: u32,
    start: u32,
    end: u32,
}

/// Nodes and their items.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    values: Vec<Value>,
    pairs: Vec<(StringId, Value)>,
}

impl Nodes {
    /// How deep the containers under this node go, itself included.
    #[inline]
    pub(super) fn depth(&self, node: u32) -> u32 {
        self.nodes.get(node as usize).map_or(0, |node| node.depth)
    }

    fn depth_of(&self, value: Value) -> u32 {
        match value {
            Value::Node(node) => self.depth(node),
            _ => 0,
        }
    }

    /// Adds a list.
    pub(super) fn add_list(&mut self, items: &[Value]) -> u32 {
        let depth = items.iter().map(|&item| self.depth_of(item)).max();
        let start = self.values.len() as u32;
        self.values.extend_from_slice(items);
        self.nodes.push(Node {
            is_dict: false,
            depth: depth.unwrap_or(0) + 1,
            start,
            end: self.values.len() as u32,
        });
        self.nodes.len() as u32 - 1
    }

    /// Adds a dict.
    pub(super) fn add_dict(&mut self, items: &[(StringId, Value)]) -> u32 {
        let depth = items.iter().map(|&(_, item)| self.depth_of(item)).max();
        let start = self.pairs.len() as u32;
        self.pairs.extend_from_slice(items);
        self.nodes.push(Node {
            is_dict: true,
            depth: depth.unwrap_or(0) + 1,
            start,
            end: self.pairs.len() as u32,
        });
        self.nodes.len() as u32 - 1
    }

    /// The items of a dict node, if it is one.
    pub(super) fn dict(&self, node: u32) -> Option<&[(StringId, Value)]> {
        let node = self.nodes.get(node as usize)?;
        node.is_dict
            .then(|| self.pairs.get(node.start as usize..node.end as usize))?
    }

    /// The items of a list node, if it is one.
    pub(super) fn list(&self, node: u32) -> Option<&[Value]> {
        let node = self.nodes.get(node as usize)?;
        (!node.is_dict).then(|| self.values.get(node.start as usize..node.end as usize))?
    }
}

impl Machine {
    /// A container for a place that keeps text: its JSON.
    pub(super) fn opaque(&mut self, value: Value, place: Place) -> Value {
        if place != Place::Opaque {
            return value;
        }
        let text = self.json_text(value);
        Value::Str(self.strings.intern(&text))
    }

    /// The value as compact JSON; keys in file order.
    pub(super) fn json_text(&mut self, value: Value) -> String {
        let mut text = String::new();
        let fits = self.text_left > 0 && self.write_json(value, &mut text);
        self.text_left = self.text_left.saturating_sub(text.len() as u64 + 1);
        if fits {
            return text;
        }
        self.warnings.add(
            WarningKind::Truncated,
            "a metadata or settings value is over 1 MiB as text, or all of them are many times \
             the file: left out",
        );
        String::new()
    }

    /// Writes the value; false when it got too long.
    fn write_json(&self, value: Value, out: &mut String) -> bool {
        use std::fmt::Write as _;
        if out.len() > MAX_JSON {
            return false;
        }
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Bool(bool) => write!(out, "{bool}"),
            Value::Int(number) => write!(out, "{number}"),
            Value::UInt(number) => write!(out, "{number}"),
            Value::Float(float) if float.is_finite() => write!(out, "{float:?}"),
            Value::Str(id) => {
                json_string(self.strings.get(id), out);
                Ok(())
            }
            Value::Pair(pair) => {
                let pair = self.number_pairs.get(pair as usize);
                let (a, b) = pair.copied().unwrap_or_default();
                write!(out, "[{a},{b}]")
            }
            Value::EmptyList => write!(out, "[]"),
            Value::Frame(id) => {
                self.json_frame(self.frames.get(id), out);
                Ok(())
            }
            Value::Stack(id) => {
                out.push('[');
                for (at, frame) in self.stacks.frames(id).enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    if out.len() > MAX_JSON {
                        return false;
                    }
                    self.json_frame(self.frames.get(frame), out);
                }
                out.push(']');
                Ok(())
            }
            Value::Node(node) => return self.json_node(node, out),
            _ => write!(out, "null"),
        };
        out.len() <= MAX_JSON
    }

    fn json_node(&self, node: u32, out: &mut String) -> bool {
        if let Some(items) = self.nodes.dict(node) {
            out.push('{');
            for (at, &(key, value)) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json_string(self.strings.get(key), out);
                out.push(':');
                if !self.write_json(value, out) {
                    return false;
                }
            }
            out.push('}');
        } else {
            out.push('[');
            for (at, &value) in self.nodes.list(node).unwrap_or(&[]).iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                if !self.write_json(value, out) {
                    return false;
                }
            }
            out.push(']');
        }
        out.len() <= MAX_JSON
    }

    fn json_frame(&self, frame: crate::snapshot::Frame, out: &mut String) {
        use std::fmt::Write as _;
        out.push_str("{\"name\":");
        json_string(self.strings.get(frame.name), out);
        out.push_str(",\"filename\":");
        json_string(self.strings.get(frame.filename), out);
        let _ = write!(out, ",\"line\":{}}}", frame.line);
    }

    /// Notes a value of the wrong kind under `key`.
    pub(super) fn wrong_type(&mut self, shape: Shape, key: super::Word) {
        self.notes.add_key(WarningKind::UnexpectedType, shape, key);
    }
}

/// Writes a JSON string with its quotes.
fn json_string(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
