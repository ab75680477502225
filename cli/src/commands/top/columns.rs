//! Columns that come and go with the terminal's width, so that none is ever cut.

use ratatui::layout::Constraint;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether it holds numbers, which stand on the right.
    pub(super) is_number: bool,
    /// Its width; None for what the others leave.
    width: Option<u16>,
    /// The narrowest terminal that has it.
    from: u16,
}

impl Column {
    /// Numbers of at most `width` characters, on terminals at least `from` wide.
    pub(super) const fn number(name: &'static str, width: u16, from: u16) -> Self {
        Self {
            name,
            is_number: true,
            width: Some(width),
            from,
        }
    }

    /// What the others leave, on terminals at least `from` wide.
    pub(super) const fn rest(name: &'static str, from: u16) -> Self {
        Self {
            name,
            is_number: false,
            width: None,
            from,
        }
    }

    /// The same, standing on the left.
    pub(super) const fn left(self) -> Self {
        Self {
            is_number: false,
            ..self
        }
    }

    /// For the table's layout.
    pub(super) fn constraint(&self) -> Constraint {
        self.width.map_or(Constraint::Fill(1), Constraint::Length)
    }
}

/// Those of `columns` that a terminal of `width` has.
pub(super) fn fitting(columns: &[Column], width: u16) -> Vec<Column> {
    let there = columns.iter().filter(|column| column.from <= width);
    there.copied().collect()
}

/// What `columns` leave of `width` for the one that takes the rest.
pub(super) fn rest_of(columns: &[Column], width: u16) -> u16 {
    let taken: u16 = columns.iter().filter_map(|column| column.width).sum();
    let spaces = u16::try_from(columns.len()).unwrap_or(0).saturating_sub(1);
    width.saturating_sub(taken).saturating_sub(spaces)
}
