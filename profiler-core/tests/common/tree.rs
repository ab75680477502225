//! A plain tree of values: the slow and simple side of the comparisons.

use std::rc::Rc;

/// A value as Python has it. Containers that are shared are the same `Rc`.
#[derive(Clone, Debug)]
pub enum Tree {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    Tuple(Rc<Vec<Tree>>),
    List(Rc<Vec<Tree>>),
    Dict(Rc<Vec<(Tree, Tree)>>),
}

impl Tree {
    pub fn text(text: &str) -> Self {
        Self::Str(text.into())
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub fn pair(a: i128, b: i128) -> Self {
        Self::Tuple(Rc::new(vec![Self::Int(a), Self::Int(b)]))
    }

    pub fn dict<const N: usize>(items: [(&str, Self); N]) -> Self {
        Self::pairs(items.into_iter().collect())
    }

    pub fn pairs(items: Vec<(&str, Self)>) -> Self {
        let pair = |(key, value): (&str, Self)| (Self::text(key), value);
        Self::Dict(Rc::new(items.into_iter().map(pair).collect()))
    }

    /// What a dict has under `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(items) = self else { return None };
        let mut found = items.iter().rev().filter_map(|(k, value)| match k {
            Self::Str(k) if &**k == key => Some(value),
            _ => None,
        });
        found.next()
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) | Self::Tuple(items) => items,
            _ => &[],
        }
    }

    pub fn int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(bool) => Some(i128::from(*bool)),
            _ => None,
        }
    }

    pub fn str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Compact JSON, keys in order.
    pub fn json(&self) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let joined = |items: Vec<String>| items.join(",");
        match self {
            Self::None => "null".to_owned(),
            Self::Bool(bool) => bool.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(float) => format!("{float:?}"),
            Self::Str(text) => quoted(text),
            Self::Tuple(items) | Self::List(items) => {
                format!("[{}]", joined(items.iter().map(Self::json).collect()))
            }
            Self::Dict(items) => {
                let pair = |(key, value): &(Self, Self)| format!("{}:{}", key.json(), value.json());
                format!("{{{}}}", joined(items.iter().map(pair).collect()))
            }
        }
    }
}
