//! Every colour and size the viewer draws with.
//!
//! The categorical colours are those of Okabe and Ito ("Color Universal Design", 2008) with the
//! black left out, extended by the muted scheme of Paul Tol ("Colour Schemes", SRON technical
//! note, issue 3.2, 2021): both are made to be told apart with any common colour vision. The
//! sequential ramp is cividis (Nuñez, Anderton and Renslow, PLoS ONE 13(7), 2018).

use egui::Color32;

/// Distinct colours for groups, the most important first.
pub const CATEGORICAL: [Color32; 14] = [
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(0, 158, 115),
    Color32::from_rgb(204, 121, 167),
    Color32::from_rgb(86, 180, 233),
    Color32::from_rgb(213, 94, 0),
    Color32::from_rgb(240, 228, 66),
    Color32::from_rgb(136, 34, 85),
    Color32::from_rgb(153, 153, 51),
    Color32::from_rgb(51, 34, 136),
    Color32::from_rgb(68, 170, 153),
    Color32::from_rgb(204, 102, 119),
    Color32::from_rgb(136, 204, 238),
    Color32::from_rgb(170, 68, 153),
];

/// Cividis at equal steps, dark (low) to light (high).
pub const SEQUENTIAL: [Color32; 9] = [
    Color32::from_rgb(0, 34, 78),
    Color32::from_rgb(24, 56, 108),
    Color32::from_rgb(64, 77, 107),
    Color32::from_rgb(91, 97, 110),
    Color32::from_rgb(117, 118, 118),
    Color32::from_rgb(146, 140, 117),
    Color32::from_rgb(177, 163, 108),
    Color32::from_rgb(212, 188, 92),
    Color32::from_rgb(254, 232, 56),
];

/// Colours that depend on whether the theme is light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Behind the timeline, the map and the flame graph.
    pub canvas: Color32,
    /// Everything that is in no group of its own.
    pub other: Color32,
    /// What the filter excludes.
    pub excluded: Color32,
    /// The line between two bands.
    pub band_edge: Color32,
    /// Curve of reserved bytes.
    pub reserved: Color32,
    /// Curve of allocated bytes.
    pub allocated: Color32,
    /// Curve of requested bytes: the top of the bands.
    pub requested: Color32,
    /// The chosen moment.
    pub cursor: Color32,
    /// The chosen allocation.
    pub selection: Color32,
    /// Failed allocations.
    pub oom: Color32,
    /// The highest point.
    pub peak: Color32,
    /// Grid lines.
    pub grid: Color32,
    /// Text on the canvas.
    pub text: Color32,
    /// Less important text on the canvas.
    pub weak_text: Color32,
    /// Gaps between live blocks, kept in their segment by them.
    pub split_free: Color32,
    /// Gaps of streams other than the default one.
    pub stream_free: Color32,
    /// Gaps of private pools.
    pub pool_free: Color32,
    /// Free segments that could be returned.
    pub whole_free: Color32,
    /// Rounding inside blocks.
    pub rounding: Color32,
    /// What not splitting added to blocks.
    pub slack: Color32,
    /// Freed blocks that another stream may still use.
    pub pending: Color32,
    /// Lanes of annotations, in turn.
    pub lanes: [Color32; 2],
}

/// For dark surroundings.
pub const DARK: Theme = Theme {
    canvas: Color32::from_rgb(18, 20, 24),
    other: Color32::from_rgb(112, 118, 130),
    excluded: Color32::from_rgb(52, 56, 64),
    band_edge: Color32::from_rgb(18, 20, 24),
    reserved: Color32::from_rgb(235, 235, 235),
    allocated: Color32::from_rgb(166, 172, 182),
    requested: Color32::from_rgb(86, 180, 233),
    cursor: Color32::from_rgb(255, 255, 255),
    selection: Color32::from_rgb(255, 255, 255),
    oom: Color32::from_rgb(255, 110, 60),
    peak: Color32::from_rgb(240, 228, 66),
    grid: Color32::from_rgb(48, 52, 60),
    text: Color32::from_rgb(225, 228, 232),
    weak_text: Color32::from_rgb(150, 156, 166),
    split_free: Color32::from_rgb(122, 60, 40),
    stream_free: Color32::from_rgb(110, 84, 20),
    pool_free: Color32::from_rgb(92, 46, 92),
    whole_free: Color32::from_rgb(40, 66, 58),
    rounding: Color32::from_rgb(204, 121, 167),
    slack: Color32::from_rgb(240, 228, 66),
    pending: Color32::from_rgb(230, 159, 0),
    lanes: [
        Color32::from_rgb(58, 84, 120),
        Color32::from_rgb(76, 66, 116),
    ],
};

/// For light surroundings.
pub const LIGHT: Theme = Theme {
    canvas: Color32::from_rgb(252, 252, 253),
    other: Color32::from_rgb(150, 156, 166),
    excluded: Color32::from_rgb(222, 225, 230),
    band_edge: Color32::from_rgb(252, 252, 253),
    reserved: Color32::from_rgb(30, 32, 36),
    allocated: Color32::from_rgb(110, 116, 126),
    requested: Color32::from_rgb(0, 80, 130),
    cursor: Color32::from_rgb(0, 0, 0),
    selection: Color32::from_rgb(0, 0, 0),
    oom: Color32::from_rgb(190, 60, 0),
    peak: Color32::from_rgb(120, 80, 0),
    grid: Color32::from_rgb(222, 225, 230),
    text: Color32::from_rgb(30, 32, 36),
    weak_text: Color32::from_rgb(100, 106, 116),
    split_free: Color32::from_rgb(246, 200, 180),
    stream_free: Color32::from_rgb(246, 226, 160),
    pool_free: Color32::from_rgb(232, 200, 232),
    whole_free: Color32::from_rgb(204, 232, 222),
    rounding: Color32::from_rgb(204, 121, 167),
    slack: Color32::from_rgb(190, 170, 0),
    pending: Color32::from_rgb(230, 159, 0),
    lanes: [
        Color32::from_rgb(190, 210, 236),
        Color32::from_rgb(212, 204, 238),
    ],
};

impl Theme {
    /// The theme for egui's current mode.
    #[must_use]
    pub fn of(visuals: &egui::Visuals) -> Self {
        if visuals.dark_mode { DARK } else { LIGHT }
    }
}

/// Has `context` write in these colours and sizes: egui's own are paler and its small text is
/// smaller than many can read.
pub fn apply(context: &egui::Context) {
    for (mode, theme) in [(egui::Theme::Dark, &DARK), (egui::Theme::Light, &LIGHT)] {
        context.style_mut_of(mode, |style| {
            let small = egui::FontId::proportional(SMALL_TEXT);
            style.text_styles.insert(egui::TextStyle::Small, small);
            style.visuals.widgets.noninteractive.fg_stroke.color = theme.text;
            style.visuals.widgets.inactive.fg_stroke.color = theme.text;
            style.visuals.weak_text_color = Some(theme.weak_text);
        });
    }
}

/// Height of one lane of annotations, in points.
pub const LANE_HEIGHT: f32 = 16.0;
/// Height of the overview strip, in points.
pub const MINIMAP_HEIGHT: f32 = 44.0;
/// Height of the time axis' labels, in points.
pub const TIME_AXIS_HEIGHT: f32 = 18.0;
/// Width kept for the byte axis' labels, in points.
pub const BYTE_AXIS_WIDTH: f32 = 74.0;
/// Height of a table row, in points.
pub const ROW_HEIGHT: f32 = 20.0;
/// Height of a flame graph row, in points.
pub const FLAME_ROW_HEIGHT: f32 = 18.0;
/// Narrowest box that gets a text, in points.
pub const MIN_TEXT_WIDTH: f32 = 34.0;
/// Size of small text, in points.
pub const SMALL_TEXT: f32 = 11.0;
/// The least height of a band, in pixels, from which its edge is drawn.
pub const MIN_EDGE_PIXELS: f64 = 4.0;

/// `color` moved towards black or white: the lightness steps that tell neighbours of one group
/// apart. `step` is −3 to 3.
#[must_use]
pub fn shade(color: Color32, step: i32) -> Color32 {
    let change = step.clamp(-3, 3) * 9;
    let channel = |value: u8| (i32::from(value) + change).clamp(0, 255) as u8;
    Color32::from_rgb(channel(color.r()), channel(color.g()), channel(color.b()))
}

/// Black or white, whichever reads better on `background`.
#[must_use]
pub fn text_on(background: Color32) -> Color32 {
    // Rec. 709 luma, in gamma space: enough to choose between the two.
    let luma = 0.2126 * f32::from(background.r())
        + 0.7152 * f32::from(background.g())
        + 0.0722 * f32::from(background.b());
    if luma > 130.0 {
        Color32::from_rgb(16, 18, 22)
    } else {
        Color32::from_rgb(245, 246, 248)
    }
}
