//! The page itself: template, style, script and data put together.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::summary::Summary;

/// The scripts, in the order they run in. One plain file per panel; together they are one script.
const SCRIPTS: [&str; 20] = [
    include_str!("page/dom.js"),
    include_str!("page/format.js"),
    include_str!("page/data.js"),
    include_str!("page/state.js"),
    include_str!("page/colours.js"),
    include_str!("page/timeline_columns.js"),
    include_str!("page/timeline.js"),
    include_str!("page/timeline_input.js"),
    include_str!("page/minimap.js"),
    include_str!("page/legend.js"),
    include_str!("page/parts.js"),
    include_str!("page/holders.js"),
    include_str!("page/layers.js"),
    include_str!("page/flame.js"),
    include_str!("page/table.js"),
    include_str!("page/segments.js"),
    include_str!("page/what_if.js"),
    include_str!("page/chrome.js"),
    include_str!("page/main.js"),
    "})();",
];

const LIGHT: &str = include_str!("page/tokens-light.css");
const DARK: &str = include_str!("page/tokens-dark.css");
const STYLE: &str = concat!(
    include_str!("page/page.css"),
    include_str!("page/what_if.css")
);

/// One device in the template.
pub(super) struct DeviceView {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) is_first: bool,
    pub(super) peak: String,
    pub(super) ooms: Vec<super::summary::OomView>,
    pub(super) more_ooms: Option<String>,
    pub(super) lead: String,
    pub(super) lead_note: String,
    pub(super) facts: Vec<super::summary::Fact>,
    pub(super) left_out: String,
    pub(super) outside: Option<super::outside::OutsideView>,
    pub(super) has_chart: bool,
    pub(super) chart: String,
    pub(super) chart_note: String,
    pub(super) what_if: super::what_if_view::WhatIfView,
}

impl DeviceView {
    pub(super) fn new(name: String, title: String, peak: String, summary: Summary) -> Self {
        Self {
            name,
            title,
            is_first: false,
            peak,
            ooms: summary.ooms,
            more_ooms: summary.more_ooms,
            lead: summary.lead,
            lead_note: summary.lead_note,
            facts: summary.facts,
            left_out: String::new(),
            outside: None,
            has_chart: false,
            chart: String::new(),
            chart_note: String::new(),
            what_if: super::what_if_view::WhatIfView::default(),
        }
    }
}

/// Everything the template shows. `style`, `script`, `data` and charts are this crate's own text
/// or escaped already; all else is escaped by the template.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Page {
    pub(super) policy: String,
    pub(super) title: String,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) data: String,
    pub(super) devices: Vec<DeviceView>,
    pub(super) format: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) elsewhere: Option<super::run::ElsewhereView>,
    pub(super) run: Option<super::run::RunView>,
    pub(super) warnings: Vec<(String, u64)>,
    pub(super) redacted: bool,
    pub(super) version: &'static str,
}

const OUTSIDE_STYLE: &str = include_str!("page/outside.css");

impl Page {
    /// Whether any device was seen from outside PyTorch.
    fn has_outside(&self) -> bool {
        self.devices.iter().any(|device| device.outside.is_some())
    }
}

/// The style sheet: tokens for both themes, then the rules.
pub(super) fn style() -> String {
    format!(
        ":root {{\n{LIGHT}}}\n:root[data-theme=\"dark\"] {{\n{DARK}}}\n\
         @media (prefers-color-scheme: dark) {{ :root:not([data-theme]) {{\n{DARK}}} }}\n{STYLE}{OUTSIDE_STYLE}"
    )
}

/// The script, in a scope of its own.
pub(super) fn script() -> String {
    format!("\"use strict\";\n(() => {{\n{}", SCRIPTS.join("\n"))
}

/// A policy under which nothing is fetched, and no script runs but this one.
pub(super) fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(style),
        hash(script)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_cannot_end_its_element_early() {
        assert!(!script().to_lowercase().contains("</script"));
        assert!(!style().to_lowercase().contains("</style"));
    }

    #[test]
    fn no_script_puts_text_into_markup() {
        let script = script();
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }
}
