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
use super::selection::Selection;
use super::table::{bytes, process_number, throttling, watts};
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

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, status: &Status, selection: &Selection) {
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
    process_table(frame, processes, selection, &rows, place);
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
    if let Some(driver) = &status.driver {
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
        let text = "none, or none that NVML shows";
        frame.render_widget(Paragraph::new(text), inner);
        return;
    }
    let is_wide = area.width >= WIDE;
    let mut names = vec![
        ("GPU", false),
        ("process", true),
        ("rank", true),
        ("used", true),
    ];
    let mut widths = vec![4, 9, 4, SIZE];
    if is_wide {
        names.extend([("step", true), ("requested", true)]);
        widths.extend([8, SIZE]);
    }
    names.extend([("allocated", true), ("reserved", true), ("outside", true)]);
    widths.extend([SIZE, SIZE, SIZE]);
    if is_wide {
        names.extend([("peak reserved", true), ("OOMs", true)]);
        widths.extend([13, 4]);
    }
    names.push(("name", false));
    let mut widths: Vec<_> = widths.into_iter().map(Constraint::Length).collect();
    widths.push(Constraint::Fill(1));
    let lines = rows.iter().map(|(device, process)| {
        let recorded = process.pytorch.as_ref();
        let of = |value: Option<u64>| right(value.map(units::bytes).unwrap_or_default());
        let counters = recorded.map(|one| &one.counters);
        let board = device.board.index;
        let mut cells = vec![
            Cell::new(
                process
                    .instance
                    .map_or_else(|| board.to_string(), |at| format!("{board}.{at}")),
            ),
            right(process_number(process)),
            right(recorded.map(|one| one.rank.to_string()).unwrap_or_default()),
            right(bytes(process.used_bytes)),
        ];
        if is_wide {
            let step = recorded.and_then(|one| one.step);
            cells.push(right(step.map(|step| step.to_string()).unwrap_or_default()));
            cells.push(of(counters.map(|one| one.requested_bytes)));
        }
        cells.push(of(counters.map(|one| one.allocated_bytes)));
        cells.push(of(counters.map(|one| one.reserved_bytes)));
        cells.push(right(
            recorded
                .map(|one| bytes(one.outside_bytes))
                .unwrap_or_default(),
        ));
        if is_wide {
            cells.push(of(counters.map(|one| one.reserved_peak_bytes)));
            let ooms = counters.map(|one| one.ooms).filter(|&ooms| ooms > 0);
            cells.push(right(ooms.map(units::count).unwrap_or_default()));
        }
        cells.push(Cell::new(printable(process.name.as_deref().unwrap_or("-"))));
        Row::new(cells)
    });
    let table = Table::new(lines.collect::<Vec<_>>(), widths)
        .header(header(&names))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(place);
    frame.render_stateful_widget(table, inner, &mut state);
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
        Some(Told::OnlyCandidate) => "; told in NVML's list by its size",
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
