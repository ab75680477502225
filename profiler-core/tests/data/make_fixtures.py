"""Makes the small snapshots beside this file: one per format version, as that version writes it.

    python3 profiler-core/tests/data/make_fixtures.py

The keys and their order are those of torch/csrc/cuda/Module.cpp at each version. One story in
all of them: on device 0 a 2 MiB segment is taken, 1,000 bytes are allocated in forward(), 2,000
bytes in backward() and freed again.
"""

import json
import pathlib
import pickle

HERE = pathlib.Path(__file__).parent
BASE = 0x7F00_0000_0000
MIB = 1 << 20
TIME = 1_700_000_000_000_000
VERSIONS = ["1.13", "2.0", "2.1", "2.2", "2.3", "2.5", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15"]


def number(version):
    major, minor = version.split(".")
    return int(major) * 100 + int(minor)


def frame(name, line):
    return {"name": name, "filename": "/home/train.py", "line": line}


def snapshot(version):
    v = number(version)
    main, forward, backward = frame("main", 10), frame("forward", 20), frame("backward", 30)
    if v >= 210:
        forward |= {
            "fx_node_op": "call_function",
            "fx_node_name": "addmm",
            "fx_node_target": "aten.addmm.default",
            "fx_original_trace": "x = self.fc(x)",
        }
    in_forward, in_backward, at_free = [forward, main], [backward, main], [backward, main]

    def event(action, address, size, time, frames, metadata="", **more):
        key = "device_free" if action == "oom" else "addr"
        entry = {"action": action, key: address, "size": size, "stream": 0}
        if v >= 202:
            entry["time_us"] = TIME + time
        if v >= 208:
            entry["compile_context"] = more.get("compile_context", "N/A")
        if v >= 210:
            entry["user_metadata"] = metadata
        if v >= 215 and action == "alloc":
            entry["internal_metadata"] = "mallocWithAddress"
        if v >= 212:
            entry["pool_id"] = (0, 0)
        entry["frames"] = frames
        if v >= 211 and action == "free_requested":
            entry["forward_frames"] = ["train.py:20, in forward\n", "train.py:10, in main\n"]
        return entry

    trace = [
        event("segment_alloc", BASE, 2 * MIB, 1, in_forward),
        event("alloc", BASE, 1000, 2, in_forward, "step=0", compile_context="Region 0/0"),
        event("alloc", BASE + 1024, 2000, 3, in_backward, "step=0"),
        event("free_requested", BASE + 1024, 2000, 4, at_free),
        event("free_completed", BASE + 1024, 2000, 5, at_free),
        event("oom", 12 * MIB, 64 * MIB, 6, in_forward),
    ]
    if v >= 214:
        trace.insert(2, event("annotate", BASE, 1000, 2, in_forward, "fc.weight"))

    def block(address, size, requested, state, frames):
        entry = {}
        if v >= 201:
            entry["address"] = address
        entry["size"] = size
        if v >= 200:
            entry["requested_size"] = requested
        entry["state"] = state
        if v <= 200:
            if frames:
                entry["history"] = [{"addr": address, "real_size": requested, "frames": frames}]
        else:
            entry["frames"] = frames
        return entry

    segment = {"device": 0, "address": BASE, "total_size": 2 * MIB, "allocated_size": 1024, "active_size": 1024}
    if v >= 200:
        segment["requested_size"] = 1000
    segment |= {"stream": 0, "segment_type": "small"}
    if v >= 201:
        segment |= {"segment_pool_id": (0, 0), "is_expandable": False, "frames": in_forward}
    segment["blocks"] = [
        block(BASE, 1024, 1000, "active_allocated", in_forward),
        block(BASE + 1024, 2 * MIB - 1024, 2000 if v >= 200 else 0, "inactive", []),
    ]
    if v < 200:
        return [segment]
    result = {"segments": [segment], "device_traces": [trace, []]}
    if v >= 203:
        settings = {
            "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64",
            "max_split_size": 64 * MIB,
            "garbage_collection_threshold": 0.8,
            "expandable_segments": False,
            "pinned_num_register_threads": 1,
            "release_lock_on_cudamalloc": False,
            "pinned_use_cuda_host_register": False,
        }
        if v >= 209:
            settings["graph_capture_record_stream_reuse"] = False
        if v >= 213:
            settings |= {"max_round_threshold": -1, "max_cached_size": -1}
        settings["roundup_power2_divisions"] = {"1": 0, "2": 4, "64": 8}
        result["allocator_settings"] = settings
    if v >= 205:
        result["external_annotations"] = [
            {"name": "train_step#0", "stage": "START", "device": 0, "time_us": TIME},
            {"stage": "END", "name": "train_step#0", "time_us": TIME + 9, "device": 0},
        ]
    if v >= 214:
        result["host_segments"] = [
            {
                "device": -1,
                "address": 4096,
                "total_size": 8192,
                "allocated_size": 8192,
                "active_size": 8192,
                "requested_size": 8192,
                "stream": 0,
                "segment_type": "small",
                "segment_pool_id": (0, 0),
                "is_expandable": False,
                "frames": in_forward,
                "blocks": [block(4096, 8192, 8192, "active_allocated", in_forward)],
            }
        ]
        result["host_traces"] = [event("segment_alloc", 4096, 8192, 7, in_forward)]
    return result


for version in VERSIONS:
    with open(HERE / f"torch-{version}.pickle", "wb") as file:
        pickle.dump(snapshot(version), file, protocol=4)
for protocol in range(6):
    with open(HERE / f"protocol-{protocol}.pickle", "wb") as file:
        pickle.dump(snapshot("2.15"), file, protocol=protocol)
with open(HERE / "snapshot.json", "w") as file:
    json.dump(snapshot("2.15"), file)
