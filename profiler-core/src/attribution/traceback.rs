//! Python tracebacks kept as text: `forward_frames` of anomaly mode and `fx_original_trace`.
//!
//! Both are written by Python's `traceback` module, outermost frame first:
//!
//! ```text
//! File "model.py", line 12, in forward
//!     x = self.blocks[0](x)
//! ```
//!
//! The short form `model.py:12, in forward` is understood as well.

use super::frame_class::is_python_file;

/// One frame of a traceback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceLine<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: u64,
    pub(crate) function: &'a str,
    /// The source line, empty if it was not kept.
    pub(crate) code: &'a str,
}

/// Longer tracebacks are not read.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The frames of `text`, outermost first; empty if it is no traceback.
pub(crate) fn parse(text: &str) -> Vec<TraceLine<'_>> {
    let mut out: Vec<TraceLine<'_>> = Vec::new();
    if text.len() > MAX_TEXT_BYTES {
        return out;
    }
    for line in text.lines().map(str::trim) {
        if let Some(frame) = long_form(line).or_else(|| short_form(line)) {
            out.push(frame);
        } else if let Some(last) = out.last_mut()
            && last.code.is_empty()
        {
            last.code = line;
        }
    }
    out
}

/// `File "model.py", line 12, in forward`
fn long_form(line: &str) -> Option<TraceLine<'_>> {
    let (file, rest) = line.strip_prefix("File \"")?.split_once("\", line ")?;
    let (line, function) = rest.split_once(", in ")?;
    Some(TraceLine {
        file,
        line: line.parse().ok()?,
        function: function.trim(),
        code: "",
    })
}

/// `model.py:12, in forward`
fn short_form(line: &str) -> Option<TraceLine<'_>> {
    let (place, function) = line.rsplit_once(", in ")?;
    let (file, line) = place.rsplit_once(':')?;
    Some(TraceLine {
        file,
        line: line.parse().ok()?,
        function,
        code: "",
    })
    .filter(|frame| is_python_file(frame.file))
}

/// The attribute of `self` that a source line calls: `blocks.0` of `x = self.blocks[0](x)`. None
/// if it calls none or several, or if the index is not in the text.
pub(crate) fn called_attribute(code: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for (at, _) in code.match_indices("self.") {
        let before = code.get(..at).and_then(|head| head.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.') {
            continue;
        }
        let Some(call) = code.get(at + "self.".len()..).map(attribute_called) else {
            continue;
        };
        match call {
            Called::Nothing => {}
            Called::Untold => return None,
            Called::Attribute(_) if found.is_some() => return None,
            Called::Attribute(path) => found = Some(path),
        }
    }
    found
}

enum Called {
    Nothing,
    /// Something is called, but the text does not say what: `blocks[i](x)`.
    Untold,
    Attribute(String),
}

/// What `text`, which follows `self.`, calls.
fn attribute_called(text: &str) -> Called {
    let mut path = String::new();
    let mut is_told = true;
    let mut rest = text;
    loop {
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        path.push_str(name);
        if let Some(inside) = after.strip_prefix('[') {
            let Some((index, after)) = inside.split_once(']') else {
                return Called::Nothing;
            };
            let index = index.trim_matches(['\'', '"']);
            let is_quoted = inside.starts_with(['\'', '"']);
            is_told &= !index.is_empty()
                && (is_quoted || index.bytes().all(|digit| digit.is_ascii_digit()));
            path.push('.');
            path.push_str(index);
            rest = after;
            continue;
        }
        return match (after.starts_with('('), is_told) {
            (false, _) => Called::Nothing,
            (true, false) => Called::Untold,
            (true, true) => Called::Attribute(path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let text = "  File \"/srv/train.py\", line 3, in <module>\n    model(x)\n\
                    File \"C:\\\\a b\\\\model.py\", line 12, in forward\n  x = self.blocks[0](x)\n";
        let lines = parse(text);
        let shown: Vec<_> = lines.iter().map(|l| (l.line, l.function, l.code)).collect();
        assert_eq!(
            shown,
            [
                (3, "<module>", "model(x)"),
                (12, "forward", "x = self.blocks[0](x)")
            ]
        );
        let short = parse("/srv/model.py:7, in forward\n/srv/model.py:9, in attend");
        assert_eq!(short.len(), 2);
        assert_eq!(short[1].function, "attend");
        for nothing in ["", "File", "File \"a", "a:b, in c", &"x".repeat(300_000)] {
            assert!(parse(nothing).is_empty());
        }
    }

    #[test]
    fn the_called_attribute_is_read_from_the_line() {
        let name = |code| called_attribute(code);
        assert_eq!(name("x = self.blocks[0](x)").as_deref(), Some("blocks.0"));
        assert_eq!(
            name("return self.attn.proj(x)").as_deref(),
            Some("attn.proj")
        );
        assert_eq!(name("y = self.heads['a'](x)").as_deref(), Some("heads.a"));
        assert_eq!(name("y = self.fc(x) * self.scale").as_deref(), Some("fc"));
        for untold in [
            "x = self.blocks[i](x)",
            "x = self.relu(self.fc(x))",
            "x = block(x)",
            "x = myself.fc(x)",
            "return F.linear(x, self.weight)",
            "self.",
            "self.a[",
            "",
        ] {
            assert_eq!(name(untold), None, "{untold}");
        }
    }
}
