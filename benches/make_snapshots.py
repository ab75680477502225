"""Makes snapshot files of any number of events, for measuring the reader.

    python3 benches/make_snapshots.py SOURCE.pickle EVENTS OUT.pickle

The events of SOURCE's first device are written again and again, byte for byte as CPython's
pickler (protocol 4) writes a snapshot: every dict, list, tuple and new string gets a memo entry,
lists go out in batches of 1,000, a frame dict is written once and fetched from the memo after
that, each event has a list of frames of its own, and events that share their list in SOURCE
(free_requested and free_completed) share it here. Segments and blocks are SOURCE's. Only the
times differ from one repetition to the next. No FRAME opcodes are written: readers skip them.

The events are the real ones, in their real order, but the whole is no possible history: the
second repetition allocates what the first has not freed.
"""

import pickle
import struct
import sys


class Writer:
    def __init__(self, file):
        self.file = file
        self.parts = []
        self.memo = {}
        self.next_id = 0

    def put(self, part):
        self.parts.append(part)
        if len(self.parts) > 100_000:
            self.flush()

    def flush(self):
        self.file.write(b"".join(self.parts))
        self.parts.clear()

    def memoize(self, key):
        self.put(b"\x94")
        self.memo[key] = self.next_id
        self.next_id += 1

    @staticmethod
    def get(number):
        return b"h%c" % number if number < 256 else b"j" + struct.pack("<I", number)

    @staticmethod
    def int(value):
        if 0 <= value < 256:
            return b"K%c" % value
        if 0 <= value < 65536:
            return b"M" + struct.pack("<H", value)
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        length = (value.bit_length() >> 3) + 1
        return b"\x8a%c" % length + value.to_bytes(length, "little", signed=True)

    def save(self, value):
        """Anything, as CPython's pickler would. Strings are shared by value."""
        if value is None:
            return self.put(b"N")
        if value is True or value is False:
            return self.put(b"\x88" if value else b"\x89")
        if isinstance(value, int):
            return self.put(self.int(value))
        if isinstance(value, float):
            return self.put(b"G" + struct.pack(">d", value))
        key = value if isinstance(value, str) else id(value)
        known = self.memo.get(key)
        if known is not None:
            return self.put(self.get(known))
        if isinstance(value, str):
            raw = value.encode("utf-8", "surrogatepass")
            if len(raw) < 256:
                self.put(b"\x8c%c" % len(raw) + raw)
            else:
                self.put(b"X" + struct.pack("<I", len(raw)) + raw)
            return self.memoize(key)
        if isinstance(value, tuple):
            if not value:
                return self.put(b")")
            assert len(value) <= 3
            for item in value:
                self.save(item)
            self.put(bytes([0x84 + len(value)]))
            return self.memoize(key)
        if isinstance(value, list):
            self.put(b"]")
            self.memoize(key)
            self.batches(value, b"a", b"e", self.save)
        else:
            self.put(b"}")
            self.memoize(key)
            self.batches(list(value.items()), b"s", b"u", self.pair)

    def pair(self, item):
        self.save(item[0])
        self.save(item[1])

    def batches(self, items, single, many, save):
        for start in range(0, len(items), 1000):
            batch = items[start : start + 1000]
            if len(batch) > 1:
                self.put(b"(")
            for item in batch:
                save(item)
            self.put(many if len(batch) > 1 else single)

    def events(self, events, count):
        """`count` events, SOURCE's over and over."""
        self.put(b"]")
        self.memoize(("events",))
        written = 0
        span = events[-1].get("time_us", 0) - events[0].get("time_us", 0) + 1
        prepared = None
        repetition = 0
        while written < count:
            lists = {}
            for at, event in enumerate(events):
                if written == count:
                    break
                if written % 1000 == 0:
                    self.put(b"e(" if written else b"(")
                written += 1
                if prepared is None:
                    # The first time everything new is written in full.
                    self.put(b"}")
                    self.memoize(("event",))
                    self.put(b"(")
                    for key, value in event.items():
                        self.save(key)
                        if key == "frames":
                            self.frames(value, lists)
                        else:
                            self.save(value)
                    self.put(b"u")
                    continue
                before, time, between, frames, raw, after = prepared[at]
                self.next_id += 1
                self.put(before)
                if time is not None:
                    self.put(self.int(time + repetition * span))
                tuples = between.count(b"\x86\x94")
                self.put(between)
                self.next_id += tuples
                if frames is not None:
                    known = lists.get(frames)
                    if known is None:
                        lists[frames] = self.next_id
                        self.next_id += 1
                        self.put(raw)
                    else:
                        self.put(self.get(known))
                self.put(after)
            if prepared is None:
                prepared = [self.prepare(event) for event in events]
            repetition += 1
        self.put(b"e")

    def frames(self, value, lists):
        known = lists.get(id(value))
        if known is not None:
            return self.put(self.get(known))
        self.put(b"]")
        lists[id(value)] = self.next_id
        self.memoize(("frames",))
        if value:
            self.batches(value, b"a", b"e", self.save)

    def prepare(self, event):
        """An event's bytes once its strings and frames are in the memo."""
        parts = [[b"}\x94("], [], []]
        time = frames = raw = None
        stage = 0
        for key, value in event.items():
            name = self.get(self.memo[key])
            if key == "time_us":
                assert stage == 0
                parts[0].append(name)
                time, stage = value, 1
            elif key == "frames":
                parts[stage].append(name)
                frames, stage = id(value), 2
                gets = [self.get(self.memo[id(frame)]) for frame in value]
                assert len(gets) < 1000
                body = b"(" + b"".join(gets) + b"e" if len(gets) > 1 else b"".join(gets) + b"a"
                raw = b"]\x94" + (body if gets else b"")
            elif isinstance(value, str):
                parts[stage].append(name + self.get(self.memo[value]))
            elif isinstance(value, tuple):
                parts[stage].append(name + b"".join(map(self.int, value)) + b"\x86\x94")
            else:
                parts[stage].append(name + self.int(value))
        parts[2].append(b"u")
        assert frames is None or b"\x86\x94" not in parts[2][0]
        before, between, after = (b"".join(part) for part in parts)
        return before, time, between, frames, raw, after


def main():
    source, count, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(source, "rb") as file:
        snapshot = pickle.load(file)
    with open(out, "wb") as file:
        writer = Writer(file)
        writer.put(b"\x80\x04}")
        writer.memoize(("snapshot",))
        writer.put(b"(")
        for key, value in snapshot.items():
            writer.save(key)
            if key == "device_traces":
                writer.put(b"]")
                writer.memoize(("traces",))
                writer.put(b"(")
                writer.events(value[0], count)
                writer.put(b"e")
            else:
                writer.save(value)
        writer.put(b"u.")
        writer.flush()


main()
