//! JSON: driven into the same machine as a pickle, value by value.

use super::machine::{Fault, Machine, Value, Word};
use super::{Progress, ReadError, ReadOptions, Report};
use crate::snapshot::Snapshot;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How many bytes there are between two calls of the progress function.
const STEP: u64 = 1 << 20;

/// Reads one JSON value as a snapshot.
pub(super) fn read(
    bytes: &[u8],
    options: &ReadOptions,
    progress: &mut Report<'_>,
) -> Result<Snapshot, ReadError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut driver = Driver {
        machine: Machine::new(bytes.len(), options.max_depth),
        fault: None,
        cancelled: false,
        start: text.as_ptr() as usize,
        at: 0,
        next_report: STEP,
        total: text.len() as u64,
        progress,
        depth: 0,
    };
    let mut parser = serde_json::Deserializer::from_slice(text);
    let result = Item(&mut driver)
        .deserialize(&mut parser)
        .and_then(|()| parser.end());
    if driver.cancelled {
        return Err(ReadError::Cancelled);
    }
    if let Some(fault) = driver.fault {
        return Err(ReadError::from_fault(fault, driver.at));
    }
    result.map_err(|error| ReadError::Json {
        problem: error.to_string(),
    })?;
    let end = driver.total;
    let read = driver.machine.finish(0);
    read.map(|followed| followed.snapshot)
        .map_err(|fault| ReadError::from_fault(fault, end))
}

struct Driver<'a, 'b> {
    machine: Machine,
    fault: Option<Fault>,
    cancelled: bool,
    /// Where the text begins in memory: a borrowed string's address tells how far the parser is.
    start: usize,
    at: u64,
    next_report: u64,
    total: u64,
    progress: &'a mut Report<'b>,
    depth: u32,
}

impl Driver<'_, '_> {
    /// Keeps a fault for [`read`] and stops the parser.
    fn check<E: Error>(&mut self, result: Result<(), Fault>) -> Result<(), E> {
        result.map_err(|fault| {
            self.fault = Some(fault);
            E::custom("stopped")
        })
    }

    /// Notes that the parser is at a string of the text.
    fn reached<E: Error>(&mut self, borrowed: &str) -> Result<(), E> {
        let at = (borrowed.as_ptr() as usize).wrapping_sub(self.start) as u64;
        if at <= self.total {
            self.at = at;
        }
        if self.at >= self.next_report {
            self.next_report = self.at.saturating_add(STEP);
            let (done, total) = (self.at, self.total);
            if (self.progress)(Progress { done, total }).is_break() {
                self.cancelled = true;
                return Err(E::custom("cancelled"));
            }
        }
        Ok(())
    }
}

/// One JSON value.
struct Item<'a, 'b, 'c>(&'a mut Driver<'b, 'c>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        let result = self.0.machine.push(Value::None);
        self.0.check(result)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let result = self.0.machine.push(Value::Bool(value));
        self.0.check(result)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        let result = self.0.machine.push(Value::Int(value));
        self.0.check(result)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_or(Value::UInt(value), Value::Int);
        let result = self.0.machine.push(value);
        self.0.check(result)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let result = self.0.machine.push(Value::Float(value));
        self.0.check(result)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let result = self.0.machine.push_text(value);
        self.0.check(result)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<(), E> {
        self.0.reached(value)?;
        self.visit_str(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let driver = self.0;
        let result = driver.machine.open_list(0);
        driver.check(result)?;
        driver.depth += 1;
        while items.next_element_seed(Item(driver))?.is_some() {
            let result = driver.machine.append(0);
            driver.check(result)?;
        }
        driver.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let driver = self.0;
        let result = driver.machine.open_dict(0);
        driver.check(result)?;
        driver.depth += 1;
        while items.next_key_seed(Item(driver))?.is_some() {
            // A profiler's trace can be gigabytes: no need to read them to know.
            if driver.depth == 1
                && let Some(Value::Str(key)) = driver.machine.top(0)
                && Word::of(key) == Some(Word::TraceEvents)
            {
                return driver.check(Err(Fault::chrome_trace()));
            }
            items.next_value_seed(Item(driver))?;
            let result = driver.machine.set_item(0);
            driver.check(result)?;
        }
        driver.depth -= 1;
        Ok(())
    }
}
