//! The end of the file: from the top value to a [`Snapshot`].

use super::notes::Shape;
use super::{Fault, Machine, Place, RawSnapshot, Value, Word};
use crate::read::Followed;
use crate::snapshot::{
    AllocatorSettings, Block, DeviceId, Events, Segments, Snapshot, StringId, Trace, WarningKind,
};

impl Machine {
    /// The snapshot that the top value is.
    pub(crate) fn finish(mut self, fence: usize) -> Result<Followed, Fault> {
        let Some(top) = self.top(fence) else {
            return Err(Fault::malformed("the file ends without a value"));
        };
        let top = match top {
            Value::Open(slot) => self.seal(slot, Place::Value),
            other => other,
        };
        if let Value::Node(node) = top
            && self.nodes.depth(node) > self.max_depth
        {
            return Err(Fault::too_deep(self.max_depth));
        }
        let raw = self.find_snapshot(top)?;
        self.stack = Vec::new();
        self.opens = Vec::new();
        self.memo = super::Memo::default();
        self.assemble(raw)
    }

    /// The top value as a snapshot: itself, or the only one in a dict some program put around it.
    fn find_snapshot(&mut self, top: Value) -> Result<RawSnapshot, Fault> {
        let bare = |segments| RawSnapshot {
            segments,
            device_traces: Value::None,
            settings: Value::None,
            annotations: Value::None,
            host_segments: Value::None,
            host_traces: Value::None,
        };
        match top {
            Value::Snapshot(at) => {
                if let Some(&raw) = self.snapshots.get(at as usize) {
                    return Ok(raw);
                }
            }
            Value::Segments { .. } | Value::EmptyList => {
                self.features.bare_list = true;
                return Ok(bare(top));
            }
            Value::Node(node) => {
                if let Some(items) = self.nodes.dict(node) {
                    let mut inside = items.iter().filter_map(|&(_, value)| match value {
                        Value::Snapshot(at) => self.snapshots.get(at as usize).copied(),
                        _ => None,
                    });
                    let first = inside.next();
                    let more = inside.next().is_some();
                    if let (Some(raw), false) = (first, more) {
                        return Ok(raw);
                    }
                    if items.is_empty() {
                        return Err(Fault::no_snapshot("an empty dict".to_owned()));
                    }
                    let keys: Vec<String> = items
                        .iter()
                        .take(8)
                        .map(|&(key, _)| super::notes::quoted(&self.strings, key))
                        .collect();
                    let what = if more {
                        "a dict with several snapshots in it, under"
                    } else {
                        "a dict with the keys"
                    };
                    return Err(Fault::no_snapshot(format!("{what} {}", keys.join(", "))));
                }
            }
            _ => {}
        }
        Err(Fault::no_snapshot(top.kind().to_owned()))
    }

    fn assemble(mut self, raw: RawSnapshot) -> Result<Followed, Fault> {
        let mut segments = Segments::default();
        self.take_segments(raw.segments, Word::Segments, &mut segments)?;
        for &row in &self.segments_without_device {
            if let Value::Segments { start, end } = raw.host_segments
                && (start..end).contains(&row)
                && let Some(segment) = self.segments.get_mut(row as usize)
            {
                segment.device = DeviceId::HOST;
            }
        }
        self.take_segments(raw.host_segments, Word::HostSegments, &mut segments)?;

        let (mut traces, mut lists) = (Vec::new(), Vec::new());
        self.take_traces(raw.device_traces, &mut traces, &mut lists)?;
        match raw.host_traces {
            Value::Trace(trace) => {
                let events = self.take_trace(trace)?;
                traces.push(Trace {
                    device: DeviceId::HOST,
                    events,
                });
                lists.push(Some(trace as usize));
            }
            Value::EmptyList | Value::None => {}
            _ => self.wrong_type(Shape::Snapshot, Word::HostTraces),
        }
        for trace in &mut traces {
            trace.events.shrink_to_fit();
        }

        let annotations = match raw.annotations {
            Value::Annotations { start, end } => {
                let range = start as usize..end as usize;
                self.annotations.get(range).unwrap_or(&[]).to_vec()
            }
            Value::EmptyList | Value::None => Vec::new(),
            _ => {
                self.wrong_type(Shape::Snapshot, Word::ExternalAnnotations);
                Vec::new()
            }
        };
        let settings = self.settings(raw.settings);

        let seen = |keys: u64, word: Word| keys & word.bit() != 0;
        self.features.block_history = seen(self.block_keys, Word::History);
        self.features.block_address = seen(self.block_keys, Word::Address);
        self.features.time_us = seen(self.event_keys, Word::TimeUs);
        self.features.compile_context = seen(self.event_keys, Word::CompileContext);
        self.features.user_metadata = seen(self.event_keys, Word::UserMetadata);
        self.features.forward_frames = seen(self.event_keys, Word::ForwardFrames);
        self.features.event_pool_id = seen(self.event_keys, Word::PoolId);
        self.features.internal_metadata = seen(self.event_keys, Word::InternalMetadata);
        self.features.profiler_categories = seen(self.event_keys, Word::Category);

        self.notes.tell(&self.strings, &mut self.warnings);
        let snapshot = Snapshot {
            strings: self.strings,
            frames: self.frames,
            stacks: self.stacks,
            streams: self.streams,
            pools: self.pools,
            traces,
            segments,
            annotations,
            settings,
            features: self.features,
            warnings: self.warnings,
            watches: Vec::new(),
            context: None,
        };
        Ok(Followed { snapshot, lists })
    }

    /// Adds the segments of a list, with the addresses of blocks that have none (before 2.1)
    /// added up from the segment's.
    fn take_segments(&mut self, value: Value, key: Word, to: &mut Segments) -> Result<(), Fault> {
        let (start, end) = match value {
            Value::Segments { start, end } => (start, end),
            Value::EmptyList | Value::None => return Ok(()),
            _ => {
                self.wrong_type(Shape::Snapshot, key);
                return Ok(());
            }
        };
        let mut blocks: Vec<Block> = Vec::new();
        for row in start..end {
            let Some(segment) = self.segments.get(row as usize).cloned() else {
                break;
            };
            // A list of blocks may be shared by many segments: each gets its copy.
            self.use_copies(u64::from(
                segment.blocks.end.saturating_sub(segment.blocks.start),
            ))?;
            blocks.clear();
            let mut next = segment.address;
            let range = segment.blocks.start as usize..segment.blocks.end as usize;
            for raw in self.blocks.get(range).unwrap_or(&[]) {
                let mut block = raw.block;
                if !raw.has_address {
                    block.address = next;
                }
                next = block.end();
                blocks.push(block);
            }
            if !to.push(segment, &blocks) {
                self.notes
                    .add(WarningKind::Truncated, Shape::List, "a block past 2³² − 1");
            }
        }
        Ok(())
    }

    fn take_traces(
        &mut self,
        value: Value,
        to: &mut Vec<Trace>,
        lists: &mut Vec<Option<usize>>,
    ) -> Result<(), Fault> {
        let items = match value {
            Value::Node(node) => match self.nodes.list(node) {
                Some(items) => items.to_vec(),
                None => {
                    self.wrong_type(Shape::Snapshot, Word::DeviceTraces);
                    return Ok(());
                }
            },
            // One list of entries instead of a list per device.
            Value::Trace(_) => {
                self.wrong_type(Shape::Snapshot, Word::DeviceTraces);
                vec![value]
            }
            Value::EmptyList | Value::None => return Ok(()),
            _ => {
                self.wrong_type(Shape::Snapshot, Word::DeviceTraces);
                return Ok(());
            }
        };
        for (device, &item) in items.iter().enumerate() {
            let mut list = None;
            let events = match item {
                Value::Trace(trace) => {
                    list = Some(trace as usize);
                    self.take_trace(trace)?
                }
                Value::EmptyList | Value::None => Events::default(),
                other => {
                    self.notes
                        .add(WarningKind::UnexpectedType, Shape::List, other.kind());
                    Events::default()
                }
            };
            lists.push(list);
            to.push(Trace {
                device: DeviceId(i32::try_from(device).unwrap_or(i32::MAX)),
                events,
            });
        }
        Ok(())
    }

    /// A trace's events; a second time a copy.
    fn take_trace(&mut self, trace: u32) -> Result<Events, Fault> {
        if !self.taken.insert(trace) {
            return Err(Fault::too_large(
                "device traces: the same list of entries stands for several devices",
            ));
        }
        Ok(self
            .traces
            .get_mut(trace as usize)
            .map(std::mem::take)
            .unwrap_or_default())
    }

    fn settings(&mut self, value: Value) -> Option<AllocatorSettings> {
        let items = match value {
            Value::Node(node) => self.nodes.dict(node).map(<[_]>::to_vec),
            Value::EmptyList => Some(Vec::new()),
            Value::None => return None,
            _ => None,
        };
        let Some(items) = items else {
            self.wrong_type(Shape::Snapshot, Word::AllocatorSettings);
            return None;
        };
        let shape = Shape::Settings;
        let mut settings = AllocatorSettings::default();
        for (key, value) in items {
            let text = self.json_text(value);
            settings
                .entries
                .push((self.strings.get(key).to_owned(), text));
            match Word::of(key) {
                Some(word @ Word::AllocConf) => {
                    let conf = self.text(value, shape, word);
                    settings.conf = self.strings.get(conf).to_owned();
                }
                // −1 is unlimited.
                Some(Word::MaxSplitSize) if value == Value::Int(-1) => {}
                Some(word @ Word::MaxSplitSize) => {
                    settings.max_split_size = self.optional_unsigned(value, shape, word);
                }
                Some(word @ Word::GarbageCollectionThreshold) => match value {
                    Value::Float(float) => settings.garbage_collection_threshold = float,
                    Value::Int(number) => settings.garbage_collection_threshold = number as f64,
                    _ => self.wrong_type(shape, word),
                },
                Some(word @ Word::ExpandableSegments) => {
                    settings.expandable_segments = Some(self.flag(value, shape, word));
                }
                Some(word @ Word::RoundupPower2Divisions) => match value {
                    Value::Node(node) => {
                        settings.roundup_power2_divisions = self.divisions(node);
                    }
                    Value::EmptyList | Value::None => {}
                    _ => self.wrong_type(shape, word),
                },
                Some(Word::GraphCaptureReuse) => self.features.graph_capture_reuse = true,
                Some(Word::MaxRoundThreshold) => self.features.max_round_threshold = true,
                _ => {}
            }
        }
        Some(settings)
    }

    /// `roundup_power2_divisions`: a dict of numbers as text to numbers.
    fn divisions(&mut self, node: u32) -> Vec<(u64, u64)> {
        let items: Vec<(StringId, Value)> = self.nodes.dict(node).unwrap_or(&[]).to_vec();
        let mut divisions = Vec::new();
        for (key, value) in items {
            let start = self.strings.get(key).parse::<u64>();
            let count =
                self.optional_unsigned(value, Shape::Settings, Word::RoundupPower2Divisions);
            match (start, count) {
                (Ok(start), Some(count)) => divisions.push((start, count)),
                _ => self.wrong_type(Shape::Settings, Word::RoundupPower2Divisions),
            }
        }
        divisions.sort_unstable();
        divisions
    }
}
