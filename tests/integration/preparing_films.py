"""What tests of `aura data prepare` look at."""

from __future__ import annotations

import hashlib

from aura.training.data import prepare as preparing

FPS = 5.0


def hashes(out):
    """Shards by name, with the SHA-256 of their bytes."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (out / "shards").glob("*/*")
    }


def counted(monkeypatch):
    """Files that are decoded from now on."""
    seen = []
    extract = preparing.extract

    def count(info, *arguments, **options):
        seen.append(info.path.name)
        return extract(info, *arguments, **options)

    monkeypatch.setattr(preparing, "extract", count)
    return seen
