"""Starts one command and writes what it used to a file descriptor; small, and run on its own.

Linux counts a parent's memory at the time of the start into the peak of its child (`getrusage`,
`ru_maxrss`), so a benchmark with arrays of its own must not start the command itself.
"""

import json
import os
import sys
import time

report, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(report, False)
began = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - began
used = {
    "wall": wall,
    "cpu": usage.ru_utime + usage.ru_stime,
    "max_rss": usage.ru_maxrss,
    "exit_code": os.waitstatus_to_exitcode(status),
}
os.write(report, json.dumps(used).encode())
