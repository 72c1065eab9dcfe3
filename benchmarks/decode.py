"""The floor: decode every picture of a file and do nothing with it. Run as a process of its own.

Prints the seconds that decoding itself took, without the start of Python and PyAV.
"""

import sys
import time

import av

began = time.perf_counter()
pictures = 0
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"  # all cores, as the analysis decodes
    for _ in container.decode(stream):
        pictures += 1
print(f"{time.perf_counter() - began:.6f} {pictures}")
