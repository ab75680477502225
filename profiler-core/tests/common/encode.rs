//! Picklers: as CPython writes, protocols 0 to 5, and as PyTorch's C++ pickler writes.

use super::tree::Tree;
use std::collections::HashMap;
use std::rc::Rc;

/// As `pickle.dumps(tree, protocol)`: memo before the children, batches of 1,000.
pub fn cpython(tree: &Tree, protocol: u8) -> Vec<u8> {
    let mut encoder = Encoder {
        out: Vec::new(),
        protocol,
        memo: HashMap::new(),
        next: 0,
        frame_every: if protocol >= 4 { 3 } else { 0 },
        written: 0,
    };
    if protocol >= 2 {
        encoder.out.extend([0x80, protocol]);
    }
    encoder.save(tree);
    encoder.out.push(b'.');
    encoder.out
}

struct Encoder {
    out: Vec<u8>,
    protocol: u8,
    memo: HashMap<usize, usize>,
    next: usize,
    /// A FRAME opcode after every so many values: real ones come every 64 KiB, anywhere.
    frame_every: usize,
    written: usize,
}

/// What tells one object from another.
fn identity(tree: &Tree) -> Option<usize> {
    Some(match tree {
        Tree::Str(text) => Rc::as_ptr(text).cast::<u8>() as usize,
        Tree::Tuple(items) | Tree::List(items) => Rc::as_ptr(items) as usize,
        Tree::Dict(items) => Rc::as_ptr(items) as usize,
        _ => return None,
    })
}

impl Encoder {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn memoize(&mut self, tree: &Tree) {
        let id = self.next;
        self.next += 1;
        if let Some(identity) = identity(tree) {
            self.memo.insert(identity, id);
        }
        match self.protocol {
            4.. => self.put(&[0x94]),
            0 => self.put(format!("p{id}\n").as_bytes()),
            _ if id < 256 => self.put(&[b'q', id as u8]),
            _ => {
                self.put(b"r");
                self.put(&(id as u32).to_le_bytes());
            }
        }
    }

    fn fetch(&mut self, id: usize) {
        if self.protocol == 0 {
            self.put(format!("g{id}\n").as_bytes());
        } else if id < 256 {
            self.put(&[b'h', id as u8]);
        } else {
            self.put(b"j");
            self.put(&(id as u32).to_le_bytes());
        }
    }

    fn save(&mut self, tree: &Tree) {
        self.written += 1;
        if self.frame_every > 0 && self.written.is_multiple_of(self.frame_every) {
            self.put(&[0x95, 9, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Some(&id) = identity(tree).and_then(|identity| self.memo.get(&identity)) {
            return self.fetch(id);
        }
        match tree {
            Tree::None => self.put(b"N"),
            Tree::Bool(bool) if self.protocol >= 2 => self.put(&[if *bool { 0x88 } else { 0x89 }]),
            Tree::Bool(bool) => self.put(if *bool { b"I01\n" } else { b"I00\n" }),
            Tree::Int(number) => self.int(*number),
            Tree::Float(float) if self.protocol >= 1 => {
                self.put(b"G");
                self.put(&float.to_be_bytes());
            }
            Tree::Float(float) => self.put(format!("F{float:?}\n").as_bytes()),
            Tree::Str(text) => {
                self.str(text);
                self.memoize(tree);
            }
            Tree::Tuple(items) => self.tuple(tree, items),
            Tree::List(items) => {
                self.put(if self.protocol == 0 { b"(l" } else { b"]" });
                self.memoize(tree);
                for batch in items.chunks(if self.protocol == 0 { 1 } else { 1000 }) {
                    if batch.len() > 1 {
                        self.put(b"(");
                    }
                    for item in batch {
                        self.save(item);
                    }
                    self.put(if batch.len() > 1 { b"e" } else { b"a" });
                }
            }
            Tree::Dict(items) => {
                self.put(if self.protocol == 0 { b"(d" } else { b"}" });
                self.memoize(tree);
                for batch in items.chunks(if self.protocol == 0 { 1 } else { 1000 }) {
                    if batch.len() > 1 {
                        self.put(b"(");
                    }
                    for (key, value) in batch {
                        self.save(key);
                        self.save(value);
                    }
                    self.put(if batch.len() > 1 { b"u" } else { b"s" });
                }
            }
        }
    }

    fn int(&mut self, number: i128) {
        if self.protocol == 0 {
            let long = if i32::try_from(number).is_ok() {
                ""
            } else {
                "L"
            };
            let opcode = if long.is_empty() { 'I' } else { 'L' };
            return self.put(format!("{opcode}{number}{long}\n").as_bytes());
        }
        if let Ok(byte) = u8::try_from(number) {
            self.put(&[b'K', byte]);
        } else if let Ok(short) = u16::try_from(number) {
            self.put(b"M");
            self.put(&short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(number) {
            self.put(b"J");
            self.put(&int.to_le_bytes());
        } else if self.protocol == 1 {
            self.put(format!("L{number}L\n").as_bytes());
        } else {
            let bytes = number.to_le_bytes();
            let fill = if number < 0 { 0xff } else { 0 };
            let mut len = 16;
            while len > 1 && bytes[len - 1] == fill && (bytes[len - 2] ^ fill) & 0x80 == 0 {
                len -= 1;
            }
            self.put(&[0x8a, len as u8]);
            self.put(&bytes[..len]);
        }
    }

    fn str(&mut self, text: &str) {
        if self.protocol == 0 {
            let mut line = String::from("V");
            for c in text.chars() {
                match c as u32 {
                    code @ (0x5c | 0 | 0xa | 0xd | 0x1a | 0x80..=0xffff) => {
                        line.push_str(&format!("\\u{code:04x}"));
                    }
                    code @ 0x1_0000.. => line.push_str(&format!("\\U{code:08x}")),
                    _ => line.push(c),
                }
            }
            line.push('\n');
            self.put(line.as_bytes());
        } else if self.protocol >= 4 && text.len() < 256 {
            self.put(&[0x8c, text.len() as u8]);
            self.put(text.as_bytes());
        } else {
            self.put(b"X");
            self.put(&(text.len() as u32).to_le_bytes());
            self.put(text.as_bytes());
        }
    }

    fn tuple(&mut self, tree: &Tree, items: &[Tree]) {
        if items.is_empty() && self.protocol >= 1 {
            return self.put(b")");
        }
        let short = self.protocol >= 2 && items.len() <= 3;
        if !short {
            self.put(b"(");
        }
        for item in items {
            self.save(item);
        }
        if short {
            self.put(&[0x84 + items.len() as u8]);
        } else {
            self.put(b"t");
        }
        self.memoize(tree);
    }
}

/// As `torch/csrc/jit/serialization/pickler.cpp` writes: protocol 2, one MARK … APPENDS around a
/// whole list, containers in the memo only when shared and only once finished, strings by value,
/// 8-byte LONG1 above 32 bits.
pub fn cpp(tree: &Tree) -> Vec<u8> {
    let mut encoder = Cpp {
        out: vec![0x80, 2],
        strings: HashMap::new(),
        shared: HashMap::new(),
        next: 0,
    };
    encoder.save(tree);
    encoder.out.push(b'.');
    encoder.out
}

struct Cpp {
    out: Vec<u8>,
    strings: HashMap<Rc<str>, usize>,
    shared: HashMap<usize, usize>,
    next: usize,
}

impl Cpp {
    fn memoize(&mut self) -> usize {
        let id = self.next;
        self.next += 1;
        if id < 256 {
            self.out.extend([b'q', id as u8]);
        } else {
            self.out.push(b'r');
            self.out.extend((id as u32).to_le_bytes());
        }
        id
    }

    fn fetch(&mut self, id: usize) {
        if id < 256 {
            self.out.extend([b'h', id as u8]);
        } else {
            self.out.push(b'j');
            self.out.extend((id as u32).to_le_bytes());
        }
    }

    fn save(&mut self, tree: &Tree) {
        if let Tree::Str(text) = tree {
            if let Some(&id) = self.strings.get(text) {
                return self.fetch(id);
            }
            self.out.push(b'X');
            self.out.extend((text.len() as u32).to_le_bytes());
            self.out.extend(text.as_bytes());
            let id = self.memoize();
            self.strings.insert(text.clone(), id);
            return;
        }
        if let Some(&id) = identity(tree).and_then(|identity| self.shared.get(&identity)) {
            return self.fetch(id);
        }
        let references = match tree {
            Tree::None => {
                self.out.push(b'N');
                1
            }
            Tree::Bool(bool) => {
                self.out.push(if *bool { 0x88 } else { 0x89 });
                1
            }
            Tree::Int(number) => {
                self.int(*number);
                1
            }
            Tree::Float(float) => {
                self.out.push(b'G');
                self.out.extend(float.to_be_bytes());
                1
            }
            Tree::Str(_) => 1,
            Tree::Tuple(items) => {
                let short = (1..=3).contains(&items.len());
                if !short {
                    self.out.push(b'(');
                }
                items.iter().for_each(|item| self.save(item));
                self.out.push(if short {
                    0x84 + items.len() as u8
                } else {
                    b't'
                });
                Rc::strong_count(items)
            }
            Tree::List(items) => {
                self.out.extend(b"](");
                items.iter().for_each(|item| self.save(item));
                self.out.push(b'e');
                Rc::strong_count(items)
            }
            Tree::Dict(items) => {
                self.out.extend(b"}(");
                for (key, value) in items.iter() {
                    self.save(key);
                    self.save(value);
                }
                self.out.push(b'u');
                Rc::strong_count(items)
            }
        };
        if references > 1 {
            let id = self.memoize();
            if let Some(identity) = identity(tree) {
                self.shared.insert(identity, id);
            }
        }
    }

    fn int(&mut self, number: i128) {
        if let Ok(byte) = u8::try_from(number) {
            self.out.extend([b'K', byte]);
        } else if let Ok(short) = u16::try_from(number) {
            self.out.push(b'M');
            self.out.extend(short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(number) {
            self.out.push(b'J');
            self.out.extend(int.to_le_bytes());
        } else {
            self.out.extend([0x8a, 8]);
            // An address in the upper half becomes negative, as a C++ int64_t.
            self.out.extend((number as i64).to_le_bytes());
        }
    }
}
