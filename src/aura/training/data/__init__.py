"""Data sets: one manifest for all of them, importers, and an audit that looks for leaks.

`manifest.py` is the file that everything else reads. `listing.py`, `picture_sets.py` and
`talking_sets.py` know how public data sets lie on disk, `importing.py` hashes and probes their
files, several at once (`threads.py`). `looks.py` takes a glance at a clip; `duplicates.py`,
`shortcuts.py` and `audit.py` judge a whole data set by it. `command.py` is `aura data`.

Nothing here needs more than the core's own dependencies (Parquet: extra `parquet`), and a contract
in `pyproject.toml` keeps PyTorch out.
"""
