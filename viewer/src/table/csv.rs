//! The table's rows as CSV (RFC 4180).

use std::io::{self, Write};

use profiler_core::replay::{AllocationId, NEVER};

use crate::ask::Subject;
use crate::prepare::site_label;

/// The most rows that go to the clipboard: what other programs take without trouble.
pub const MAX_CSV_ROWS: usize = 100_000;

/// Writes `rows` in plain numbers: bytes, moments, stream numbers.
///
/// # Errors
/// If `out` does not take it.
pub fn write_csv(
    out: &mut dyn Write,
    subject: &Subject,
    rows: impl Iterator<Item = u32>,
) -> io::Result<()> {
    out.write_all(
        b"address,requested_bytes,block_bytes,born,died,stream,category,layer,allocated_at\r\n",
    )?;
    let Some(replay) = subject.replay() else {
        return Ok(());
    };
    let known = subject.document.attribution.devices.get(subject.device);
    for row in rows {
        let id = AllocationId(row);
        let block = replay.allocations.get(id);
        let died = if block.died == NEVER {
            String::new()
        } else {
            block.died.to_string()
        };
        let category = known.map_or("", |known| known.category(id).0.name());
        let layer = known.map_or_else(String::new, |known| {
            subject.document.attribution.layers.path(known.layer(id).0)
        });
        write!(
            out,
            "{:#x},{},{},{},{died},{},{category},{},{}\r\n",
            block.address,
            block.requested,
            block.block_size,
            block.born,
            block.stream.0,
            quoted(&layer),
            quoted(&site_label(&subject.document, block.stack)),
        )?;
    }
    Ok(())
}

/// `text` as one field. What a spreadsheet would run as a formula is defused with a quote mark,
/// as OWASP advises ("CSV Injection"): the text comes from a stranger's file.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_and_formulas_defused() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
