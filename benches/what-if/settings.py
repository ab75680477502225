#!/usr/bin/env python3
"""What PyTorch makes of settings strings: one JSON line each, for `profiler-core/tests/alloc_conf.jsonl`.

    simgpu/run.py -- PYTHON benches/what-if/settings.py >> profiler-core/tests/alloc_conf.jsonl

Each string is read by a fork of its own, since settings are sticky. `decoded` is null where PyTorch refuses it.
"""

import json
import os

import torch

STRINGS = """
max_split_size_mb:64|max_split_size_mb:20|max_split_size_mb:21|max_split_size_mb:19|max_split_size_mb:0
max_split_size_mb:-1|max_split_size_mb:64abc|max_split_size_mb:abc|max_split_size_mb:|max_split_size_mb
max_split_size_mb=64|max_split_size_mb,64|max_split_size_mb:64,|,max_split_size_mb:64|max_split_size_mb 64
max_split_size_mb:64;expandable_segments:True|max_split_size_mb:99999999999|max_split_size_mb: 128 , expandable_segments : True
max_split_size_mb:64,max_split_size_mb:128|max_split_size_mb:[64]|max_split_size_mb:1e3|max_split_size_mb:64.9
max_split_size_mb:0x80|MAX_SPLIT_SIZE_MB:64|max_split_size:64|max_split_size_mb::64|[max_split_size_mb:64]
max_non_split_rounding_mb:20|max_non_split_rounding_mb:21|max_non_split_rounding_mb:64|max_non_split_rounding_mb:10
large_segment_size_mb:10|large_segment_size_mb:11|large_segment_size_mb:64|large_segment_size_mb:64,max_split_size_mb:32
max_split_size_mb:32,large_segment_size_mb:64|max_split_size_mb:128,large_segment_size_mb:64|large_segment_size_mb:12,max_split_size_mb:12
garbage_collection_threshold:0.6|garbage_collection_threshold:0|garbage_collection_threshold:1|garbage_collection_threshold:1.0
garbage_collection_threshold:0.999|garbage_collection_threshold:.5|garbage_collection_threshold:5e-1|garbage_collection_threshold:-0.5
garbage_collection_threshold:nan|garbage_collection_threshold:inf|garbage_collection_threshold:0.5x|garbage_collection_threshold:x
garbage_collection_threshold:+0.5|garbage_collection_threshold:0.5.5
roundup_power2_divisions:0|roundup_power2_divisions:1|roundup_power2_divisions:4|roundup_power2_divisions:3|roundup_power2_divisions:4x
roundup_power2_divisions:[64:8]|roundup_power2_divisions:[64:8,256:4,1024:4,>:1]|roundup_power2_divisions:[256:1,512:2,1024:4,>:8]
roundup_power2_divisions:[>:4]|roundup_power2_divisions:[]|roundup_power2_divisions:[64:8|roundup_power2_divisions:[64:8,]
roundup_power2_divisions:[64:3]|roundup_power2_divisions:[3:8]|roundup_power2_divisions:[1:8,2:0,>:0]|roundup_power2_divisions:[64,8]
roundup_power2_divisions:[65536:8]|roundup_power2_divisions:[1:2,>:4,8:16]|roundup_power2_divisions:[8:2,1:4]|roundup_power2_divisions:[64:8;256:4]
roundup_power2_divisions:[64:8],expandable_segments:True|roundup_power2_divisions:[64:8]expandable_segments:True
expandable_segments:True|expandable_segments:False|expandable_segments:true|expandable_segments:1|expandable_segments:
expandable_segments:True,expandable_segments:False|expandable_segments|expandable_segments:[True]
backend:native|backend:jemalloc|backend:|backend
release_lock_on_cudamalloc:True|release_lock_on_hipmalloc:True|release_lock_on_cudamalloc:yes
pinned_use_cuda_host_register:True|pinned_use_hip_host_register:False|pinned_num_register_threads:4|pinned_num_register_threads:3
pinned_num_register_threads:256|pinned_use_background_threads:True|pinned_reserve_segment_size_mb:64|pinned_reserve_segment_size_mb:0
pinned_free_catch_all:True|graph_capture_record_stream_reuse:True|per_process_memory_fraction:0.5|per_process_memory_fraction:1.5
throw_on_cudamalloc_oom:True|pinned_max_round_threshold_mb:64|pinned_max_cached_size_mb:64
expandable_segments_reserve:0.5|expandable_segments_reserve:40G|expandable_segments_reserve:x
expandable_segments_reserve_by_class:[a:0.5,b:4G]|expandable_segments_reserve_by_class:0.5|unknown_option:1|unknown_option
""".replace("\n", "|").split("|")

VERSION = torch.__version__.split("+")[0]


def read(conf):
    if hasattr(torch._C, "_accelerator_setAllocatorSettings"):
        torch._C._accelerator_setAllocatorSettings(conf)
    else:
        torch.cuda.memory._set_allocator_settings(conf)
    torch.cuda.init()
    settings = torch.cuda.memory._snapshot()["allocator_settings"]
    divisions = settings["roundup_power2_divisions"]
    return {
        "max_split_size": settings["max_split_size"],
        "garbage_collection_threshold": settings["garbage_collection_threshold"],
        "expandable_segments": settings["expandable_segments"],
        "roundup_power2_divisions": [divisions[str(1 << n)] for n in range(16)],
    }


for conf in ["", *filter(None, STRINGS)]:
    receive, send = os.pipe()
    if os.fork() == 0:
        try:
            text = json.dumps(read(conf))
        except Exception:
            text = "null"
        os.write(send, text.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        text = pipe.read()
    os.wait()
    # A child that died says nothing: PyTorch aborted.
    decoded = json.loads(text) if text else "aborted"
    print(json.dumps({"torch": VERSION, "conf": conf, "decoded": decoded}), flush=True)
