"""Parts of the card: worn clips, stretches, certainty, what detectors are worth, lips, cues."""

from __future__ import annotations

from typing import Any

from aura.training.lite.markdown import entry, rate, share, signed, table, three
from aura.training.lite.sets import CONDITIONS

KINDS = {
    "face_part": "a face replaced for 2 to 4 s",
    "voice_part": "a voice synthesised anew for 2 to 4 s",
    "dub_part": "another voice for 2 to 4 s",
    "face_whole": "a face replaced throughout",
    "mouth_whole": "the mouth replaced by that of another moment, throughout",
    "voice_whole": "a voice synthesised anew throughout",
    "dub_whole": "another voice throughout",
}
DOTS = 20  # width of a bar in the reliability diagram
CHANCE = 0.5


def wear(f: dict[str, Any]) -> str:
    """What taking wear into account changes."""
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
            *(share(one[key]["alarms"]) for key in ("without", "with", "condition left out")),
            *(share(one[key]["found"]) for key in ("without", "with")),
            *(str(one[key]["uncertain"]) for key in ("without", "with")),
        ]
        for name, one in wear["conditions"].items()
    ]
    stretches = "; ".join(
        f"{CONDITIONS[name][0]} {now} of {count} ({then})"
        for name, (then, now, count) in wear["stretches"].items()
        if name in wear["conditions"]
    )
    cost = [
        [
            {"dev": "labelled clips", **KINDS}[name],
            *(share(one[key]["alarms"]) for key in ("without", "with")),
            *(share(one[key]["found"]) for key in ("without", "with")),
        ]
        for name, one in wear["untouched"].items()
    ]
    return (
        "## Worn clips\n\nDetail of the face and blocks of the codec tell how worn it is. What "
        "90 % of genuine clips so worn stay below is fitted on the genuine clips and their copies "
        "above (quantile regression, sources weighing alike); suspicion counts so much less, and "
        "the report says so ([docs/verdict.md](verdict.md)). The form of the rule and the 90 % "
        f"were chosen with these clips in view, its numbers without the clip's source. {told}\n\n"
        + table(
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
        + f"\n\nGenuine clips in which a stretch of a face is told, by the shipped profile "
        f"(which was fitted on them; wear left aside): {stretches}."
        "\n\nWhat that costs where nothing was worn on purpose:\n\n"
        + table(
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


def localisation(f: dict[str, Any]) -> str:
    """Stretches."""
    rows = [
        [
            KINDS[name],
            one["modality"],
            f"{one['fakes']} + {one['real']}",
            str(one["people"]),
            three(one["ap"]),
            "{} of {}".format(*one["stretches found"]),
            share(one["real clips with a stretch"]),
        ]
        for name, one in f["localisation"].items()
    ]
    return (
        "## Where and when\n\nStretches replaced in genuine clips, found by rules that were tuned "
        "on other sources; untouched clips take part, and a stretch told there is a false "
        "one. AP at an overlap (intersection over union) of 0.5.\n\n"
        + table(
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


def certainty(f: dict[str, Any]) -> str:
    """Thresholds for few false alarms, and the reliability diagram."""
    rows = [
        [
            f"{one['level']:.0%}",
            f"{one['threshold']:.3f}",
            "yes" if one["guaranteed"] else "no",
            str(one["clips"]),
            f"{one['at_most']:.1%}",
            rate(one["measured"]),
            rate(one["found"]),
            rate(one["uncertain"]),
        ]
        for one in f["levels"]
    ]
    material, trust = f["material"], f["trust"]
    worst = ", ".join(
        f"{rate(one)} ({level})"
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
        + table(
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
        + f"\n\nOn left-out sources: ECE {three(trust['ece'])}, {trust['clips']} clips "
        f"(with so few, ECE is above 0 by chance alone).\n\n```\n{diagram}\n```"
    )


def worth(f: dict[str, Any]) -> str:
    """Ablations, and the learned fusion."""
    rows = []
    for name, one in f["ablation"].items():
        if name == "all detectors":
            rows.append([name, str(one["clips"]), three(one["auc"]), "", "", ""])
            continue
        rows.append(
            [
                name,
                str(one.get("clips", "")),
                three(one["without"]) if "without" in one else "n/a",
                signed(one["adds"]) if "adds" in one else "n/a",
                f"{signed(one['adds on its kind'])}, {one['fakes of its kind']} fakes"
                if "adds on its kind" in one
                else "n/a",
                three(one["alone"]) if "alone" in one else "n/a",
            ]
        )
    on_dev = [
        [
            name,
            three(one["without"]),
            signed(one["adds"]),
            three(one["alone"]) if "alone" in one else "n/a",
        ]
        for name, one in f["ablation on labelled clips"].items()
        if "adds" in one
    ]
    off = [f"{name} ({signed(adds)})" for name, adds in f["dropped"].items()]
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
            three(one["fixed weights"]),
            three(one["learned"]),
            signed(one["learned minus fixed"]),
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
        + table(
            ["without", "clips", "AUC", "it adds (paired)", "it adds on its kind", "AUC alone"],
            rows,
        )
        + "\n\nLabelled clips alone:\n\n"
        + table(["without", "AUC", "it adds (paired)", "AUC alone, where it judged"], on_dev)
        + f"\n\n{told}{silent}\n\nA learned fusion (logistic regression over logits, what could "
        "not be judged, size and quality of the face, share of speech), trained and tested on "
        f"different sources. {stays}\n\n"
        + table(
            ["clips", "manipulated", "AUC fixed", "AUC learned", "learned minus fixed (paired)"],
            fused,
        )
    )


def sync_elsewhere(sync: dict[str, Any]) -> str:
    """What `sync robust` found."""
    if not sync:
        return ""
    rows = []
    for name, one in sync.items():
        offset = one.get("offset within 0.1 s, of the judged")
        rows.append(
            [
                name,
                f"{one['clips']} / {one['people']}",
                entry(one["not judged"]),
                entry(one["alarms of all"]),
                entry(offset) if offset else "",
            ]
        )
    return (
        "## Lips and voice elsewhere\n\n`python -m aura.training.sync robust --out "
        "runs/sync`: genuine "
        "clips, the detector's projection fitted without the person, abstentions counted. Music "
        "is made up; voices from elsewhere are real recordings. A dubbed face that talks can't be "
        "told from one whose voice was replaced: that alarm is what the detector is for.\n\n"
        + table(
            ["condition", "clips / people", "not judged", "alarms, of all", "offset within 0.1 s"],
            rows,
        )
    )


def cues_tried(tried: dict[str, Any]) -> str:
    """Single cues that were asked for, and whether they held."""
    if not tried:
        return ""
    materials = list(dict.fromkeys(name for one in tried.values() for name in one))
    counts = {
        name: next(one[name]["clips"] for one in tried.values() if name in one)
        for name in materials
    }
    rows = [
        [cue, *(three(one[name]["auc"]) if name in one else "n/a" for name in materials)]
        for cue, one in tried.items()
    ]
    holds = [
        cue for cue, one in tried.items() if one and all(x["auc"][1] > CHANCE for x in one.values())
    ]
    told = (
        f"Above chance on all of them: {', '.join(holds)}."
        if holds
        else "None is above chance on all of them, so none was built in."
    )
    head = [f"{name} ({counts[name][0]} / {counts[name][1]})" for name in materials]
    return (
        "## Cues that were asked for\n\n`python -m aura.training.lite cues --out runs/lite`: "
        "each by itself, AUC "
        "in the direction expected of it, by clips (genuine / manipulated); the mouths replaced by "
        "us are held against genuine clips that went through the same codec. "
        f"{told}\n\n" + table(["cue", *head], rows)
    )
