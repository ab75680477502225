//! The panes below the timeline.

mod details;
mod file;
mod fragmentation;
mod oom;
mod source;

use egui::Key;

pub use details::DetailsPane;
pub use file::file_ui;
pub use fragmentation::FragmentationPane;
pub use oom::OomPane;
pub use source::{Source, source_of};

/// One of the panes below the timeline.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Pane {
    /// Allocations as rows.
    #[default]
    Table,
    /// Segments and blocks to scale.
    Map,
    /// Who holds the memory.
    Flame,
    /// Where the reserved bytes go.
    Fragmentation,
    /// Why an allocation failed.
    Oom,
    /// What other settings would have done.
    WhatIf,
    /// What the file says of itself.
    File,
}

impl Pane {
    /// All, in the order of the tabs.
    pub const ALL: [Self; 7] = [
        Self::Table,
        Self::Map,
        Self::Flame,
        Self::Fragmentation,
        Self::Oom,
        Self::WhatIf,
        Self::File,
    ];

    /// What its tab says.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Table => "Allocations",
            Self::Map => "Memory map",
            Self::Flame => "Flame graph",
            Self::Fragmentation => "Fragmentation",
            Self::Oom => "Out of memory",
            Self::WhatIf => "What if",
            Self::File => "File",
        }
    }

    /// The key that shows it.
    #[must_use]
    pub const fn key(self) -> Option<Key> {
        Some(match self {
            Self::Table => Key::Num1,
            Self::Map => Key::Num2,
            Self::Flame => Key::Num3,
            Self::Fragmentation => Key::Num4,
            Self::Oom => Key::Num5,
            Self::WhatIf => Key::Num6,
            Self::File => Key::Num7,
        })
    }
}
