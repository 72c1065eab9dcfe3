"""Fills the template: one HTML page that holds everything it shows."""

from __future__ import annotations

import base64
import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura import __version__, signing
from aura.errors import MissingExtra, ReportError
from aura.examiner import wording
from aura.explain import plots
from aura.explain.svg import clock
from aura.profiles import load_profile
from aura.runtime import sha256_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.explanation import Picture, SaliencyMap
    from aura.report import Report
    from aura.verify import Verification

TEMPLATE = Path(__file__).with_name("report.html.j2")
PRINTED_SIDE = 900  # pixels of the longer side: 300 a printed inch at half a page's width
CLOSE_MARGIN = 0.15  # around the face crop, in its sides
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]
MAX_ROWS = 40  # of a table; the report has all
UNPRINTABLE = dict.fromkeys([*range(32), 127, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")


def require(*, pdf: bool) -> None:
    """Check that the extra is there, before anything is analysed for long.

    Raises:
        MissingExtra: it is not.
    """
    for name in ("jinja2", "weasyprint") if pdf else ("jinja2",):
        if importlib.util.find_spec(name) is None:
            raise MissingExtra("aura report", "report")


def page(
    done: Verification,
    folder: Path,
    *,
    case: str = "",
    examiner: str = "",
    rerun: bool = False,
) -> str:
    """The examiner's report as one HTML page.

    Args:
        done: the checked report. folder: where its pictures are. case, examiner: as printed.
        rerun: whether the video was there and the run was repeated.

    Raises:
        ReportError: what was checked is no whole report.
    """
    import jinja2  # noqa: PLC0415 - optional extra

    report = done.report
    if report is None:
        raise ReportError("the report is damaged, so there is nothing to print; use the original")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(plain=_plain, clock=clock, local=_time)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    printed: str = template.render(
        r=report,
        done=done,
        case=case,
        examiner=examiner or (report.signature.signed_by if report.signature else ""),
        printed_at=datetime.now(UTC),
        tool=__version__,
        rerun=rerun,
        words=wording,
        labels={one.name: one.label for one in report.detectors},
        charts=_charts(report, folder),
        maps=[_shown(one, folder) for one in _present(report, folder)],
        max_rows=MAX_ROWS,
        fake_from=_threshold(report),
        key_id=report.signature.key_id if report.signature else None,
        own_key=signing.own_key_id(),
    )
    return printed


def _threshold(report: Report) -> float | None:
    """From which score on "manipulated" is said, where the profile is the one of the report."""
    try:
        profile = load_profile(report.profile)
    except Exception:  # noqa: BLE001 - a profile of another version: leave it out
        return None
    same = profile.config_sha256 == report.metadata.config_sha256
    return profile.fusion.fake_from if same else None


def _charts(report: Report, folder: Path) -> dict[str, str]:
    made = plots.charts(report, folder if _spectrogram_fits(report, folder) else None)
    return {
        name.removesuffix(".svg"): "data:image/svg+xml;base64,"
        + base64.b64encode(chart.encode()).decode()
        for name, chart in made.items()
    }


def _spectrogram_fits(report: Report, folder: Path) -> bool:
    told = report.explanation.spectrogram if report.explanation else None
    return told is not None and _fits(told.picture, folder)


def _present(report: Report, folder: Path) -> list[SaliencyMap]:
    """Maps whose pictures are beside the report and unchanged; no other is printed."""
    maps = report.explanation.maps if report.explanation else ()
    return [one for one in maps if _fits(one.frame, folder) and _fits(one.heat, folder)]


def _fits(picture: Picture, folder: Path) -> bool:
    path = folder / picture.file
    return path.is_file() and sha256_file(path) == picture.sha256


def _shown(one: SaliencyMap, folder: Path) -> dict[str, Any]:
    heat, frame = _read(folder / one.heat.file), _read(folder / one.frame.file)
    return {
        "map": one,
        "marked": any(cell > 0 for row in one.cells for cell in row),
        "whole": _jpeg(heat),
        "close": _jpeg(_close_up(heat, one)),
        "close_plain": _jpeg(_close_up(frame, one)),
    }


def _read(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 BGR; its checksum was compared before."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)


def _close_up(picture: NDArray[np.uint8], one: SaliencyMap) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    corners = np.array(one.corners) * [width, height]
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = CLOSE_MARGIN * (high - low).max()
    left, top = np.maximum(low - margin, 0).astype(int)
    right, bottom = np.minimum(high + margin, [width, height]).astype(int)
    return picture[top : max(bottom, top + 2), left : max(right, left + 2)]


def _jpeg(picture: NDArray[np.uint8]) -> str:
    scale = min(1.0, PRINTED_SIDE / max(picture.shape[:2]))
    if scale < 1.0:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", picture, JPEG)[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _plain(value: object) -> str:
    """Text of strangers: no control characters, nothing that turns the direction of writing."""
    return str(value).translate(UNPRINTABLE)


def _time(value: datetime) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
