//! Memory outside PyTorch: the device, this process, PyTorch and others over wall-clock time.

use plotters::prelude::*;

use crate::metrics::{Outside, OutsidePoint};
use crate::oom::oom_events;
use crate::snapshot::{DeviceWatch, Events};
use crate::units;

use super::summary::Subject;

/// Columns of the chart at most.
const COLUMNS: usize = 700;
const SIZE: (u32, u32) = (1400, 220);
/// Other processes named.
const MAX_OTHERS: usize = 12;

/// The lines, and their names. The style sheet turns these colours into its tokens.
const LINES: [(RGBColor, Value); 4] = [
    (RGBColor(0x5C, 0x66, 0x75), |point| point.used_bytes),
    (RGBColor(0x0B, 0x3D, 0x66), |point| point.process_bytes),
    (RGBColor(0x00, 0x9E, 0x73), |point| point.reserved_bytes),
    (RGBColor(0xD5, 0x5E, 0x00), |point| point.others_bytes),
];
type Value = fn(&OutsidePoint) -> Option<u64>;

/// One line of the table.
pub(super) struct OutsideRow {
    pub(super) when: String,
    pub(super) used: String,
    pub(super) process: String,
    pub(super) reserved: String,
    pub(super) outside: String,
    pub(super) others: String,
}

/// The section of one device.
pub(super) struct OutsideView {
    pub(super) lead: String,
    pub(super) chart: String,
    pub(super) rows: Vec<OutsideRow>,
    pub(super) others: Vec<(String, String)>,
    pub(super) note: String,
}

/// The section; None where nothing was seen of the device.
pub(super) fn outside_view(subject: &Subject<'_>) -> Option<OutsideView> {
    let outside = Outside::new(subject.snapshot, subject.replay)?;
    let watch = subject.snapshot.watch(subject.replay.device)?;
    let none = Events::default();
    let trace = subject.snapshot.trace(subject.replay.device);
    let events = trace.map_or(&none, |trace| &trace.events);
    let failures = oom_events(subject.snapshot, subject.replay);
    let ooms: Vec<i64> = (failures.iter())
        .filter(|_| events.has_times())
        .map(|&row| events.time_us(row as usize))
        .collect();
    let failed = failures.last().zip(ooms.last()).and_then(|(&row, &time)| {
        let reserved = subject.replay.reserved.at(row.saturating_add(1));
        outside.nearest(time, reserved)
    });
    let start = outside.points.first()?.time_us;
    let after = |time: i64| units::duration_us(u64::try_from(time - start).unwrap_or(0));
    let row = |name: &str, point: OutsidePoint| OutsideRow {
        when: format!("{name}, {} in", after(point.time_us)),
        used: shown(point.used_bytes),
        process: shown(point.process_bytes),
        reserved: shown(point.reserved_bytes),
        outside: shown(point.outside_bytes),
        others: shown(point.others_bytes),
    };
    let mut rows = Vec::new();
    rows.extend(
        outside
            .at_peak
            .map(|point| row("at the peak of the requested bytes", point)),
    );
    rows.extend(failed.map(|point| row("at the last failure", point)));
    rows.extend(outside.most.map(|point| row("most outside PyTorch", point)));
    rows.extend(outside.last.map(|point| row("at the end", point)));
    let others = watch.others.iter().take(MAX_OTHERS);
    Some(OutsideView {
        lead: lead(&outside),
        chart: chart(&outside.points, start, &ooms).unwrap_or_default(),
        rows,
        others: others
            .map(|one| {
                let name = one
                    .name
                    .as_deref()
                    .map(|name| format!(" ({})", subject.shown(name)));
                let name = format!("process {}{}", one.process, name.unwrap_or_default());
                (name, shown(one.used_bytes))
            })
            .collect(),
        note: note(&outside, watch),
    })
}

fn shown(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), units::bytes)
}

fn lead(outside: &Outside) -> String {
    match outside.most.and_then(|most| most.outside_bytes) {
        Some(most) => format!(
            "Outside PyTorch this process held up to {}: the CUDA context, libraries, NCCL.",
            units::bytes(most)
        ),
        None => "What this process held outside PyTorch could not be told.".to_owned(),
    }
}

fn note(outside: &Outside, watch: &DeviceWatch) -> String {
    let known = outside
        .points
        .iter()
        .filter(|point| point.outside_bytes.is_some())
        .count();
    let mut note = format!(
        "The driver was asked {} times; {} of them have a figure. Elsewhere PyTorch's reserved bytes \
         changed while it was asked, were not recorded, or the driver did not say. Lines join the looks; \
         what was between them is not known.",
        units::count(outside.points.len() as u64),
        units::count(known as u64),
    );
    if watch.is_inferred {
        note.push_str(
            " Which of the driver's processes this one is, is inferred: no other held as much.",
        );
    }
    note
}

/// The highest value of each line in each column, in order of time.
fn columns(points: &[OutsidePoint], value: Value, span_us: u64) -> Vec<(f64, u64)> {
    let start = points.first().map_or(0, |point| point.time_us);
    let mut out: Vec<(usize, f64, u64)> = Vec::new();
    for point in points {
        let Some(bytes) = value(point) else {
            continue;
        };
        let since = point.time_us.abs_diff(start);
        let column = u128::from(since) * COLUMNS as u128 / (u128::from(span_us) + 1);
        let column = usize::try_from(column).unwrap_or(COLUMNS);
        let seconds = since as f64 / 1e6;
        match out.last_mut() {
            Some((at, time, highest)) if *at == column => {
                if bytes > *highest {
                    (*time, *highest) = (seconds, bytes);
                }
            }
            _ => out.push((column, seconds, bytes)),
        }
    }
    out.into_iter()
        .map(|(_, time, bytes)| (time, bytes))
        .collect()
}

/// The lines as an SVG element; None where there is nothing to draw.
fn chart(points: &[OutsidePoint], start: i64, ooms: &[i64]) -> Option<String> {
    let span = points.last()?.time_us.abs_diff(start);
    let all = points
        .iter()
        .flat_map(|point| LINES.iter().filter_map(|(_, value)| value(point)));
    let highest = all.max().filter(|&highest| highest > 0 && span > 0)?;
    let mut svg = String::new();
    draw(&mut svg, points, (start, span), highest, ooms).ok()?;
    Some(svg)
}

type DrawResult = Result<(), Box<dyn std::error::Error>>;

fn draw(
    svg: &mut String,
    points: &[OutsidePoint],
    (start, span): (i64, u64),
    highest: u64,
    ooms: &[i64],
) -> DrawResult {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let unit = 1_u64 << (10 * (highest.max(1).ilog2() / 10).min(5));
    let scaled = |bytes: u64| bytes as f64 / unit as f64;
    let seconds = span as f64 / 1e6;
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .x_label_area_size(26)
        .y_label_area_size(74)
        .build_cartesian_2d(0.0..seconds, 0.0..scaled(highest) * 1.04)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xD9, 0xDE, 0xE6))
        .axis_style(RGBColor(0xD9, 0xDE, 0xE6))
        .x_labels(9)
        .y_labels(5)
        .x_label_formatter(&|seconds| units::duration_us((seconds * 1e6).max(0.0) as u64))
        .y_label_formatter(&|value| units::bytes((value * unit as f64).max(0.0) as u64))
        .draw()?;
    for (colour, value) in LINES {
        let line = columns(points, value, span).into_iter();
        let line = line.map(|(seconds, bytes)| (seconds, scaled(bytes)));
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    for &oom in ooms {
        let at = oom.saturating_sub(start) as f64 / 1e6;
        if (0.0..=seconds).contains(&at) {
            let line = vec![(at, 0.0), (at, scaled(highest) * 1.04)];
            chart.draw_series(LineSeries::new(line, RGBColor(0xB3, 0x26, 0x1E)))?;
        }
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ReportOptions, synthetic};
    use crate::snapshot::{DeviceId, DeviceLook, NO_TIME, OtherProcess, Snapshot};

    const MIB: u64 = 1 << 20;

    fn page(snapshot: &Snapshot) -> String {
        synthetic::page(snapshot, &ReportOptions::default())
    }

    #[test]
    fn columns_keep_the_highest_point() {
        let points: Vec<OutsidePoint> = (0..100_000)
            .map(|at| OutsidePoint {
                time_us: 5 + at * 100_000,
                used_bytes: Some((at as u64 * 7919) % 100_003),
                ..OutsidePoint::default()
            })
            .collect();
        let found = columns(&points, |point| point.used_bytes, 9_999_900_000);
        assert!(found.len() <= COLUMNS + 1);
        let most = points.iter().filter_map(|point| point.used_bytes).max();
        assert_eq!(found.iter().map(|one| one.1).max(), most);
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0));
    }

    #[test]
    fn the_page_has_the_section_where_something_was_seen() {
        let mut snapshot = synthetic::recording(2_000, 100, 10);
        assert!(!page(&snapshot).contains("Outside PyTorch this process"));
        let device = snapshot.traces[0].device;
        let events = &snapshot.traces[0].events;
        let times: Vec<i64> = (0..events.len())
            .map(|row| events.time_us(row))
            .filter(|&time| time != NO_TIME)
            .collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        let look = |time_us: i64| DeviceLook {
            time_us,
            until_us: time_us,
            used_bytes: Some(1 << 40),
            process_bytes: Some(1 << 39),
            others_bytes: Some(3 * MIB),
        };
        snapshot.watches.push(DeviceWatch {
            device,
            is_inferred: true,
            looks: vec![look(first - 10), look(first), look(last + 5_000_000)],
            others: vec![OtherProcess {
                process: 77,
                name: Some("<b>evil</b>".to_owned()),
                used_bytes: Some(3 * MIB),
            }],
            ..DeviceWatch::default()
        });
        assert_ne!(device, DeviceId::HOST);
        let page = page(&snapshot);
        for expected in [
            "Outside PyTorch this process held up to",
            "id=\"outside\"",
            "process 77 (&#60;b&#62;evil",
            "most outside PyTorch, ",
            "is inferred: no other held as much",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("<b>evil"));
    }
}
