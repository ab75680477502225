//! Files that lie: each ends in a clear error, soon, and runs nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::both::read_both_ways;
use common::encode;
use common::tree::Tree;
use flate2::Compression;
use flate2::write::GzEncoder;
use profiler_core::read::{Progress, ReadError, ReadOptions, read, read_bytes};
use std::io::Write;
use std::ops::ControlFlow;

/// A small snapshot of the newest version.
const SMALL: &[u8] = include_bytes!("data/torch-2.15.pickle");

fn error(bytes: &[u8]) -> ReadError {
    match read(bytes) {
        Ok(snapshot) => panic!("read as a snapshot: {:?}", common::contents(&snapshot)),
        Err(error) => error,
    }
}

/// `protocol 4`, then the opcodes.
fn pickle(opcodes: &[u8]) -> Vec<u8> {
    [&b"\x80\x04"[..], opcodes].concat()
}

#[test]
fn nothing_is_loaded_or_called() {
    let cases: [(&[u8], &str, &str); 16] = [
        (b"cos\nsystem\n(S'id'\ntR.", "GLOBAL", "asks for os.system"),
        (
            b"\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x85R.",
            "STACK_GLOBAL",
            "asks for os.system",
        ),
        (b"(iposix\nsystem\n.", "INST", "asks for posix.system"),
        (b"N)R.", "REDUCE", "call a function"),
        (b"N}b.", "BUILD", "state of an object"),
        (b"(No.", "OBJ", "object of a class"),
        (b"N)\x81.", "NEWOBJ", "object of a class"),
        (b"N)}\x92.", "NEWOBJ_EX", "object of a class"),
        (b"Pstorage 0\n.", "PERSID", "persistent id storage 0"),
        (b"NQ.", "BINPERSID", "by persistent id"),
        (b"\x82\x01.", "EXT1", "extension registry"),
        (b"\x83\x01\x00.", "EXT2", "extension registry"),
        (b"\x84\x01\x00\x00\x00.", "EXT4", "extension registry"),
        (b"\x97.", "NEXT_BUFFER", "buffer that is not in the file"),
        (
            b"N\x98.",
            "READONLY_BUFFER",
            "buffer that is not in the file",
        ),
        (b"\x8f.", "EMPTY_SET", "asks for a set"),
    ];
    for (opcodes, name, wanted) in cases {
        // Also inside a snapshot, as a value.
        let inside = [&b"}(\x8c\x08segments"[..], opcodes].concat();
        for bytes in [pickle(opcodes), pickle(&inside)] {
            match error(&bytes) {
                ReadError::ForbiddenOpcode {
                    opcode,
                    offset,
                    asks,
                } => {
                    assert_eq!(opcode, name);
                    assert!(asks.contains(wanted), "{name}: {asks}");
                    let at = usize::try_from(offset).unwrap();
                    assert!(at >= 2 && at < bytes.len(), "{name} at {at}");
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
    let told = error(b"\x80\x04cos\nsystem\n.").to_string();
    assert!(
        told.contains("GLOBAL at byte 2 asks for os.system"),
        "{told}"
    );
    // Terminal escapes and endless names do not reach the terminal.
    let nasty = [b"\x80\x04cos\x1b[2J\n", &[b'x'; 10_000][..], b"\n."].concat();
    let told = error(&nasty).to_string();
    assert!(!told.contains('\x1b') && told.len() < 600, "{told}");
}

#[test]
fn every_cut_is_an_error() {
    for len in 0..SMALL.len() {
        match error(&SMALL[..len]) {
            ReadError::Empty if len == 0 => {}
            ReadError::Truncated { offset, .. } => assert_eq!(offset, len as u64),
            other => panic!("cut at {len}: {other}"),
        }
    }
    for protocol in 0..6 {
        let path = format!(
            "{}/tests/data/protocol-{protocol}.pickle",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(path).unwrap();
        for len in 0..bytes.len() {
            error(&bytes[..len]);
        }
    }
    let json = include_bytes!("data/snapshot.json");
    for len in 0..json.len() {
        error(&json[..len]);
    }
}

#[test]
fn every_flipped_bit_ends() {
    let mut bytes = SMALL.to_vec();
    let mut read_well = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            match read_both_ways(&bytes) {
                Ok(snapshot) => {
                    read_well += 1;
                    common::contents(&snapshot);
                }
                Err(error) => assert!(error.to_string().len() < 1000),
            }
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(read_well > 0, "some flips only change a value");
}

#[test]
fn lengths_that_lie() {
    let cases: [&[u8]; 8] = [
        b"X\xff\xff\xff\xffab",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab",
        b"\x8d\x00\x00\x00\x00\x00\x01\x00\x00ab",
        b"\x8b\xff\xff\xff\x7f\x01",
        b"B\xff\xff\xff\xff\x01",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f\x01",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x8a\xff\x01",
    ];
    for opcodes in cases {
        let bytes = pickle(opcodes);
        assert!(
            matches!(error(&bytes), ReadError::Truncated { .. }),
            "{opcodes:?}"
        );
    }
    // A FRAME's length is only a hint.
    let bytes = pickle(b"\x95\xff\xff\xff\xff\xff\xff\xff\xff].");
    assert_eq!(read(&bytes).unwrap().segments.all().len(), 0);
}

#[test]
fn memo_ids_are_bounded_by_the_file() {
    for opcodes in [
        &b"]r\xff\xff\xff\xff."[..],
        b"]p4294967295\n.",
        b"]p18446744073709551616\n.",
        b"]p-1\n.",
        b"]px\n.",
        b"j\xff\xff\xff\xff.",
        b"h\x00.",
        b"g7\n.",
    ] {
        assert!(
            matches!(error(&pickle(opcodes)), ReadError::Malformed { .. }),
            "{opcodes:?}"
        );
    }
}

#[test]
fn deep_nesting() {
    const DEEP: usize = 100_000;
    // With a MARK each, with APPEND each, as dicts, as tuples, and never closed.
    let marks = [b"](".repeat(DEEP), b"e".repeat(DEEP), b".".to_vec()].concat();
    let appends = [b"]".repeat(DEEP), b"a".repeat(DEEP - 1), b".".to_vec()].concat();
    let dicts = [
        b"}K\x00".repeat(DEEP),
        b"}".to_vec(),
        b"s".repeat(DEEP),
        b".".to_vec(),
    ]
    .concat();
    let tuples = [b"N".to_vec(), b"\x85".repeat(DEEP), b".".to_vec()].concat();
    let old = [b"(".repeat(DEEP), b"l".repeat(DEEP), b".".to_vec()].concat();
    for opcodes in [marks, appends, dicts, tuples, old] {
        let told = error(&pickle(&opcodes));
        assert!(
            matches!(told, ReadError::TooDeep { limit: 128, .. }),
            "{told}"
        );
    }
    assert!(matches!(
        error(&pickle(&b"](".repeat(DEEP))),
        ReadError::TooDeep { .. }
    ));
    for json in ["[".repeat(DEEP), "{\"a\":".repeat(DEEP)] {
        assert!(matches!(error(json.as_bytes()), ReadError::Json { .. }));
    }
}

#[test]
fn cycles_and_late_changes() {
    for opcodes in [
        &b"]\x94h\x00a."[..],                                  // A list in itself.
        b"]\x94(h\x00e.",                                      // The same by APPENDS.
        b"}\x94\x8c\x01ah\x00s.",                              // A dict in itself.
        b"]\x94(h\x00\x85e.",                                  // A list in a tuple in itself.
        b"]\x94]\x94(h\x00eh\x01a.",                           // Two lists in each other.
        b"]\x94}(\x8c\x08segmentsh\x00\x8c\x01bh\x00N\x85ae.", // Changed after it was used.
        b"]2Na.",                                              // Changed after DUP.
    ] {
        let told = error(&pickle(opcodes));
        assert!(
            matches!(told, ReadError::Cyclic { .. } | ReadError::Malformed { .. }),
            "{opcodes:?}: {told}"
        );
    }
    assert!(matches!(
        error(&pickle(b"]\x94h\x00a.")),
        ReadError::Cyclic { offset: 6 }
    ));
}

#[test]
fn a_stack_machine_in_disorder() {
    for opcodes in [
        &b"."[..],
        b"e.",
        b"u.",
        b"s.",
        b"a.",
        b"t.",
        b"\x86.",
        b"0.",
        b"1.",
        b"2.",
        b"\x94.",
        b"q\x00.",
        b"(.",
        b"(e.",
        b"](NN.",
        b"}(Nu.",
        b"}(NNs.",
        b"](NNa.",
        b"Na.",
        b"}Na.",
        b"]NNs.",
        b"K\x01K\x02K\x03s.",
        b"}]Ns.",
        b"}}Ns.",
        b"l.",
        b"d.",
        b"(Nd.",
        b"Iabc\n.",
        b"Lx\n.",
        b"Fx\n.",
        b"Sx\n.",
        b"\x80\x09.",
    ] {
        error(&pickle(opcodes));
    }
    // POP, POP_MARK and DUP of plain data are data.
    for opcodes in [&b"]N0."[..], b"](NNN1.", b"](0.", b"]N20" /* cut */] {
        let _ = read(&pickle(opcodes));
    }
    assert!(read(&pickle(b"](NNN1.")).unwrap().segments.all().is_empty());
}

/// A list of a million references costs what its bytes cost, whatever it refers to.
#[test]
fn shared_values_are_not_expanded() {
    const MANY: usize = 1_000_000;
    // One stack of 1,000 frames under a million events.
    let frame = Tree::dict([
        ("name", Tree::text("f")),
        ("filename", Tree::text("f.py")),
        ("line", Tree::Int(1)),
    ]);
    let stack = Tree::list(vec![frame; 1000]);
    let event = |size| {
        Tree::dict([
            ("action", Tree::text("alloc")),
            ("addr", Tree::Int(4096)),
            ("size", Tree::Int(size)),
            ("stream", Tree::Int(0)),
            ("frames", stack.clone()),
        ])
    };
    let snapshot = Tree::dict([
        ("segments", Tree::list(vec![])),
        (
            "device_traces",
            Tree::list(vec![Tree::list((0..1000).map(event).collect())]),
        ),
    ]);
    let read_back = read(&encode::cpython(&snapshot, 4)).unwrap();
    assert_eq!(read_back.traces[0].events.len(), 1000);
    assert_eq!(read_back.stacks.len(), 1001);

    // One event a million times: two bytes become one row each time, so this is allowed.
    let mut opcodes = b"}(\x8c\x0ddevice_traces](](}(\x8c\x06action\x8c\x05allocu\x94".to_vec();
    opcodes.extend(b"h\x00".repeat(MANY));
    opcodes.extend(b"eeu.");
    assert_eq!(
        read(&pickle(&opcodes)).unwrap().traces[0].events.len(),
        MANY + 1
    );

    // A thousand traces that are the same million events are not.
    let mut opcodes = b"}(\x8c\x0ddevice_traces](](}(\x8c\x06action\x8c\x05allocu\x94".to_vec();
    opcodes.extend(b"h\x00".repeat(MANY));
    opcodes.extend(b"e\x94");
    opcodes.extend(b"h\x01".repeat(1000));
    opcodes.extend(b"eu.");
    assert!(matches!(
        error(&pickle(&opcodes)),
        ReadError::TooLarge { .. }
    ));

    // Nor are segments that share one long list of blocks.
    let mut opcodes = b"}(\x8c\x08segments](}(\x8c\x06blocks](".to_vec();
    opcodes.extend(b"}\x8c\x05stateNs".repeat(10_000));
    opcodes.extend(b"e\x94u");
    opcodes.extend(b"}\x8c\x06blocksh\x00s".repeat(100_000));
    opcodes.extend(b"eu.");
    assert!(matches!(
        error(&pickle(&opcodes)),
        ReadError::TooLarge { .. }
    ));
}

/// Ten lists of ten lists of ten … : the text of it would fill any memory.
#[test]
fn billion_laughs() {
    let mut laugh = Tree::list(vec![Tree::text("ha"); 10]);
    for _ in 0..30 {
        laugh = Tree::list(vec![laugh; 10]);
    }
    let event = |key: &'static str| {
        Tree::dict([
            ("action", Tree::text("alloc")),
            ("size", Tree::Int(1)),
            (key, laugh.clone()),
        ])
    };
    for key in ["user_metadata", "forward_frames", "frames", "unheard_of"] {
        let snapshot = Tree::dict([
            ("segments", Tree::list(vec![])),
            (
                "device_traces",
                Tree::list(vec![Tree::list(vec![event(key); 1])]),
            ),
            ("allocator_settings", Tree::dict([("laugh", laugh.clone())])),
        ]);
        let snapshot = read(&encode::cpython(&snapshot, 4)).unwrap();
        assert_eq!(snapshot.traces[0].events.len(), 1);
        assert!(!snapshot.warnings.all().is_empty());
    }
}

#[test]
fn unpacking_is_capped() {
    // As the beginning of a pickle, so that only the cap ends it.
    let marks = vec![b'('; 4 << 20];
    let mut packed = Vec::new();
    let mut encoder = GzEncoder::new(&mut packed, Compression::best());
    encoder.write_all(&marks).unwrap();
    encoder.finish().unwrap();
    let mut options = ReadOptions::default();
    options.max_unpack_ratio = 10;
    options.max_unpack_extra = 1 << 20;
    let mut go_on = |_: Progress| ControlFlow::Continue(());
    let xz = common::xz(&marks);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(&marks[..], level);
    for bytes in [&packed, &zstd, &xz] {
        match read_bytes(bytes, &options, &mut go_on) {
            Err(ReadError::UnpacksTooLarge { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    // Damaged packing is an error of the packing.
    for bytes in [&packed, &zstd, &xz] {
        let told = error(&bytes[..bytes.len() / 2]);
        assert!(matches!(told, ReadError::Unpack { .. }), "{told}");
    }
    // Packed again and again.
    let mut nested = SMALL.to_vec();
    for _ in 0..5 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&nested).unwrap();
        nested = encoder.finish().unwrap();
    }
    let told = error(&nested).to_string();
    assert!(told.contains("more than 4 containers"), "{told}");
}

/// A bomb in a bomb: each layer's growth alone would be allowed, together they are not.
#[test]
fn layers_share_one_cap() {
    let gzip = |fill: &mut dyn FnMut(&mut dyn Write)| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        fill(&mut packed);
        packed.finish().unwrap()
    };
    let twice = |start: &[u8], byte: u8| {
        let inner = gzip(&mut |out| {
            out.write_all(start).unwrap();
            let block = vec![byte; 1 << 20];
            for _ in 0..512 {
                out.write_all(&block).unwrap();
            }
        });
        gzip(&mut |out| out.write_all(&inner).unwrap())
    };
    // 512 MiB in a few kilobytes. Of the kind of a pickle, so that only the cap ends it.
    let bomb = twice(b"\x80\x04", b'.');
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let limit = bomb.len() as u64 * 1_032 + (64 << 20);
    match error(&bomb) {
        ReadError::UnpacksTooLarge { limit: found, .. } => assert_eq!(found, limit),
        other => panic!("{other}"),
    }
    // Of no kind: known by its first bytes, long before the cap.
    let mut calls = 0;
    let bomb = twice(b"", 0);
    let read = read_bytes(&bomb, &ReadOptions::default(), &mut |_| {
        calls += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(read, Err(ReadError::NotASnapshot { .. })));
    assert!(calls < 10, "{calls}");
}

#[test]
fn other_files_are_named() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "empty"),
        (b"PK\x03\x04torch", "torch.save"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"BZh91AY", "bunzip2"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", "disk was full"),
        (b"<html><body>404</body></html>", "HTML page without"),
        (b"Traceback (most recent call last):", "text that begins"),
        (b"\x01\x02\x03", "bytes that begin 01 02 03"),
        (br#"{"traceEvents": []}"#, "Chrome trace"),
        (
            br#"{"schemaVersion": 1, "traceEvents": [1,2"#,
            "Chrome trace",
        ),
        (
            br#"{"loss": 1, "epoch": 2}"#,
            "the keys \"loss\", \"epoch\"",
        ),
        (b"[1, 2, 3]", "a list or dict"),
        (b"{\"segments\": [}", "JSON is damaged"),
    ];
    for (bytes, wanted) in cases {
        let told = error(bytes).to_string();
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}

#[test]
fn reading_can_be_cancelled() {
    let event = |size| Tree::dict([("action", Tree::text("alloc")), ("size", Tree::Int(size))]);
    let trace = Tree::list((0..200_000).map(event).collect());
    let snapshot = Tree::dict([("device_traces", Tree::list(vec![trace]))]);
    let pickle = encode::cpython(&snapshot, 4);
    let json = snapshot.json().into_bytes();
    for bytes in [pickle, json] {
        let mut last = 0;
        let mut calls = 0;
        let mut watch = |progress: Progress| {
            assert!(progress.done >= last && progress.done <= progress.total);
            assert_eq!(progress.total, bytes.len() as u64);
            last = progress.done;
            calls += 1;
            ControlFlow::Continue(())
        };
        read_bytes(&bytes, &ReadOptions::default(), &mut watch).unwrap();
        assert!(calls > 1, "{calls}");
        let mut stop = |_: Progress| ControlFlow::Break(());
        let result = read_bytes(&bytes, &ReadOptions::default(), &mut stop);
        assert!(matches!(result, Err(ReadError::Cancelled)));
    }
}

/// Every input the fuzzer found worth keeping (see `fuzz/`): it ends, and does not panic.
#[test]
fn fuzz_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz_corpus");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        match read_both_ways(&bytes) {
            Ok(snapshot) => drop(common::contents(&snapshot)),
            Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
        }
        files += 1;
    }
    assert!(files > 100, "{files} files in the corpus");
}

/// A file in a tar.
fn packed(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    out[156] = b'0';
    out[257..262].copy_from_slice(b"ustar");
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A packed run with a sidecar that is none reads as its snapshot alone, and says so.
#[test]
fn a_bad_sidecar_only_warns() {
    for sidecar in [
        &b"[]"[..],
        b"\xff\xfe",
        b"{\"schema\": \"gpumemprof.sidecar/2\"}",
        b"{\"schema\": \"gpumemprof.sidecar/1\", \"walks\": [{\"set\": 9}]}",
    ] {
        let run = [
            packed("oom-1.pickle", SMALL),
            packed("oom-1.gpumemprof.json", sidecar),
            vec![0; 1024],
        ]
        .concat();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&run).unwrap();
        let alone = read(SMALL).unwrap();
        let found = read(&encoder.finish().unwrap()).unwrap();
        let size = |one: &profiler_core::snapshot::Snapshot| {
            let events: usize = one.traces.iter().map(|trace| trace.events.len()).sum();
            (events, one.segments.all().len(), one.stacks.len())
        };
        assert_eq!(size(&found), size(&alone));
        let before = alone.warnings.all().len();
        let added = &found.warnings.all()[before..];
        let start = "the sidecar packed with this snapshot is not used: expected ";
        assert!(
            added.len() == 1 && added[0].message.starts_with(start),
            "{added:?}"
        );
    }
}
