//! The view: boards, processes, and the split of what is selected.

use device_watch::identity::Told;
use device_watch::status::{DeviceStatus, ProcessStatus, Status};
use profiler_core::units;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap};

use super::bar::{MARKS, Parts};
use super::boards::{self, COLOURS, WIDE, bar, header, percent, right};
use super::columns::{Column, fitting};
use super::selection::Selection;
use super::table::{bytes, no_processes, process_name, process_number, throttling, watts};
use crate::output::printable;

/// The widest size is `1023.99 MiB`.
const SIZE: u16 = 11;

const HELP: [(&str, &str); 7] = [
    ("↑ ↓", "select a process"),
    ("PgUp PgDn Home End", "select further away"),
    ("← →", "processes of one GPU, or of all"),
    ("space", "pause"),
    ("?", "this help"),
    ("q, Esc", "leave"),
    (
        "( )",
        "a process's own number: NVML does not tell which it is",
    ),
];

/// Below this width not even a process and its memory fit beside each other.
const NARROWEST: u16 = 26;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, status: &Status, selection: &Selection) {
    if frame.area().width < NARROWEST {
        let text = format!("the terminal is too narrow: {NARROWEST} columns are needed");
        let text = Paragraph::new(text).wrap(Wrap { trim: true });
        frame.render_widget(text, frame.area());
        return;
    }
    let rows = selection.rows(status);
    let place = selection.place(&rows);
    let selected = place.and_then(|at| rows.get(at)).copied();
    let boards: usize = status
        .devices
        .iter()
        .map(|device| 1 + device.instance_memory.len())
        .sum();
    let boards = u16::try_from(boards).unwrap_or(u16::MAX);
    let height = frame.area().height;
    let notes = u16::try_from(status.notes.all().len().min(2)).unwrap_or(0);
    let [top, devices, warnings, processes, detail] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(boards.saturating_add(1).min(height / 2)),
        Constraint::Length(notes),
        Constraint::Min(3),
        Constraint::Length(if height >= 20 { 8 } else { 0 }),
    ])
    .areas(frame.area());
    heading(frame, top, status, selection);
    boards::draw(frame, devices, status);
    let sentences = status.notes.all().iter().take(2);
    let sentences: Vec<Line<'_>> = sentences
        .map(|note| Line::styled(printable(note), Style::new().fg(Color::Yellow)))
        .collect();
    frame.render_widget(Paragraph::new(sentences), warnings);
    process_table(frame, processes, status, selection, &rows, place);
    let device = selected.map(|(device, _)| device).or_else(|| {
        let wanted = selection.board.unwrap_or(0);
        status
            .devices
            .iter()
            .find(|device| device.board.index == wanted)
    });
    if let Some(device) = device {
        split(frame, detail, device, selected.map(|(_, process)| process));
    }
    if selection.is_help {
        help(frame);
    }
}

fn heading(frame: &mut Frame<'_>, area: Rect, status: &Status, selection: &Selection) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut left = vec![Span::styled("gpumemprof top", bold)];
    if let Some(driver) = status.driver.as_ref().filter(|_| area.width >= 60) {
        left.push(Span::raw(format!("   driver {}", printable(driver))));
    }
    left.push(Span::raw(format!("   {} UTC", clock(status.time_us))));
    if selection.is_paused {
        left.push(Span::styled("   paused", bold));
    }
    frame.render_widget(Line::from(left), area);
    let keys = Line::raw("? help  q leave").alignment(Alignment::Right);
    if area.width >= 70 {
        frame.render_widget(keys, area);
    }
}

/// Hours, minutes and seconds of a day.
fn clock(time_us: i64) -> String {
    let second = time_us.div_euclid(1_000_000).rem_euclid(86_400);
    format!(
        "{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn process_table(
    frame: &mut Frame<'_>,
    area: Rect,
    status: &Status,
    selection: &Selection,
    rows: &[(&DeviceStatus, &ProcessStatus)],
    place: Option<usize>,
) {
    let title = match selection.board {
        Some(board) => format!(" processes of GPU {board} "),
        None => " processes ".to_owned(),
    };
    let block = Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if rows.is_empty() {
        let text = no_processes(status);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), inner);
        return;
    }
    let columns = fitting(&PROCESS_COLUMNS, area.width);
    let names: Vec<_> = columns
        .iter()
        .map(|one| (one.name, one.is_number))
        .collect();
    let widths = columns.iter().map(|one| one.constraint());
    let lines = rows.iter().map(|(device, process)| {
        let cells = columns
            .iter()
            .map(|one| process_cell(one.name, device, process));
        Row::new(cells.collect::<Vec<_>>())
    });
    let table = Table::new(lines.collect::<Vec<_>>(), widths)
        .header(header(&names))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(place);
    frame.render_stateful_widget(table, inner, &mut state);
}

/// What is shown of a process, and from which width of the terminal on.
const PROCESS_COLUMNS: [Column; 12] = [
    Column::number("GPU", 4, 30).left(),
    Column::number("process", 9, 0),
    Column::number("rank", 4, 60),
    Column::number("used", SIZE, 0),
    Column::number("step", 8, WIDE),
    Column::number("requested", SIZE, WIDE),
    Column::number("allocated", SIZE, 68),
    Column::number("reserved", SIZE, 40),
    Column::number("outside", SIZE, 54),
    Column::number("peak reserved", 13, WIDE),
    Column::number("OOMs", 4, WIDE),
    Column::rest("name", 74),
];

fn process_cell(column: &str, device: &DeviceStatus, process: &ProcessStatus) -> Cell<'static> {
    let recorded = process.pytorch.as_ref();
    let counters = recorded.map(|one| &one.counters);
    let of = |value: Option<u64>| right(value.map(units::bytes).unwrap_or_default());
    let board = device.board.index;
    match column {
        "GPU" => Cell::new(
            process
                .instance
                .map_or_else(|| board.to_string(), |at| format!("{board}.{at}")),
        ),
        "process" => right(process_number(process)),
        "rank" => right(recorded.map(|one| one.rank.to_string()).unwrap_or_default()),
        "used" => right(bytes(process.used_bytes)),
        "step" => {
            let step = recorded.and_then(|one| one.step);
            right(step.map(|step| step.to_string()).unwrap_or_default())
        }
        "requested" => of(counters.map(|one| one.requested_bytes)),
        "allocated" => of(counters.map(|one| one.allocated_bytes)),
        "reserved" => of(counters.map(|one| one.reserved_bytes)),
        "outside" => {
            let outside = recorded.map(|one| bytes(one.outside_bytes));
            right(outside.unwrap_or_default())
        }
        "peak reserved" => of(counters.map(|one| one.reserved_peak_bytes)),
        "OOMs" => {
            let ooms = counters.map(|one| one.ooms).filter(|&ooms| ooms > 0);
            right(ooms.map(units::count).unwrap_or_default())
        }
        _ => Cell::new(printable(&process_name(process))),
    }
}

fn split(
    frame: &mut Frame<'_>,
    area: Rect,
    device: &DeviceStatus,
    process: Option<&ProcessStatus>,
) {
    let block = Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .title(format!(" GPU {} ", device.board.index));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = vec![Line::raw(figures(device)), Line::raw(health(device))];
    if let Some(parts) = Parts::of(device) {
        lines.push(bar(parts, usize::from(inner.width)));
        let named = [
            ("PyTorch blocks", parts.allocated),
            ("cache", parts.cached),
            ("other", parts.other),
            ("free", parts.free),
        ];
        let legend =
            named
                .iter()
                .zip(MARKS)
                .zip(COLOURS)
                .flat_map(|((&(name, size), mark), colour)| {
                    let mark = Span::styled(format!("{mark} "), Style::new().fg(colour));
                    [mark, Span::raw(format!("{name} {} ", units::bytes(size)))]
                });
        lines.push(Line::from(legend.collect::<Vec<_>>()));
    }
    if let Some(process) = process {
        lines.push(Line::raw(printable(&about(process))));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
}

fn figures(device: &DeviceStatus) -> String {
    let now = &device.now;
    let number =
        |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    format!(
        "clocks {} / {} MHz (SM / memory)   power {} of {} W   memory busy {}",
        number(now.sm_clock_mhz),
        number(now.memory_clock_mhz),
        number(now.power_milliwatt.map(watts)),
        number(now.power_limit_milliwatt.map(watts)),
        percent(now.memory_utilisation_percent),
    )
}

fn health(device: &DeviceStatus) -> String {
    let now = &device.now;
    let count = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), units::count);
    format!(
        "slowed by {}   ECC {} uncorrected, {} corrected   driver keeps {}",
        throttling(device).unwrap_or_else(|| "-".to_owned()),
        count(now.uncorrected_ecc_errors),
        count(now.corrected_ecc_errors),
        bytes(now.memory.reserved_bytes),
    )
}

fn about(process: &ProcessStatus) -> String {
    let number = process_number(process);
    let Some(recorded) = &process.pytorch else {
        return format!("process {number} is not being recorded: its PyTorch's part is not known");
    };
    let counters = &recorded.counters;
    let step = recorded.step.map(|step| format!(", step {step}"));
    let age = u64::try_from(recorded.age_us).unwrap_or(0);
    let told = match recorded.told_by {
        None => "; which of NVML's processes it is, cannot be told",
        Some(Told::OnlyCandidate) => "; inferred: told in NVML's list by its size",
        Some(_) => "",
    };
    format!(
        "process {number}{}: requested {}, peak reserved {}, {} ago{told}",
        step.unwrap_or_default(),
        units::bytes(counters.requested_bytes),
        units::bytes(counters.reserved_peak_bytes),
        units::duration_us(age),
    )
}

fn help(frame: &mut Frame<'_>) {
    let width = HELP
        .iter()
        .map(|(_, what)| what.chars().count())
        .max()
        .unwrap_or(0)
        + 24;
    let width = u16::try_from(width)
        .unwrap_or(u16::MAX)
        .min(frame.area().width);
    let height = u16::try_from(HELP.len() + 2)
        .unwrap_or(u16::MAX)
        .min(frame.area().height);
    let [row] = Layout::vertical([Constraint::Length(height)])
        .flex(Flex::Center)
        .areas(frame.area());
    let [area] = Layout::horizontal([Constraint::Length(width)])
        .flex(Flex::Center)
        .areas(row);
    let lines = HELP
        .iter()
        .map(|(keys, what)| Line::raw(format!(" {keys:<19} {what}")));
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ");
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
}
