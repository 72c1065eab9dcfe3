"""Plots of an evaluation as SVG, drawn by matplotlib (extra `evaluate`).

Ink and paper are placeholders: `standalone` gives a file that is readable anywhere, `inline` one
that takes the page's colours, light or dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.errors import MissingExtra
from aura.evaluation.suite import THRESHOLD, clip_scores, frame_scores, window_scores
from aura.evaluation.trust import reliability, risk_coverage
from aura.metrics import Curve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aura.evaluation.predictions import Prediction
    from aura.evaluation.suite import Evaluation, Scores
    from aura.metrics import Estimate

INK = "#010203"  # stands for the page's text colour
FAINT = 0.22  # opacity of grids and of what is no data
# Colours that hold on white and on near-black, and apart for the colour-blind (Okabe and Ito).
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31")
SIZE = (4.6, 3.6)  # inches; on the page they scale with their column
SVG_HASH = "aura"  # equal predictions, equal bytes


def need_matplotlib() -> None:
    """Say early what is missing.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - optional, and slow to import
    except ImportError:
        raise MissingExtra("An evaluation folder (--out) holds plots, which", "evaluate") from None


def draw(paint: Callable[[Any], None], size: tuple[float, float] = SIZE) -> str:
    """One plot as SVG with placeholder ink.

    Args:
        paint: given the axes. size: inches.
    """
    need_matplotlib()
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": SVG_HASH,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": FAINT,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "axes.prop_cycle": f"cycler('color', {list(PALETTE)})",
        "lines.linewidth": 1.6,
    }
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style.update(dict.fromkeys((*inked, "grid.color"), INK))
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def standalone(svg: str) -> str:
    """The plot as a file of its own: dark ink on white paper."""
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return re.sub(r"(<svg[^>]*>)", rf"\1{paper}", svg.replace(INK, "#1b1f24"), count=1)


def inline(svg: str, name: str, label: str) -> str:
    """The plot as part of a page: the page's ink, ids that are nobody else's, a text for readers.

    Args:
        name: unique on the page, letters and dashes. label: what the plot shows, plain text.
    """
    body = svg[svg.index("<svg") :].replace(INK, "currentColor")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\1{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def plots_of(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """All plots of one evaluation: by name, a title and the SVG."""
    scored = [one for one in evaluation.clips if one.score is not None]
    clips = clip_scores(scored)
    levels = {"clip": clips}
    if "window" in evaluation.levels:
        levels["window"] = window_scores(scored)
    if "frame" in evaluation.levels:
        levels["frame"] = frame_scores(scored)
    return {
        "roc": ("ROC", draw(lambda axes: _roc(axes, levels))),
        "precision-recall": ("Precision and recall", draw(lambda axes: _pr(axes, levels))),
        "scores": ("Scores of clips", draw(lambda axes: _histogram(axes, clips))),
        "confusion": ("Verdicts", draw(lambda axes: _confusion(axes, evaluation, scored))),
        "reliability": ("Reliability", draw(lambda axes: _reliability(axes, clips))),
        "risk-coverage": ("Risk against coverage", draw(lambda axes: _risk(axes, clips))),
    }


def curves(
    title: str, series: Mapping[str, Sequence[tuple[float, Estimate]]], x_label: str, y_label: str
) -> str:
    """Figures with intervals over a strength, one line a name, as SVG.

    Args:
        series: by name, (strength, figure) in ascending order.
    """

    def paint(axes: Any) -> None:
        for index, (name, points) in enumerate(series.items()):
            x = [strength for strength, _ in points]
            color = PALETTE[index % len(PALETTE)]
            style = ("-", "--", ":")[index // len(PALETTE) % 3]
            values = [one.value for _, one in points]
            axes.plot(x, values, marker="o", ms=3.5, label=name, c=color, ls=style)
            if len(series) == 1:
                low, high = [one.low for _, one in points], [one.high for _, one in points]
                axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
        axes.axhline(0.5, color=INK, alpha=0.5, lw=0.8, ls=":")
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 1.02), title=title)
        if len(series) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return draw(paint, SIZE if len(series) == 1 else (7.0, 3.8))


def roc_of_many(named: Mapping[str, Scores]) -> str:
    """ROC curves of several models on the same clips, as SVG."""
    return draw(lambda axes: _roc(axes, named))


def _roc(axes: Any, levels: Mapping[str, Scores]) -> None:
    for name, entries in levels.items():
        curve = Curve.of(entries.labels, entries.scores)
        axes.plot(np.r_[0, curve.fpr], np.r_[0, curve.tpr], label=f"{name}, AUC {curve.auc:.3f}")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, lw=0.8, ls=":")
    axes.set(xlabel="real ones called fake", ylabel="fakes found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right")


def _pr(axes: Any, levels: Mapping[str, Scores]) -> None:
    for index, (name, entries) in enumerate(levels.items()):
        curve = Curve.of(entries.labels, entries.scores)
        axes.step(
            np.r_[0, curve.tpr],
            np.r_[curve.precision[0], curve.precision],
            where="pre",
            label=f"{name}, AP {curve.average_precision:.3f}",
        )
        share = entries.fakes / len(entries)
        axes.axhline(share, color=PALETTE[index], alpha=0.6, lw=0.8, ls=":")
    axes.set(xlabel="fakes found (recall)", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left", title="dotted: share of fakes", title_fontsize=8)


def _histogram(axes: Any, entries: Scores) -> None:
    named = {
        "real": entries.scores[entries.labels == 0],
        "fake": entries.scores[entries.labels == 1],
    }
    labels = [f"{name} ({len(picked)})" for name, picked in named.items()]
    axes.hist(list(named.values()), np.linspace(0, 1, 11), label=labels, rwidth=0.85)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.axvline(THRESHOLD, color=INK, alpha=0.5, lw=0.8, ls=":")
    axes.set(xlabel="P(fake)", ylabel="clips", xlim=(0, 1))
    axes.legend(loc="upper right")


def _confusion(axes: Any, evaluation: Evaluation, scored: Sequence[Prediction]) -> None:
    if evaluation.decisions is not None:
        columns = ["real", "uncertain", "fake"]
        table = [
            [evaluation.decisions.counts[row].get(column, 0) for column in columns]
            for row in ("real", "fake")
        ]
    else:
        columns = ["real", "fake"]
        table = [
            [
                sum(
                    one.label == label and ((one.score or 0) >= THRESHOLD) == called
                    for one in scored
                )
                for called in (False, True)
            ]
            for label in (0, 1)
        ]
    counts = np.array(table, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.add_patch(
            _rectangle((column - 0.47, row - 0.45), 0.94, 0.9, alpha=0.06 + 0.55 * float(share))
        )
        axes.text(column, row, f"{count:.0f}\n{share:.0%}", ha="center", va="center", size=12)
    axes.set(
        xlim=(-0.5, len(columns) - 0.5),
        ylim=(1.5, -0.5),
        xlabel="verdict",
        ylabel="truth",
    )
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks([0, 1], ["real", "fake"])
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _rectangle(place: tuple[float, float], width: float, height: float, alpha: float) -> Any:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    return Rectangle(place, width, height, facecolor=PALETTE[0], alpha=alpha, lw=0)


def _reliability(axes: Any, entries: Scores) -> None:
    bins = reliability(entries.labels, entries.scores)
    there = bins.weight > 0
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, lw=0.8, ls=":")
    axes.plot(bins.predicted[there], bins.fake[there], lw=1)
    sizes = 12 + 160 * bins.weight[there] / bins.weight.sum()
    axes.scatter(bins.predicted[there], bins.fake[there], s=sizes, zorder=3)
    for p, fake, weight in zip(
        bins.predicted[there], bins.fake[there], bins.weight[there], strict=True
    ):
        axes.annotate(f"{weight:.0f}", (p, fake), (5, 5), textcoords="offset points", size=7)
    axes.set(
        xlabel="P(fake)",
        ylabel="share of fakes",
        xlim=(0, 1),
        ylim=(-0.02, 1.04),
        title=f"ECE {bins.error:.3f}; figures: clips in the bin",
    )
    axes.title.set_size(8)


def _risk(axes: Any, entries: Scores) -> None:
    curve = risk_coverage(entries.labels, entries.scores)
    axes.step(curve.coverage, curve.risk, where="post", label=f"AURC {curve.area:.3f}")
    axes.set(
        xlabel="share of clips that are judged (surest first)",
        ylabel="wrong among them",
        xlim=(0, 1),
        ylim=(0, min(1.02, max(0.05, float(curve.risk.max()) * 1.15))),
    )
    axes.legend(loc="upper right")
