//! How a thing is known.

/// Where a layer, a category or a step comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Evidence {
    /// The file says so: metadata, an annotation, a recorded category.
    Recorded,
    /// Worked out from stacks, phases and lifetimes. An estimate.
    Inferred,
    /// Could not be told.
    #[default]
    Unknown,
}

impl Evidence {
    /// `recorded`, `inferred` or `unknown`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}
