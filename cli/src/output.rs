//! Tables for terminals and pipes, JSON for machines.

use std::io::{IsTerminal as _, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use profiler_core::snapshot::{Snapshot, Warnings};
use serde::Serialize;

use crate::CommandError;

/// Prints `value` as indented JSON with a newline at the end.
///
/// # Errors
/// If standard output fails.
pub fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Prints `text` and a newline on standard output.
///
/// # Errors
/// If standard output fails.
pub fn line(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(anstream::stdout(), "{}", printable(text))?)
}

/// Prints `text` in bold where the terminal can, and a newline.
///
/// # Errors
/// If standard output fails.
pub fn heading(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(
        anstream::stdout(),
        "\u{1b}[1m{}\u{1b}[0m",
        printable(text)
    )?)
}

/// Says on standard error why a command failed.
pub fn complain(error: &CommandError) {
    let text = printable(&error.to_string());
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(anstream::stderr(), "\u{1b}[1;31merror\u{1b}[0m: {text}");
}

/// Says on standard error what was noticed in the file.
pub fn warn(warnings: &[&Warnings]) {
    for warning in warnings.iter().flat_map(|warnings| warnings.all()) {
        let times = if warning.count > 1 {
            format!(" ({} times)", warning.count)
        } else {
            String::new()
        };
        let text = printable(&warning.message);
        let _ = writeln!(
            anstream::stderr(),
            "\u{1b}[33mwarning\u{1b}[0m: {text}{times}"
        );
    }
}

/// Says `text` on standard error as a warning.
pub fn warn_text(text: &str) {
    let text = printable(text);
    let _ = writeln!(anstream::stderr(), "\u{1b}[33mwarning\u{1b}[0m: {text}");
}

/// The warnings of a file, as JSON shows them.
#[derive(Serialize)]
pub struct JsonWarning<'a> {
    /// A stable name of the kind.
    pub code: &'static str,
    /// A sentence.
    pub message: &'a str,
    /// How often it was met.
    pub count: u64,
}

/// The warnings of reading and replaying, in order.
#[must_use]
pub fn json_warnings<'a>(snapshot: &'a Snapshot, replay: &'a Warnings) -> Vec<JsonWarning<'a>> {
    let all = snapshot.warnings.all().iter().chain(replay.all());
    all.map(|warning| JsonWarning {
        code: warning.kind.code(),
        message: &warning.message,
        count: warning.count,
    })
    .collect()
}

/// How a column's cells are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Prints a table without borders; in a pipe one row stays one line, however long.
///
/// # Errors
/// If standard output fails.
pub fn table(columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Result<(), CommandError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    let align = |align: Align| match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    };
    let header = columns.iter().map(|&(name, side)| {
        Cell::new(name)
            .set_alignment(align(side))
            .add_attribute(Attribute::Bold)
    });
    table.set_header(header.collect::<Vec<_>>());
    for row in rows {
        let cells = row
            .into_iter()
            .zip(columns)
            .map(|(text, &(_, side))| Cell::new(printable(&text)).set_alignment(align(side)));
        table.add_row(cells.collect::<Vec<_>>());
    }
    Ok(writeln!(anstream::stdout(), "{}", table.trim_fmt())?)
}

/// `text` without control characters: names in a snapshot come from a stranger and could
/// otherwise send commands to the terminal. Line breaks become spaces.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() || is_direction_mark(c) {
            ' '
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// Marks that reorder the text after them on a terminal (Unicode bidirectional controls).
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_commands() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }
}
