//! Tables for terminals and pipes, JSON for machines.

use std::io::{IsTerminal as _, Write};

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets,
};
use profiler_core::replay::DeviceReplay;
use profiler_core::snapshot::{Snapshot, Warnings};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::CommandError;

/// Prints `value` as indented JSON with a newline at the end. Control characters and direction
/// marks are escaped: JSON need not, but a terminal would obey them.
///
/// # Errors
/// If standard output fails.
pub fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    let mut text = std::io::BufWriter::new(&mut out);
    let mut writer = serde_json::Serializer::with_formatter(&mut text, TerminalSafe::default());
    value.serialize(&mut writer).map_err(std::io::Error::from)?;
    writeln!(text)?;
    Ok(text.flush()?)
}

/// Indented JSON in which no character has an effect on a terminal.
#[derive(Default)]
struct TerminalSafe(PrettyFormatter<'static>);

impl Formatter for TerminalSafe {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object_value(writer)
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(has_effect) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut after = from.chars();
            // All of them are in the first plane: four digits are enough.
            if let Some(c) = after.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Prints `text` and a newline on standard output.
///
/// # Errors
/// If standard output fails.
pub fn line(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(anstream::stdout(), "{}", shown(text))?)
}

/// Prints a paragraph: on a terminal broken between words at its width, in a pipe as one line.
///
/// # Errors
/// If standard output fails.
pub fn paragraph(text: &str) -> Result<(), CommandError> {
    item("", text)
}

/// Prints a paragraph as an item of a list.
///
/// # Errors
/// If standard output fails.
pub fn bullet(text: &str) -> Result<(), CommandError> {
    item("* ", text)
}

/// Prints `text` after `first`; on a terminal broken between words at its width, further lines
/// below the first.
///
/// # Errors
/// If standard output fails.
pub fn item(first: &str, text: &str) -> Result<(), CommandError> {
    let width = terminal_width();
    let rest = " ".repeat(first.len());
    for (number, line) in wrapped(&shown(text), width.saturating_sub(first.len())).enumerate() {
        let start = if number == 0 { first } else { &rest };
        writeln!(anstream::stdout(), "{start}{line}")?;
    }
    Ok(())
}

/// How many characters a line of the terminal holds; no limit in a pipe.
#[must_use]
pub fn terminal_width() -> usize {
    if std::io::stdout().is_terminal() {
        // The width comfy-table lays tables out for.
        Table::new().width().map_or(usize::MAX, usize::from)
    } else {
        usize::MAX
    }
}

/// `text` broken between words into lines of at most `width` characters, longer words alone.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let room = width.saturating_sub(line.chars().count());
        if line.is_empty() {
            line.push_str(word);
        } else if word.chars().count() < room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.into_iter()
}

/// Prints `text` in bold where the terminal can, and a newline.
///
/// # Errors
/// If standard output fails.
pub fn heading(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(
        anstream::stdout(),
        "\u{1b}[1m{}\u{1b}[0m",
        shown(text)
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

/// Says on standard error what the recording cannot know of `device`'s peaks.
pub fn warn_unseen(device: &DeviceReplay) {
    if let Some(unseen) = device.unseen_peaks() {
        warn_text(&format!("device {}: {unseen}", device.device));
    }
}

/// Says `text` on standard error as a warning.
pub fn warn_text(text: &str) {
    let text = printable(text);
    let _ = writeln!(anstream::stderr(), "\u{1b}[33mwarning\u{1b}[0m: {text}");
}

/// Says `text` on standard error.
pub fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", printable(text));
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

/// How many rows a limit of `asked` allows: 0 asks for all.
#[must_use]
pub fn row_limit(asked: usize) -> usize {
    if asked == 0 { usize::MAX } else { asked }
}

/// How a column's cells are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words: broken between lines where there is no room.
    Left,
    /// Numbers: never broken.
    Right,
    /// Left, and never broken: addresses.
    Whole,
    /// Names and paths: where there is no room, shortened at their start, or left out.
    Short,
}

/// Words up to this length are not broken in a table's first column.
const WHOLE_WORDS: usize = 28;
/// A name or path of fewer characters tells nothing.
const SHORTEST: usize = 12;

/// Prints a table without borders; in a pipe one row stays one line, however long. Columns without
/// any name have no line of names.
///
/// # Errors
/// If standard output fails.
pub fn table(columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Result<(), CommandError> {
    let (columns, rows) = fitted(columns, rows, terminal_width());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    let longest = rows.iter().filter_map(|row| row.first());
    let longest = longest
        .flat_map(|text| text.split(' '))
        .map(|word| word.chars().count());
    let longest = longest.max().unwrap_or(0);
    let align = |align: Align| match align {
        Align::Left | Align::Whole | Align::Short => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    };
    let header = columns.iter().map(|&(name, side)| {
        Cell::new(name)
            .set_alignment(align(side))
            .add_attribute(Attribute::Bold)
    });
    if columns.iter().any(|(name, _)| !name.is_empty()) {
        table.set_header(header.collect::<Vec<_>>());
    }
    for row in rows {
        let cells = row
            .into_iter()
            .zip(&columns)
            .map(|(text, &(_, side))| Cell::new(text).set_alignment(align(side)));
        table.add_row(cells.collect::<Vec<_>>());
    }
    for (at, &(_, side)) in columns.iter().enumerate() {
        if side != Align::Left
            && let Some(column) = table.column_mut(at)
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    // The first column names the row: its words stay whole while that leaves the others room.
    if longest <= WHOLE_WORDS
        && columns
            .first()
            .is_some_and(|(_, side)| *side == Align::Left)
        && let Some(first) = table.column_mut(0)
    {
        // With the space on both sides.
        let width = longest as u16 + 2;
        first.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    Ok(writeln!(anstream::stdout(), "{}", table.trim_fmt())?)
}

/// The table as it fits into `width` characters: names and paths are shortened, and where too
/// little would be left of them the first such column is left out. The cells are as shown.
fn fitted<'a>(
    columns: &[(&'a str, Align)],
    rows: Vec<Vec<String>>,
    width: usize,
) -> (Vec<(&'a str, Align)>, Vec<Vec<String>>) {
    let mut columns = columns.to_vec();
    let mut rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.iter().map(|text| shown(text)).collect())
        .collect();
    loop {
        let mut widths = widths(&columns, &rows);
        let short = |&at: &usize| {
            columns
                .get(at)
                .is_some_and(|(_, side)| *side == Align::Short)
        };
        let shorts: Vec<usize> = (0..columns.len()).filter(short).collect();
        // With the space on both sides of a cell.
        let taken: usize = widths.iter().map(|width| width + 2).sum();
        let mut over = taken.saturating_sub(width);
        while over > 0 {
            // The widest gives a character.
            let widest = shorts
                .iter()
                .copied()
                .filter_map(|at| Some((*widths.get(at)?, at)));
            let Some((wide, at)) = widest.max().filter(|&(wide, _)| wide > SHORTEST) else {
                break;
            };
            if let Some(width) = widths.get_mut(at) {
                *width = wide - 1;
            }
            over -= 1;
        }
        if over > 0
            && shorts.len() > 1
            && let Some(&first) = shorts.first()
        {
            columns.remove(first);
            for row in &mut rows {
                if first < row.len() {
                    row.remove(first);
                }
            }
            continue;
        }
        for row in &mut rows {
            for &at in &shorts {
                if let (Some(text), Some(&width)) = (row.get_mut(at), widths.get(at)) {
                    *text = shortened(text, width);
                }
            }
        }
        return (columns, rows);
    }
}

/// The widest cell of each column, its name included, in characters.
fn widths(columns: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|(name, _)| name.chars().count())
        .collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    widths
}

/// The end of `text` after an ellipsis, in at most `width` characters: a layer's own name, and a
/// call's file and line, stand last.
fn shortened(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let end = text.chars().skip(count - width.saturating_sub(1));
    std::iter::once('…').chain(end).collect()
}

/// How many of the columns after the first fit beside it in `width` characters; at least one.
#[must_use]
pub fn columns_that_fit(rows: &[Vec<String>], names: &[(&str, Align)], width: usize) -> usize {
    let widths = widths(names, rows);
    let mut widths = widths.iter().map(|width| width + 2);
    let mut room = width.saturating_sub(widths.next().unwrap_or(0));
    let fitting = widths.take_while(|&width| {
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    });
    fitting.count().max(1)
}

/// `text` as standard output gets it: [`printable`], and in a pipe with plain numbers, which the
/// next program can read.
fn shown(text: &str) -> String {
    let text = printable(text);
    if std::io::stdout().is_terminal() {
        text
    } else {
        ungrouped(&text)
    }
}

/// `text` without the narrow spaces between groups of digits.
#[must_use]
pub fn ungrouped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = plain.ends_with(|c: char| c.is_ascii_digit());
        let before = rest.peek().is_some_and(char::is_ascii_digit);
        if c != '\u{202f}' || !after || !before {
            plain.push(c);
        }
    }
    plain
}

/// `text` without control characters: names in a snapshot come from a stranger and could
/// otherwise send commands to the terminal. Line breaks become spaces.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |c: char| {
        if has_effect(c) { ' ' } else { c }
    };
    text.chars().map(shown).collect()
}

/// Whether `c` does something to a terminal: a control character, or a mark that reorders the
/// text after it (Unicode bidirectional controls).
fn has_effect(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_break_between_words() {
        let lines: Vec<String> = wrapped("one two three four", 9).collect();
        assert_eq!(lines, ["one two", "three", "four"]);
        let whole: Vec<String> = wrapped("one two", usize::MAX).collect();
        assert_eq!(whole, ["one two"]);
        let long: Vec<String> = wrapped("a verylongword b", 4).collect();
        assert_eq!(long, ["a", "verylongword", "b"]);
    }

    #[test]
    fn numbers_and_addresses_are_never_shortened() {
        let columns = [
            ("size", Align::Right),
            ("address", Align::Whole),
            ("category", Align::Short),
            ("layer", Align::Short),
        ];
        let row = || {
            let cells = [
                "1023.95 MiB",
                "0x7f0123456789",
                "optimizer state",
                "model.blocks.12.attention",
            ];
            vec![cells.map(str::to_owned).to_vec()]
        };
        let (names, rows) = fitted(&columns, row(), usize::MAX);
        assert_eq!((names.len(), rows), (4, row()));
        let (names, rows) = fitted(&columns, row(), 60);
        assert_eq!(names.len(), 4);
        assert_eq!(rows[0][2], "…timizer state");
        assert_eq!(rows[0][3], "…12.attention");
        let (names, rows) = fitted(&columns, row(), 46);
        assert_eq!(names.len(), 3);
        assert_eq!(
            rows[0],
            ["1023.95 MiB", "0x7f0123456789", "…s.12.attention"]
        );
        assert_eq!(columns_that_fit(&row(), &columns, 46), 2);
    }

    #[test]
    fn pipes_get_plain_numbers() {
        assert_eq!(
            ungrouped("1\u{202f}234\u{202f}567 events"),
            "1234567 events"
        );
        assert_eq!(ungrouped("a\u{202f}b"), "a\u{202f}b");
    }

    #[test]
    fn terminals_get_no_commands() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }

    #[test]
    fn json_gives_terminals_no_commands_and_keeps_its_value() {
        let hostile = "a\u{1b}\u{7f}\u{9b}31m\u{202e}é\u{61c}\"";
        let mut bytes = Vec::new();
        let mut writer =
            serde_json::Serializer::with_formatter(&mut bytes, TerminalSafe::default());
        [hostile].serialize(&mut writer).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.replace('\n', "").contains(has_effect), "{text:?}");
        assert_eq!(
            serde_json::from_str::<Vec<String>>(&text).unwrap(),
            [hostile]
        );
    }
}
