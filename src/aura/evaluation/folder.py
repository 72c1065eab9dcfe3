"""An evaluation folder: predictions in, figures, tables, plots and the page out.

    predictions.jsonl         what was said about each clip
    variants/KIND/NAME.jsonl  the same under a perturbation, an attack or an ablation
    metrics.json              every figure with its interval
    figures.csv slices.csv variants.csv   the same as tables; tables.md for people
    plots/*.svg  report.html  the page holds everything and asks for nothing else

Everything but the predictions can be made again from them.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aura.batch import write_whole
from aura.errors import UsageError
from aura.evaluation import plots
from aura.evaluation.compare import markdown as compare_markdown
from aura.evaluation.page import comparison_page, evaluation_page
from aura.evaluation.predictions import read_predictions
from aura.evaluation.suite import FIGURES, Evaluation, Measured, measure
from aura.evaluation.variants import KINDS, Variant, read_variants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from aura.evaluation.compare import Comparison
    from aura.evaluation.predictions import Header
    from aura.metrics import Estimate

METRICS_FORMAT = 1
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs begins so
PAGE, TABLES = "report.html", "tables.md"


def write_evaluation(folder: Path) -> Evaluation:
    """Measure the predictions in a folder and write everything that is made from them.

    Raises:
        InputError: see `read_predictions` and `measure`. MissingExtra: no matplotlib.
        UsageError: the folder can't be written.
    """
    header, clips = read_predictions(folder)
    evaluation = measure(header, clips)
    variants = read_variants(folder, evaluation)
    drawn = plots.plots_of(evaluation) | variant_plots(variants)
    files = {
        "metrics.json": json.dumps(metrics(evaluation, variants), indent=1, allow_nan=False) + "\n",
        "figures.csv": _figures_csv(evaluation),
        "slices.csv": _slices_csv(evaluation),
        TABLES: markdown(evaluation, variants),
        PAGE: evaluation_page(evaluation, variants, drawn),
    }
    if variants:
        files["variants.csv"] = _variants_csv(variants)
    files |= {f"plots/{name}.svg": plots.standalone(svg) for name, (_, svg) in drawn.items()}
    write_files(folder, files)
    return evaluation


def write_comparison(folder: Path, comparison: Comparison, keys: Sequence[str]) -> None:
    """Write a comparison as JSON, Markdown (with the figures named in `keys`) and a page.

    Raises:
        MissingExtra: no matplotlib. UsageError: the folder can't be written.
    """
    roc = plots.roc_of_many({one.name: one.scores for one in comparison.standings})
    document = {
        "format": METRICS_FORMAT,
        "shared_clips": comparison.shared,
        "matched_by": comparison.matched_by,
        "base": comparison.standings[0].name,
        "models": [
            {
                "name": one.name,
                "made_from": header_values(one.header),
                "left_out": one.left_out,
                **_measured(one.measured),
                "differences": {key: _interval(value) for key, value in one.differences.items()},
            }
            for one in comparison.standings
        ],
    }
    write_files(
        folder,
        {
            "comparison.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
            "comparison.md": compare_markdown(comparison, keys) + "\n",
            "comparison.html": comparison_page(comparison, roc),
            "plots/roc.svg": plots.standalone(roc),
        },
    )


def header_values(header: Header) -> dict[str, Any]:
    """A header as plain JSON values."""
    return {**asdict(header), "trained_on": list(header.trained_on)}


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write text files below a folder, each whole or not at all.

    Raises:
        UsageError: the folder can't be written.
    """
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, text)
    except OSError as error:
        raise UsageError(f"{folder} can't be written ({error.strerror})") from None


def variant_plots(variants: Sequence[Variant]) -> dict[str, tuple[str, str]]:
    """AUC over the strength of each perturbation and attack."""
    drawn = {}
    for kind, title in KINDS.items():
        series: dict[str, list[tuple[float, Estimate]]] = {}
        for one in variants:
            if one.kind == kind and one.level is not None and "auc" in one.measured.figures:
                points = series.setdefault(one.name, [(0.0, one.base.figures["auc"])])
                points.append((one.level, one.measured.figures["auc"]))
        if series:
            unit = {"adversarial": "epsilon (of 255)"}.get(kind, "level (0: untouched)")
            drawn[kind] = (title, plots.curves(title, series, unit, "AUC of clips"))
    return drawn


def metrics(evaluation: Evaluation, variants: Sequence[Variant]) -> dict[str, Any]:
    """Every figure as plain JSON values; `clip`, `window` and `frame` hold those of each level."""
    decisions = evaluation.decisions
    return {
        "format": METRICS_FORMAT,
        "model": {"name": evaluation.header.model, "sha256": evaluation.header.model_sha256},
        "made_from": header_values(evaluation.header),
        "clips": {
            "total": len(evaluation.clips),
            "scored": len(evaluation.clips) - len(evaluation.unscored),
            "without_score": [
                {"path": one.path, "reason": one.error or "nothing to judge"}
                for one in evaluation.unscored
            ],
        },
        **{name: _measured(one) for name, one in evaluation.levels.items()},
        "decisions": None
        if decisions is None
        else {
            "counts": decisions.counts,
            "false_alarms": _interval(decisions.false_alarms),
            "missed": _interval(decisions.missed),
            "uncertain": _interval(decisions.uncertain),
        },
        "localisation_ap": {name: _interval(one) for name, one in evaluation.localisation.items()},
        "slices": [
            {"kind": one.kind, "name": one.name, **_measured(one.measured)}
            for one in evaluation.slices
        ],
        "variants": [
            {
                "kind": one.kind,
                "name": one.name,
                "level": one.level,
                "setting": one.setting,
                "shared_clips": one.shared,
                **_measured(one.measured),
                "differences": {key: _interval(value) for key, value in one.differences.items()},
            }
            for one in variants
        ],
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "fakes": measured.fakes,
        "reals": measured.reals,
        "groups": measured.groups,
        **{key: _interval(one) for key, one in measured.figures.items()},
        "not_measured": measured.notes,
    }


def _interval(estimate: Estimate) -> dict[str, float | None]:
    return dict(zip(("value", "low", "high"), _triple(estimate), strict=True))


def _triple(estimate: Estimate) -> list[float | None]:
    return [
        round(value, 6) if math.isfinite(value) else None
        for value in (estimate.value, estimate.low, estimate.high)
    ]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_no_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


def _no_formula(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: names come from files and lists of others.

    >>> _no_formula("=HYPERLINK(0)"), _no_formula("talk.mp4"), _no_formula(-0.5)
    ("'=HYPERLINK(0)", 'talk.mp4', -0.5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _cells(measured: Measured) -> list[Any]:
    """value, low, high of every figure; empty where it was not measured."""
    cells: list[Any] = []
    for one in FIGURES:
        estimate = measured.figures.get(one.key)
        cells += ["", "", ""] if estimate is None else [_number(x) for x in _triple(estimate)]
    return cells


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


COLUMNS = tuple(f"{one.key}{end}" for one in FIGURES for end in ("", "_low", "_high"))


def _figures_csv(evaluation: Evaluation) -> str:
    return _csv(
        ("level", "fakes", "reals", "groups", *COLUMNS),
        (
            (name, one.fakes, one.reals, one.groups, *_cells(one))
            for name, one in evaluation.levels.items()
        ),
    )


def _slices_csv(evaluation: Evaluation) -> str:
    return _csv(
        ("kind", "name", "fakes", "reals", "groups", *COLUMNS),
        (
            (kind, name, one.fakes, one.reals, one.groups, *_cells(one))
            for kind, name, one in evaluation.slices
        ),
    )


def _variants_csv(variants: Sequence[Variant]) -> str:
    return _csv(
        ("kind", "name", "level", "setting", "shared", "fakes", "reals", *COLUMNS, "auc_change"),
        (
            (
                *(one.kind, one.name, "" if one.level is None else one.level, one.setting),
                *(one.shared, one.measured.fakes, one.measured.reals),
                *_cells(one.measured),
                _number(one.differences["auc"].value) if "auc" in one.differences else "",
            )
            for one in variants
        ),
    )


def markdown(evaluation: Evaluation, variants: Sequence[Variant]) -> str:
    """The figures as Markdown tables."""
    names = list(evaluation.levels)
    lines = [
        f"# {evaluation.header.model} on {evaluation.header.data}",
        "",
        "| figure [95 %] | " + " | ".join(f"by {name}" for name in names) + " |",
        "| --- |" + " --- |" * len(names),
        "| fake / real / groups | "
        + " | ".join(
            f"{one.fakes} / {one.reals} / {one.groups}" for one in evaluation.levels.values()
        )
        + " |",
    ]
    for figure in FIGURES:
        cells = [
            str(one.figures.get(figure.key) or one.notes.get(figure.key, "n/a"))
            for one in evaluation.levels.values()
        ]
        lines.append(f"| {figure.name} | " + " | ".join(cells) + " |")
    for threshold, estimate in evaluation.localisation.items():
        lines.append(f"| localisation AP at {threshold} | {estimate} |" + " |" * (len(names) - 1))
    if evaluation.slices:
        lines += [
            "",
            "| part | fake / real | AUC [95 %] | ECE [95 %] |",
            "| --- | --- | --- | --- |",
        ]
        for kind, name, one in evaluation.slices:
            auc, ece = one.figures.get("auc", "n/a"), one.figures.get("ece", "n/a")
            lines.append(f"| {kind}: {name} | {one.fakes} / {one.reals} | {auc} | {ece} |")
    if variants:
        lines += [
            "",
            "| variant | clips | AUC [95 %] | change [95 %] |",
            "| --- | --- | --- | --- |",
        ]
        for variant in variants:
            level = "" if variant.level is None else f" {variant.level:g}"
            setting = f" ({variant.setting})" if variant.setting else ""
            auc = variant.measured.figures.get("auc", "n/a")
            change = variant.differences.get("auc", "n/a")
            name = f"{variant.kind}: {variant.name}{level}{setting}"
            lines.append(f"| {name} | {variant.shared} | {auc} | {change} |")
    return "\n".join(lines) + "\n"
