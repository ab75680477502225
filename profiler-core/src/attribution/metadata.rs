//! What a program wrote into `user_metadata`: the module, phase, step and category it named.
//!
//! Three forms are understood:
//!
//! * JSON, as `_set_memory_metadata(dict)` of PyTorch 2.14 stores it:
//!   `{"module": "blocks.3.attn", "phase": "forward", "step": 12}`;
//! * `key=value` pairs separated by commas, semicolons or blanks: `step=3`;
//! * one bare word: a phase (`backward`), a step (`step_3`) or else a module path
//!   (`blocks.3.attn`).

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::snapshot::{StringId, StringTable};

use super::category::Category;
use super::phase::Phase;

/// What one metadata string names. Anything else in it is kept as text only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Module path, for example `blocks.3.attn`.
    pub module: Option<String>,
    /// Phase of the training step.
    pub phase: Option<Phase>,
    /// Step number.
    pub step: Option<u64>,
    /// What the memory is for.
    pub category: Option<Category>,
}

/// Longer texts than this are not interpreted (they are still shown and grouped by).
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Longer module paths than this are cut off as no module path.
const MAX_MODULE_BYTES: usize = 1024;

impl Metadata {
    /// Reads one metadata string.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let mut out = Self::default();
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return out;
        }
        if text.starts_with('{') {
            if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
                for (key, value) in &object {
                    match value {
                        serde_json::Value::String(value) => out.set(key, value),
                        serde_json::Value::Number(value) => out.set(key, &value.to_string()),
                        _ => {}
                    }
                }
            }
            return out;
        }
        if text.contains('=') {
            for pair in text.split([',', ';', ' ', '\t']) {
                if let Some((key, value)) = pair.split_once('=') {
                    out.set(key.trim(), value.trim());
                }
            }
            return out;
        }
        out.set_bare(text);
        out
    }

    fn set(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase().as_str() {
            "module" | "layer" | "module_path" | "fqn" => {
                self.module = (!value.is_empty() && value.len() <= MAX_MODULE_BYTES)
                    .then(|| value.to_owned());
            }
            "phase" | "stage" => self.phase = Phase::from_name(value),
            "step" | "iteration" | "iter" | "global_step" => self.step = value.parse().ok(),
            "category" => self.category = Category::from_name(value),
            _ => {}
        }
    }

    fn set_bare(&mut self, text: &str) {
        if let Some(phase) = Phase::from_name(text) {
            self.phase = Some(phase);
        } else if let Some(step) = trailing_step(text) {
            self.step = Some(step);
        } else if is_module_path(text) {
            self.module = Some(text.to_owned());
        }
    }
}

/// The number of `step 3`, `step_3`, `iteration-7`, `step7`.
fn trailing_step(text: &str) -> Option<u64> {
    let word = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = text.get(word.len()..)?.parse().ok()?;
    let word = word
        .trim_end_matches([' ', '_', '-', '#', ':'])
        .to_ascii_lowercase();
    matches!(word.as_str(), "step" | "iteration" | "iter" | "train_step").then_some(number)
}

/// Whether `text` reads as `blocks.3.attn`: identifiers and numbers joined by dots.
pub(crate) fn is_module_path(text: &str) -> bool {
    text.len() <= MAX_MODULE_BYTES
        && !text.is_empty()
        && text.split('.').all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        })
        && text.chars().any(char::is_alphabetic)
}

/// Every metadata string of a snapshot that was asked for, read once.
#[derive(Debug, Default)]
pub(crate) struct MetadataCache {
    read: HashMap<StringId, Metadata, FixedState>,
}

impl MetadataCache {
    /// What the string `id` names; none for the empty string.
    pub(crate) fn get(&mut self, strings: &StringTable, id: StringId) -> Option<&Metadata> {
        if id == StringId::EMPTY {
            return None;
        }
        Some(
            self.read
                .entry(id)
                .or_insert_with(|| Metadata::parse(strings.get(id))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        let full = Metadata {
            module: Some("blocks.3.attn".to_owned()),
            phase: Some(Phase::Forward),
            step: Some(12),
            category: Some(Category::Activation),
        };
        let json = r#"{"module":"blocks.3.attn","phase":"forward","step":12,"category":"ACTIVATION","x":[1]}"#;
        assert_eq!(Metadata::parse(json), full);
        let pairs = "module=blocks.3.attn, phase=forward; step=12 category=activation";
        assert_eq!(Metadata::parse(pairs), full);
        assert_eq!(Metadata::parse("blocks.3.attn").module, full.module);
        assert_eq!(Metadata::parse("step_3").step, Some(3));
        assert_eq!(Metadata::parse("backward").phase, Some(Phase::Backward));
    }

    #[test]
    fn other_texts_name_nothing() {
        let deep = format!("{{\"module\":{}1{}}}", "[".repeat(9000), "]".repeat(9000));
        for text in [
            "",
            "{",
            "{\"module\": 1",
            "a sentence of words",
            "12",
            "module=",
            "..",
            "<img onerror=alert(1)>",
            &deep,
            &"x".repeat(100_000),
        ] {
            assert_eq!(Metadata::parse(text), Metadata::default(), "{text:.40}");
        }
    }
}
