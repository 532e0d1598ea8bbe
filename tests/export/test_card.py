"""MODEL_CARD.md: what the hub reads of it, what a reader does, and that no foreign text gets out of hand."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ecovision_edge import Bundle
from ecovision_edge.base.device import read_machine
from ecovision_edge.base.markdown import plain, replace_section, section, table
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.bundle.contract import Contract, WeightsSource
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry, Manifest
from ecovision_edge.calibration import calibrate, calibrated_bundle, write_calibrated
from ecovision_edge.photographs.turns import TurnFigure, TurnFigures, TurnReport
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.card import Facts, known_facts, write_card
from ecovision_edge_export.card.training import MOST_ROWS, training_lines
from ecovision_edge_export.ecovision import REFERENCE_WEIGHTS
from ecovision_edge_export.finished.speed import Speed
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.parity.figures import Accuracy, Parity, budget_for
from ecovision_edge_export.parity.outcomes import Outcome, measure_outcome, outcome_json
from ecovision_edge_export.parity.tables import parity_rows

LABELS = ("can", "jar", "rag")
HOSTILE = [
    "---",
    "# heading",
    "a|b",
    "`code`",
    "<script>alert(1)</script>",
    "![x](http://example.com/x.png)",
    "[click](http://example.com)",
    "*a* _b_ ~~c~~ $d$",
    "key: value",
    "- item",
    "&lt;b&gt; \\| \\",
    "{{ jinja }} {% raw %}",
    "<!-- ecovision-edge: calibration -->",
    "'\"!!python/object: x",
    "yes",
    "1.0",
    "🗑 мусор",
]
MD = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def manifest(labels=LABELS, name="mine", weights="best.pth", precisions=("int8",), **provenance) -> Manifest:
    """Of a bundle that was never made."""
    source = WeightsSource("mobilenet_v3_large", weights, "ab" * 32)
    entries = tuple(
        ArtifactEntry(FileEntry(f"model.{p}.onnx", "cd" * 32, 7), "onnx", p, 0.5, 20, recipe=RECIPE[p])
        for p in precisions
    )
    validation = {"evidence": "photographs", "images": 9, "digest": "ef" * 32}
    told = {"ecovision_edge": "0.1.0", "validation": validation, "parity_waived": False, **provenance}
    return Manifest(
        name, Contract(tuple(labels), source), entries, FileEntry("golden.npz", "ef" * 32, 9), told
    )


RECIPE = {
    "fp32": {},
    "int8": {
        "format": "QDQ",
        "target": "arm64",
        "activations": "uint8 per tensor",
        "weights": "int8 per channel",
        "ranges": "mse",
        "fp32_blocks": "0-1",
    },
}


def parity(
    artifact="int8-onnx", labels=LABELS, counts=((3, 0, 0), (1, 2, 0), (0, 0, 3)), **changes
) -> Parity:
    """PyTorch all right on nine photographs, the artifact as the counts say."""
    counts = tuple(tuple(row) for row in counts)
    right = tuple(
        tuple(sum(row) if i == j else 0 for j in range(len(counts))) for i, row in enumerate(counts)
    )
    n = sum(map(sum, counts))
    good = sum(row[i] for i, row in enumerate(counts))
    values = {
        "artifact": artifact,
        "evidence": "photographs",
        "images": n,
        "judged": n,
        "agreed": n,
        "max_dp": 0.1,
        "mean_dp": 0.01,
        "max_dlogit": 0.5,
        "tensors": n,
        "flips": (),
        "accuracy": Accuracy(n, n, good, n - good, 0),
        "budget": budget_for("int8", max_drop=100),
        "torch_outcome": Outcome(tuple(labels), right, 0.01),
        "outcome": Outcome(tuple(labels), counts, 0.02),
    }
    return Parity(**{**values, **changes})


DRAWN = {"evidence": "generated", "accuracy": None, "torch_outcome": None, "outcome": None}


def tables(card: str) -> list[list[list[str]]]:
    """Each table of the card as a reader sees its cells."""
    found, cell = [], False
    for token in MD.parse(card.split("\n---\n", 1)[1]):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            cell = True
        elif token.type == "inline" and cell:
            found[-1][-1].append("".join(t.content for t in token.children))
            cell = False
    return found


def headings(card: str) -> list[str]:
    tokens = MD.parse(card.split("\n---\n", 1)[1])
    inlines = [b for a, b in itertools.pairwise(tokens) if a.type == "heading_open"]
    return ["".join(t.content for t in token.children) for token in inlines]


SECTIONS = [
    *["Use", "Contract", "Files", "Training data and recipe", "Accuracy by class", "Accuracy by turn"],
    *["Calibration", "Parity with PyTorch", "Latency", "Limits"],
]


def test_the_hub_reads_the_front_matter():
    """By huggingface_hub's own parser: accuracy of each artifact on labelled photographs, and what it is."""
    m = manifest(precisions=("fp32", "int8"))
    card = ModelCard(write_card(m, [parity("fp32-onnx"), parity()])).data
    assert (card.library_name, card.pipeline_tag) == ("ecovision-edge", "image-classification")
    assert {"onnx", "int8", "mobilenet_v3_large"} <= set(card.tags)
    assert card.model_name == "mine"
    first, second = card.eval_results
    assert (first.task_type, first.metric_type) == ("image-classification", "accuracy")
    assert [r.metric_name for r in (first, second)] == [
        "top-1 accuracy, fp32-onnx",
        "top-1 accuracy, int8-onnx",
    ]
    assert second.metric_value == pytest.approx(8 / 9, abs=1e-6)
    assert second.dataset_args == {"images": 9, "sha256": "ef" * 32}


def test_what_is_not_known_is_not_in_the_front_matter():
    """No licence, no base model; without labelled photographs no result."""
    flat = {**DRAWN, "evidence": "photographs"}
    for changes in (DRAWN, flat):
        text = write_card(manifest(), [parity(**changes)])
        card = ModelCard(text).data
        assert card.license is card.base_model is card.eval_results is None
        assert "model-index" not in text
        assert "| licence of the weights | not known |" in text
        assert "## Training data and recipe\n\nNot known.\n" in text
        assert "Not measured: no labelled photographs" in text


def test_weights_of_the_hub_are_the_base_model():
    """Converted to int8 they are a quantized version; what they were trained on is theirs to say."""
    source = WeightsSource("mobilenet_v3_large", "hf://o/r/f.pth", "ab" * 32, "c" * 40)
    facts = known_facts(source)
    card = ModelCard(write_card(manifest(), [parity()], facts)).data
    assert (card.base_model, card.base_model_relation, card.license) == ("o/r", "quantized", None)
    assert "Not known here" in facts.training[0]
    fp32 = ModelCard(write_card(manifest(precisions=("fp32",)), [parity("fp32-onnx")], facts)).data
    assert fp32.get("base_model_relation") is None


def test_the_reference_is_known_by_its_bytes_whatever_it_is_called():
    """Licence, training and limits; other weights of that name get none of it."""
    import hashlib

    digest = hashlib.sha256(REFERENCE_WEIGHTS.read_bytes()).hexdigest()
    facts = known_facts(WeightsSource("mobilenet_v3_large", "copy.safetensors", digest))
    assert facts.license == "mit"
    assert any("9,166 photographs" in line for line in facts.training)
    assert facts.turns == "any"
    assert known_facts(WeightsSource("mobilenet_v3_large", "reference", "ab" * 32)) == Facts()


def test_what_is_documented_of_the_reference_is_what_its_own_card_says():
    """Every number of the facts stands in models/README.md."""
    models = REFERENCE_WEIGHTS.parent
    documented = json.loads((models / "reference.facts.json").read_text())
    readme = (models / "README.md").read_text().replace("1212", "1,212").replace("1881", "1,881")
    for text in [*documented["training"], *documented["limits"], *documented["sha256"][1:]]:
        for number in re.findall(r"\d[\d,.]*\d|\d", text):
            assert number in readme, (number, text)


def test_accuracy_by_class_has_counts_and_intervals():
    """As measured, and the pairs that are confused with how often."""
    by_class, confused = tables(write_card(manifest(), [parity()]))[2:4]
    assert by_class[0] == ["class", "photographs", "PyTorch", "int8-onnx"]
    low, high = wilson_interval(2, 3)
    assert by_class[2] == [
        "jar",
        "3",
        "3: 100.0 % [43.9, 100.0]",
        f"2: 66.7 % [{100 * low:.1f}, {100 * high:.1f}]",
    ]
    assert by_class[-1][:2] == ["all", "9"]
    assert by_class[-1][3].startswith("8: 88.9 %")
    assert confused == [["it is", "called", "PyTorch", "int8-onnx"], ["jar", "can", "0", "1"]]


def test_a_class_without_photographs_has_no_accuracy():
    """Nor is it in the manifest."""
    p = parity(counts=((3, 0, 0), (0, 0, 0), (0, 0, 3)))
    assert tables(write_card(manifest(), [p]))[2][2] == ["jar", "0", "none seen", "none seen"]
    assert [row["label"] for row in outcome_json(p.torch_outcome, p.outcome)["classes"]] == ["can", "rag"]


def test_outcomes_are_counted():
    """Against a count by hand; the calibration error is that of the bins."""
    truth = np.array([0, 0, 1, 1, 2])
    rows = [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.7, 0.3, 0], [0.2, 0.8, 0], [0, 1.0, 0]]
    outcome = measure_outcome(LABELS, truth, np.array(rows))
    assert outcome.counts == ((2, 0, 0), (1, 1, 0), (0, 1, 0))
    assert [(c.truth, c.answer, c.images) for c in outcome.confusions()] == [
        ("jar", "can", 1),
        ("rag", "jar", 1),
    ]
    assert outcome.ece == pytest.approx((0.1 + 0.4 + 0.7 + 0.2 + 1.0) / 5)
    figures = parity(torch_outcome=outcome, outcome=outcome).summary()["accuracy"]
    assert figures["classes"][1] == {"label": "jar", "images": 2, "torch_correct": 1, "artifact_correct": 1}
    assert figures["confused"][0] == {"truth": "jar", "answer": "can", "images": 1}
    assert figures["ece"]["artifact"] == pytest.approx(outcome.ece, rel=1e-3)


def test_the_card_is_the_same_for_the_same_facts():
    """Letter for letter, and each section is there once."""
    first, second = (write_card(manifest(), [parity()], Facts(), [Speed("int8-onnx", 1.5, 50)]) for _ in "ab")
    assert first == second
    assert headings(first) == ["mine", *SECTIONS]


def test_latency_names_the_machine_or_was_not_measured():
    """Nothing is made up."""
    measured = write_card(manifest(), [parity()], None, [Speed("int8-onnx", 1.5, 50)])
    machine = read_machine()
    assert plain(f"{machine.board or machine.cpu.model}, {machine.cpu.arch}") in measured
    assert ["int8-onnx", "1.50", "50"] in tables(measured)[-1]
    assert "## Latency\n\nNot measured at export." in write_card(manifest(), [parity()])


def test_int8_says_whose_sums_it_was_judged_by():
    """uint8 activations are clipped by x86 without VNNI; fp32 is not."""
    assert "exact integer sums" in write_card(manifest(), [parity()])
    assert "exact integer sums" not in write_card(manifest(precisions=("fp32",)), [parity("fp32-onnx")])


def test_a_waiver_is_said():
    """Each part of the budget that was not met."""
    card = write_card(manifest(), [parity(agreed=5)])
    assert "- Waived: int8-onnx agreement: expected >= 98 %, found 55.56 % (4 of 9 flipped)." in card


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_or_label_gets_out_of_its_place(hostile):
    """It is read as what it is, in the front matter, the heading and each table; nothing else changes."""
    labels = (hostile, "jar", "rag")
    counts = ((2, 1, 0), (1, 2, 0), (0, 0, 3))
    m = manifest(labels, name=hostile, weights=hostile)
    text = write_card(m, [parity(labels=labels, counts=counts)])
    assert ModelCard(text).data.model_name == hostile
    assert headings(text) == [hostile, *SECTIONS]
    found = tables(text)
    harmless = tables(write_card(manifest(), [parity(counts=counts)]))
    assert [[len(row) for row in rows] for rows in found] == [[len(row) for row in rows] for rows in harmless]
    assert found[2][1][0] == hostile
    assert ["weights", hostile] in found[0]
    assert found[0][5] == ["labels, in order", f"{hostile}, jar, rag"]
    kinds = {t.type for token in MD.parse(text.split("\n---\n", 1)[1]) for t in token.children or ()}
    assert kinds <= {"text", "code_inline", "softbreak", "text_special", "html_inline"} - {"html_inline"}
    lines = [line for line in text.splitlines() if line.startswith("<!--")]
    assert lines == [*section("fetch", []), *section("calibration", [])]
    assert replace_section(text.encode(), "calibration", ["anew!"]).count(b"anew!") == 1


@given(st.text(max_size=60))
def test_plain_text_is_read_as_it_was(text):
    """In a cell, by a Markdown parser: what is printable is unchanged, and nothing but text comes of it."""
    expected = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    tokens = MD.parse("\n".join(table([["a", "b"], [plain(text), "end"]])))
    cells = [t for t in tokens if t.type == "inline"]
    assert len(cells) == 4
    assert "".join(t.content for t in cells[2].children) == expected
    assert {t.type for t in cells[2].children} <= {"text", "text_special"}


def test_long_foreign_text_is_cut():
    assert plain("x" * 300) == "x" * 199 + "…"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_only_what_is_between_the_marks_is_written_anew(before, after):
    """Whatever is around them, other encodings too."""

    def card_of(*lines: str) -> bytes:
        return b"\n".join([before, *(line.encode() for line in section("x", lines)), after])

    card = card_of("old")
    new = replace_section(card, "x", ["new", "lines"])
    assert new == card_of("new", "lines")
    assert replace_section(new, "x", ["old"]) == card
    assert replace_section(card, "y", ["new"]) == card
    twice = card + b"\n" + card
    assert replace_section(twice, "x", ["new"]) == twice


def test_marks_in_the_wrong_order_are_left_alone():
    start, end = (mark.encode() for mark in section("x", []))
    for text in (end + b"\n" + start, start, end, b"", b"a " + start + b"\n" + end):
        assert replace_section(text, "x", ["new"]) == text


TRAINING = {
    "init": {"source": "hf://o/r/f.pth", "head": "new"},
    "recipe": {"name": "card", "lr": 0.001, "epochs": 3},
    "data": {"train": {"photographs": 30, "by_class": {"can": 12, "jar": 18}}},
    "classes": [{"label": "can", "images": 3, "correct": 2}, {"label": "a|b", "images": 3, "correct": 3}],
}


def test_what_a_checkpoint_says_of_its_training_is_in_the_card():
    """One row per fact, counts by class in one, a table of classes; the base model is what it began with."""
    facts = known_facts(WeightsSource("mobilenet_v3_large", "best.safetensors", "ab" * 32), TRAINING)
    text = write_card(manifest(), [parity()], facts)
    said, classes = tables(text)[2:4]
    assert ["recipe lr", "0.001"] in said
    assert ["data train by class", "can 12, jar 18"] in said
    assert classes == [["label", "images", "correct"], ["can", "3", "2"], ["a|b", "3", "3"]]
    card = ModelCard(text).data
    assert (card.base_model, card.base_model_relation, card.license) == ("o/r", "finetune", None)
    assert facts.record == TRAINING
    published = known_facts(WeightsSource("mobilenet_v3_large", "hf://me/mine/f.pth", "ab" * 32), TRAINING)
    assert (published.base_model, published.base_relation) == ("me/mine", None)


def side(*correct: int) -> TurnFigures:
    """Nine photographs at quarter turns."""
    return TurnFigures(tuple(TurnFigure(90 * i, c, 9) for i, c in enumerate(correct)))


def test_accuracy_by_turn_stands_in_the_card_the_tables_and_the_manifest():
    """With bars and without, mean and worst; grey bars only where photographs have some."""
    barred = parity(turns=TurnReport(9, 4, side(8, 5, 6, 4), side(9, 6, 6, 3)))
    card = write_card(manifest(), [barred])
    by_turn = tables(card)[4]
    assert by_turn == [
        *[["turn", "int8-onnx"], ["upright, with bars", "88.9 %"], ["upright", "100.0 %"]],
        *[["90 degrees", "66.7 %"], ["180 degrees", "66.7 %"], ["270 degrees", "33.3 %"]],
        *[["mean", "66.7 %"], ["worst", "33.3 %"]],
    ]
    assert "4 of them have" in card
    rows = {row[0]: row[-1] for row in parity_rows([barred])}
    assert rows["accuracy of 9, no bars"] == "100.00 %"
    assert rows["the same, mean of 4 turns"] == "66.67 %"
    assert rows["the same, worst of 4 turns"] == "33.33 %"
    assert barred.summary()["turns"]["bars_stripped"]["worst_degrees"] == 270
    plain_ = write_card(manifest(), [parity(turns=TurnReport(9, 0, side(9, 9, 9, 9), side(9, 9, 9, 9)))])
    assert "Grey letterbox bars" not in plain_
    assert "with bars" not in plain_
    assert "not measured" in write_card(manifest(), [parity()]).split("## Accuracy by turn")[1][:300]
    assert "turns" not in parity().summary()


@pytest.mark.parametrize(
    ("said", "known", "words"),
    [
        ({"turns": "any"}, "any", "Trained for any orientation"),
        ({"turns": "upright"}, "upright", "Not trained for any orientation"),
        ({}, None, "is not known"),
        ({"turns": "sideways"}, None, "is not known"),
        ({"turns": ["any"]}, None, "is not known"),
    ],
)
def test_the_card_says_whether_it_was_trained_for_any_orientation(said, known, words):
    """As the checkpoint says it; nothing is guessed."""
    source = WeightsSource("mobilenet_v3_large", "best.safetensors", "ab" * 32)
    facts = known_facts(source, {**TRAINING, **said})
    assert facts.turns == known
    assert words in write_card(manifest(), [parity()], facts).split("## Accuracy by turn")[1][:300]


@pytest.mark.slow
def test_the_contract_says_it_to_the_device(reference):
    """A lone model file then knows whether quarter turns are worth looking at."""
    options = ExportOptions(weights="reference")
    assert make_contract(options, reference).any_orientation  # as its facts say
    source = dataclasses.replace(reference.source, sha256="ab" * 32)
    for said, known in (("any", True), ("upright", False), ("sideways", False)):
        trained = dataclasses.replace(reference, source=source, training={**TRAINING, "turns": said})
        assert make_contract(options, trained).any_orientation is known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON | st.sampled_from(HOSTILE), max_size=5))
def test_any_facts_of_a_training_are_tables_and_nothing_else(training):
    """No heading, no code, no HTML; each row has as many cells as its head."""
    lines = training_lines(training)
    assert all("\n" not in line for line in lines)
    kinds = {t.type for t in MD.parse("\n".join(lines))}
    assert not kinds & {"heading_open", "fence", "code_block", "html_block", "hr", "bullet_list_open"}
    inner = {t.type for token in MD.parse("\n".join(lines)) for t in token.children or ()}
    assert inner <= {"text", "text_special"}


def test_a_checkpoint_cannot_fill_the_card():
    """Depth and length have an end."""
    deep: object = "end"
    for _ in range(400):
        deep = [deep]
    rows = [{"a": i} for i in range(5000)]
    many = {f"k{i}": "x" * 1000 for i in range(1500)}
    for training in ({"deep": deep}, {"rows": rows}, {"list": list(range(10**5))}, many):
        text = "\n".join(training_lines(training))
        assert len(text.splitlines()) < MOST_ROWS + 20
        assert len(text) < 2e6
    assert known_facts(WeightsSource("a", "b", "ab" * 32), many).record is None


def bundle_with_card(folder: Path) -> Path:
    """The embedded bundle with a card of today."""
    folder.mkdir()
    for path in embedded_bundle_path().iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    m = Bundle.open(folder).manifest
    n = len(m.contract.labels)
    p = parity(labels=m.contract.labels, counts=[[int(i == j) for j in range(n)] for i in range(n)])
    card = write_card(m, (p,), known_facts(m.contract.weights))
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return folder


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_lines_of_the_card_work_in_its_folder(tmp_path):
    """As they stand there, installation apart, with a photograph beside."""
    folder = bundle_with_card(tmp_path / "b")
    cv2.imwrite(str(folder / "photo.jpg"), draw_frame(1))
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    (python,), (shell,) = blocks(card, "python"), blocks(card, "sh")
    install, *commands = shell.splitlines()
    assert install.startswith("pip install ./ecovision-edge ")
    scripts = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", "\n".join(commands)],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(
        [sys.executable, "-c", python], check=False, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    label, score = ran.stdout.split()
    assert label in Bundle.open(folder).contract.labels
    assert f"{label} " in done.stdout.replace("\t", " ")
    assert 0 < float(score) <= 1


def fitted(labels, seed=0, scale=4.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(300, len(labels))) * scale
    truth = np.where(rng.random(300) < 0.9, logits.argmax(1), 0)
    return calibrate(labels, logits, truth)


@pytest.mark.slow
def test_a_calibration_changes_its_own_part_of_the_card_and_the_hashes(tmp_path):
    """Both names of the card; a second time it is rewritten; what was measured at export stays."""
    folder = bundle_with_card(tmp_path / "b")
    before = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(before, encoding="utf-8")
    for seed in (0, 1):
        opened = Bundle.open(folder)
        result = fitted(opened.contract.labels, seed)
        write_calibrated(folder, opened, calibrated_bundle(opened, result, {"artifact": "int8-onnx"}))
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (folder / "README.md").read_text(encoding="utf-8") == card
    start, end = section("calibration", [])
    head, part, tail = (
        card.partition(start)[0],
        card.partition(start)[2].partition(end)[0],
        card.partition(end)[2],
    )
    assert head + start + end + tail == re.sub(
        f"{re.escape(start)}.*{re.escape(end)}",
        start + end,
        before.replace(*hash_rows(embedded_bundle_path(), folder)),
        flags=re.DOTALL,
    )
    assert f"Temperature {result.temperature:g} (fitted; " in part
    assert "nothing was fitted" not in part
    assert f"| expected calibration error | {result.ece_before:.4f} | {result.ece_after:.4f} |" in part
    assert all(f"| {c.label} | {c.photographs} |" in part for c in result.classes)
    assert headings(card) == headings(before)


def hash_rows(old: Path, new: Path) -> list[str]:
    files = [Bundle.open(folder).manifest.artifacts[0].file for folder in (old, new)]
    return [f"| {file.bytes} | `{file.sha256}` |" for file in files]


def test_a_calibration_leaves_a_card_of_another_hand_alone(tmp_path):
    """No marks, nothing written; hostile labels stay in their cells."""
    folder = bundle_with_card(tmp_path / "b")
    (folder / "MODEL_CARD.md").write_bytes(b"my own \xff card\n")
    opened = Bundle.open(folder)
    files = calibrated_bundle(opened, fitted(opened.contract.labels))
    assert files["MODEL_CARD.md"] == b"my own \xff card\n"


def test_labels_stay_in_their_cells_in_what_a_calibration_writes():
    from ecovision_edge.calibration.card import renewed_card

    labels = tuple(HOSTILE[:6])
    text = "\n".join(section("calibration", [])).encode()
    new = renewed_card(text, fitted(labels), 1.0, "a|b").decode()
    by_class = tables(f"---\n---\n{new}")[1]
    assert [row[0] for row in by_class[1:]] == list(labels)
    assert len({len(row) for row in by_class}) == 1


def test_a_failed_parity_is_not_shown_as_good():
    p = parity(agreed=5)
    assert ["within budget", "", "NO"] in tables(write_card(manifest(), [p]))[-1]
    assert dataclasses.replace(p, agreed=9).ok
