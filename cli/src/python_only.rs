//! Verbs that only the Python package's command has.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Recording needs the program's own interpreter; packing goes with it.
const VERBS: [(&str, &str); 3] = [
    ("run", "records a Python program without a change to it"),
    ("pack", "packs a recorded run into one .gpumem file"),
    (
        "unpack",
        "takes a .gpumem file apart again; `tar xzf` does too",
    ),
];

/// A sentence on a verb that the other command has; None for any other error.
pub(crate) fn explanation(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let ContextValue::String(asked) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    let (verb, what) = VERBS.iter().find(|(verb, _)| verb == asked)?;
    Some(format!(
        "`gpumemprof {verb}` {what}. It is a part of the Python package, whose command of the same \
         name does all that this one does: pip install gpumemprof, then python -m gpumemprof {verb}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::explanation;
    use crate::args::Arguments;

    fn asked(verb: &str) -> Option<String> {
        explanation(&Arguments::try_parse_from(["gpumemprof", verb]).unwrap_err())
    }

    #[test]
    fn verbs_of_the_python_command_are_explained() {
        for verb in ["run", "pack", "unpack"] {
            let sentence = asked(verb).unwrap();
            assert!(sentence.contains(&format!("python -m gpumemprof {verb}")));
        }
        assert_eq!(asked("nonsense"), None);
        assert_eq!(asked("report"), None);
    }
}
