"""`docs/lite.md` from `card.json`: figures in tables, and what they mean in plain words."""

from __future__ import annotations

from typing import Any

from aura.training.lite.card_parts import (
    KINDS,
    certainty,
    cues_tried,
    localisation,
    sync_elsewhere,
    wear,
    worth,
)
from aura.training.lite.markdown import counted, entry, share, signed, table, three
from aura.training.lite.sets import CONDITIONS, NOISE_DB

TOO_MANY = 0.1  # more false alarms than untouched clips gave: told in words


def written(
    figures: dict[str, Any],
    sync: dict[str, Any],
    speech: dict[str, Any],
    tried: dict[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        figures: of `refit`. sync: of `python -m aura.training.sync robust`. speech: what card
            `audio-lite` says at its threshold, by condition. tried: of `cues`.
    """
    parts = [
        _head(figures),
        _before(figures),
        _whole(figures),
        _alarms(figures, speech),
        _conditions(figures),
        wear(figures),
        localisation(figures),
        certainty(figures),
        worth(figures),
        sync_elsewhere(sync),
        cues_tried(tried or {}),
        _misses(figures),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _head(f: dict[str, Any]) -> str:
    weights = ", ".join(f"{name} {version}" for name, version in f["weights"].items())
    counts = f["clips"]
    return f"""# Profile lite: what it finds, how sure it is, what it misses

Written by `python -m aura.training.lite card --out runs/lite --sync runs/sync/robust.json`,
from figures of {f["date"]}; weights: {weights}.
[docs/verdict.md](verdict.md) tells how a verdict comes about.

**Read the intervals.** The labelled clips are {counts["real"]} genuine and {counts["fake"]}
manipulated ones from public demo pages, with which thresholds were tuned. Every figure judges a
clip by temperatures that were fitted without its source. 95 % intervals: Wilson for shares,
bootstrap over groups (a person, a target clip) for areas and differences."""


def _before(f: dict[str, Any]) -> str:
    if "before" not in f:
        return ""
    then, now = f["before"], f
    rows = [
        [
            "AUC, all kinds",
            three(then["auc"]),
            three(now["auc"]),
            signed(then["auc now minus then"]),
        ],
        *(
            [name, share(then["clips"][key]), share(now["clips"][key]), ""]
            for name, key in (
                ("genuine called manipulated", "alarms"),
                ("manipulated found", "found"),
            )
        ),
    ]
    return (
        f"## Before and after\n\nThe same clips, profile {then.get('profile', 'before')} and this "
        "one.\n\n" + table(["figure", "before", "now", "difference, paired bootstrap"], rows)
    )


def _whole(f: dict[str, Any]) -> str:
    alone = {
        name: one["alone"]
        for name, one in f["ablation on labelled clips"].items()
        if "alone" in one
    }
    best = max(alone, key=lambda name: alone[name][0]) if alone else ""
    better = bool(best) and f["auc"][0] > alone[best][0]
    verdict = (
        "above"
        if better
        else "not above it; what each detector adds, and what it takes, stands below"
    )
    rows = [[name, *counted(one)] for name, one in f["by method"].items()]
    more = [[name, *counted(one)] for name, one in f["by source"].items()]
    made = [[KINDS[name], *counted(one)] for name, one in f["made"].items()]
    head = ["genuine / manipulated", "genuine called so", "found", "missed", "uncertain"]
    return (
        f"## Whole clips\n\nAUC of the verdict {three(f['auc'])}; the best single detector "
        f"({best}) has {three(alone[best]) if best else 'n/a'}: the verdict is {verdict}.\n\n"
        + table(["method", *head], rows)
        + "\n\n"
        + table(["source", *head], more)
        + "\n\nFakes made of the genuine clips (`python -m aura.training.lite make "
        "--out runs/lite`):\n\n" + table(["what was done", *head], made)
    )


def _alarms(f: dict[str, Any], speech: dict[str, Any]) -> str:
    rows = [["genuine labelled clips", share(f["clips"]["alarms"]), str(f["clips"]["real"])]]
    if f["photographs"]["real"]:
        one = f["photographs"]
        rows.append(
            [
                "photographs of people not trained on, filmed",
                share(one["alarms"]),
                str(one["real"]),
            ]
        )
    names = {
        "clean": "as recorded",
        "aac": "AAC at 96 kb/s",
        "opus": "Opus at 24 kb/s",
        "phone": "a telephone's band",
    }
    for key, name in names.items():
        if key in speech:
            real = speech[key]["real called synthetic"]
            rows.append([f"real speech, {name} (the voice alone)", entry(real), str(real["n"])])
    return (
        "## False alarms\n\nAt the shipped threshold. The first row stands beside every verdict. "
        "Speech is called synthetic from P = .5 on here, by fits and thresholds without its "
        "speaker; the verdict asks for more, so these rows are upper bounds.\n\n"
        + table(["material", "called manipulated", "n"], rows)
    )


def _conditions(f: dict[str, Any]) -> str:
    words = {name: text for name, (text, _, _) in CONDITIONS.items()}
    words["silence"] = "no sound"
    rows = [
        [
            words[name],
            f"{one['real']} / {one['fake']}",
            three(one["auc untouched"]),
            three(one["auc"]),
            share(one["alarms"]),
            share(one["found"]),
            str(one["uncertain"]),
        ]
        for name, one in f["conditions"].items()
    ]
    missing = [words[name] for name in CONDITIONS if name not in f["conditions"]]
    note = f"\n\nNot measured this time: {'; '.join(missing)}." if missing else ""
    return (
        "## Conditions\n\nCopies of the labelled clips; those that change the sound are of clips "
        "that have any.\n\n"
        + table(
            [
                "condition",
                "genuine / manipulated",
                "AUC untouched",
                "AUC",
                "genuine called so",
                "found",
                "uncertain",
            ],
            rows,
        )
        + note
    )


def _misses(f: dict[str, Any]) -> str:
    blind = [
        f"- {name}: {one['missed']} of {one['fake']} passed as genuine, {one['uncertain']} stayed "
        "uncertain."
        for name, one in f["by method"].items()
        if one["fake"] and one["found"][0] < 0.5
    ]
    worn = [
        f"{CONDITIONS[name][0]} {one['alarms'][0]:.0%} of {one['real']}"
        for name, one in f["conditions"].items()
        if name in CONDITIONS and one["alarms"][0] > f["clips"]["alarms"][1] + TOO_MANY
    ]
    return "\n".join(
        [
            "## What it misses, and what it accuses",
            "",
            *(
                [
                    f"- **Worn genuine clips get accused: {'; '.join(worn)}.** A verdict "
                    "on such a file says little; ask for few false alarms instead."
                ]
                if worn
                else []
            ),
            *blind,
            "- Lip-sync fakes fit the voice by design: comparing the two can't see them.",
            "- Sound that is off by up to 0.2 s passes, since recorders do that too.",
            "- Synthetic voices of generators that were not trained on mostly pass "
            "(card `audio-lite`).",
            "- A stretch of less than 1 s, and a fake outside the face and the voice (hands, "
            "background, text).",
            f"- Conditions were measured one at a time, noise at {NOISE_DB:g} dB only; groups of "
            "people other than mostly adult speakers of English were not measured at all.",
        ]
    )
