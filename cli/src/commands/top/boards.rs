//! The table of boards, and what it shares with the others.

use device_watch::status::{DeviceStatus, InstanceMemory, Status};
use profiler_core::units;
use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::bar::{MARKS, Parts};
use super::columns::{Column, fitting, rest_of};
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
    let columns = columns(area.width);
    let bar_width = usize::from(rest_of(&columns, area.width));
    let names: Vec<_> = columns
        .iter()
        .map(|one| (one.name, one.is_number))
        .collect();
    let widths = columns.iter().map(Column::constraint);
    let is_wide = area.width >= WIDE;
    let mut rows = Vec::new();
    for device in &status.devices {
        let cell = |one: &Column| board_cell(one.name, device, is_wide, bar_width);
        rows.push(Row::new(columns.iter().map(cell).collect::<Vec<_>>()));
        for memory in &device.instance_memory {
            let cell = |one: &Column| instance_cell(one.name, device, memory, bar_width);
            rows.push(Row::new(columns.iter().map(cell).collect::<Vec<_>>()));
        }
    }
    frame.render_widget(Table::new(rows, widths).header(header(&names)), area);
}

/// What is shown of a board on a terminal of `width`.
fn columns(width: u16) -> Vec<Column> {
    let name = if width >= WIDE { 30 } else { 15 };
    fitting(
        &[
            Column::number("GPU", 4, 0).left(),
            Column::number("name", name, 60).left(),
            Column::rest("memory", 75),
            Column::number("used", 11, 0),
            Column::number("total", 11, 40),
            Column::number("util", 4, 48),
            Column::number("temp", 5, 68),
            Column::number("power", 5, 75),
            Column::number("SM clock", 8, WIDE),
            Column::number("memory clock", 12, WIDE),
            Column::number("ECC", 5, WIDE),
            Column::number("throttled by", 20, WIDE).left(),
        ],
        width,
    )
}

fn board_cell(
    column: &str,
    device: &DeviceStatus,
    is_wide: bool,
    bar_width: usize,
) -> Cell<'static> {
    let now = &device.now;
    let with_unit = |value: Option<u32>, unit: &str| {
        right(value.map_or_else(|| "-".to_owned(), |value| format!("{value}{unit}")))
    };
    match column {
        "GPU" => Cell::new(device.board.index.to_string()),
        "name" => {
            let name = device.board.name.as_deref().unwrap_or("-");
            Cell::new(printable(if is_wide {
                name
            } else {
                name.trim_start_matches("NVIDIA ")
            }))
        }
        "used" if device.is_lost => {
            let lost = Line::styled("lost", Style::new().fg(Color::Red));
            Cell::new(lost.alignment(Alignment::Right))
        }
        "memory" => {
            Cell::new(Parts::of(device).map_or_else(Line::default, |parts| bar(parts, bar_width)))
        }
        "used" => right(bytes(now.memory.used_bytes)),
        "total" => right(bytes(now.memory.total_bytes)),
        "util" => right(percent(now.gpu_utilisation_percent)),
        "temp" => with_unit(now.temperature_celsius, "°C"),
        "power" => with_unit(now.power_milliwatt.map(watts), "W"),
        "SM clock" => with_unit(now.sm_clock_mhz, "MHz"),
        "memory clock" => with_unit(now.memory_clock_mhz, "MHz"),
        "ECC" => right(
            now.uncorrected_ecc_errors
                .map_or_else(|| "-".to_owned(), units::count),
        ),
        _ => Cell::new(throttling(device).unwrap_or_else(|| "-".to_owned())),
    }
}

fn instance_cell(
    column: &str,
    device: &DeviceStatus,
    one: &InstanceMemory,
    bar_width: usize,
) -> Cell<'static> {
    let total = one.memory.total_bytes;
    match column {
        "GPU" => Cell::new(format!("{}.{}", device.board.index, one.index)),
        "name" => Cell::new("MIG instance"),
        "memory" => {
            let parts = total.zip(one.memory.free_bytes).map(|(total, free)| Parts {
                other: total.saturating_sub(free),
                free: free.min(total),
                ..Parts::default()
            });
            Cell::new(parts.map_or_else(Line::default, |parts| bar(parts, bar_width)))
        }
        "used" => right(bytes(one.memory.used_bytes)),
        "total" => right(bytes(total)),
        _ => Cell::default(),
    }
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
