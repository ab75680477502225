//! The table of boards, and what it shares with the others.

use device_watch::status::Status;
use profiler_core::units;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::bar::{MARKS, Parts};
use super::table::{bytes, throttling, watts};
use crate::output::printable;

/// From this width on there is room for every column.
pub(super) const WIDE: u16 = 120;

/// The parts of a bar: PyTorch's blocks, PyTorch's cache, other use, free.
pub(super) const COLOURS: [Color; 4] = [Color::Green, Color::Yellow, Color::Blue, Color::DarkGray];

/// A number's cell.
pub(super) fn right(text: String) -> Cell<'static> {
    Cell::new(Line::raw(text).alignment(Alignment::Right))
}

/// A table's first row: names, and whether numbers are below.
pub(super) fn header(names: &[(&'static str, bool)]) -> Row<'static> {
    let cells = names.iter().map(|&(name, is_number)| {
        let side = if is_number {
            Alignment::Right
        } else {
            Alignment::Left
        };
        Cell::new(Line::raw(name).alignment(side))
    });
    Row::new(cells.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD))
}

/// A percentage, or a dash.
pub(super) fn percent(value: Option<u32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value}%"))
}

/// Draws the boards and their MIG instances, a line each.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let is_wide = area.width >= WIDE;
    let mut names = vec![
        ("GPU", false),
        ("name", false),
        ("memory", false),
        ("used", true),
        ("total", true),
        ("util", true),
        ("temp", true),
        ("power", true),
    ];
    let mut widths = vec![
        Constraint::Length(4),
        Constraint::Length(if is_wide { 30 } else { 15 }),
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Length(5),
    ];
    if is_wide {
        names.extend([
            ("SM clock", true),
            ("memory clock", true),
            ("ECC", true),
            ("throttled by", false),
        ]);
        widths.extend([8, 12, 5, 20].map(Constraint::Length));
    }
    let spaces = u16::try_from(widths.len()).unwrap_or(0).saturating_sub(1);
    let taken: u16 = (widths.iter())
        .map(|width| match width {
            Constraint::Length(cells) => *cells,
            _ => 0,
        })
        .sum();
    let bar_width = usize::from(area.width.saturating_sub(taken + spaces));
    let mut rows = Vec::new();
    for device in &status.devices {
        let now = &device.now;
        let name = device.board.name.as_deref().unwrap_or("-");
        let name = if is_wide {
            name
        } else {
            name.trim_start_matches("NVIDIA ")
        };
        let memory = if device.is_lost {
            Cell::new(Line::styled("lost", Style::new().fg(Color::Red)))
        } else {
            Cell::new(Parts::of(device).map_or_else(Line::default, |parts| bar(parts, bar_width)))
        };
        let mut cells = vec![
            Cell::new(device.board.index.to_string()),
            Cell::new(printable(name)),
            memory,
            right(bytes(now.memory.used_bytes)),
            right(bytes(now.memory.total_bytes)),
            right(percent(now.gpu_utilisation_percent)),
            right(
                now.temperature_celsius
                    .map_or_else(|| "-".to_owned(), |value| format!("{value}°C")),
            ),
            right(
                now.power_milliwatt
                    .map_or_else(|| "-".to_owned(), |value| format!("{}W", watts(value))),
            ),
        ];
        if is_wide {
            let clock = |value: Option<u32>| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value}MHz"))
            };
            cells.push(right(clock(now.sm_clock_mhz)));
            cells.push(right(clock(now.memory_clock_mhz)));
            cells.push(right(
                now.uncorrected_ecc_errors
                    .map_or_else(|| "-".to_owned(), units::count),
            ));
            cells.push(Cell::new(
                throttling(device).unwrap_or_else(|| "-".to_owned()),
            ));
        }
        rows.push(Row::new(cells));
        for one in &device.instance_memory {
            let total = one.memory.total_bytes;
            let parts = total.zip(one.memory.free_bytes).map(|(total, free)| Parts {
                other: total.saturating_sub(free),
                free: free.min(total),
                ..Parts::default()
            });
            rows.push(Row::new(vec![
                Cell::new(format!("{}.{}", device.board.index, one.index)),
                Cell::new("MIG instance"),
                Cell::new(parts.map_or_else(Line::default, |parts| bar(parts, bar_width))),
                right(bytes(one.memory.used_bytes)),
                right(bytes(total)),
            ]));
        }
    }
    frame.render_widget(Table::new(rows, widths).header(header(&names)), area);
}

/// A memory bar of `width` cells.
pub(super) fn bar(parts: Parts, width: usize) -> Line<'static> {
    let cells = parts.cells(width);
    let spans = cells
        .into_iter()
        .zip(MARKS)
        .zip(COLOURS)
        .map(|((count, mark), colour)| {
            Span::styled(mark.to_string().repeat(count), Style::new().fg(colour))
        });
    Line::from(spans.collect::<Vec<_>>())
}
