//! Numbers as the columns want them, whatever the file wrote.

use super::notes::Shape;
use super::{Machine, Value, Word};
use crate::snapshot::{NO_TIME, StreamId, WarningKind};

/// 2⁶⁴ and 2⁶³ as floats: the first values that do not fit.
const TWO_64: f64 = 18_446_744_073_709_551_616.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

impl Machine {
    /// A count or size: not negative.
    #[inline]
    pub(super) fn unsigned(&mut self, value: Value, shape: Shape, key: Word) -> u64 {
        match value {
            Value::Int(number) if number >= 0 => number as u64,
            other => self.unusual_unsigned(other, shape, key).unwrap_or(0),
        }
    }

    /// A count or size, or None where the file has no number.
    #[inline]
    pub(super) fn optional_unsigned(
        &mut self,
        value: Value,
        shape: Shape,
        key: Word,
    ) -> Option<u64> {
        match value {
            Value::Int(number) if number >= 0 => Some(number as u64),
            other => self.unusual_unsigned(other, shape, key),
        }
    }

    #[cold]
    fn unusual_unsigned(&mut self, value: Value, shape: Shape, key: Word) -> Option<u64> {
        let kind = match value {
            Value::UInt(number) => return Some(number),
            Value::Bool(bool) => return Some(u64::from(bool)),
            Value::Int(_) => {
                self.notes.add_key(WarningKind::OutOfRange, shape, key);
                return Some(0);
            }
            Value::TooBig { negative } => {
                self.notes.add_key(WarningKind::OutOfRange, shape, key);
                return Some(if negative { 0 } else { u64::MAX });
            }
            Value::Float(float) if float.fract() == 0.0 => {
                if (0.0..TWO_64).contains(&float) {
                    return Some(float as u64);
                }
                self.notes.add_key(WarningKind::OutOfRange, shape, key);
                return Some(if float < 0.0 { 0 } else { u64::MAX });
            }
            Value::Float(_) => WarningKind::OutOfRange,
            _ => WarningKind::UnexpectedType,
        };
        self.notes.add_key(kind, shape, key);
        None
    }

    /// An address. PyTorch's C++ pickler writes pointers as signed numbers, so a negative one is
    /// an address in the upper half.
    #[inline]
    pub(super) fn address(&mut self, value: Value, shape: Shape, key: Word) -> u64 {
        match value {
            Value::Int(number) => number as u64,
            other => self.unusual_unsigned(other, shape, key).unwrap_or(0),
        }
    }

    /// A number with sign, or None where the file has none.
    #[inline]
    pub(super) fn signed(&mut self, value: Value, shape: Shape, key: Word) -> Option<i64> {
        match value {
            Value::Int(number) => Some(number),
            other => self.unusual_signed(other, shape, key),
        }
    }

    #[cold]
    fn unusual_signed(&mut self, value: Value, shape: Shape, key: Word) -> Option<i64> {
        let kind = match value {
            Value::Int(number) => return Some(number),
            Value::Bool(bool) => return Some(i64::from(bool)),
            Value::Float(float) if float.fract() == 0.0 && (-TWO_63..TWO_63).contains(&float) => {
                return Some(float as i64);
            }
            Value::TooBig { negative: true } => {
                self.notes.add_key(WarningKind::OutOfRange, shape, key);
                return Some(i64::MIN);
            }
            Value::UInt(_) | Value::TooBig { negative: false } => {
                self.notes.add_key(WarningKind::OutOfRange, shape, key);
                return Some(i64::MAX);
            }
            Value::Float(_) => WarningKind::OutOfRange,
            _ => WarningKind::UnexpectedType,
        };
        self.notes.add_key(kind, shape, key);
        None
    }

    /// A time in microseconds; a float is cut to whole microseconds.
    #[inline]
    pub(super) fn time(&mut self, value: Value, shape: Shape) -> i64 {
        match value {
            Value::Int(number) => number,
            Value::None => NO_TIME,
            Value::Float(float) => {
                self.notes
                    .add_key(WarningKind::UnexpectedType, shape, Word::TimeUs);
                let whole = float.trunc();
                if (-TWO_63..TWO_63).contains(&whole) {
                    whole as i64
                } else {
                    NO_TIME
                }
            }
            other => self
                .unusual_signed(other, shape, Word::TimeUs)
                .unwrap_or(NO_TIME),
        }
    }

    /// A stream pointer; it may be written with or without sign.
    #[inline]
    pub(super) fn stream(&mut self, value: Value, shape: Shape) -> StreamId {
        let pointer = match value {
            Value::Int(number) => number,
            Value::UInt(number) => number as i64,
            other => self.unusual_signed(other, shape, Word::Stream).unwrap_or(0),
        };
        if pointer == self.last_stream.0 {
            return self.last_stream.1;
        }
        let id = self.streams.intern(pointer);
        self.last_stream = (pointer, id);
        id
    }

    /// A pool id: two numbers.
    #[inline]
    pub(super) fn pool(
        &mut self,
        value: Value,
        shape: Shape,
        key: Word,
    ) -> crate::snapshot::PoolId {
        match value {
            Value::Pair(pair) if pair == self.last_pool.0 => self.last_pool.1,
            Value::Pair(pair) => {
                let numbers = self.number_pairs.get(pair as usize).copied();
                let id = self.pools.intern(numbers.unwrap_or((0, 0)));
                self.last_pool = (pair, id);
                id
            }
            _ => {
                self.notes.add_key(WarningKind::UnexpectedType, shape, key);
                crate::snapshot::PoolId::DEFAULT
            }
        }
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, value: Value, shape: Shape, key: Word) -> bool {
        match value {
            Value::Bool(bool) => bool,
            Value::Int(number) => number != 0,
            _ => {
                self.notes.add_key(WarningKind::UnexpectedType, shape, key);
                false
            }
        }
    }
}
