//! Numbers as pickles write them.

use crate::read::machine::Value;

/// A little-endian two's complement number of any length (`LONG1`, `LONG4`).
#[inline]
pub(super) fn from_le(digits: &[u8]) -> Value {
    let Some(&last) = digits.last() else {
        return Value::Int(0);
    };
    let fill = if last & 0x80 != 0 { 0xff } else { 0 };
    if digits.len() <= 8 {
        let mut bytes = [fill; 8];
        for (to, &digit) in bytes.iter_mut().zip(digits) {
            *to = digit;
        }
        return Value::Int(i64::from_le_bytes(bytes));
    }
    wide(digits, fill)
}

#[cold]
fn wide(digits: &[u8], fill: u8) -> Value {
    let (low, high) = digits.split_at(8);
    let negative = fill != 0;
    if high.iter().any(|&digit| digit != fill) {
        return Value::TooBig { negative };
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(low);
    let number = u64::from_le_bytes(bytes);
    if !negative {
        return i64::try_from(number).map_or(Value::UInt(number), Value::Int);
    }
    let number = number as i64;
    if number < 0 {
        Value::Int(number)
    } else {
        Value::TooBig { negative }
    }
}

/// The decimal number of an `INT` line; `00` and `01` are the bools of protocol 0 and 1.
pub(super) fn from_int_line(line: &[u8]) -> Option<Value> {
    match line {
        b"00" => Some(Value::Bool(false)),
        b"01" => Some(Value::Bool(true)),
        _ => from_long_line(line),
    }
}

/// The decimal number of a `LONG` line, with or without its `L`.
pub(super) fn from_long_line(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii();
    let line = line.strip_suffix(b"L").unwrap_or(line);
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?;
    if let Ok(number) = text.parse::<i64>() {
        return Some(Value::Int(number));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(Value::UInt(number));
    }
    Some(Value::TooBig { negative })
}

/// The number of a `FLOAT` line.
pub(super) fn from_float_line(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line.trim_ascii()).ok()?;
    text.parse().ok().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twos_complement_of_every_length() {
        let cases: [(&[u8], Value); 9] = [
            (&[], Value::Int(0)),
            (&[0xff], Value::Int(-1)),
            (&[0xff, 0], Value::Int(255)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], Value::Int(i64::MIN)),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
                Value::UInt(u64::MAX),
            ),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], Value::Int(1)),
            (
                &[0, 0, 0, 0, 0, 0, 0, 0, 1],
                Value::TooBig { negative: false },
            ),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff],
                Value::TooBig { negative: true },
            ),
            (
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Value::Int(-2),
            ),
        ];
        for (digits, value) in cases {
            assert_eq!(from_le(digits), value, "{digits:?}");
        }
    }

    #[test]
    fn decimal_lines() {
        assert_eq!(from_int_line(b"01"), Some(Value::Bool(true)));
        assert_eq!(from_int_line(b"-7"), Some(Value::Int(-7)));
        assert_eq!(
            from_long_line(b"18446744073709551615L"),
            Some(Value::UInt(u64::MAX))
        );
        assert_eq!(
            from_long_line(b"-99999999999999999999L"),
            Some(Value::TooBig { negative: true })
        );
        assert_eq!(from_long_line(b"12x"), None);
        assert_eq!(from_long_line(b""), None);
        assert_eq!(from_float_line(b"0.5"), Some(Value::Float(0.5)));
        assert_eq!(from_float_line(b"half"), None);
    }
}
