//! The fragmentation chart: parts of the reserved bytes over the recording, as SVG.

use plotters::prelude::*;

use crate::metrics::Fragmentation;
use crate::replay::Moment;
use crate::units;

/// Columns of the chart at most.
const COLUMNS: usize = 500;
const SIZE: (u32, u32) = (1400, 250);

/// The parts from the bottom up. The style sheet turns these colours into its tokens.
const PARTS: [(RGBColor, Part); 6] = [
    (RGBColor(0x00, 0x72, 0xB2), |parts| parts.requested_bytes),
    (RGBColor(0xAA, 0x44, 0x99), |parts| parts.rounding_bytes),
    (RGBColor(0xCC, 0x79, 0xA7), |parts| parts.slack_bytes),
    (RGBColor(0xC9, 0x8A, 0x00), |parts| parts.pending_bytes),
    (RGBColor(0xE6, 0x9F, 0x00), |parts| parts.split_free_bytes),
    (RGBColor(0xC9, 0xD0, 0xDA), |parts| parts.whole_free_bytes),
];
type Part = fn(&Fragmentation) -> u64;

/// The chart as an SVG element; None where there is nothing to draw.
///
/// Each column shows the moment, of those given in it, that lost the most
/// ([`Fragmentation::lost_bytes`]): what fragmentation cost at worst.
pub(super) fn fragmentation_chart(
    parts: &[(Moment, Fragmentation)],
    last: Moment,
    ooms: &[Moment],
) -> Option<String> {
    let highest = parts.iter().map(|(_, parts)| parts.reserved_bytes).max()?;
    if highest == 0 || last == 0 {
        return None;
    }
    let mut svg = String::new();
    draw(
        &mut svg,
        &worst_per_column(parts, last),
        last,
        highest,
        ooms,
    )
    .ok()?;
    Some(svg)
}

/// The worst of the given moments in each column, in order.
fn worst_per_column(
    parts: &[(Moment, Fragmentation)],
    last: Moment,
) -> Vec<(Moment, Fragmentation)> {
    let column_of = |moment: Moment| u64::from(moment) * COLUMNS as u64 / (u64::from(last) + 1);
    let mut columns: Vec<(Moment, Fragmentation)> = Vec::new();
    for &(moment, parts) in parts {
        match columns.last_mut() {
            Some((shown, worst)) if column_of(*shown) == column_of(moment) => {
                if parts.lost_bytes() > worst.lost_bytes() {
                    (*shown, *worst) = (moment, parts);
                }
            }
            _ => columns.push((moment, parts)),
        }
    }
    columns
}

type DrawResult = Result<(), Box<dyn std::error::Error>>;

fn draw(
    svg: &mut String,
    columns: &[(Moment, Fragmentation)],
    last: Moment,
    highest: u64,
    ooms: &[Moment],
) -> DrawResult {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    // Whole binary units on the axis: GiB where the peak is above one.
    let unit = 1_u64 << (10 * (highest.max(1).ilog2() / 10).min(5));
    let scaled = |bytes: u64| bytes as f64 / unit as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .margin_right(30)
        .x_label_area_size(26)
        .y_label_area_size(74)
        .build_cartesian_2d(0..last, 0.0..scaled(highest) * 1.04)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xD9, 0xDE, 0xE6))
        .axis_style(RGBColor(0xD9, 0xDE, 0xE6))
        .x_labels(9)
        .y_labels(5)
        .x_label_formatter(&|moment| units::count(u64::from(*moment)))
        .y_label_formatter(&|value| units::bytes((value * unit as f64).max(0.0) as u64))
        .draw()?;
    // The upper edges of the parts, drawn from the highest down so that each covers the next.
    for (count, (colour, _)) in PARTS.iter().enumerate().rev() {
        let edge = |parts: &Fragmentation| {
            let below = PARTS.iter().take(count + 1).map(|(_, part)| part(parts));
            scaled(below.fold(0, u64::saturating_add))
        };
        let ends = columns
            .iter()
            .skip(1)
            .map(|&(moment, _)| moment)
            .chain([last]);
        let steps = columns.iter().zip(ends);
        let points =
            steps.flat_map(|((from, parts), to)| [(*from, edge(parts)), (to, edge(parts))]);
        chart.draw_series(AreaSeries::new(points, 0.0, colour.filled()))?;
    }
    for &oom in ooms {
        let line = vec![(oom, 0.0), (oom, scaled(highest) * 1.04)];
        chart.draw_series(LineSeries::new(line, RGBColor(0xB3, 0x26, 0x1E)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(requested_bytes: u64, split_free_bytes: u64) -> Fragmentation {
        Fragmentation {
            requested_bytes,
            split_free_bytes,
            reserved_bytes: requested_bytes + split_free_bytes,
            ..Fragmentation::default()
        }
    }

    #[test]
    fn each_column_shows_its_worst_moment() {
        let last = 10_000;
        let moments: Vec<_> = (0..=last)
            .map(|m| (m, parts(100, u64::from(m % 977))))
            .collect();
        let columns = worst_per_column(&moments, last);
        assert!(columns.len() <= COLUMNS);
        let worst =
            |list: &[(Moment, Fragmentation)]| list.iter().map(|(_, p)| p.split_free_bytes).max();
        assert_eq!(worst(&columns), worst(&moments));
        assert!(columns.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_chart_is_drawn_without_fonts() {
        let moments: Vec<_> = (0..50)
            .map(|m| (m, parts(u64::from(m) << 20, 5 << 20)))
            .collect();
        let svg = fragmentation_chart(&moments, 49, &[20]).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains("MiB") && svg.contains("#0072B2"),
            "{svg}"
        );
        assert_eq!(fragmentation_chart(&[(0, parts(0, 0))], 0, &[]), None);
    }
}
