//! The page's table of texts: every string once, shortened, and redacted where asked.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::redact::Redactor;

/// Interned texts of the page. Row 0 is the empty text.
pub(super) struct Texts<'a> {
    redactor: Option<&'a Redactor>,
    max_chars: usize,
    list: Vec<String>,
    lookup: HashMap<String, u32, FixedState>,
    shortened: u64,
}

impl<'a> Texts<'a> {
    pub(super) fn new(redactor: Option<&'a Redactor>, max_chars: usize) -> Self {
        let mut texts = Self {
            redactor,
            max_chars,
            list: Vec::new(),
            lookup: HashMap::default(),
            shortened: 0,
        };
        texts.intern(String::new());
        texts
    }

    /// The row of a text that may hold paths and names anywhere.
    pub(super) fn text(&mut self, text: &str) -> u32 {
        let shown = self.shown(text);
        self.intern(shown)
    }

    /// The row of a file's path.
    pub(super) fn path(&mut self, path: &str) -> u32 {
        let shown = self
            .redactor
            .map_or_else(|| path.to_owned(), |redactor| redactor.path(path));
        self.intern(shown)
    }

    /// `text` as the page may show it outside of its data.
    pub(super) fn shown(&self, text: &str) -> String {
        let shown = self
            .redactor
            .map_or_else(|| text.to_owned(), |redactor| redactor.text(text));
        shorten(shown)
    }

    /// How many texts were cut at the limit.
    pub(super) fn shortened(&self) -> u64 {
        self.shortened
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.list
    }

    fn intern(&mut self, mut text: String) -> u32 {
        if let Some((cut, _)) = text.char_indices().nth(self.max_chars) {
            text.truncate(cut);
            text.push('…');
            self.shortened += u64::from(!self.lookup.contains_key(&text));
        }
        if let Some(&row) = self.lookup.get(&text) {
            return row;
        }
        let row = self.list.len() as u32;
        self.list.push(text.clone());
        self.lookup.insert(text, row);
        row
    }
}

/// `text`, cut where only a forged file has that much: it must not blow up the page.
pub(super) fn shorten(mut text: String) -> String {
    const MAX_CHARS: usize = 1_000;
    if let Some((cut, _)) = text.char_indices().nth(MAX_CHARS) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// `json` so that it can stand in a `<script>` element: no character sequence in it can end the
/// element, open a comment or break a line for JavaScript.
pub(super) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 64);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_script() {
        let hostile = "</script><!--<img src=x onerror=alert(1)>&\u{2028}\u{2029}";
        let json = serde_json::to_string(hostile).unwrap();
        let escaped = escape_json(&json);
        assert!(!escaped.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
    }

    #[test]
    fn long_texts_are_cut_and_counted() {
        let mut texts = Texts::new(None, 4);
        assert_eq!(texts.text("äöüß"), 1);
        assert_eq!(texts.text("äöüßé"), 2);
        assert_eq!(texts.shortened(), 1);
        assert_eq!(texts.text("äöüß"), 1);
        assert_eq!(texts.into_list(), ["", "äöüß", "äöüß…"]);
    }
}
