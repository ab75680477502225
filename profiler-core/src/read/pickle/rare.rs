//! The opcodes that CPython and PyTorch write seldom or never, and those that are refused.

use super::{ReadError, Reader, Stop, Value, number, op, text};

impl Reader<'_> {
    /// The opcodes that CPython and PyTorch write seldom or never.
    #[cold]
    #[inline(never)]
    pub(super) fn rare(&mut self, opcode: u8, offset: usize) -> Result<(), Stop> {
        match opcode {
            op::GET => {
                let id = self.memo_id("a memo id")?;
                self.machine.fetch(id)?;
            }
            op::PUT => {
                let id = self.memo_id("a memo id")?;
                self.put(id)?;
            }
            op::POP => {
                if self.marks.last() == Some(&self.machine.len()) {
                    self.pop_mark()?;
                } else {
                    self.machine.drop_top(self.fence)?;
                }
            }
            op::POP_MARK => {
                let mark = self.pop_mark()?;
                self.machine.drop_to(mark)?;
            }
            op::DUP => self.machine.duplicate(self.fence)?,
            op::LIST => {
                let mark = self.pop_mark()?;
                self.machine.make_list(mark)?;
            }
            op::DICT => {
                let mark = self.pop_mark()?;
                self.machine.make_dict(mark)?;
            }
            op::INT => {
                let line = self.source.line("a number")?;
                let value = number::from_int_line(line).ok_or_else(|| bad_number(offset))?;
                self.machine.push(value)?;
            }
            op::LONG => {
                let line = self.source.line("a number")?;
                let value = number::from_long_line(line).ok_or_else(|| bad_number(offset))?;
                self.machine.push(value)?;
            }
            op::FLOAT => {
                let line = self.source.line("a float")?;
                let value = number::from_float_line(line).ok_or_else(|| bad_number(offset))?;
                self.machine.push(value)?;
            }
            op::UNICODE => {
                let line = self.source.line("a string")?;
                let text = text::raw_unicode_escape(line);
                self.machine.push_text(&text)?;
            }
            op::STRING => {
                let line = self.source.line("a string")?;
                let text = text::quoted(line).ok_or_else(|| ReadError::Malformed {
                    offset: offset as u64,
                    problem: "a string without quotes".to_owned(),
                })?;
                self.machine.push_text(&text)?;
            }
            op::SHORT_BINSTRING => {
                let len = self.source.byte("a string's length")?;
                self.text(usize::from(len))?;
            }
            op::BINSTRING => {
                let len = self.source.u32("a string's length")?;
                self.text(len as usize)?;
            }
            // Bytes load nothing and run nothing. No snapshot has them, but a program that
            // pickles a snapshot beside other things may: they are stepped over.
            op::SHORT_BINBYTES => {
                let len = self.source.byte("the length of bytes")?;
                self.bytes(usize::from(len))?;
            }
            op::BINBYTES => {
                let len = self.source.u32("the length of bytes")?;
                self.bytes(len as usize)?;
            }
            op::BINBYTES8 | op::BYTEARRAY8 => {
                let len = self.source.len8("the length of bytes")?;
                self.bytes(len)?;
            }
            _ => return Err(self.forbidden(opcode, offset).into()),
        }
        Ok(())
    }

    /// The error for an opcode that is not plain data.
    fn forbidden(&mut self, opcode: u8, offset: usize) -> ReadError {
        let Some(name) = op::name(opcode) else {
            return ReadError::UnknownOpcode {
                byte: opcode,
                offset: offset as u64,
            };
        };
        let asks = match opcode {
            op::GLOBAL | op::INST => {
                let module = self.source.line("a module").unwrap_or(b"");
                let attribute = self.source.line("a name").unwrap_or(b"");
                format!(
                    "asks for {}.{}",
                    text::shown(module),
                    text::shown(attribute)
                )
            }
            op::STACK_GLOBAL => {
                let name = self.machine.text_below_top(0);
                let module = self.machine.text_below_top(1);
                format!(
                    "asks for {}.{}",
                    text::shown(module.as_bytes()),
                    text::shown(name.as_bytes())
                )
            }
            op::PERSID => {
                let id = self.source.line("a persistent id").unwrap_or(b"");
                format!(
                    "asks for the object with the persistent id {}",
                    text::shown(id)
                )
            }
            op::BINPERSID => "asks for an object by persistent id".to_owned(),
            op::REDUCE => "asks to call a function".to_owned(),
            op::BUILD => "asks to set the state of an object".to_owned(),
            op::OBJ | op::NEWOBJ | op::NEWOBJ_EX => "asks to make an object of a class".to_owned(),
            op::EXT1 | op::EXT2 | op::EXT4 => {
                "asks for an object by its number in the extension registry".to_owned()
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => {
                "asks for a buffer that is not in the file".to_owned()
            }
            op::EMPTY_SET | op::ADDITEMS | op::FROZENSET => "asks for a set".to_owned(),
            _ => "is not expected here".to_owned(),
        };
        ReadError::ForbiddenOpcode {
            opcode: name,
            offset: offset as u64,
            asks,
        }
    }

    fn memo_id(&mut self, what: &'static str) -> Result<usize, Stop> {
        let offset = self.source.at();
        let line = self.source.line(what)?;
        match number::from_long_line(line) {
            Some(Value::Int(id)) if id >= 0 => Ok(usize::try_from(id).unwrap_or(usize::MAX)),
            _ => Err(bad_number(offset).into()),
        }
    }

    fn bytes(&mut self, len: usize) -> Result<(), Stop> {
        self.source.take(len, "bytes")?;
        self.machine.push(Value::Bytes)?;
        Ok(())
    }
}

fn bad_number(offset: usize) -> ReadError {
    ReadError::Malformed {
        offset: offset as u64,
        problem: "a number is not written as one".to_owned(),
    }
}
