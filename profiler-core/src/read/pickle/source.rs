//! The pickle's bytes and how far they are read.

use super::opcode as op;
use crate::read::ReadError;

/// Bytes with a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A run of memo fetches that ends with APPENDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first fetch.
    pub(super) start: usize,
    /// The APPENDS.
    pub(super) end: usize,
}

impl<'a> Source<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are read.
    #[inline]
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// All bytes.
    #[inline]
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes that are not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    #[cold]
    fn truncated(&self, what: &'static str) -> ReadError {
        ReadError::Truncated {
            offset: self.bytes.len() as u64,
            what,
        }
    }

    /// The next byte.
    #[inline]
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, ReadError> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.truncated(what)),
        }
    }

    /// The next byte, if there is one; not read.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte, if there is one.
    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn next_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let chunk = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(chunk)
    }

    /// The next little-endian number of two bytes, if there are as many.
    #[inline]
    pub(super) fn next_u16(&mut self) -> Option<u16> {
        self.next_array().map(u16::from_le_bytes)
    }

    /// The next little-endian number of four bytes, if there are as many.
    #[inline]
    pub(super) fn next_u32(&mut self) -> Option<u32> {
        self.next_array().map(u32::from_le_bytes)
    }

    /// The next `len` bytes, if there are as many.
    #[inline]
    pub(super) fn next_bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(bytes)
    }

    /// The two's complement number in the next `len` bytes, if they are 1 to 8 and at least eight
    /// are left: the usual case without a loop over the bytes.
    #[inline]
    pub(super) fn short_number(&mut self, len: u8) -> Option<i64> {
        let chunk = self.bytes.get(self.at..)?.first_chunk::<8>()?;
        if !(1..=8).contains(&len) {
            return None;
        }
        let unused = 64 - 8 * u32::from(len);
        self.at += usize::from(len);
        Some(((u64::from_le_bytes(*chunk) << unused) as i64) >> unused)
    }

    /// The next `len` bytes.
    #[inline]
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ReadError> {
        let end = self.at.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.truncated(what)),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        match rest.first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(what)),
        }
    }

    /// A little-endian number of two bytes.
    #[inline]
    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, ReadError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// A little-endian number of four bytes.
    #[inline]
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, ReadError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A big-endian number of eight bytes: pickles have floats that way.
    #[inline]
    pub(super) fn u64_be(&mut self, what: &'static str) -> Result<u64, ReadError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A length of eight bytes.
    pub(super) fn len8(&mut self, what: &'static str) -> Result<usize, ReadError> {
        let len = self.array(what).map(u64::from_le_bytes)?;
        // What does not fit a usize is more than there can be.
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The bytes up to the next newline, which is read too.
    pub(super) fn line(&mut self, what: &'static str) -> Result<&'a [u8], ReadError> {
        let rest = self.rest();
        match memchr::memchr(b'\n', rest) {
            Some(len) => {
                self.at += len + 1;
                Ok(rest.get(..len).unwrap_or(&[]))
            }
            None => Err(self.truncated(what)),
        }
    }

    /// The run from here, if only memo fetches stand between here and an APPENDS. Nothing is
    /// read.
    #[inline]
    pub(super) fn memo_gets_to_appends(&self) -> Option<Run> {
        let mut at = self.at;
        loop {
            match self.bytes.get(at) {
                Some(&op::LONG_BINGET) => at += 5,
                Some(&op::BINGET) => at += 2,
                Some(&op::APPENDS) if at > self.at => {
                    return Some(Run {
                        start: self.at,
                        end: at,
                    });
                }
                _ => return None,
            }
        }
    }

    /// Goes on behind the APPENDS of `run`.
    #[inline]
    pub(super) fn skip_run(&mut self, run: Run) {
        self.at = run.end + 1;
    }
}
