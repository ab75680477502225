//! Trace entries: from a dict's pairs to a row of the columns.

use super::notes::Shape;
use super::{Machine, Value, Word};
use crate::snapshot::{Event, Events, StackId, StringId, WarningKind};

impl Machine {
    /// The row of a trace entry.
    pub(super) fn seal_event(&mut self, start: usize, end: usize) -> Value {
        // Nothing that makes the row touches the scratch.
        let pairs = std::mem::take(&mut self.pairs);
        let value = self.event_of(pairs.get(start..end).unwrap_or(&[]));
        self.pairs = pairs;
        value
    }

    /// The row of a trace entry with these pairs.
    fn event_of(&mut self, pairs: &[(StringId, Value)]) -> Value {
        let mut event = Event::default();
        let mut unknown_action = None;
        let mut cpp_stack = StackId::EMPTY;
        let mut keys = 0_u64;
        for &(key, value) in pairs {
            let Some(word) = Word::of(key) else {
                self.notes
                    .add_text(WarningKind::UnknownKey, Shape::Event, key);
                continue;
            };
            keys |= word.bit();
            match word {
                Word::Action => match value {
                    Value::Str(name) => match Word::of(name).and_then(Word::action) {
                        Some(action) => {
                            event.action = action;
                            unknown_action = None;
                        }
                        None => unknown_action = Some(name),
                    },
                    _ => {
                        self.wrong_type(Shape::Event, word);
                        unknown_action = Some(StringId::EMPTY);
                    }
                },
                Word::Addr | Word::DeviceFree => {
                    event.address = self.address(value, Shape::Event, word);
                }
                Word::Size => event.size = self.unsigned(value, Shape::Event, word),
                Word::Stream => event.stream = self.stream(value, Shape::Event),
                Word::TimeUs => event.time_us = self.time(value, Shape::Event),
                Word::Frames => event.stack = self.stack_of(value, Shape::Event, word),
                Word::CppFrames => cpp_stack = self.stack_of(value, Shape::Event, word),
                Word::PoolId => event.pool = self.pool(value, Shape::Event, word),
                Word::UserMetadata => {
                    event.user_metadata = self.metadata(value, Shape::Event, word);
                }
                Word::CompileContext => {
                    let context = self.text(value, Shape::Event, word);
                    if context != Word::NotAvailable.id() {
                        event.compile_context = context;
                    }
                }
                Word::InternalMetadata => {
                    event.internal_metadata = self.text(value, Shape::Event, word);
                }
                Word::ForwardFrames => event.forward_frames = self.lines(value),
                Word::Category => event.category = self.text(value, Shape::Event, word),
                _ => self
                    .notes
                    .add_text(WarningKind::UnknownKey, Shape::Event, key),
            }
        }
        event.stack = self.merge_stacks(event.stack, cpp_stack, Shape::Event);
        if let Some(name) = unknown_action {
            self.notes
                .add_text(WarningKind::UnknownAction, Shape::Event, name);
        }
        self.event_keys |= keys;

        let trace = match self.staging {
            Some(trace) => trace,
            None => {
                let trace = self.traces.len() as u32;
                self.traces.push(Events::default());
                self.staging = Some(trace);
                trace
            }
        };
        let Some(events) = self.traces.get_mut(trace as usize) else {
            return Value::None;
        };
        if keys & Word::PoolId.bit() != 0 {
            events.set_has_pools();
        }
        let row = events.len() as u32;
        let pushed = match unknown_action {
            Some(name) => events.push_other(name, &event),
            None => events.push(&event),
        };
        if !pushed {
            self.notes
                .add(WarningKind::Truncated, Shape::List, "an entry past 2³² − 2");
            return Value::None;
        }
        Value::Events { trace, row, len: 1 }
    }

    /// Whether a dict that is an item of a list and has this key is a trace entry.
    #[inline]
    pub(crate) fn tells_an_entry(key: StringId) -> bool {
        key == Word::Action.id()
    }

    /// A trace entry with these pairs, read as a whole, that another dict follows: what opening,
    /// filling and finishing it does.
    #[inline]
    pub(crate) fn add_entry(&mut self, pairs: &[(StringId, Value)], fence: usize) -> Value {
        let value = self.event_of(pairs);
        self.push_merged(value, fence);
        value
    }

    /// The frames of a dict; those of the C++ side stand in where there are no others (2.0).
    pub(super) fn merge_stacks(&mut self, frames: StackId, cpp: StackId, shape: Shape) -> StackId {
        if frames.is_empty() {
            return cpp;
        }
        if !cpp.is_empty() {
            self.notes
                .add_key(WarningKind::Inconsistent, shape, Word::CppFrames);
        }
        frames
    }

    /// A stack.
    #[inline]
    pub(super) fn stack_of(&mut self, value: Value, shape: Shape, key: Word) -> StackId {
        match value {
            Value::Stack(stack) => stack,
            Value::EmptyList | Value::None => StackId::EMPTY,
            _ => {
                self.wrong_type(shape, key);
                StackId::EMPTY
            }
        }
    }

    /// A string; None is empty.
    #[inline]
    pub(super) fn text(&mut self, value: Value, shape: Shape, key: Word) -> StringId {
        match value {
            Value::Str(id) => id,
            Value::None => StringId::EMPTY,
            _ => {
                self.wrong_type(shape, key);
                StringId::EMPTY
            }
        }
    }

    /// Metadata: a string, or anything else as JSON text.
    #[inline]
    pub(super) fn metadata(&mut self, value: Value, shape: Shape, key: Word) -> StringId {
        match value {
            Value::Str(id) => id,
            Value::None => StringId::EMPTY,
            Value::Events { .. }
            | Value::Trace(_)
            | Value::Block(_)
            | Value::Blocks { .. }
            | Value::Segment(_)
            | Value::Segments { .. }
            | Value::Annotation(_)
            | Value::Annotations { .. }
            | Value::History(_)
            | Value::Histories(_)
            | Value::Snapshot(_)
            | Value::Bytes => {
                self.wrong_type(shape, key);
                StringId::EMPTY
            }
            other => {
                let text = self.json_text(other);
                self.strings.intern(&text)
            }
        }
    }

    /// `forward_frames`: already joined, or a shared list of lines.
    fn lines(&mut self, value: Value) -> StringId {
        match value {
            Value::Str(id) => id,
            Value::None | Value::EmptyList => StringId::EMPTY,
            Value::Node(node) => {
                let lines = self.nodes.list(node).unwrap_or(&[]);
                let mut text = String::new();
                let mut fits = true;
                for (at, &line) in lines.iter().enumerate() {
                    if at > 0 {
                        text.push('\n');
                    }
                    if let Value::Str(line) = line {
                        text.push_str(self.strings.get(line));
                    }
                    fits = fits && (text.len() as u64) < self.text_left;
                    if !fits {
                        break;
                    }
                }
                self.text_left = self.text_left.saturating_sub(text.len() as u64 + 1);
                if !fits {
                    self.notes
                        .add_key(WarningKind::Truncated, Shape::Event, Word::ForwardFrames);
                    return StringId::EMPTY;
                }
                self.strings.intern(&text)
            }
            _ => {
                self.wrong_type(Shape::Event, Word::ForwardFrames);
                StringId::EMPTY
            }
        }
    }
}
