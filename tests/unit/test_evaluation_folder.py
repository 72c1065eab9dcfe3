"""From predictions to figures, tables, plots, the page and comparisons."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from aura.errors import InputError, UsageError
from aura.evaluation.compare import Contender, compare, markdown, signed
from aura.evaluation.folder import write_comparison, write_evaluation
from aura.evaluation.predictions import (
    FoundSegment,
    Frame,
    Header,
    Prediction,
    PredictionsFile,
    TrueSegment,
    Window,
    read_predictions,
)
from aura.evaluation.suite import measure
from aura.evaluation.variants import variant_path
from aura.metrics import auc_interval

pytest.importorskip("matplotlib", reason="matplotlib is in the extra 'evaluate'")

HEADER = Header("model <one>", "ab" * 32, "made-up", role="reporting", trained_on=("lab",))


def made_up(count=40, seed=0, skill=1.5):
    """Clips of two sources; sorted by sound and picture; every second fake is partial."""
    random = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        label = number % 2
        score = float(1 / (1 + np.exp(-random.normal(skill * (label - 0.5), 1))))
        span = (TrueSegment("visual", 1.0, 2.0),) if label and number % 4 == 1 else None
        clips.append(
            Prediction(
                path=f"{number}.mp4",
                label=label,
                visual=label,
                audio=0,
                method="Wav2Lip" if label else "none",
                source="lab" if number < count / 2 else "street <b>",
                group=f"g{number // 4}",
                sha256=f"{number:064x}",
                subgroups={"language": "de" if number % 3 else "en"},
                score=score,
                decision="fake" if score > 0.6 else "real" if score < 0.4 else "uncertain",
                windows=(
                    Window(0.0, 1.0, score, 0 if span else label),
                    Window(1.0, 2.0, score, label),
                ),
                frames=(Frame(0.5, score, label),),
                segments_true=span,
                segments_found=(FoundSegment("visual", 1.0, 2.0, score),) if score > 0.5 else (),
            )
        )
    return clips


def folder_of(path, clips, header=HEADER):
    path.mkdir(parents=True, exist_ok=True)
    with PredictionsFile(path / "predictions.jsonl", header) as file:
        for clip in clips:
            file.add(clip)
    return path


def test_figures_are_those_of_the_clips(tmp_path):
    clips = made_up()
    folder = folder_of(tmp_path, [*clips, Prediction("x.mp4", 1, error="is <broken>")])
    write_evaluation(folder)
    found = json.loads((folder / "metrics.json").read_text())
    expected = auc_interval(
        [one.label for one in clips], [one.score for one in clips], [one.group for one in clips]
    )
    assert found["clip"]["auc"] == {
        "value": pytest.approx(expected.value, abs=1e-6),
        "low": pytest.approx(expected.low, abs=1e-6),
        "high": pytest.approx(expected.high, abs=1e-6),
    }
    assert (found["clip"]["fakes"], found["clip"]["reals"], found["clip"]["groups"]) == (20, 20, 10)
    # Half of the fakes are real in their first window.
    assert (found["window"]["fakes"], found["window"]["reals"]) == (30, 50)
    assert found["clips"]["without_score"] == [{"path": "x.mp4", "reason": "is <broken>"}]
    assert found["model"] == {"name": "model <one>", "sha256": "ab" * 32}
    assert "needs 100 real ones" in found["clip"]["not_measured"]["tpr_at_fpr1"]
    assert 0 < found["localisation_ap"]["0.5"]["value"] < 1
    wrong = sum(one.decision == "fake" for one in clips if not one.label)
    assert found["decisions"]["false_alarms"]["value"] == pytest.approx(wrong / 20, abs=1e-6)


def test_parts_are_by_kind_source_distribution_and_the_manifests_own_columns(tmp_path):
    parts = {(one.kind, one.name): one.measured for one in measure(HEADER, made_up()).slices}
    assert (parts["method", "Wav2Lip"].fakes, parts["method", "Wav2Lip"].reals) == (20, 20)
    assert parts["kind of fake", "lip sync"].fakes == 20
    assert parts["what is fake", "picture"].fakes == 20
    assert parts["data set", "lab"].fakes == parts["distribution", "trained on"].fakes == 10
    assert "ece" in parts["distribution", "not trained on"].figures
    assert parts["language", "de"].fakes + parts["language", "en"].fakes == 20


class Page(HTMLParser):
    """Tags, attributes and ids of a page; fails on tags that are closed in the wrong order."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in {"src", "href", "xlink:href"}:
                self.links.append(value)
        if tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in {"meta", "br", "link"}:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_page(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_page_is_whole_asks_for_nothing_and_takes_names_literally(tmp_path):
    folder = folder_of(tmp_path, [*made_up(), Prediction("<i>.mp4", 0, error="<script>")])
    write_evaluation(folder)
    page = read_page(folder / "report.html")
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids)) > 0
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert not {"script", "i", "one", "img", "link"} & set(page.tags)
    text = " ".join(page.text)
    for words in (
        "Reporting data",
        "20 fake, 20 real",
        "<script>",
        "street <b>",
        "AURC",
        "IoU 0.75",
    ):
        assert words in text
    assert page.tags.count("svg") == 6
    assert "url(http" not in (folder / "report.html").read_text()


def test_no_cell_is_a_formula_for_a_spreadsheet(tmp_path):
    clips = [replace(one, source="=HYPERLINK(0)") for one in made_up()]
    folder = folder_of(tmp_path, clips)
    write_evaluation(folder)
    with (folder / "slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {row["name"] for row in rows}
    assert any("HYPERLINK" in name for name in names)
    assert not any(name.startswith(("=", "+", "-", "@")) for name in names)
    float(rows[0]["auc"])  # figures stay numbers, negative ones too


def test_selection_data_and_few_clips_are_said_aloud(tmp_path):
    folder = folder_of(tmp_path, made_up(20), replace(HEADER, role="selection"))
    write_evaluation(folder)
    text = " ".join(read_page(folder / "report.html").text)
    assert "Selection data" in text
    assert "Few clips" in text


def test_plots_are_files_of_their_own_and_equal_each_time(tmp_path):
    folder = folder_of(tmp_path, made_up())
    write_evaluation(folder)
    plots = {path.name: path.read_text() for path in (folder / "plots").glob("*.svg")}
    assert {"roc.svg", "precision-recall.svg", "confusion.svg", "reliability.svg"} <= set(plots)
    assert "#010203" not in "".join(plots.values())
    page = (folder / "report.html").read_text()
    write_evaluation(folder)
    assert plots == {path.name: path.read_text() for path in (folder / "plots").glob("*.svg")}
    assert (folder / "report.html").read_text() == page


def test_variants_are_held_against_the_untouched_clips(tmp_path):
    clips = made_up()
    folder = folder_of(tmp_path, clips)
    for level in (1, 5):
        worse = [replace(one, score=abs(one.score - 0.1 * level)) for one in clips[:-4]]
        options = {"robustness": "blur", "level": level, "setting": f"kernel {level}"}
        path = variant_path(folder, "robustness", f"blur-{level}")
        with PredictionsFile(path, replace(HEADER, options=options)) as file:
            for one in worse:
                file.add(one)
    blind = variant_path(folder, "ablation", "audio only")
    with PredictionsFile(blind, replace(HEADER, options={"ablation": "audio only"})) as file:
        for one in clips:
            file.add(replace(one, score=None))
    write_evaluation(folder)
    found = json.loads((folder / "metrics.json").read_text())["variants"]
    named = {(one["name"], one["level"]): one for one in found}
    mild, severe = named["blur", 1.0], named["blur", 5.0]
    assert mild["shared_clips"] == severe["shared_clips"] == 36
    assert severe["differences"]["auc"]["value"] < mild["differences"]["auc"]["value"] + 1e-9
    assert severe["differences"]["auc"]["value"] < 0
    assert "too few" in named["audio only", None]["not_measured"]["auc"]
    assert (folder / "plots" / "robustness.svg").exists()
    assert "kernel 5" in " ".join(read_page(folder / "report.html").text)
    assert len((folder / "variants.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(tmp_path, label):
    clips = [one for one in made_up() if one.label == label]
    with pytest.raises(InputError, match=f"no {'fake' if label == 0 else 'real'} clip"):
        write_evaluation(folder_of(tmp_path, clips))
    assert not (tmp_path / "metrics.json").exists()


def test_no_score_at_all_is_refused(tmp_path):
    clips = [replace(one, score=None, error="no face") for one in made_up(4)]
    with pytest.raises(InputError, match="no face"):
        write_evaluation(folder_of(tmp_path, clips))


def contenders(*lists, header=HEADER):
    return [Contender(f"m{number}", header, clips) for number, clips in enumerate(lists)]


def test_a_comparison_uses_what_both_scored_and_counts_what_it_leaves_out():
    one, other = made_up(40), made_up(40, seed=1)
    found = compare(contenders(one[:30], [*other[10:], replace(other[0], score=None)]))
    assert found.shared == 20
    assert [standing.left_out for standing in found.standings] == [10, 10]
    assert found.matched_by == "SHA-256"
    alone = auc_interval([c.label for c in one[10:30]], [c.score for c in one[10:30]])
    assert found.standings[0].measured.figures["auc"].value == pytest.approx(alone.value)


def test_paired_intervals_are_narrower_than_the_models_own_and_zero_for_equal_ones():
    clips = made_up(80)
    shaken = [
        replace(one, score=float(np.clip(one.score + 0.02 * (-1) ** i, 0, 1)))
        for i, one in enumerate(clips)
    ]
    same, near = compare(contenders(clips, clips, shaken), 500).standings[1:]
    assert same.differences["auc"].value == same.differences["auc"].high == 0
    own = near.measured.figures["auc"]
    difference = near.differences["auc"]
    assert difference.high - difference.low < 0.5 * (own.high - own.low)


def test_a_better_model_is_told_from_a_worse_one():
    good, bad = made_up(80, skill=4), made_up(80, skill=0)
    found = compare(contenders(bad, good), 500).standings[1].differences["auc"]
    assert found.low > 0
    assert signed(found).endswith("*")


def test_different_clips_or_answers_are_refused():
    one = made_up(8)
    other = [replace(c, path=f"o{c.path}", sha256="f" + c.sha256[1:]) for c in one]
    with pytest.raises(InputError, match="different clip sets"):
        compare(contenders(one, other))
    turned = [replace(c, label=1 - c.label) for c in one]
    with pytest.raises(InputError, match="same manifest"):
        compare(contenders(one, turned))
    with pytest.raises(InputError, match="one class"):
        compare(contenders(one, [c for c in one if c.label]))
    with pytest.raises(UsageError, match="two"):
        compare(contenders(one))


def test_without_hashes_clips_are_matched_by_path():
    clips = [replace(one, sha256="") for one in made_up(12)]
    assert compare(contenders(clips, made_up(12)), 50).matched_by == "path"


def test_a_comparison_is_written_as_json_markdown_and_page(tmp_path):
    found = compare(contenders(made_up(), made_up(seed=1)), 200)
    write_comparison(tmp_path, found, ("auc", "brier"))
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert document["shared_clips"] == 40
    assert document["models"][1]["differences"]["auc"]["value"] == pytest.approx(
        found.standings[1].differences["auc"].value, abs=1e-6
    )
    assert re.search(r"\| m1 \| [+-]0\.", markdown(found, ("auc",)))
    page = read_page(tmp_path / "comparison.html")
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    assert "paired" in " ".join(page.text).lower()


def test_predictions_are_all_that_a_folder_needs(tmp_path):
    folder = folder_of(tmp_path / "a", made_up())
    write_evaluation(folder)
    copy = tmp_path / "b"
    copy.mkdir()
    (copy / "predictions.jsonl").write_bytes((folder / "predictions.jsonl").read_bytes())
    write_evaluation(copy)
    assert (copy / "metrics.json").read_text() == (folder / "metrics.json").read_text()
    assert len(read_predictions(copy)[1]) == 40
