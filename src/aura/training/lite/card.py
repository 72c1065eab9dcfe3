"""`docs/lite.md` from `card.json`: figures in tables, and what they mean in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aura.training.lite.sets import CONDITIONS, NOISE_DB

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {
    "face_part": "a face replaced for 2 to 4 s",
    "voice_part": "a voice synthesised anew for 2 to 4 s",
    "dub_part": "another voice for 2 to 4 s",
    "face_whole": "a face replaced throughout",
    "voice_whole": "a voice synthesised anew throughout",
    "dub_whole": "another voice throughout",
}
TOO_MANY = 0.1  # more false alarms than untouched clips gave: told in words
DOTS = 20  # width of a bar in the reliability diagram


def written(figures: dict[str, Any], sync: dict[str, Any], speech: dict[str, Any]) -> str:
    """The page.

    Args:
        figures: of `refit`. sync: of `python -m aura.training.sync robust`. speech: what card
            `audio-lite` says at its threshold, by condition.
    """
    parts = [
        _head(figures),
        _before(figures),
        _whole(figures),
        _alarms(figures, speech),
        _conditions(figures),
        _wear(figures),
        _localisation(figures),
        _certainty(figures),
        _worth(figures),
        _sync(sync),
        _misses(figures),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _head(f: dict[str, Any]) -> str:
    weights = ", ".join(f"{name} {version}" for name, version in f["weights"].items())
    counts = f["clips"]
    return f"""# Profile lite: what it finds, how sure it is, what it misses

Written by `python -m aura.training.lite card` from figures of {f["date"]}; weights: {weights}.
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
            _three(then["auc"]),
            _three(now["auc"]),
            _signed(then["auc now minus then"]),
        ],
        *(
            [name, _share(then["clips"][key]), _share(now["clips"][key]), ""]
            for name, key in (
                ("genuine called manipulated", "alarms"),
                ("manipulated found", "found"),
            )
        ),
    ]
    return (
        f"## Before and after\n\nThe same clips, profile {then.get('profile', 'before')} and this "
        "one.\n\n" + _table(["figure", "before", "now", "difference, paired bootstrap"], rows)
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
    rows = [[name, *_counted(one)] for name, one in f["by method"].items()]
    more = [[name, *_counted(one)] for name, one in f["by source"].items()]
    made = [[KINDS[name], *_counted(one)] for name, one in f["made"].items()]
    head = ["genuine / manipulated", "genuine called so", "found", "missed", "uncertain"]
    return (
        f"## Whole clips\n\nAUC of the verdict {_three(f['auc'])}; the best single detector "
        f"({best}) has {_three(alone[best]) if best else 'n/a'}: the verdict is {verdict}.\n\n"
        + _table(["method", *head], rows)
        + "\n\n"
        + _table(["source", *head], more)
        + "\n\nFakes made of the genuine clips (`python -m aura.training.lite make`):"
        "\n\n" + _table(["what was done", *head], made)
    )


def _alarms(f: dict[str, Any], speech: dict[str, Any]) -> str:
    rows = [["genuine labelled clips", _share(f["clips"]["alarms"]), str(f["clips"]["real"])]]
    if f["photographs"]["real"]:
        one = f["photographs"]
        rows.append(
            [
                "photographs of people not trained on, filmed",
                _share(one["alarms"]),
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
            share = [real["share"], *real["interval_95"]]
            rows.append([f"real speech, {name} (the voice alone)", _share(share), str(real["n"])])
    return (
        "## False alarms\n\nAt the shipped threshold. The first row stands beside every verdict. "
        "Speech is called synthetic from P = .5 on here, by fits and thresholds without its "
        "speaker; the verdict asks for more, so these rows are upper bounds.\n\n"
        + _table(["material", "called manipulated", "n"], rows)
    )


def _conditions(f: dict[str, Any]) -> str:
    words = {name: text for name, (text, _, _) in CONDITIONS.items()}
    words["silence"] = "no sound"
    rows = [
        [
            words[name],
            f"{one['real']} / {one['fake']}",
            _three(one["auc untouched"]),
            _three(one["auc"]),
            _share(one["alarms"]),
            _share(one["found"]),
            str(one["uncertain"]),
        ]
        for name, one in f["conditions"].items()
    ]
    missing = [words[name] for name in CONDITIONS if name not in f["conditions"]]
    note = f"\n\nNot measured this time: {'; '.join(missing)}." if missing else ""
    return (
        "## Conditions\n\nCopies of the labelled clips; those that change the sound are of clips "
        "that have any.\n\n"
        + _table(
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


def _wear(f: dict[str, Any]) -> str:
    wear = f["wear"]
    if wear["rule"] is None:
        told = (
            "With these weights neither detail nor blocks tell how high genuine faces score, so "
            "the profile takes no account of them."
        )
    else:
        low, middle, high = wear["trust in untouched faces"]
        told = (
            f"Suspicion in untouched faces counts {middle:.0%} in the middle ({low:.0%} to "
            f"{high:.0%} in half of them)."
        )
    rows = [
        [
            CONDITIONS[name][0],
            *(_share(one[key]["alarms"]) for key in ("without", "with", "condition left out")),
            *(_share(one[key]["found"]) for key in ("without", "with")),
            *(str(one[key]["uncertain"]) for key in ("without", "with")),
        ]
        for name, one in wear["conditions"].items()
    ]
    cost = [
        [
            {"dev": "labelled clips", **KINDS}[name],
            *(_share(one[key]["alarms"]) for key in ("without", "with")),
            *(_share(one[key]["found"]) for key in ("without", "with")),
        ]
        for name, one in wear["untouched"].items()
    ]
    return (
        "## Worn clips\n\nDetail of the face and blocks of the codec tell how worn it is. What "
        "95 % of genuine clips so worn stay below is fitted on the genuine clips and their copies "
        "above (quantile regression); suspicion counts so much less, and the report says so "
        f"([docs/verdict.md](verdict.md)). {told}\n\n"
        + _table(
            [
                "condition",
                "genuine called so, wear left aside",
                "genuine called so",
                "fitted without such copies, too",
                "found, wear left aside",
                "found",
                "uncertain, wear left aside",
                "uncertain",
            ],
            rows,
        )
        + "\n\nWhat that costs where nothing was worn on purpose:\n\n"
        + _table(
            [
                "clips",
                "genuine called so, wear left aside",
                "genuine called so",
                "found, wear left aside",
                "found",
            ],
            cost,
        )
    )


def _localisation(f: dict[str, Any]) -> str:
    rows = [
        [
            KINDS[name],
            one["modality"],
            f"{one['fakes']} + {one['real']}",
            str(one["people"]),
            _three(one["ap"]),
            "{} of {}".format(*one["stretches found"]),
            _share(one["real clips with a stretch"]),
        ]
        for name, one in f["localisation"].items()
    ]
    return (
        "## Where and when\n\nStretches replaced in genuine clips, found by rules that were tuned "
        "on other sources; untouched clips take part, and a stretch told there is a false "
        "one. AP at an overlap (intersection over union) of 0.5.\n\n"
        + _table(
            [
                "what was done",
                "modality",
                "fakes + untouched",
                "people",
                "AP at 0.5",
                "stretches found",
                "untouched with a stretch",
            ],
            rows,
        )
    )


def _certainty(f: dict[str, Any]) -> str:
    rows = [
        [
            f"{one['level']:.0%}",
            f"{one['threshold']:.3f}",
            "yes" if one["guaranteed"] else "no",
            str(one["clips"]),
            f"{one['at_most']:.1%}",
            _rate(one["measured"]),
            _rate(one["found"]),
            _rate(one["uncertain"]),
        ]
        for one in f["levels"]
    ]
    material, trust = f["material"], f["trust"]
    worst = ", ".join(
        f"{_rate(one)} ({level})"
        for level, one in material["called in the worst of their copies"].items()
    )
    needed = ", ".join(
        f"{count} for {level}" for level, count in material["needed for a promise"].items()
    )
    diagram = "\n".join(
        f"P {i / len(trust['bins']):.1f}-{(i + 1) / len(trust['bins']):.1f}  n {n:>3}  said "
        f"{p:.2f} {'#' * round(DOTS * p):<{DOTS}}  manipulated {y:.2f} {'#' * round(DOTS * y)}"
        for i, (n, p, y) in enumerate(trust["bins"])
        if n
    )
    return (
        "## How sure\n\n`aura analyze --false-alarms 1%` calls a clip manipulated only above a "
        "threshold from genuine clips (split-conformal), and leaves the rest uncertain. A promise "
        f"needs {needed} genuine clips; there are {material['genuine clips']} clips and "
        f"{material['filmed photographs']} filmed photographs, which can raise a threshold but "
        "promise nothing about videos. The clips allow no better statement than at most "
        f"{material['clips alone allow with 95 % confidence']:.0%} with 95 % confidence. A clip "
        "counts with the highest score of all its copies under the conditions above; with sources "
        f"left out, {worst} of the genuine clips were called so in any copy.\n\n"
        + _table(
            [
                "asked for",
                "threshold",
                "promised on average",
                "n",
                "at most, with 95 % confidence",
                "genuine clips of left-out sources called so",
                "manipulated found",
                "uncertain",
            ],
            rows,
        )
        + f"\n\nOn left-out sources: ECE {_three(trust['ece'])}, {trust['clips']} clips "
        f"(with so few, ECE is above 0 by chance alone).\n\n```\n{diagram}\n```"
    )


def _worth(f: dict[str, Any]) -> str:
    rows = []
    for name, one in f["ablation"].items():
        if name == "all detectors":
            rows.append([name, str(one["clips"]), _three(one["auc"]), "", "", ""])
            continue
        rows.append(
            [
                name,
                str(one.get("clips", "")),
                _three(one["without"]) if "without" in one else "n/a",
                _signed(one["adds"]) if "adds" in one else "n/a",
                f"{_signed(one['adds on its kind'])}, {one['fakes of its kind']} fakes"
                if "adds on its kind" in one
                else "n/a",
                _three(one["alone"]) if "alone" in one else "n/a",
            ]
        )
    on_dev = [
        [
            name,
            _three(one["without"]),
            _signed(one["adds"]),
            _three(one["alone"]) if "alone" in one else "n/a",
        ]
        for name, one in f["ablation on labelled clips"].items()
        if "adds" in one
    ]
    off = [f"{name} ({_signed(adds)})" for name, adds in f["dropped"].items()]
    zero = [label for label, weight in f["detectors"].values() if weight == 0]
    told = (
        f"Weight 0, because it adds nothing on fakes of its own kind: {', '.join(off)}."
        if off
        else "Every detector adds something on fakes of its own kind, so none was taken out."
    )
    silent = f" Without a say in this profile: {', '.join(zero)}." if zero else ""
    both = [f["fusion"], f["fusion on labelled clips"]]
    fused = [
        [
            name,
            f"{one['fakes']} of {one['clips']}",
            _three(one["fixed weights"]),
            _three(one["learned"]),
            _signed(one["learned minus fixed"]),
        ]
        for name, one in zip(("with self-made fakes", "labelled clips alone"), both, strict=True)
    ]
    wins = all(one["learned wins"] for one in both)
    stays = (
        "It wins on both."
        if wins
        else "It does not win beyond chance on both, so the fixed weights stay."
    )
    return (
        "## What each detector is worth\n\n`aura evaluate --without NAME` repeats this. Labelled "
        "clips and self-made fakes together:\n\n"
        + _table(
            ["without", "clips", "AUC", "it adds (paired)", "it adds on its kind", "AUC alone"],
            rows,
        )
        + "\n\nLabelled clips alone:\n\n"
        + _table(["without", "AUC", "it adds (paired)", "AUC alone, where it judged"], on_dev)
        + f"\n\n{told}{silent}\n\nA learned fusion (logistic regression over logits, what could "
        "not be judged, size and quality of the face, share of speech), trained and tested on "
        f"different sources. {stays}\n\n"
        + _table(
            ["clips", "manipulated", "AUC fixed", "AUC learned", "learned minus fixed (paired)"],
            fused,
        )
    )


def _sync(sync: dict[str, Any]) -> str:
    if not sync:
        return ""
    rows = []
    for name, one in sync.items():
        offset = one.get("offset within 0.1 s, of the judged")
        rows.append(
            [
                name,
                f"{one['clips']} / {one['people']}",
                _entry(one["not judged"]),
                _entry(one["alarms of all"]),
                _entry(offset) if offset else "",
            ]
        )
    return (
        "## Lips and voice elsewhere\n\n`python -m aura.training.sync robust`: genuine "
        "clips, the detector's projection fitted without the person, abstentions counted. Music "
        "is made up; voices from elsewhere are real recordings. A dubbed face that talks can't be "
        "told from one whose voice was replaced: that alarm is what the detector is for.\n\n"
        + _table(
            ["condition", "clips / people", "not judged", "alarms, of all", "offset within 0.1 s"],
            rows,
        )
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


def _counted(one: dict[str, Any]) -> list[str]:
    return [
        f"{one['real']} / {one['fake']}",
        _share(one["alarms"]),
        _share(one["found"]),
        str(one["missed"]) if one["fake"] else "",
        str(one["uncertain"]),
    ]


def _entry(one: dict[str, Any]) -> str:
    return "n/a" if one["share"] is None else _share([one["share"], *one["interval_95"]])


def _rate(one: dict[str, Any]) -> str:
    return _share([one["value"], one["low"], one["high"]])


def _share(three: Sequence[float] | None) -> str:
    if three is None:
        return ""
    return f"{three[0]:.0%} [{three[1]:.0%}-{three[2]:.0%}]"


def _three(three: Sequence[float]) -> str:
    if three[0] != three[0]:  # nan
        return "n/a"
    return f"{three[0]:.2f} [{three[1]:.2f}-{three[2]:.2f}]"


def _signed(three: Sequence[float]) -> str:
    return f"{three[0]:+.2f} [{three[1]:+.2f}, {three[2]:+.2f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
