//! A plain unpickler that builds the whole tree, and what a snapshot's tree says in the words of
//! [`super::contents`]: the reference that the reader is compared with.

use super::tree::Tree;
use profiler_core::snapshot::{AllocatorSettings, FormatFeatures, NO_TIME, SegmentKind};
use std::cell::RefCell;
use std::rc::Rc;

enum Item {
    Done(Tree),
    List(Rc<RefCell<Vec<Cell>>>),
    Dict(Rc<RefCell<Vec<(Cell, Cell)>>>),
    Tuple(Rc<Vec<Cell>>),
    Mark,
}

type Cell = Rc<Item>;

/// Unpickles protocols 2 to 5 of plain data.
pub fn unpickle(bytes: &[u8]) -> Tree {
    let mut stack: Vec<Cell> = Vec::new();
    let mut memo: Vec<Option<Cell>> = Vec::new();
    let mut at = 0;
    let mut take = |len: usize| {
        at += len;
        &bytes[at - len..at]
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    let done = |tree| Rc::new(Item::Done(tree));
    let above = |stack: &mut Vec<Cell>| {
        let mark = stack
            .iter()
            .rposition(|item| matches!(**item, Item::Mark))
            .unwrap();
        let items = stack.split_off(mark + 1);
        stack.pop();
        items
    };
    let put = |memo: &mut Vec<Option<Cell>>, id: usize, cell: Cell| {
        memo.resize(memo.len().max(id + 1), None);
        memo[id] = Some(cell);
    };
    loop {
        match take(1)[0] {
            0x80 => drop(take(1)),
            0x95 => drop(take(8)),
            b'.' => return tree(&stack.pop().unwrap(), &mut std::collections::HashMap::new()),
            b'(' => stack.push(Rc::new(Item::Mark)),
            b'N' => stack.push(done(Tree::None)),
            0x88 => stack.push(done(Tree::Bool(true))),
            0x89 => stack.push(done(Tree::Bool(false))),
            b'K' => stack.push(done(Tree::Int(number(take(1)) as i128))),
            b'M' => stack.push(done(Tree::Int(number(take(2)) as i128))),
            b'J' => stack.push(done(Tree::Int(i128::from(number(take(4)) as u32 as i32)))),
            0x8a => {
                let len = number(take(1));
                let digits = take(len);
                let mut value = digits.iter().rev().fold(0, |n, &b| n << 8 | i128::from(b));
                if digits.last().is_some_and(|last| last & 0x80 != 0) {
                    value -= 1 << (8 * len);
                }
                stack.push(done(Tree::Int(value)));
            }
            b'G' => {
                let bits = u64::from_be_bytes(take(8).try_into().unwrap());
                stack.push(done(Tree::Float(f64::from_bits(bits))));
            }
            opcode @ (0x8c | b'X') => {
                let len = number(take(if opcode == b'X' { 4 } else { 1 }));
                let text = std::str::from_utf8(take(len)).unwrap();
                stack.push(done(Tree::text(text)));
            }
            b']' => stack.push(Rc::new(Item::List(Rc::default()))),
            b'}' => stack.push(Rc::new(Item::Dict(Rc::default()))),
            b')' => stack.push(Rc::new(Item::Tuple(Rc::default()))),
            opcode @ 0x85..=0x87 => {
                let start = stack.len() - usize::from(opcode - 0x84);
                let items = stack.split_off(start);
                stack.push(Rc::new(Item::Tuple(Rc::new(items))));
            }
            b't' => {
                let items = above(&mut stack);
                stack.push(Rc::new(Item::Tuple(Rc::new(items))));
            }
            opcode @ (b'a' | b'e') => {
                let items = match opcode {
                    b'a' => vec![stack.pop().unwrap()],
                    _ => above(&mut stack),
                };
                let Item::List(list) = &**stack.last().unwrap() else {
                    panic!("no list");
                };
                list.borrow_mut().extend(items);
            }
            opcode @ (b's' | b'u') => {
                let items = match opcode {
                    b's' => stack.split_off(stack.len() - 2),
                    _ => above(&mut stack),
                };
                let Item::Dict(dict) = &**stack.last().unwrap() else {
                    panic!("no dict");
                };
                let pairs = items.chunks(2).map(|p| (p[0].clone(), p[1].clone()));
                dict.borrow_mut().extend(pairs);
            }
            0x94 => {
                let id = memo.len();
                put(&mut memo, id, stack.last().unwrap().clone());
            }
            opcode @ (b'q' | b'r') => {
                let id = number(take(if opcode == b'q' { 1 } else { 4 }));
                put(&mut memo, id, stack.last().unwrap().clone());
            }
            opcode @ (b'h' | b'j') => {
                let id = number(take(if opcode == b'h' { 1 } else { 4 }));
                stack.push(memo[id].clone().unwrap());
            }
            opcode => panic!("opcode {opcode:#x}"),
        }
    }
}

/// The tree of a cell; shared cells become shared trees.
fn tree(cell: &Cell, known: &mut std::collections::HashMap<usize, Tree>) -> Tree {
    let id = Rc::as_ptr(cell) as usize;
    if let Some(tree) = known.get(&id) {
        return tree.clone();
    }
    let made = match &**cell {
        Item::Done(tree) => tree.clone(),
        Item::Mark => panic!("a mark is no value"),
        Item::Tuple(items) => Tree::Tuple(Rc::new(
            items.iter().map(|item| tree(item, known)).collect(),
        )),
        Item::List(items) => {
            let items = items.borrow();
            Tree::list(items.iter().map(|item| tree(item, known)).collect())
        }
        Item::Dict(items) => {
            let items = items.borrow();
            let pair = |(key, value): &(Cell, Cell)| (tree(key, known), tree(value, known));
            Tree::Dict(Rc::new(items.iter().map(pair).collect()))
        }
    };
    known.insert(id, made.clone());
    made
}

fn number(tree: Option<&Tree>) -> i128 {
    tree.and_then(Tree::int).unwrap_or(0)
}

fn text(tree: Option<&Tree>) -> String {
    match tree {
        None | Some(Tree::None) => String::new(),
        Some(Tree::Str(text)) => text.to_string(),
        Some(other) => other.json(),
    }
}

fn stack(frames: Option<&Tree>) -> String {
    let frame = |frame: &Tree| {
        let fx = [
            "fx_node_op",
            "fx_node_name",
            "fx_node_target",
            "fx_original_trace",
        ]
        .map(|key| text(frame.get(key)));
        let fx = fx.iter().any(|text| !text.is_empty()).then_some(fx);
        format!(
            "{} {}:{} {fx:?}",
            text(frame.get("name")),
            text(frame.get("filename")),
            number(frame.get("line"))
        )
    };
    let frames = frames.map_or(&[][..], Tree::items);
    frames.iter().map(frame).collect::<Vec<_>>().join("; ")
}

fn pool(pool: Option<&Tree>) -> (u64, u64) {
    match pool.map_or(&[][..], Tree::items) {
        [a, b] => (number(Some(a)) as u64, number(Some(b)) as u64),
        _ => (0, 0),
    }
}

fn trace(lines: &mut Vec<String>, device: &str, events: &[Tree]) {
    let has_pools = events.iter().any(|event| event.get("pool_id").is_some());
    lines.push(format!(
        "trace of {device} with {} events, pools {has_pools}",
        events.len()
    ));
    for event in events {
        let address = event.get("addr").or(event.get("device_free"));
        let time = event.get("time_us").and_then(Tree::int);
        let context = text(event.get("compile_context"));
        let forward = event.get("forward_frames").map_or(&[][..], Tree::items);
        let forward: Vec<String> = forward.iter().map(|line| text(Some(line))).collect();
        lines.push(format!(
            "{} {:x} {} {} {} {:?} {:?} [{}]",
            text(event.get("action")),
            number(address) as u64,
            number(event.get("size")),
            number(event.get("stream")) as i64,
            time.unwrap_or(i128::from(NO_TIME)),
            pool(event.get("pool_id")),
            [
                text(event.get("user_metadata")),
                if context == "N/A" {
                    String::new()
                } else {
                    context
                },
                text(event.get("internal_metadata")),
                forward.join("\n"),
                text(event.get("category")),
            ],
            stack(event.get("frames"))
        ));
    }
}

fn segments(lines: &mut Vec<String>, list: Option<&Tree>) {
    for segment in list.map_or(&[][..], Tree::items) {
        let optional = |key| segment.get(key).and_then(Tree::int).map(|n| n as u64);
        let kind = match text(segment.get("segment_type")).as_str() {
            "small" => SegmentKind::Small,
            _ => SegmentKind::Large,
        };
        lines.push(format!(
            "segment {} {:x} {} {:?} {:?} {:?} {} {kind:?} {:?} {} [{}]",
            match number(segment.get("device")) {
                -1 => "host".to_owned(),
                device => device.to_string(),
            },
            number(segment.get("address")) as u64,
            number(segment.get("total_size")),
            optional("allocated_size"),
            optional("active_size"),
            optional("requested_size"),
            number(segment.get("stream")),
            pool(segment.get("segment_pool_id")),
            number(segment.get("is_expandable")) != 0,
            stack(segment.get("frames"))
        ));
        let mut next = number(segment.get("address")) as u64;
        for block in segment.get("blocks").map_or(&[][..], Tree::items) {
            let history = block.get("history").and_then(|list| list.items().first());
            let size = number(block.get("size")) as u64;
            let requested = block
                .get("requested_size")
                .or_else(|| history.and_then(|first| first.get("real_size")))
                .map_or(size, |tree| number(Some(tree)) as u64);
            let address = block
                .get("address")
                .map_or(next, |tree| number(Some(tree)) as u64);
            next = address.saturating_add(size);
            let frames = block.get("frames").filter(|list| !list.items().is_empty());
            let frames = frames.or_else(|| history.and_then(|first| first.get("frames")));
            lines.push(format!(
                "block {address:x} {size} {requested} {} [{}]",
                match text(block.get("state")).as_str() {
                    "active_allocated" => "Allocated",
                    "active_pending_free" => "PendingFree",
                    _ => "Inactive",
                },
                stack(frames)
            ));
        }
    }
}

/// What [`super::contents`] gives for a file without oddities.
pub fn contents(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let bare = matches!(tree, Tree::List(_));
    let get = |key| if bare { None } else { tree.get(key) };
    let listed = if bare { Some(tree) } else { get("segments") };
    let traces = get("device_traces").map_or(&[][..], Tree::items);
    for (device, events) in traces.iter().enumerate() {
        trace(&mut lines, &device.to_string(), events.items());
    }
    let host = get("host_traces").map_or(&[][..], Tree::items);
    if !host.is_empty() {
        trace(&mut lines, "host", host);
    }
    segments(&mut lines, listed);
    segments(&mut lines, get("host_segments"));
    for annotation in get("external_annotations").map_or(&[][..], Tree::items) {
        lines.push(format!(
            "annotation {} {} {} {}",
            text(annotation.get("name")),
            match text(annotation.get("stage")).as_str() {
                "START" => "Start",
                _ => "End",
            },
            number(annotation.get("device")),
            number(annotation.get("time_us"))
        ));
    }
    lines.push(format!("{:?}", get("allocator_settings").map(settings)));
    lines.push(format!("{:?}", features(tree)));
    lines
}

fn settings(tree: &Tree) -> AllocatorSettings {
    let Tree::Dict(items) = tree else {
        return AllocatorSettings::default();
    };
    let divisions = match tree.get("roundup_power2_divisions") {
        Some(Tree::Dict(items)) => items.to_vec(),
        _ => Vec::new(),
    };
    let division = |(start, count): &(Tree, Tree)| {
        let start = text(Some(start)).parse().unwrap();
        (start, number(Some(count)) as u64)
    };
    let mut divisions: Vec<(u64, u64)> = divisions.iter().map(division).collect();
    divisions.sort_unstable();
    AllocatorSettings {
        conf: text(tree.get("PYTORCH_CUDA_ALLOC_CONF")),
        max_split_size: u64::try_from(number(tree.get("max_split_size"))).ok(),
        garbage_collection_threshold: match tree.get("garbage_collection_threshold") {
            Some(Tree::Float(float)) => *float,
            _ => 0.0,
        },
        expandable_segments: match tree.get("expandable_segments") {
            Some(Tree::Bool(bool)) => Some(*bool),
            _ => None,
        },
        roundup_power2_divisions: divisions,
        entries: items
            .iter()
            .map(|(key, value)| (text(Some(key)), value.json()))
            .collect(),
    }
}

fn features(tree: &Tree) -> FormatFeatures {
    let bare = matches!(tree, Tree::List(_));
    let top = |key| !bare && tree.get(key).is_some();
    let lists = |keys: [&str; 2]| -> Vec<Tree> {
        let mut items = Vec::new();
        if bare {
            items.extend_from_slice(tree.items());
        }
        for key in keys.iter().filter(|_| !bare) {
            items.extend_from_slice(tree.get(key).map_or(&[], Tree::items));
        }
        items
    };
    let blocks: Vec<Tree> = lists(["segments", "host_segments"])
        .iter()
        .flat_map(|segment| segment.get("blocks").map_or(&[][..], Tree::items).to_vec())
        .collect();
    let mut events: Vec<Tree> = Vec::new();
    if !bare {
        let traces = tree.get("device_traces").map_or(&[][..], Tree::items);
        events.extend(traces.iter().flat_map(|trace| trace.items().to_vec()));
        events.extend_from_slice(tree.get("host_traces").map_or(&[], Tree::items));
    }
    let block = |key| blocks.iter().any(|block| block.get(key).is_some());
    let event = |key| events.iter().any(|event| event.get(key).is_some());
    let setting = |key| {
        top("allocator_settings")
            && tree
                .get("allocator_settings")
                .is_some_and(|settings| settings.get(key).is_some())
    };
    FormatFeatures {
        bare_list: bare,
        block_history: block("history"),
        device_traces: top("device_traces"),
        block_address: block("address"),
        time_us: event("time_us"),
        allocator_settings: top("allocator_settings"),
        external_annotations: top("external_annotations"),
        compile_context: event("compile_context"),
        graph_capture_reuse: setting("graph_capture_record_stream_reuse"),
        user_metadata: event("user_metadata"),
        forward_frames: event("forward_frames"),
        event_pool_id: event("pool_id"),
        max_round_threshold: setting("max_round_threshold"),
        host_memory: top("host_segments") || top("host_traces"),
        internal_metadata: event("internal_metadata"),
        profiler_categories: event("category"),
    }
}
