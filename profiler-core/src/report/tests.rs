//! Whole pages.

use crate::snapshot::{Snapshot, WarningKind};

use super::synthetic::{self, page};
use super::{MAX_BYTES, ReportOptions};

fn data(page: &str) -> serde_json::Value {
    let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let end = page[start..].find("</script>").unwrap() + start;
    serde_json::from_str(&page[start..end]).unwrap()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let snapshot = synthetic::recording(4_000, 200, 40);
    let options = ReportOptions {
        title: "a.pickle".into(),
        ..ReportOptions::default()
    };
    assert_eq!(page(&snapshot, &options), page(&snapshot, &options));
}

#[test]
fn a_long_recording_stays_below_the_limit() {
    let snapshot = synthetic::recording(400_000, 3_000, 3_000);
    let page = page(&snapshot, &ReportOptions::default());
    assert!(page.len() < MAX_BYTES, "{} bytes", page.len());
    assert!(page.contains("To stay small, this page keeps"));
}

#[test]
fn bands_and_rest_are_the_curve_at_every_kept_moment() {
    let snapshot = synthetic::recording(120_000, 2_000, 20);
    let device = &data(&page(&snapshot, &ReportOptions::default()))["devices"][0];
    let sums = |name: &str| -> Vec<i64> {
        let column = device[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_i64().unwrap());
        column
            .scan(0, |sum, delta| {
                *sum += delta;
                Some(*sum)
            })
            .collect()
    };
    let numbers = |name: &str| -> Vec<i64> {
        let column = device["allocations"][name].as_array().unwrap();
        column.iter().map(|value| value.as_i64().unwrap()).collect()
    };
    let (moments, requested, rest) = (sums("moments"), sums("requested"), sums("rest_bytes"));
    assert!(moments.len() < 120_000 && !device["all_allocations"].as_bool().unwrap());
    let mut born = 0;
    let mut change = std::collections::BTreeMap::<i64, i64>::new();
    for ((delta, life), size) in numbers("born")
        .iter()
        .zip(numbers("life"))
        .zip(numbers("size"))
    {
        born += delta;
        *change.entry(born).or_default() += size;
        if life >= 0 {
            *change.entry(born + life).or_default() -= size;
        }
    }
    let mut live = 0;
    let mut changes = change.into_iter().peekable();
    for (row, &moment) in moments.iter().enumerate() {
        while let Some((_, bytes)) = changes.next_if(|&(at, _)| at <= moment) {
            live += bytes;
        }
        assert_eq!(live + rest[row], requested[row], "at moment {moment}");
    }
}

#[test]
fn text_from_the_file_stays_text() {
    let mut snapshot = synthetic::recording(300, 20, 3);
    let hostile = "</script><img src=x onerror=alert(1)><!--";
    snapshot.warnings.add(WarningKind::UnknownKey, hostile);
    let options = ReportOptions {
        title: hostile.into(),
        ..ReportOptions::default()
    };
    let page = page(&snapshot, &options);
    assert!(!page.contains("<img"), "an element from the file");
    assert_eq!(page.matches("<!--").count(), 0);
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "the data's and the script's own"
    );
    assert!(page.contains("&#60;img"), "the title is shown as text");
}

#[test]
fn a_redacted_page_leaks_no_path() {
    let mut snapshot = synthetic::recording(2_000, 50, 10);
    snapshot
        .warnings
        .add(WarningKind::UnknownKey, "key in /home/alice/secret/x.json");
    let options = ReportOptions {
        title: "/home/alice/run.pickle".into(),
        redact: true,
        ..ReportOptions::default()
    };
    let plain = page(
        &snapshot,
        &ReportOptions {
            redact: false,
            ..options.clone()
        },
    );
    let page = page(&snapshot, &options);
    for leak in ["alice", "secret", "/home"] {
        assert!(plain.contains(leak), "{leak} is in the plain page");
        assert!(!page.contains(leak), "{leak}");
    }
    assert!(page.contains("model.py"), "file names stay");
}

#[test]
fn an_empty_file_has_a_page() {
    let page = page(&Snapshot::default(), &ReportOptions::default());
    assert!(page.contains("</html>"));
}

#[test]
fn nothing_is_fetched() {
    let page = page(&synthetic::recording(100, 10, 2), &ReportOptions::default());
    for fetched in ["http://", "https://", "src=\"", "@import", "url("] {
        let found = page
            .match_indices(fetched)
            .map(|(at, _)| &page[at..(at + 60).min(page.len())]);
        let bad: Vec<_> = found
            .filter(|text| !text.starts_with("http://www.w3.org/2000/svg"))
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
    assert!(page.contains("default-src &#39;none&#39;"));
}

#[test]
fn a_file_that_names_many_devices_stays_below_the_limit() {
    let mut snapshot = synthetic::recording(2_000, 50, 10);
    let trace = snapshot.traces[0].clone();
    for device in 1..300 {
        let device = crate::snapshot::DeviceId(device);
        snapshot.traces.push(crate::snapshot::Trace {
            device,
            ..trace.clone()
        });
    }
    let long = "x".repeat(6_000_000);
    snapshot.settings = Some(crate::snapshot::AllocatorSettings {
        entries: vec![(long.clone(), long)],
        ..crate::snapshot::AllocatorSettings::default()
    });
    let page = page(&snapshot, &ReportOptions::default());
    assert!(page.len() < MAX_BYTES, "{} bytes", page.len());
    assert!(page.contains("Devices with less memory are not in this page"));
}
