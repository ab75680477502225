//! Finished dicts: told by their keys, and made rows.

use super::notes::Shape;
use super::{Machine, Place, RawBlock, RawHistory, RawSnapshot, Value, Word};
use crate::snapshot::{
    Annotation, Block, DeviceId, Frame, FxNode, NO_TIME, Segment, SegmentKind, StackId, Stage,
    StringId, WarningKind,
};

const SNAPSHOT_KEYS: u64 = Word::Segments.bit() | Word::DeviceTraces.bit();
const SEGMENT_KEYS: u64 = Word::Blocks.bit()
    | Word::TotalSize.bit()
    | Word::SegmentType.bit()
    | Word::SegmentPoolId.bit();
const FRAME_KEYS: u64 = Word::Filename.bit() | Word::Line.bit();
const BLOCK_KEYS: u64 = Word::State.bit() | Word::History.bit();

impl Machine {
    /// The value of a finished dict with these known keys, whose pairs are `start..end` of the
    /// scratch.
    #[inline]
    pub(super) fn seal_dict(&mut self, keys: u64, start: usize, end: usize, place: Place) -> Value {
        let has = |set: u64| keys & set != 0;
        match place {
            Place::Item if has(Word::Action.bit()) => self.seal_event(start, end),
            Place::Item | Place::Value if has(SNAPSHOT_KEYS) => self.seal_snapshot(start, end),
            Place::Item if has(SEGMENT_KEYS) => self.seal_segment(start, end),
            Place::Item if has(BLOCK_KEYS) => self.seal_block(start, end),
            Place::Item if has(FRAME_KEYS) => self.seal_frame(start, end),
            Place::Item if has(Word::RealSize.bit()) => self.seal_history(start, end),
            Place::Item if has(Word::Stage.bit()) => self.seal_annotation(start, end),
            _ => {
                let items = self.pairs.get(start..end).unwrap_or(&[]);
                let node = self.nodes.add_dict(items);
                self.opaque(Value::Node(node), place)
            }
        }
    }

    fn unknown_key(&mut self, shape: Shape, key: StringId) {
        self.notes.add_text(WarningKind::UnknownKey, shape, key);
    }

    fn seal_frame(&mut self, start: usize, end: usize) -> Value {
        let shape = Shape::Frame;
        let mut frame = Frame::default();
        let mut fx = FxNode::default();
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            match Word::of(key) {
                Some(word @ Word::Name) => frame.name = self.text(value, shape, word),
                Some(word @ Word::Filename) => frame.filename = self.text(value, shape, word),
                Some(word @ Word::Line) => frame.line = self.unsigned(value, shape, word),
                Some(word @ Word::FxNodeOp) => fx.op = self.metadata(value, shape, word),
                Some(word @ Word::FxNodeName) => fx.name = self.metadata(value, shape, word),
                Some(word @ Word::FxNodeTarget) => fx.target = self.metadata(value, shape, word),
                Some(word @ Word::FxOriginalTrace) => {
                    fx.original_trace = self.metadata(value, shape, word);
                }
                _ => self.unknown_key(shape, key),
            }
        }
        frame.fx = self.frames.intern_fx(fx);
        Value::Frame(self.frames.intern(frame))
    }

    fn seal_history(&mut self, start: usize, end: usize) -> Value {
        let shape = Shape::History;
        let mut real_size = None;
        let (mut stack, mut cpp_stack) = (StackId::EMPTY, StackId::EMPTY);
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            match Word::of(key) {
                Some(word @ Word::RealSize) => {
                    real_size = self.optional_unsigned(value, shape, word);
                }
                Some(word @ Word::Frames) => stack = self.stack_of(value, shape, word),
                Some(word @ Word::CppFrames) => cpp_stack = self.stack_of(value, shape, word),
                // The history's address is the block's.
                Some(Word::Addr) => {}
                _ => self.unknown_key(shape, key),
            }
        }
        let stack = self.merge_stacks(stack, cpp_stack, shape);
        let row = self.histories.len() as u32;
        self.histories.push(RawHistory { real_size, stack });
        Value::History(row)
    }

    fn seal_block(&mut self, start: usize, end: usize) -> Value {
        let shape = Shape::Block;
        let mut block = Block::default();
        let mut requested = None;
        let mut history = None;
        let mut keys = 0;
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            let Some(word) = Word::of(key) else {
                self.unknown_key(shape, key);
                continue;
            };
            keys |= word.bit();
            match word {
                Word::Address => block.address = self.address(value, shape, word),
                Word::Size => block.size = self.unsigned(value, shape, word),
                Word::RequestedSize => requested = self.optional_unsigned(value, shape, word),
                Word::State => match value {
                    Value::Str(name) => match Word::of(name).and_then(Word::block_state) {
                        Some(state) => block.state = state,
                        None => self
                            .notes
                            .add_text(WarningKind::UnexpectedType, shape, name),
                    },
                    _ => self.wrong_type(shape, word),
                },
                Word::Frames => block.stack = self.stack_of(value, shape, word),
                Word::History => match value {
                    Value::Histories(first) | Value::History(first) => {
                        history = self.histories.get(first as usize).copied();
                    }
                    Value::EmptyList | Value::None => {}
                    _ => self.wrong_type(shape, word),
                },
                _ => self.unknown_key(shape, key),
            }
        }
        self.block_keys |= keys;
        if block.stack.is_empty()
            && let Some(history) = history
        {
            block.stack = history.stack;
        }
        block.requested_size = requested
            .or_else(|| history.and_then(|history| history.real_size))
            .unwrap_or(block.size);
        let row = self.blocks.len() as u32;
        self.blocks.push(RawBlock {
            block,
            has_address: keys & Word::Address.bit() != 0,
        });
        Value::Block(row)
    }

    fn seal_segment(&mut self, start: usize, end: usize) -> Value {
        let shape = Shape::Segment;
        let mut segment = Segment::default();
        let mut keys = 0;
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            let Some(word) = Word::of(key) else {
                self.unknown_key(shape, key);
                continue;
            };
            keys |= word.bit();
            match word {
                Word::Device => segment.device = self.device(value, shape),
                Word::Address => segment.address = self.address(value, shape, word),
                Word::TotalSize => segment.total_size = self.unsigned(value, shape, word),
                Word::AllocatedSize => {
                    segment.allocated_size = self.optional_unsigned(value, shape, word);
                }
                Word::ActiveSize => {
                    segment.active_size = self.optional_unsigned(value, shape, word);
                }
                Word::RequestedSize => {
                    segment.requested_size = self.optional_unsigned(value, shape, word);
                }
                Word::Stream => segment.stream = self.stream(value, shape),
                Word::SegmentType => match value {
                    Value::Str(name) if name == Word::Small.id() => {
                        segment.kind = SegmentKind::Small;
                    }
                    Value::Str(name) if name == Word::Large.id() => {
                        segment.kind = SegmentKind::Large;
                    }
                    _ => self.wrong_type(shape, word),
                },
                Word::SegmentPoolId => segment.pool = self.pool(value, shape, word),
                Word::IsExpandable => segment.is_expandable = self.flag(value, shape, word),
                Word::Frames => segment.stack = self.stack_of(value, shape, word),
                Word::Blocks => match value {
                    Value::Blocks { start, end } => segment.blocks = start..end,
                    Value::EmptyList | Value::None => {}
                    _ => self.wrong_type(shape, word),
                },
                _ => self.unknown_key(shape, key),
            }
        }
        self.segment_keys |= keys;
        if keys & Word::Device.bit() == 0 {
            self.segments_without_device
                .push(self.segments.len() as u32);
        }
        let row = self.segments.len() as u32;
        self.segments.push(segment);
        Value::Segment(row)
    }

    fn seal_annotation(&mut self, start: usize, end: usize) -> Value {
        let shape = Shape::Annotation;
        let mut annotation = Annotation {
            name: StringId::EMPTY,
            stage: Stage::Start,
            device: DeviceId::default(),
            time_us: NO_TIME,
        };
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            match Word::of(key) {
                Some(word @ Word::Name) => annotation.name = self.text(value, shape, word),
                Some(word @ Word::Stage) => match value {
                    Value::Str(stage) if stage == Word::Start.id() => {
                        annotation.stage = Stage::Start;
                    }
                    Value::Str(stage) if stage == Word::End.id() => {
                        annotation.stage = Stage::End;
                    }
                    _ => {
                        self.wrong_type(shape, word);
                        return Value::None;
                    }
                },
                Some(Word::Device) => annotation.device = self.device(value, shape),
                Some(Word::TimeUs) => annotation.time_us = self.time(value, shape),
                _ => self.unknown_key(shape, key),
            }
        }
        let row = self.annotations.len() as u32;
        self.annotations.push(annotation);
        Value::Annotation(row)
    }

    fn device(&mut self, value: Value, shape: Shape) -> DeviceId {
        let number = self.signed(value, shape, Word::Device).unwrap_or(0);
        match i32::try_from(number) {
            Ok(device) => DeviceId(device),
            Err(_) => {
                self.notes
                    .add_key(WarningKind::OutOfRange, shape, Word::Device);
                DeviceId(if number < 0 { i32::MIN } else { i32::MAX })
            }
        }
    }

    fn seal_snapshot(&mut self, start: usize, end: usize) -> Value {
        let mut raw = RawSnapshot {
            segments: Value::None,
            device_traces: Value::None,
            settings: Value::None,
            annotations: Value::None,
            host_segments: Value::None,
            host_traces: Value::None,
        };
        for at in start..end {
            let Some(&(key, value)) = self.pairs.get(at) else {
                break;
            };
            match Word::of(key) {
                Some(Word::Segments) => raw.segments = value,
                Some(Word::DeviceTraces) => {
                    raw.device_traces = value;
                    self.features.device_traces = true;
                }
                Some(Word::AllocatorSettings) => {
                    raw.settings = value;
                    self.features.allocator_settings = true;
                }
                Some(Word::ExternalAnnotations) => {
                    raw.annotations = value;
                    self.features.external_annotations = true;
                }
                Some(Word::HostSegments) => {
                    raw.host_segments = value;
                    self.features.host_memory = true;
                }
                Some(Word::HostTraces) => {
                    raw.host_traces = value;
                    self.features.host_memory = true;
                }
                _ => self.unknown_key(Shape::Snapshot, key),
            }
        }
        let row = self.snapshots.len() as u32;
        self.snapshots.push(raw);
        Value::Snapshot(row)
    }
}
