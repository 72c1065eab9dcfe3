"""The report page of an evaluation: one HTML file that asks the network for nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aura.evaluation import plots
from aura.evaluation.compare import signed
from aura.evaluation.markup import document, table
from aura.evaluation.suite import FIGURES, ONE_CLASS, RESAMPLES_BELOW_CLIPS, Measured
from aura.evaluation.variants import KINDS
from aura.metrics import RESAMPLES, Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.evaluation.compare import Comparison
    from aura.evaluation.predictions import Header
    from aura.evaluation.suite import Evaluation
    from aura.evaluation.variants import Variant

    Plots = Mapping[str, tuple[str, str]]

HEADLINE = ("auc", "ap", "eer", "accuracy", "ece", "aurc")
OF_SLICES = ("auc", "eer", "recall", "false_alarms", "ece")
OF_COMPARISONS = ("auc", "ap", "eer", "fpr_at_tpr95", "accuracy", "f1", "brier", "ece", "aurc")
FEW = 30  # clips of a class below which an interval is too wide to build on
SHOWN_UNSCORED = 50
NAMES = {one.key: one.name for one in FIGURES}

ROLES = {
    "reporting": (
        "Reporting data",
        "These clips chose no checkpoint, threshold or temperature; figures on them are what to "
        "expect on data like them.",
    ),
    "selection": (
        "Selection data",
        "These clips took part in choosing the checkpoint or in fitting thresholds. Figures on "
        "them are too good; report others.",
    ),
    "unknown": (
        "Use of these clips not stated",
        "Nobody said whether these clips took part in choosing or fitting the model. If they did, "
        "the figures are too good. Say it with --role.",
    ),
}


def evaluation_page(evaluation: Evaluation, variants: Sequence[Variant], drawn: Plots) -> str:
    """The whole page of one evaluation.

    Args:
        drawn: of `plots.plots_of`; those of variants stand beside their tables.
    """
    header = evaluation.header
    kinds = {one.kind for one in variants}
    own = {name: plot for name, plot in drawn.items() if name not in kinds}
    parts = [
        f"<h1>{escape(header.model)}</h1>",
        f'<p class="soft">evaluated on {escape(header.data)}</p>',
        _role(header),
        _few(evaluation.levels["clip"]),
        _facts(evaluation),
        _cards(evaluation.levels["clip"]),
        "<h2>Figures</h2>",
        _levels(evaluation),
        _decisions(evaluation),
        "<h2>Plots</h2>",
        _plots(own),
        _localisation(evaluation),
        _slices(evaluation),
        *(_variants(kind, [v for v in variants if v.kind == kind], drawn) for kind in KINDS),
        _unscored(evaluation),
        _method(),
    ]
    return document(f"{header.model} on {header.data}", parts)


def comparison_page(comparison: Comparison, roc: str) -> str:
    """The page of a comparison, with ROC curves (SVG of `plots.roc_of_many`)."""
    first = comparison.standings[0]
    keys = [key for key in OF_COMPARISONS if key in first.measured.figures]
    names = [one.name for one in comparison.standings]
    figures = [
        [escape(NAMES[key]), *(_cell(one.measured, key) for one in comparison.standings)]
        for key in keys
    ]
    changes = [
        [
            escape(NAMES[key]),
            *(escape(signed(one.differences.get(key))) for one in comparison.standings[1:]),
        ]
        for key in keys
    ]
    sources = [
        [
            escape(one.name),
            escape(one.header.model),
            escape(one.header.data),
            ROLES[one.header.role][0],
            str(one.left_out),
        ]
        for one in comparison.standings
    ]
    parts = [
        "<h1>Models side by side</h1>",
        f'<p class="soft">{comparison.shared} clips that all of them scored: '
        f"{first.measured.fakes} fake, {first.measured.reals} real, {first.measured.groups} "
        f"groups; matched by {escape(comparison.matched_by)}.</p>",
        _few(first.measured),
        table(["name", "model", "data", "these clips", "scored clips left out"], sources),
        "<h2>Figures on the shared clips</h2>",
        table(["figure", *names], figures),
        f"<h2>Difference to {escape(first.name)}</h2>",
        f"<p>Paired bootstrap over groups, {RESAMPLES:,} resamples: both models are drawn the "
        "same clips. A star marks an interval that leaves out zero; with several models and "
        "figures, some will by chance.</p>",
        table(["figure", *names[1:]], changes),
        "<h2>ROC</h2>",
        f'<figure class="wide">{plots.inline(roc, "roc", "ROC curves of all models")}</figure>',
        _method(),
    ]
    return document("Models side by side", parts)


def _estimate(estimate: Estimate) -> str:
    if estimate.value != estimate.value:  # nan
        return "n/a"
    return f"{estimate.value:.3f} <small>[{estimate.low:.3f}, {estimate.high:.3f}]</small>"


def _cell(measured: Measured, key: str) -> str:
    estimate = measured.figures.get(key)
    if estimate is None:
        note = measured.notes.get(key, "n/a")
        return "–" if note == ONE_CLASS else f"<small>{escape(note)}</small>"
    return _estimate(estimate)


def _role(header: Header) -> str:
    title, text = ROLES[header.role]
    shade = "" if header.role == "reporting" else " warn"
    return f'<p class="note{shade}"><b>{title}.</b> {text}</p>'


def _few(measured: Measured) -> str:
    if min(measured.fakes, measured.reals) >= FEW:
        return ""
    return (
        f'<p class="note warn"><b>Few clips.</b> {measured.fakes} fake and {measured.reals} real '
        f"ones in {measured.groups} groups: read the intervals, not the figures.</p>"
    )


def _facts(evaluation: Evaluation) -> str:
    header, clips = evaluation.header, evaluation.levels["clip"]
    left = len(evaluation.unscored)
    facts = {
        "Clips": f"{clips.fakes} fake, {clips.reals} real, {clips.groups} groups"
        + (f"; {left} more without a score" if left else ""),
        "Entries": ", ".join(
            f"{one.fakes + one.reals:,} {name}s"
            for name, one in evaluation.levels.items()
            if name != "clip"
        ),
        "Split": header.split,
        "Trained on": ", ".join(header.trained_on) or "not stated",
        "Weights and settings": f"SHA-256 {header.model_sha256}",
        "Data": f"SHA-256 {header.data_sha256}" if header.data_sha256 else "",
        "Options": ", ".join(f"{key} {value}" for key, value in header.options.items()),
        "Command": header.command,
        "Made": f"{header.created} by aura {header.version}",
    }
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text
    )
    return f'<dl class="facts">{told}</dl>'


def _cards(measured: Measured) -> str:
    cards = "".join(
        f'<div class="card"><span>{escape(NAMES[key])}</span>'
        f"<b>{measured.figures[key].value:.3f}</b>"
        f"<span>{measured.figures[key].low:.3f} to {measured.figures[key].high:.3f}</span></div>"
        for key in HEADLINE
        if key in measured.figures
    )
    return f'<div class="cards">{cards}</div>'


def _levels(evaluation: Evaluation) -> str:
    levels = evaluation.levels
    rows = [
        ["entries", *(f"{one.fakes:,} fake, {one.reals:,} real" for one in levels.values())],
        *(
            [
                f"{escape(figure.name)} {'↑' if figure.higher_is_better else '↓'}"
                f"<br><small>{escape(figure.meaning)}</small>",
                *(_cell(one, figure.key) for one in levels.values()),
            ]
            for figure in FIGURES
        ),
    ]
    caption = (
        f"95 % intervals: bootstrap over groups, {RESAMPLES:,} resamples by clip, "
        f"{RESAMPLES_BELOW_CLIPS} below. ↑ more is better, ↓ less is better."
    )
    return table(["figure", *(f"by {name}" for name in levels)], rows, caption)


def _decisions(evaluation: Evaluation) -> str:
    found = evaluation.decisions
    if found is None:
        return ""
    return (
        "<h3>Verdicts</h3><p>At the model's own thresholds: "
        f"{_estimate(found.false_alarms)} of the real clips were called manipulated, "
        f"{_estimate(found.missed)} of the manipulated ones real, {_estimate(found.uncertain)} of "
        "all were left uncertain (Wilson intervals).</p>"
    )


def _plots(drawn: Plots) -> str:
    figures = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f"{plots.inline(svg, name, escape(title, quote=True))}</figure>\n"
        for name, (title, svg) in drawn.items()
    )
    return f'<div class="plots">{figures}</div>'


def _localisation(evaluation: Evaluation) -> str:
    if not evaluation.localisation:
        return ""
    rows = [
        [f"AP at IoU {threshold}", _estimate(one)]
        for threshold, one in evaluation.localisation.items()
    ]
    return (
        "<h2>Where it is manipulated</h2>"
        f"<p>Stretches that were found against the true ones, on {evaluation.localised} clips that "
        "name theirs and all real clips; both modalities count as one row of time.</p>"
        + table(["figure", "by clip"], rows)
    )


def _slices(evaluation: Evaluation) -> str:
    if not evaluation.slices:
        return ""
    parts = ["<h2>By kind, data set and subgroup</h2><p>–: needs real and fake clips.</p>"]
    against_all = {"kind of fake", "method", "what is fake"}
    for kind in dict.fromkeys(one.kind for one in evaluation.slices):
        rows = [
            [
                escape(one.name),
                f"{one.measured.fakes} / {one.measured.reals}",
                *(_cell(one.measured, key) for key in OF_SLICES),
            ]
            for one in evaluation.slices
            if one.kind == kind
        ]
        caption = "these fakes against all real clips" if kind in against_all else ""
        head = [kind, "fake / real", *(NAMES[key] for key in OF_SLICES)]
        parts += [f"<h3>{escape(kind.capitalize())}</h3>", table(head, rows, caption)]
    return "\n".join(parts)


def _variants(kind: str, variants: Sequence[Variant], drawn: Plots) -> str:
    if not variants:
        return ""
    rows = [
        [
            escape(one.name),
            "" if one.level is None else f"{one.level:g}",
            escape(one.setting),
            str(one.shared),
            _cell(one.measured, "auc"),
            escape(signed(one.differences.get("auc"))),
            _cell(one.measured, "false_alarms"),
            _cell(one.measured, "recall"),
        ]
        for one in variants
    ]
    plot = ""
    if kind in drawn:
        title, svg = drawn[kind]
        plot = f'<figure class="wide">{plots.inline(svg, kind, title)}</figure>'
    head = ["what", "level", "setting", "clips", "AUC", "change of AUC", "false alarms", "recall"]
    caption = (
        "On the clips that were scored both ways; the change is paired, a star marks an interval "
        "that leaves out zero."
    )
    return f"<h2>{escape(KINDS[kind])}</h2>{plot}{table(head, rows, caption)}"


def _unscored(evaluation: Evaluation) -> str:
    if not evaluation.unscored:
        return ""
    listed = "".join(
        f"<li>{escape(one.path)}: {escape(one.error or 'nothing to judge')}</li>"
        for one in evaluation.unscored[:SHOWN_UNSCORED]
    )
    more = len(evaluation.unscored) - SHOWN_UNSCORED
    rest = f"<li>and {more} more, see metrics.json</li>" if more > 0 else ""
    return (
        "<h2>Clips without a score</h2>"
        f"<p>Counted nowhere above and never scored by guess.</p><ul>{listed}{rest}</ul>"
    )


def _method() -> str:
    return (
        "<h2>How to read this</h2><ul>"
        "<li>Scores are P(fake); a clip from 0.5 on counts as called fake where a threshold is "
        "needed. That threshold was not chosen on these clips.</li>"
        "<li>Intervals draw whole groups (a take with all that was made of it, else a person, else "
        "the clip), because clips of one group err together.</li>"
        "<li>Accuracy, AP, precision and F1 depend on the share of fakes; compare them on equal "
        "data only.</li>"
        "<li>A rate at 1 % or 0.1 % false alarms is given from 100 or 1000 real ones on. By window "
        "and frame these are not independent of each other.</li>"
        "<li>A fake whose manipulated stretch nobody names counts as fake in all of its windows "
        "and frames.</li>"
        "<li>ECE is measured at this set's share of fakes.</li></ul>"
    )
