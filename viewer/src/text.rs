//! Text as the window's font can write it, in the room there is.

use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{Color32, FontId, Galley, Painter};
use profiler_core::units;

/// `text` on one line of at most `width` points, with an ellipsis in place of what does not fit;
/// None where not even two letters and the ellipsis would.
#[must_use]
pub fn elided(
    painter: &Painter,
    text: &str,
    font: &FontId,
    color: Color32,
    width: f32,
) -> Option<Arc<Galley>> {
    if width < font.size * 1.6 {
        return None;
    }
    let format = TextFormat::simple(font.clone(), color);
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap = TextWrapping::truncate_at_width(width);
    Some(painter.layout_job(job))
}

/// `number` in groups of three digits. The core parts the groups by a narrow space, which the
/// font that egui brings does not have; here they are parted by a no-break space, which it has.
#[must_use]
pub fn count(number: u64) -> String {
    plain(&units::count(number))
}

/// `text` of the core with its narrow spaces replaced.
#[must_use]
pub fn plain(text: &str) -> String {
    text.replace('\u{202f}', "\u{a0}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_parted_by_a_space_of_the_font() {
        assert_eq!(super::count(1_234_567), "1\u{a0}234\u{a0}567");
    }
}
