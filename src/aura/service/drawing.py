"""What a worker draws as it analyses: a small picture of every clip, and the reasons if asked."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2

from aura.errors import AuraError
from aura.explain.explainer import Explainer, chosen_moments
from aura.explain.moments import picture_near
from aura.service.artifacts import FOLDER, THUMBNAIL, described
from aura.service.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aura.detectors.base import Chunk
    from aura.media import MediaInfo
    from aura.profiles import Profile
    from aura.report import Report
    from aura.service.artifacts import Artifact
    from aura.service.context import Service
    from aura.service.jobs import Job

log = get_logger("worker")

THUMBNAIL_SIDE = 320  # pixels of the longer one
THUMBNAIL_SECONDS = 2.0  # of looking for its picture, in files that can hardly be sought in
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]


class Drawing:
    """Watches one analysis and leaves files in `folder`."""

    def __init__(self, folder: Path, *, explain: bool) -> None:
        self.folder = folder
        self._explainer = Explainer(folder) if explain else None

    def observe(self, chunk: Chunk) -> None:
        """Hand a chunk on."""
        if self._explainer is not None:
            self._explainer.observe(chunk)

    def explain(
        self,
        report: Report,
        source: MediaInfo,
        profile: Profile,
        tell: Callable[[float, float], None],
    ) -> Report:
        """Draw; a clip of which no small picture can be made has none."""
        try:
            draw_thumbnail(report, source, self.folder / THUMBNAIL)
        except (AuraError, av.FFmpegError, cv2.error, ValueError) as error:
            log.warning("no_thumbnail", error=type(error).__name__)
        if self._explainer is None:
            return report
        return self._explainer.explain(report, source, profile, tell)


def draw_thumbnail(report: Report, source: MediaInfo, target: Path) -> None:
    """The most suspicious picture of the decisive person, or the middle of a clip without one."""
    decisive = report.prediction.decisive_subject
    moments = [one for one in chosen_moments(report)[0] if one.subject == decisive]
    time = moments[0].timestamp if moments else (source.duration or 0.0) / 2
    frame = picture_near(source, time, seconds=THUMBNAIL_SECONDS)
    if frame is None or frame.rgb is None:
        return
    scale = min(1.0, THUMBNAIL_SIDE / max(frame.rgb.shape[:2]))
    size = [max(1, round(side * scale)) for side in frame.rgb.shape[1::-1]]
    small = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    target.write_bytes(cv2.imencode(".jpg", small[..., ::-1], JPEG)[1].tobytes())


@contextlib.contextmanager
def drawn(service: Service, job: Job) -> Iterator[Drawing]:
    """A drawing in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="drawn-", dir=service.scratch.path) as folder:
        yield Drawing(Path(folder), explain=job.explain)


def keep(service: Service, job: Job, drawing: Drawing) -> tuple[Artifact, ...]:
    """Put what was drawn into the storage, under keys of this attempt."""
    found = []
    for path in sorted(drawing.folder.iterdir()):
        key = f"{FOLDER}/{job.id}-{job.attempt}/{path.name}"
        found.append(described(path.name, path.stat().st_size, key))
        service.storage.put(key, path)
    return tuple(found)
