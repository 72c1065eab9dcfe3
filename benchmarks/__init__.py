"""How fast, and in how much memory: `make bench`, one table in one run.

Nothing here is a test and nothing in it can fail a build: timings depend on the machine, so they
are published with the machine's name and never asserted.

clips     the clips that are measured, made here
process   one command as a whole process, by way of a small launcher: wall and CPU time, memory
decode    the floor: only decode the file
stages    where the time goes inside one analysis
eager     the same pictures the way it is commonly written: eager PyTorch, frame by frame
machine   what it all ran on
table     the results as Markdown
"""
