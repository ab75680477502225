//! Pickles: one pass over the bytes, opcode by opcode, driving the [`Machine`].

mod ahead;
mod number;
mod opcode;
mod rare;
mod source;
mod stacks;
mod text;

use super::machine::{Fault, Machine, Value};
use super::{Follow, Followed, Progress, ReadError, ReadOptions};
use crate::snapshot::WarningKind;
use ahead::Ahead;
use opcode as op;
use source::Source;
use stacks::RawStacks;

/// How many bytes there are between two calls of the progress function.
const STEP: usize = 1 << 20;

/// Reads a pickle.
pub(super) fn read(
    bytes: &[u8],
    options: &ReadOptions,
    follow: &mut Follow<'_>,
) -> Result<Followed, ReadError> {
    let mut reader = Reader {
        source: Source::new(bytes),
        machine: Machine::new(bytes.len(), options.max_depth),
        marks: Vec::new(),
        fence: 0,
        stacks: RawStacks::default(),
        ahead: Ahead::default(),
        ahead_is_on: options.read_ahead,
        max_depth: options.max_depth,
    };
    let mut next_report = STEP;
    loop {
        let start = reader.source.at();
        if start >= next_report {
            next_report = start + STEP;
            let (done, total) = (start as u64, bytes.len() as u64);
            reader
                .machine
                .make_room(STEP, bytes.len() - start.min(bytes.len()));
            if follow(Progress { done, total }, reader.machine.lists()).is_break() {
                return Err(ReadError::Cancelled);
            }
        }
        match reader.step() {
            Ok(true) => {}
            Ok(false) => break,
            Err(stop) => {
                return Err(match *stop.0 {
                    Reason::Fault(fault) => ReadError::from_fault(fault, start as u64),
                    Reason::Error(error) => error,
                });
            }
        }
    }
    reader.finish()
}

/// Why a step could not be made. One pointer wide, because every step may return it.
struct Stop(Box<Reason>);

/// The machine's fault, or an error that knows its offset.
enum Reason {
    Fault(Fault),
    Error(ReadError),
}

impl From<Fault> for Stop {
    #[cold]
    fn from(fault: Fault) -> Self {
        Self(Box::new(Reason::Fault(fault)))
    }
}

impl From<ReadError> for Stop {
    #[cold]
    fn from(error: ReadError) -> Self {
        Self(Box::new(Reason::Error(error)))
    }
}

struct Reader<'a> {
    source: Source<'a>,
    machine: Machine,
    /// Where the marks are in the machine's stack.
    marks: Vec<usize>,
    /// The topmost mark, below which no operation may reach; 0 without one.
    fence: usize,
    stacks: RawStacks,
    ahead: Ahead,
    ahead_is_on: bool,
    max_depth: u32,
}

impl Reader<'_> {
    /// Executes one opcode; false after STOP.
    #[inline]
    fn step(&mut self) -> Result<bool, Stop> {
        let offset = self.source.at();
        let opcode = self.source.byte("an opcode")?;
        match opcode {
            op::BINGET => {
                let id = self.source.byte("a memo id")?;
                self.machine.fetch(usize::from(id))?;
            }
            op::LONG_BINGET => {
                let id = self.source.u32("a memo id")?;
                self.machine.fetch(id as usize)?;
            }
            op::MEMOIZE => {
                let id = self.machine.memo.next_id();
                self.put(id)?;
            }
            op::BININT1 => {
                let number = self.source.byte("a number")?;
                self.machine.push(Value::Int(i64::from(number)))?;
            }
            op::BININT2 => {
                let number = self.source.u16("a number")?;
                self.machine.push(Value::Int(i64::from(number)))?;
            }
            op::BININT => {
                let number = self.source.u32("a number")? as i32;
                self.machine.push(Value::Int(i64::from(number)))?;
            }
            op::LONG1 => {
                let len = self.source.byte("a number's length")?;
                let value = match self.source.short_number(len) {
                    Some(number) => Value::Int(number),
                    None => number::from_le(self.source.take(usize::from(len), "a number")?),
                };
                self.machine.push(value)?;
            }
            op::LONG4 => {
                let len = self.source.u32("a number's length")?;
                let digits = self.source.take(len as usize, "a number")?;
                self.machine.push(number::from_le(digits))?;
            }
            op::MARK => self.mark()?,
            op::SETITEMS => {
                let mark = self.pop_mark()?;
                self.machine.set_items(mark, self.fence)?;
            }
            op::APPENDS => {
                let mark = self.pop_mark()?;
                self.machine.append_items(mark, self.fence)?;
            }
            op::EMPTY_DICT => {
                if !(self.ahead_is_on && self.read_ahead()) {
                    self.machine.open_dict(self.fence)?;
                }
            }
            op::EMPTY_LIST => self.machine.open_list(self.fence)?,
            op::SETITEM => self.machine.set_item(self.fence)?,
            op::APPEND => self.machine.append(self.fence)?,
            op::SHORT_BINUNICODE => {
                let len = self.source.byte("a string's length")?;
                self.text(usize::from(len))?;
            }
            op::BINUNICODE => {
                let len = self.source.u32("a string's length")?;
                self.text(len as usize)?;
            }
            op::BINUNICODE8 => {
                let len = self.source.len8("a string's length")?;
                self.text(len)?;
            }
            op::BINPUT => {
                let id = self.source.byte("a memo id")?;
                self.put(usize::from(id))?;
            }
            op::LONG_BINPUT => {
                let id = self.source.u32("a memo id")?;
                self.put(id as usize)?;
            }
            op::NONE => self.machine.push(Value::None)?,
            op::NEWTRUE => self.machine.push(Value::Bool(true))?,
            op::NEWFALSE => self.machine.push(Value::Bool(false))?,
            op::BINFLOAT => {
                let bits = self.source.u64_be("a float")?;
                self.machine.push(Value::Float(f64::from_bits(bits)))?;
            }
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::TUPLE => {
                let mark = self.pop_mark()?;
                self.machine.make_tuple(mark)?;
            }
            op::EMPTY_TUPLE => self.machine.push(Value::EmptyList)?,
            op::FRAME => {
                // Only a hint for readers of streams.
                self.source.take(8, "a frame's length")?;
            }
            op::PROTO => {
                let version = self.source.byte("the protocol version")?;
                if version > 5 {
                    return Err(ReadError::Malformed {
                        offset: offset as u64,
                        problem: format!("pickle protocol {version} is not known (0 to 5 are)"),
                    }
                    .into());
                }
            }
            op::STOP => return Ok(false),
            _ => self.rare(opcode, offset)?,
        }
        Ok(true)
    }

    /// MARK. A list of frames that are all in the memo is recognised by its bytes.
    #[inline]
    fn mark(&mut self) -> Result<(), Stop> {
        if self.machine.top_is_empty_list(self.fence)
            && let Some(run) = self.source.memo_gets_to_appends()
        {
            if let Some(stack) = self.stacks.find(self.source.bytes(), run) {
                self.machine.fill_with_stack(stack);
                self.source.skip_run(run);
                return Ok(());
            }
            return self.new_stack(run);
        }
        if self.marks.len() >= self.max_depth as usize {
            return Err(Fault::too_deep(self.max_depth).into());
        }
        let len = self.machine.len();
        self.marks.push(len);
        self.fence = len;
        Ok(())
    }

    /// Executes a run of memo fetches that are a list's items, and remembers the stack they make.
    fn new_stack(&mut self, run: source::Run) -> Result<(), Stop> {
        let mark = self.machine.len();
        let fence = self.fence;
        while self.source.at() < run.end {
            match self.source.byte("an opcode")? {
                op::BINGET => {
                    let id = self.source.byte("a memo id")?;
                    self.machine.fetch(usize::from(id))?;
                }
                _ => {
                    let id = self.source.u32("a memo id")?;
                    self.machine.fetch(id as usize)?;
                }
            }
        }
        self.source.skip_run(run);
        self.machine.append_items(mark, fence)?;
        if let Some(stack) = self.machine.top_as_stack() {
            self.stacks.add(self.source.bytes(), run, stack);
        }
        Ok(())
    }

    #[inline]
    fn pop_mark(&mut self) -> Result<usize, Stop> {
        let Some(mark) = self.marks.pop() else {
            return Err(Fault::malformed("there is no MARK").into());
        };
        self.fence = self.marks.last().copied().unwrap_or(0);
        Ok(mark)
    }

    fn tuple(&mut self, len: usize) -> Result<(), Stop> {
        match self.machine.len().checked_sub(len) {
            Some(mark) if mark >= self.fence => Ok(self.machine.make_tuple(mark)?),
            _ => Err(Fault::malformed("a tuple has too few items").into()),
        }
    }

    /// Stores the top value under `id`, which no pickler makes larger than its number of opcodes.
    #[inline]
    fn put(&mut self, id: usize) -> Result<(), Stop> {
        if id > self.source.bytes().len() {
            return Err(Fault::malformed("a memo id is larger than the file").into());
        }
        if self.machine.store(id, self.fence)? {
            // What a run of fetches means has changed.
            self.stacks.clear();
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<(), Stop> {
        let bytes = self.source.take(len, "a string")?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.machine.push_text(text)?,
            Err(_) => {
                self.machine.warnings.add(
                    WarningKind::UnexpectedType,
                    "text that is not UTF-8: the wrong bytes are shown as \u{fffd}",
                );
                self.machine.push_text(&String::from_utf8_lossy(bytes))?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Followed, ReadError> {
        let end = self.source.at() as u64;
        let rest = self.source.rest();
        // The HTML viewer pads with NULs.
        if rest.iter().any(|&byte| byte != 0) {
            self.machine.warnings.add(
                WarningKind::TrailingBytes,
                format!("{} bytes after the end of the pickle: ignored", rest.len()),
            );
        }
        let fence = self.fence;
        self.machine
            .finish(fence)
            .map_err(|fault| ReadError::from_fault(fault, end))
    }
}
