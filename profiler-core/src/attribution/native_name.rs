//! Short names for C++ functions: no template arguments, no parameters, no return type.
//!
//! A demangled symbol of PyTorch is up to a kilobyte long, of which a reader needs a few words:
//!
//! ```text
//! at::TensorBase at::detail::_empty_generic<long>(c10::ArrayRef<long>, c10::Allocator*, …)
//!                └────────────────┬──────────────┘
//!                      at::detail::_empty_generic
//! ```

/// Of longer symbols only the beginning is looked at.
const MAX_BYTES: usize = 8 * 1024;

/// The qualified name of a demangled C++ function, without template arguments, parameters, return
/// type, `(anonymous namespace)::` and `[clone …]`. A C function's name comes back unchanged.
#[must_use]
pub fn short_native_name(demangled: &str) -> String {
    let mut out = String::with_capacity(64);
    let mut angle = 0_u32;
    let mut round = 0_u32;
    let mut rest = demangled
        .get(..demangled.floor_char_boundary(MAX_BYTES))
        .unwrap_or("");
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("(anonymous namespace)::") {
            rest = after;
            continue;
        }
        if angle == 0 && round == 0 {
            if rest.starts_with("[clone") || rest.starts_with("[with ") {
                break;
            }
            if let Some(operator) = operator_at(&out, rest) {
                out.push_str(operator);
                rest = rest.get(operator.len()..).unwrap_or("");
                continue;
            }
        }
        match character {
            '<' => angle += 1,
            '>' if angle > 0 => angle -= 1,
            '(' => round += 1,
            ')' => round = round.saturating_sub(1),
            _ if angle == 0 && round == 0 => out.push(character),
            _ => {}
        }
        rest = rest.get(character.len_utf8()..).unwrap_or("");
    }
    let trimmed = out.trim().trim_end_matches(" const").trim_end();
    let last = match trimmed.find("operator ") {
        Some(at) => trimmed.get(..at).map_or(trimmed, |head| {
            let start = head.rfind(' ').map_or(0, |space| space + 1);
            trimmed.get(start..).unwrap_or(trimmed)
        }),
        None => trimmed.rsplit(' ').next().unwrap_or(trimmed),
    };
    if last.is_empty() {
        demangled.to_owned()
    } else {
        last.to_owned()
    }
}

/// The operator symbol at the start of `rest` when `before` has just named `operator`.
fn operator_at<'a>(before: &str, rest: &'a str) -> Option<&'a str> {
    const SYMBOLS: [&str; 12] = [
        "()", "<<=", ">>=", "<=>", "<<", ">>", "<=", ">=", "->", "<", ">", "[]",
    ];
    if !before.ends_with("operator") {
        return None;
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))?;
    rest.get(..symbol.len())
}

#[cfg(test)]
mod tests {
    use super::short_native_name;

    #[test]
    fn real_symbols_become_short() {
        let cases = [
            (
                "at::TensorBase at::detail::_empty_generic<long>(c10::ArrayRef<long>, c10::Allocator*)",
                "at::detail::_empty_generic",
            ),
            (
                "torch::autograd::VariableType::(anonymous namespace)::bmm(c10::DispatchKeySet)",
                "torch::autograd::VariableType::bmm",
            ),
            (
                "torch::autograd::Node::operator()(std::vector<at::Tensor, std::allocator<at::Tensor> >&&)",
                "torch::autograd::Node::operator()",
            ),
            (
                "c10::TensorImpl::~TensorImpl() [clone .localalias]",
                "c10::TensorImpl::~TensorImpl",
            ),
            (
                "_object* torch::autograd::TypeError_to_NotImplemented_<&torch::autograd::THPVariable_add>(_object*)",
                "torch::autograd::TypeError_to_NotImplemented_",
            ),
            ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
            ("??", "??"),
            (
                "void at::native::sum<float, (c10::DeviceType)1>(int) const",
                "at::native::sum",
            ),
        ];
        for (long, short) in cases {
            assert_eq!(short_native_name(long), short, "{long}");
        }
    }

    #[test]
    fn odd_text_survives() {
        for text in ["", "<<<<", ")))", "operator", "é<(", "a<b>>>c"] {
            let _ = short_native_name(text);
        }
    }
}
