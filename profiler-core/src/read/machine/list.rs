//! Lists: what their items are decides how they are kept.

use super::copies::copies;
use super::notes::Shape;
use super::{Fault, MAX_VALUES, Machine, Open, Place, Value};
use crate::snapshot::{Events, StackId, WarningKind};

/// What an open container has so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content {
    /// A dict; its pairs are in the scratch.
    Dict,
    /// Already referred to: this is its value for good.
    Frozen(Value),
    /// A list without items yet.
    Empty,
    /// A list of anything; its items are in the scratch.
    Values,
    /// A list of frames; they are in the scratch.
    Frames,
    /// A list of frames that make this stack.
    Stack(StackId),
    /// Rows of a trace, from `start` to before `end`.
    Events { trace: u32, start: u32, end: u32 },
    /// Blocks.
    Blocks { start: u32, end: u32 },
    /// Segments.
    Segments { start: u32, end: u32 },
    /// Annotations.
    Annotations { start: u32, end: u32 },
    /// Block history entries; only the first is kept.
    Histories(u32),
}

impl Machine {
    /// Whether the top value is a list without items, whose items may then be given by
    /// [`Machine::fill_with_stack`].
    #[inline]
    pub(crate) fn top_is_empty_list(&self, fence: usize) -> bool {
        match self.top(fence) {
            Some(Value::Open(slot)) => self
                .opens
                .get(slot as usize)
                .is_some_and(|open| open.content == Content::Empty),
            _ => false,
        }
    }

    /// Makes the empty list on top the list of `stack`'s frames.
    #[inline]
    pub(crate) fn fill_with_stack(&mut self, stack: StackId) {
        if let Some(Value::Open(slot)) = self.stack.last()
            && let Some(open) = self.opens.get_mut(*slot as usize)
        {
            open.content = Content::Stack(stack);
        }
    }

    /// The stack that the list on top consists of so far, if it is one. Its frames leave the
    /// scratch.
    pub(crate) fn top_as_stack(&mut self) -> Option<StackId> {
        let Some(&Value::Open(slot)) = self.stack.last() else {
            return None;
        };
        let open = self.opens.get(slot as usize).copied()?;
        match open.content {
            Content::Stack(stack) => Some(stack),
            Content::Frames => {
                let frames = self.frame_ids.get(open.frames as usize..)?;
                let stack = self.stacks.intern(frames);
                self.frame_ids.truncate(open.frames as usize);
                self.fill_with_stack(stack);
                Some(stack)
            }
            _ => None,
        }
    }

    /// A list of the values from `mark` up, in their place (`LIST`).
    pub(crate) fn make_list(&mut self, mark: usize) -> Result<(), Fault> {
        self.wrap(mark, Content::Empty)?;
        self.append_items(mark + 1, 0)
    }

    /// `APPENDS`: the values from `mark` up go into the list below.
    pub(crate) fn append_items(&mut self, mark: usize, fence: usize) -> Result<(), Fault> {
        let at = mark
            .checked_sub(1)
            .ok_or_else(|| Fault::malformed("there is no list to add to"))?;
        let slot = self.open_at(at, fence, false)?;
        if self.opens.len() > slot as usize + 1 {
            let mut first_open = None;
            for at in mark..self.stack.len() {
                if let Some(&Value::Open(inner)) = self.stack.get(at) {
                    first_open.get_or_insert(inner);
                    let value = self.seal(inner, Place::Item);
                    if let Some(item) = self.stack.get_mut(at) {
                        *item = value;
                    }
                }
            }
            if let Some(inner) = first_open {
                self.truncate_opens(inner as usize);
            }
        }
        for at in mark..self.stack.len() {
            if let Some(&item) = self.stack.get(at) {
                self.append_value(slot, item)?;
            }
        }
        self.stack.truncate(mark);
        Ok(())
    }

    /// `APPEND`: the top value goes into the list below.
    pub(crate) fn append(&mut self, fence: usize) -> Result<(), Fault> {
        let mark = self.stack.len().checked_sub(1);
        let Some(mark) = mark.filter(|&mark| mark > fence) else {
            return Err(Fault::malformed("there is no list and item"));
        };
        // A run of trace entries on top: only the last one is the item.
        if let Some(Value::Events { len, .. }) = self.stack.last()
            && *len > 1
        {
            return Err(Fault::malformed("a trace entry is added to a trace entry"));
        }
        self.append_items(mark, fence)
    }

    #[inline]
    fn append_value(&mut self, slot: u32, item: Value) -> Result<(), Fault> {
        let Some(&open) = self.opens.get(slot as usize) else {
            return Ok(());
        };
        let content = match (open.content, item) {
            (Content::Frames, Value::Frame(frame)) => {
                self.frame_ids.push(frame);
                return Ok(());
            }
            (Content::Empty, Value::Frame(frame)) => {
                self.frame_ids.push(frame);
                Content::Frames
            }
            (Content::Stack(stack), Value::Frame(frame)) => {
                self.use_copies(u64::from(self.stacks.depth(stack)))?;
                self.frame_ids.extend(self.stacks.frames(stack));
                self.frame_ids.push(frame);
                Content::Frames
            }
            (Content::Empty, Value::Events { trace, row, len }) => Content::Events {
                trace,
                start: row,
                end: row.saturating_add(len),
            },
            (
                Content::Events { trace, start, end },
                Value::Events {
                    trace: from,
                    row,
                    len,
                },
            ) => {
                if from == trace && row == end {
                    let end = end.saturating_add(len);
                    Content::Events { trace, start, end }
                } else {
                    self.join_events((trace, start, end), (from, row, len))?
                }
            }
            (Content::Empty, Value::Block(at)) => Content::Blocks {
                start: at,
                end: at.saturating_add(1),
            },
            (Content::Blocks { start, end }, Value::Block(at)) => {
                let copies = copies(start, end, at, self.blocks.len());
                self.use_copies(copies.cost())?;
                let (start, end) = copies.apply(&mut self.blocks);
                Content::Blocks { start, end }
            }
            (Content::Empty, Value::Segment(at)) => Content::Segments {
                start: at,
                end: at.saturating_add(1),
            },
            (Content::Segments { start, end }, Value::Segment(at)) => {
                let copies = copies(start, end, at, self.segments.len());
                self.use_copies(copies.cost())?;
                let (start, end) = copies.apply(&mut self.segments);
                Content::Segments { start, end }
            }
            (Content::Empty, Value::Annotation(at)) => Content::Annotations {
                start: at,
                end: at.saturating_add(1),
            },
            (Content::Annotations { start, end }, Value::Annotation(at)) => {
                let copies = copies(start, end, at, self.annotations.len());
                self.use_copies(copies.cost())?;
                let (start, end) = copies.apply(&mut self.annotations);
                Content::Annotations { start, end }
            }
            (Content::Empty, Value::History(first)) => Content::Histories(first),
            (Content::Histories(_), Value::History(_)) => return Ok(()),
            (Content::Empty | Content::Values, item) => {
                if let Value::Node(node) = item
                    && self.nodes.depth(node) > self.max_depth
                {
                    return Err(Fault::too_deep(self.max_depth));
                }
                if self.values.len() >= MAX_VALUES {
                    return Err(Fault::too_large("list items"));
                }
                self.values.push(item);
                if open.content == Content::Values {
                    return Ok(());
                }
                Content::Values
            }
            // One list holds rows of one kind: anything else among them is left out, and counted.
            (_, item) => {
                self.notes
                    .add(WarningKind::UnexpectedType, Shape::List, item.kind());
                return Ok(());
            }
        };
        if let Some(open) = self.opens.get_mut(slot as usize) {
            open.content = content;
        }
        Ok(())
    }

    /// Joins rows that do not follow each other, by copying.
    #[cold]
    fn join_events(
        &mut self,
        (trace, start, end): (u32, u32, u32),
        (from, row, len): (u32, u32, u32),
    ) -> Result<Content, Fault> {
        let own = start == 0
            && self.staging != Some(trace)
            && self.trace_len(trace) == end as usize
            && from != trace;
        let (to, end) = if own {
            (trace, end)
        } else {
            let to = self.copy_events(trace, start, end)?;
            (to, end.saturating_sub(start))
        };
        self.use_copies(u64::from(len))?;
        for at in row..row.saturating_add(len) {
            self.copy_event(from, at, to);
        }
        Ok(Content::Events {
            trace: to,
            start: 0,
            end: end.saturating_add(len),
        })
    }

    /// How many rows a trace has.
    pub(super) fn trace_len(&self, trace: u32) -> usize {
        self.traces.get(trace as usize).map_or(0, Events::len)
    }

    /// A new trace with rows of another.
    pub(super) fn copy_events(&mut self, trace: u32, start: u32, end: u32) -> Result<u32, Fault> {
        self.use_copies(u64::from(end.saturating_sub(start)))?;
        let to = self.traces.len() as u32;
        self.traces.push(Events::default());
        for row in start..end {
            self.copy_event(trace, row, to);
        }
        Ok(to)
    }

    fn copy_event(&mut self, from: u32, row: u32, to: u32) {
        let Some(source) = self.traces.get(from as usize) else {
            return;
        };
        let event = source.get(row as usize);
        let has_pools = source.has_pools();
        let name = source.action_name(row as usize, &self.strings).to_owned();
        let name = self.strings.intern(&name);
        if let Some(target) = self.traces.get_mut(to as usize) {
            if event.action == crate::snapshot::Action::Other {
                target.push_other(name, &event);
            } else {
                target.push(&event);
            }
            if has_pools {
                target.set_has_pools();
            }
        }
    }

    /// Counts rows copied because the file refers to them more than once.
    pub(super) fn use_copies(&mut self, count: u64) -> Result<(), Fault> {
        match self.copies_left.checked_sub(count) {
            Some(left) => {
                self.copies_left = left;
                Ok(())
            }
            None => Err(Fault::too_large(
                "repeated references to the same trace entries, blocks or segments",
            )),
        }
    }

    /// The value of a finished list.
    pub(super) fn seal_list(&mut self, index: usize, open: Open, place: Place) -> Value {
        match open.content {
            Content::Frozen(value) => value,
            Content::Dict | Content::Empty => Value::EmptyList,
            Content::Stack(stack) if stack.is_empty() => Value::EmptyList,
            Content::Stack(stack) => Value::Stack(stack),
            Content::Frames => {
                let start = open.frames as usize;
                let end = self
                    .opens
                    .get(index + 1)
                    .map_or(self.frame_ids.len(), |next| next.frames as usize);
                let frames = self.frame_ids.get(start..end).unwrap_or(&[]);
                Value::Stack(self.stacks.intern(frames))
            }
            Content::Events { trace, start, end } => {
                let whole = start == 0 && self.trace_len(trace) == end as usize;
                if !whole {
                    return match self.copy_events(trace, start, end) {
                        Ok(copy) => Value::Trace(copy),
                        // The budget is spent: the next copy ends the reading with an error.
                        Err(_) => {
                            self.copies_left = 0;
                            self.warn_truncated();
                            Value::EmptyList
                        }
                    };
                }
                if self.staging == Some(trace) {
                    self.staging = None;
                }
                Value::Trace(trace)
            }
            Content::Blocks { start, end } => Value::Blocks { start, end },
            Content::Segments { start, end } => Value::Segments { start, end },
            Content::Annotations { start, end } => Value::Annotations { start, end },
            Content::Histories(first) => Value::Histories(first),
            Content::Values => {
                let start = open.values as usize;
                let end = self
                    .opens
                    .get(index + 1)
                    .map_or(self.values.len(), |next| next.values as usize);
                if place == Place::Lines {
                    return self.join_lines(start, end);
                }
                let items = self.values.get(start..end).unwrap_or(&[]);
                if let [Value::Int(a), Value::Int(b)] = items
                    && *a >= 0
                    && *b >= 0
                {
                    let (a, b) = (*a as u64, *b as u64);
                    return self.pair(a, b);
                }
                let node = self.nodes.add_list(items);
                self.opaque(Value::Node(node), place)
            }
        }
    }

    fn warn_truncated(&mut self) {
        self.warnings.add(
            WarningKind::Truncated,
            "trace entries referred to more than once were left out",
        );
    }

    /// A list of strings as one text with a line each.
    fn join_lines(&mut self, start: usize, end: usize) -> Value {
        let mut text = String::new();
        for at in start..end {
            if at > start {
                text.push('\n');
            }
            match self.values.get(at) {
                Some(&Value::Str(line)) => text.push_str(self.strings.get(line)),
                Some(&other) => {
                    self.notes.add(
                        WarningKind::UnexpectedType,
                        Shape::ForwardFrames,
                        other.kind(),
                    );
                }
                None => {}
            }
        }
        Value::Str(self.strings.intern(&text))
    }
}
