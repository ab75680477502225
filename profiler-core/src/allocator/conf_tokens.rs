//! A settings string cut into tokens, and the values in them.

use super::conf::ConfError;
use super::version::TorchVersion;

/// A settings string in tokens: names, values, and each of `,:[]` on its own.
pub(super) struct Tokens {
    list: Vec<String>,
    pub(super) version: TorchVersion,
}

impl Tokens {
    pub(super) fn new(conf: &str, version: TorchVersion) -> Self {
        let mut list: Vec<String> = Vec::new();
        let mut word = String::new();
        for c in conf.chars() {
            match c {
                ',' | ':' | '[' | ']' => {
                    if !word.is_empty() {
                        list.push(std::mem::take(&mut word));
                    }
                    list.push(c.to_string());
                }
                ' ' => {}
                // isspace() of the C locale, from 2.9 on.
                '\t' | '\n' | '\x0b' | '\x0c' | '\r' if version.has_lenient_separators() => {}
                _ => word.push(c),
            }
        }
        if !word.is_empty() {
            list.push(word);
        }
        Self { list, version }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&str> {
        self.list.get(at).map(String::as_str)
    }

    pub(super) fn text(&self, at: usize) -> &str {
        self.get(at).unwrap_or_default()
    }

    pub(super) fn required(&self, at: usize, expected: &'static str) -> Result<&str, ConfError> {
        self.get(at).ok_or_else(|| ConfError::Truncated {
            after: self.list.last().cloned().unwrap_or_default(),
            expected,
        })
    }

    /// Insists on a separator, or (from 2.9) only on some token in its place.
    pub(super) fn separator(&self, at: usize, expected: char) -> Result<(), ConfError> {
        let found = self.required(at, "a separator")?;
        if self.version.has_lenient_separators() || found.chars().eq([expected]) {
            return Ok(());
        }
        Err(ConfError::Separator {
            expected,
            after: self.text(at.saturating_sub(1)).to_owned(),
            found: found.to_owned(),
        })
    }

    /// The position of the value of the name at `at`.
    pub(super) fn value_of(&self, at: usize) -> Result<usize, ConfError> {
        self.separator(at + 1, ':')?;
        self.required(at + 2, "a value")?;
        Ok(at + 2)
    }

    /// The position of the `]` that ends the list at `at`.
    pub(super) fn list_end(&self, key: &str, at: usize) -> Result<usize, ConfError> {
        if self.text(at) != "[" {
            return Err(self.value_error(key, at, "a list in brackets"));
        }
        let end = self.list.iter().skip(at).position(|token| token == "]");
        end.map(|offset| at + offset).ok_or(ConfError::Truncated {
            after: self.list.last().cloned().unwrap_or_default(),
            expected: "]",
        })
    }

    pub(super) fn value_error(&self, key: &str, at: usize, expected: &'static str) -> ConfError {
        ConfError::Value {
            key: key.to_owned(),
            expected,
            found: self.text(at).to_owned(),
        }
    }

    pub(super) fn bool(&self, key: &str, at: usize) -> Result<bool, ConfError> {
        match self.text(at) {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.value_error(key, at, "True or False")),
        }
    }

    /// A whole number as `std::stoi` (up to 2.8) or `std::stoull` reads it: what follows the
    /// digits is ignored, and a minus sign wraps around.
    pub(super) fn size(&self, key: &str, at: usize) -> Result<u64, ConfError> {
        let error = || self.value_error(key, at, "a whole number");
        let text = self.text(at).trim_start();
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let digits = &digits[..end.unwrap_or(digits.len())];
        let magnitude: u64 = digits.parse().map_err(|_| error())?;
        if !self.version.has_lenient_separators() {
            let limit = u64::from(i32::MAX.unsigned_abs()) + u64::from(negative);
            if magnitude > limit {
                return Err(error());
            }
        }
        Ok(if negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        })
    }

    /// A number as `std::stod` reads it: the longest prefix that is one. (Hexadecimal floats,
    /// which `stod` knows too, are not read.)
    pub(super) fn float(
        &self,
        key: &str,
        at: usize,
        expected: &'static str,
    ) -> Result<f64, ConfError> {
        let text = self.text(at).trim_start();
        let mut end = 0;
        let mut seen_exponent = false;
        let mut seen_point = false;
        let mut before = ' ';
        for c in text.chars() {
            let fits = match c {
                '0'..='9' => true,
                '.' => !seen_exponent && !std::mem::replace(&mut seen_point, true),
                'e' | 'E' => !std::mem::replace(&mut seen_exponent, true),
                '+' | '-' => end == 0 || matches!(before, 'e' | 'E'),
                _ => false,
            };
            if !fits {
                break;
            }
            before = c;
            end += c.len_utf8();
        }
        (1..=end)
            .rev()
            .find_map(|length| text.get(..length).and_then(|prefix| prefix.parse().ok()))
            .ok_or_else(|| self.value_error(key, at, expected))
    }
}
