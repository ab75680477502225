"""Processor time and memory of CPython's pickle.load for a snapshot file, collector on and off.

python3 benches/python_load.py FILE
"""

import gc
import pickle
import subprocess
import sys
import time


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1000


if len(sys.argv) == 2:
    for collector in ("on", "off"):
        subprocess.run([sys.executable, __file__, sys.argv[1], collector], check=True)
else:
    path, collector = sys.argv[1:]
    if collector == "off":
        gc.disable()
    before, start = anonymous(), time.process_time()
    with open(path, "rb") as file:
        snapshot = pickle.load(file)
    seconds = time.process_time() - start
    events = sum(map(len, snapshot["device_traces"]))
    memory = anonymous() - before
    print(
        f"{path}: {events} events, collector {collector}: {seconds:.2f} s, {memory:.0f} MB, "
        f"{memory * 1e6 / events:.0f} B/event"
    )
