//! What the view shows, on a terminal made of cells.

use super::bar::MARKS;
use super::screen::draw;
use super::selection::{Asked, Selection};
use device_watch::board::{Board, MemorySample};
use device_watch::pulse::PulseDevice;
use device_watch::status::{BoardFigures, DeviceStatus, ProcessStatus, PytorchStatus, Status};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const GIB: u64 = 1 << 30;

fn process(process: u32, used_gib: u64, recorded: Option<(u64, u64)>) -> ProcessStatus {
    ProcessStatus {
        process: Some(process),
        name: Some(format!("python train{process}.py\u{1b}[2J")),
        used_bytes: Some(used_gib * GIB),
        pytorch: recorded.map(|(allocated, reserved)| PytorchStatus {
            process,
            rank: 3,
            step: Some(17),
            counters: PulseDevice {
                requested_bytes: allocated * GIB,
                allocated_bytes: allocated * GIB,
                reserved_bytes: reserved * GIB,
                ..PulseDevice::default()
            },
            outside_bytes: Some((used_gib - reserved) * GIB),
            ..PytorchStatus::default()
        }),
        ..ProcessStatus::default()
    }
}

fn board(index: u32, processes: Vec<ProcessStatus>) -> DeviceStatus {
    let used = processes
        .iter()
        .filter_map(|one| one.used_bytes)
        .sum::<u64>();
    DeviceStatus {
        board: Board {
            index,
            name: Some("NVIDIA H100 80GB HBM3".to_owned()),
            ..Board::default()
        },
        now: BoardFigures {
            memory: MemorySample {
                total_bytes: Some(80 * GIB),
                used_bytes: Some(used),
                free_bytes: Some(80 * GIB - used),
                reserved_bytes: Some(0),
            },
            gpu_utilisation_percent: Some(100),
            temperature_celsius: Some(40),
            power_milliwatt: Some(140_400),
            throttle_reasons: Some(vec!["sw_power_cap".to_owned()]),
            ..BoardFigures::default()
        },
        processes: Some(processes),
        ..DeviceStatus::default()
    }
}

fn status() -> Status {
    Status {
        time_us: 43_323_000_000,
        driver: Some("595.45".to_owned()),
        devices: vec![
            board(
                0,
                vec![process(11, 44, Some((20, 40))), process(12, 6, None)],
            ),
            board(1, Vec::new()),
        ],
        ..Status::default()
    }
}

fn drawn(width: u16, height: u16, status: &Status, selection: &Selection) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, status, selection))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| {
        (0..width)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..height).map(row).collect()
}

fn press(selection: &mut Selection, code: KeyCode, status: &Status) {
    selection.key(KeyEvent::new(code, KeyModifiers::NONE), status);
}

#[test]
fn eighty_columns_show_the_figures() {
    let lines = drawn(80, 24, &status(), &Selection::default());
    let text = lines.join("\n");
    assert!(
        lines[0].starts_with("gpumemprof top   driver 595.45   12:02:03 UTC"),
        "{text}"
    );
    assert!(
        lines[2].contains("50.00 GiB   80.00 GiB 100%  40°C  140W"),
        "{text}"
    );
    for expected in [
        "11    3   44.00 GiB   20.00 GiB   40.00 GiB    4.00 GiB python",
        "█ PyTorch blocks 20.00 GiB ▓ cache 20.00 GiB ░ other 10.00 GiB · free 30.00 GiB",
        "slowed by sw_power_cap   ECC - uncorrected",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
    // The split at full width: a quarter each of blocks and cache, an eighth other, the rest free.
    let bar = lines
        .iter()
        .rev()
        .find(|line| line.starts_with('█') && line.ends_with('·'))
        .unwrap();
    let count = |mark| bar.chars().filter(|&c| c == mark).count();
    assert_eq!(MARKS.map(count), [20, 20, 10, 30]);
}

#[test]
fn no_size_is_cut() {
    let mut status = status();
    let most = 1023 << 20 | 1_000_000;
    for process in status.devices[0].processes.iter_mut().flatten() {
        process.used_bytes = Some(most);
    }
    status.devices[0].now.memory.used_bytes = Some(most);
    for width in [80, 200] {
        let text = drawn(width, 24, &status, &Selection::default()).join("\n");
        assert_eq!(text.matches(" 1023.95 MiB ").count(), 3, "{text}");
    }
    let is_digit = |c: char| c.is_ascii_digit();
    for width in 26..200 {
        let lines = drawn(width, 24, &status, &Selection::default());
        let text = lines.join("\n");
        // The tables; the sentences below them are broken between words.
        let tables = lines
            .iter()
            .take_while(|line| !line.contains("─ GPU") && !line.starts_with(" GPU"));
        let tables: Vec<&String> = tables.collect();
        for line in &tables {
            for (at, _) in line.match_indices(" MiB").chain(line.match_indices(" GiB")) {
                let number = line[..at].rsplit(' ').next().unwrap();
                let (whole, decimals) = number.split_once('.').unwrap();
                let known = ["1023", "80", "20", "40", "4", "50", "0", "79", "30"];
                assert!(
                    known.contains(&whole) && decimals.len() == 2,
                    "{width}: {number}\n{text}"
                );
                assert!(decimals.chars().all(is_digit));
            }
        }
        let used = tables.iter().filter(|line| line.contains("1023.95 MiB"));
        assert_eq!(used.count(), 3, "{width}\n{text}");
    }
    let text = drawn(25, 24, &status, &Selection::default()).join(" ");
    assert!(text.contains("the terminal is too"), "{text}");
}

#[test]
fn unknown_processes_are_not_called_absent() {
    let mut status = status();
    let text = |status: &Status| drawn(80, 24, status, &Selection::default()).join("\n");
    for device in &mut status.devices {
        device.processes = Some(Vec::new());
    }
    assert!(text(&status).contains("none that NVML shows"));
    for device in &mut status.devices {
        device.processes = None;
    }
    assert!(text(&status).contains("the processes are not known"));
}

#[test]
fn wide_terminals_show_every_column() {
    let text = drawn(200, 50, &status(), &Selection::default()).join("\n");
    for column in [
        "SM clock",
        "throttled by",
        "requested",
        "peak reserved",
        "step",
    ] {
        assert!(text.contains(column), "{column}\n{text}");
    }
}

#[test]
fn no_size_is_too_small() {
    let mut many = status();
    many.devices = (0..16)
        .map(|index| board(index, vec![process(index, 1, None)]))
        .collect();
    for (width, height) in [(1, 1), (20, 3), (40, 10), (79, 23), (300, 5)] {
        drawn(width, height, &many, &Selection::default());
        let mut help = Selection::default();
        press(&mut help, KeyCode::Char('?'), &many);
        drawn(width, height, &many, &help);
    }
}

#[test]
fn keys_select_and_explain() {
    let status = status();
    let mut selection = Selection::default();
    let about = |selection: &Selection| {
        let lines = drawn(100, 24, &status, selection);
        lines
            .iter()
            .rev()
            .find(|line| line.starts_with("process "))
            .unwrap()
            .clone()
    };
    assert!(about(&selection).starts_with("process 11, step 17: requested 20.00 GiB"));
    press(&mut selection, KeyCode::Down, &status);
    assert!(about(&selection).starts_with("process 12 is not being recorded"));
    press(&mut selection, KeyCode::Down, &status);
    assert!(about(&selection).starts_with("process 12"), "the end");
    press(&mut selection, KeyCode::Home, &status);
    assert!(about(&selection).starts_with("process 11"));
    press(&mut selection, KeyCode::Left, &status);
    let text = drawn(80, 24, &status, &selection).join("\n");
    assert!(
        text.contains("processes of GPU 1") && text.contains("or none that NVML shows"),
        "{text}"
    );
    press(&mut selection, KeyCode::Char('?'), &status);
    assert!(
        drawn(80, 24, &status, &selection)
            .join("\n")
            .contains("select a process")
    );
    press(&mut selection, KeyCode::Esc, &status);
    assert!(!selection.is_help);
    let asked = selection.key(
        KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE),
        &status,
    );
    assert_eq!(asked, Some(Asked::Quit));
}
