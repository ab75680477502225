//! What can be wrong with the data.

/// What is wrong, without where: the reader that drives the machine knows that. One pointer wide,
/// because every operation of the machine may return it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<Problem>);

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// An operation found something else on the stack than it needs.
    Malformed(&'static str),
    /// A container was changed after it had been referred to.
    Cyclic,
    /// Containers nested deeper than the cap.
    TooDeep(u32),
    /// A cap was reached.
    TooLarge(&'static str),
    /// The file is a Chrome trace.
    ChromeTrace,
    /// The top level is no snapshot; what it is.
    NoSnapshot(String),
}

impl Fault {
    /// What is wrong.
    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }

    #[cold]
    pub(crate) fn malformed(what: &'static str) -> Self {
        Self(Box::new(Problem::Malformed(what)))
    }

    #[cold]
    pub(crate) fn cyclic() -> Self {
        Self(Box::new(Problem::Cyclic))
    }

    #[cold]
    pub(crate) fn too_deep(limit: u32) -> Self {
        Self(Box::new(Problem::TooDeep(limit)))
    }

    #[cold]
    pub(crate) fn too_large(what: &'static str) -> Self {
        Self(Box::new(Problem::TooLarge(what)))
    }

    #[cold]
    pub(crate) fn chrome_trace() -> Self {
        Self(Box::new(Problem::ChromeTrace))
    }

    #[cold]
    pub(crate) fn no_snapshot(found: String) -> Self {
        Self(Box::new(Problem::NoSnapshot(found)))
    }
}
