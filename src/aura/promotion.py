"""Putting an exported model in use: checked, compared with what is in use, and only on a person's
word (`propose`, then `carry_out`).

A release is the folder that `aura export` wrote: `card.json` and the ONNX file that it names. It
comes with an evaluation: a folder whose `metrics.json` says in `model.sha256` which weights were
measured, either those of the ONNX file or those of the checkpoint that it was made from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aura import registry
from aura.errors import UsageError, WeightsError
from aura.runtime import CARD_FORMAT, ModelCard, read_card, sha256_file, verify_card

if TYPE_CHECKING:
    from pathlib import Path

METRICS = "metrics.json"
CALIBRATION = "calibration.json"
EVALUATION = "evaluation"  # folder of a version that holds what the promotion rested on
# Of an evaluation folder these are kept; plots and predictions of single clips stay where they are.
KEPT = (METRICS, "report.html", "README.md")
FIGURES_SHOWN = 12
NO_FIGURES = {"model", "made_from"}  # parts of metrics.json that say what was measured


@dataclass(frozen=True)
class Proposal:
    """What would be put in use; `lines` tell a person what would change."""

    folder: Path
    card: ModelCard
    name: str
    version: str
    evaluation: Path
    lines: tuple[str, ...]


def propose(folder: Path, name: str, version: str, evaluation: Path) -> Proposal:
    """Check a release and its evaluation; nothing is written.

    Raises:
        WeightsError: card or weights are missing, altered or of a newer format, the same version
            is there with other weights, or the history can't be read.
        UsageError: no evaluation, or one of other weights; a name or version that can't be.
    """
    card = read_card(folder / registry.CARD)
    problem = verify_card(card, folder)
    if problem:
        raise WeightsError(f"{problem}; export it again with `aura export`")
    if card.name != name:
        raise UsageError(
            f"{folder} holds the model {card.name}, not {name}: promote it --as {card.name}"
        )
    target = registry.version_dir(name, version)
    if (target / registry.CARD).is_file():
        there = read_card(target / registry.CARD)
        if there.sha256 != card.sha256:
            raise UsageError(
                f"{name} {version} is there already with other weights; versions never change: "
                "choose another --version"
            )
    metrics = read_metrics(evaluation)
    _check_same_weights(card, metrics, evaluation)
    card = replace(card, version=version)
    return Proposal(
        folder, card, name, version, evaluation, tuple(_changes(card, name, version, metrics))
    )


def carry_out(proposal: Proposal, note: str = "") -> registry.Event:
    """Copy the release into the registry, unless that version is there, and put it in use.

    Raises:
        UsageError: the registry can't be written; what was in use stays. WeightsError: the files
            changed since `propose`.
    """
    name, version, card = proposal.name, proposal.version, proposal.card
    target = registry.version_dir(name, version)
    if not target.exists():
        _install(proposal)
    problem = verify_card(card, target)
    if problem:
        raise WeightsError(f"{problem}; nothing was promoted: remove the folder and promote again")
    return registry.record(
        name,
        "promote",
        version,
        card.sha256,
        evaluation=sha256_file(proposal.evaluation / METRICS),
        note=note,
    )


def go_back(name: str, version: str, note: str = "") -> registry.Event:
    """Put an earlier version in use again.

    Raises:
        WeightsError: it is gone or altered. UsageError: the registry can't be written.
    """
    folder = registry.version_dir(name, version)
    card = read_card(folder / registry.CARD)
    problem = verify_card(card, folder)
    if problem:
        raise WeightsError(f"{problem}; {name} {version} can't be used again: promote another")
    return registry.record(name, "rollback", version, card.sha256, note=note)


def read_metrics(evaluation: Path) -> dict[str, Any]:
    """The figures of an evaluation folder.

    Raises:
        UsageError: there are none, or they don't say which weights were measured.
    """
    path = evaluation / METRICS
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"no evaluation at {path}; make one with `aura evaluate PREPARED --model RUN --out DIR`"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read ({error}); evaluate again") from None
    model = raw.get("model") if isinstance(raw, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("sha256"), str):
        raise UsageError(f"{path} does not say which weights it measured; evaluate again")
    return dict(raw)


def _check_same_weights(card: ModelCard, metrics: dict[str, Any], evaluation: Path) -> None:
    measured = metrics["model"]["sha256"]
    own = {card.sha256, card.training.get("weights_sha256")}
    if measured not in own:
        raise UsageError(
            f"{evaluation} measured other weights (SHA-256 {measured[:12]}...) than those of "
            f"{card.name} ({card.sha256[:12]}...): evaluate these"
        )


def _install(proposal: Proposal) -> None:
    """The release under its version, with its evaluation."""
    files = {proposal.card.file: proposal.folder / proposal.card.file}
    if (proposal.folder / CALIBRATION).is_file():
        files[CALIBRATION] = proposal.folder / CALIBRATION
    for kept in KEPT:
        if (proposal.evaluation / kept).is_file():
            files[f"{EVALUATION}/{kept}"] = proposal.evaluation / kept
    raw = json.loads((proposal.folder / registry.CARD).read_text(encoding="utf-8"))
    raw |= {"format": CARD_FORMAT, "version": proposal.version}
    text = json.dumps(raw, indent=2, ensure_ascii=False) + "\n"
    registry.add_version(proposal.name, proposal.version, files, {registry.CARD: text})


def _changes(card: ModelCard, name: str, version: str, metrics: dict[str, Any]) -> list[str]:
    current = registry.in_use(name)
    lines = [f"{name}: {current or 'nothing in use'} -> {version}"]
    before: dict[str, Any] = {}
    old: ModelCard | None = None
    if current is not None:
        folder = registry.version_dir(name, current)
        if (folder / registry.CARD).is_file():
            old = read_card(folder / registry.CARD)
        if (folder / EVALUATION / METRICS).is_file():
            before = read_metrics(folder / EVALUATION)
    rows = [
        ("weights", old and old.sha256[:12], card.sha256[:12]),
        ("network", old and old.architecture, card.architecture),
        ("licence", old and old.licence, card.licence),
        ("calibration", old and _calibration(old), _calibration(card)),
        ("data", old and _data(old), _data(card)),
    ]
    lines += [_row(label, was, now) for label, was, now in rows]
    was_figures, now_figures = dict(figures(before)), dict(figures(metrics))
    shown = list(now_figures)[:FIGURES_SHOWN]
    lines += [_row(label, was_figures.get(label), now_figures[label]) for label in shown]
    if not now_figures:
        lines.append("  the evaluation holds no figures")
    return lines


def _row(label: str, was: object, now: object) -> str:
    if was is None:
        return f"  {label}: {now}"
    return f"  {label}: {now} (unchanged)" if was == now else f"  {label}: {was} -> {now}"


def _calibration(card: ModelCard) -> str:
    own = card.parameters.get("calibration", {}).get("contract")
    if not own:
        return "none"
    return f"temperature {own['temperature']:.3f}, bias {own['bias']:+.3f}"


def _data(card: ModelCard) -> str:
    return str(card.training.get("data_hash") or "unknown")[:12]


def figures(metrics: dict[str, Any], place: str = "") -> list[tuple[str, str]]:
    """Numbers of an evaluation with their places, such as ("video auc", "0.91"), as they stand.

    An interval {"value", "low", "high"} is one figure.

    >>> figures({"video": {"auc": {"value": 0.91, "low": 0.88, "high": 0.94}, "eer": 0.125}})
    [('video auc', '0.910 [0.880, 0.940]'), ('video eer', '0.125')]
    """
    found: list[tuple[str, str]] = []
    for key, value in metrics.items():
        label = f"{place} {key}".strip()
        if isinstance(value, dict) and isinstance(value.get("value"), (int, float)):
            text = f"{value['value']:.3f}"
            if isinstance(value.get("low"), (int, float)):
                text += f" [{value['low']:.3f}, {value['high']:.3f}]"
            found.append((label, text))
        elif isinstance(value, dict) and key not in NO_FIGURES:
            found += figures(value, label)
        elif isinstance(value, float):
            found.append((label, f"{value:.3f}"))
    return found
