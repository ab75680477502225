//! Strings as protocols 0 and 1 write them, and strings for messages.

/// The text of a `UNICODE` line: Python's `raw-unicode-escape`, in which only `\uXXXX` and
/// `\UXXXXXXXX` are escapes and other bytes are Latin-1.
pub(super) fn raw_unicode_escape(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            text.push(char::from(byte));
            continue;
        }
        let digits = match tail.first() {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        match code_point(tail.get(1..=digits).filter(|_| digits > 0)) {
            Some(c) => {
                text.push(c);
                rest = tail.get(1 + digits..).unwrap_or(&[]);
            }
            None => text.push('\\'),
        }
    }
    text
}

fn code_point(digits: Option<&[u8]>) -> Option<char> {
    let digits = std::str::from_utf8(digits?).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    Some(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// The text of a `STRING` line: quoted, with Python 2's escapes.
pub(super) fn quoted(line: &[u8]) -> Option<String> {
    let line = line.trim_ascii_end();
    let (&quote, rest) = line.split_first()?;
    if !matches!(quote, b'\'' | b'"') {
        return None;
    }
    let mut rest = rest.strip_suffix(&[quote])?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (byte, tail.first()) {
            (b'\\', Some(&escaped)) => escaped,
            _ => {
                bytes.push(byte);
                continue;
            }
        };
        rest = tail.get(1..).unwrap_or(&[]);
        match escaped {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'\\' | b'\'' | b'"' => bytes.push(escaped),
            b'x' => {
                let digits = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                match digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(value) => {
                        bytes.push(value);
                        rest = rest.get(2..).unwrap_or(&[]);
                    }
                    None => bytes.extend_from_slice(b"\\x"),
                }
            }
            other => bytes.extend_from_slice(&[b'\\', other]),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Bytes of the file in a message: at most 100 characters, nothing that moves a cursor.
pub(super) fn shown(bytes: &[u8]) -> String {
    let head = bytes.get(..bytes.len().min(100)).unwrap_or(bytes);
    String::from_utf8_lossy(head).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicode_lines() {
        assert_eq!(raw_unicode_escape(b"plain"), "plain");
        assert_eq!(raw_unicode_escape(b"a\\u00e9\\U0001f600b"), "aé😀b");
        assert_eq!(raw_unicode_escape(b"C:\\new\\u12"), "C:\\new\\u12");
        assert_eq!(raw_unicode_escape(b"\xe9"), "é");
        assert_eq!(raw_unicode_escape(b"\\ud800"), "\u{fffd}");
    }

    #[test]
    fn string_lines() {
        assert_eq!(quoted(b"'it\\'s'").as_deref(), Some("it's"));
        assert_eq!(quoted(b"\"a\\x41\\n\"").as_deref(), Some("aA\n"));
        assert_eq!(quoted(b"bare"), None);
        assert_eq!(quoted(b"'"), None);
    }

    #[test]
    fn messages_are_short_and_printable() {
        assert_eq!(shown(b"os\x1b[2J"), "os\\u{1b}[2J");
        assert!(shown(&[b'x'; 1000]).len() <= 100);
    }
}
