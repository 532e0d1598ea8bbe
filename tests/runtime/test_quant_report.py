"""How an int8 model was made, as a bundle tells it: `quant-report`, `inspect` and `verify`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecovision_edge.base.device import Cpu
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.manifest import Precision
from ecovision_edge.cli.app import main
from ecovision_edge.cli.quant_report import report_lines
from ecovision_edge.verify import compare_golden

Cli = Callable[..., tuple[int, str, str]]
Bundles = Callable[[Any], Path]

FULL: dict[str, Any] = {
    "format": "QDQ",
    "target": "arm64",
    "ranges": "mse",
    "folded_excitations": [],
    "biases_corrected": True,
    "clipping_safe": False,
    "fp32_blocks": "0-1",
    "tried": [
        {
            "stage": "numbers",
            "what": "ranges mse",
            "fp32_blocks": "0-1",
            "sqnr_db": 27.4,
            "agreement": 0.9922,
            "expected_agreement": 1.0,
            "modelled_cost": 0.56,
        },
        {
            "stage": "leading blocks",
            "what": "fp32: 0",
            "fp32_blocks": "0",
            "sqnr_db": 8.5,
            "agreement": 0.98756,
            "expected_agreement": 0.05,
            "modelled_cost": 0.569,
        },
    ],
    "layers": [
        {
            "layer": "stem",
            "block": 0,
            "kind": "conv 3x3",
            "precision": "fp32",
            "range": None,
            "roomy_rows": 0,
            "sqnr_db": None,
        },
        {
            "layer": "features.2.block.0.0",
            "block": 2,
            "kind": "conv 1x1",
            "precision": "int8",
            "range": [-3.0, 306.9],
            "roomy_rows": 12,
            "sqnr_db": 34.4,
        },
    ],
}

NO_VNNI = Cpu("x86_64", "Haswell", frozenset({"avx2", "fma"}))
NOT_KNOWN = Cpu("x86_64", "?", frozenset())
EXACT = Cpu("aarch64", "Cortex-A76", frozenset())


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `main` here; gives exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def bundle_of(tmp_path: Path) -> Bundles:
    """The reference's manifest with another recipe of its int8 model, and an fp32 model; no other file."""

    def make(recipe: Any) -> Path:
        data = json.loads((embedded_bundle_path() / "bundle.json").read_bytes())
        (entry,) = [a for a in data["artifacts"] if a["name"] == "int8-onnx"]
        plain = {**entry, "name": "fp32-onnx", "precision": "fp32", "file": "model.fp32.onnx", "recipe": {}}
        data["artifacts"] = [plain, {**entry, "recipe": recipe}]
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "bundle.json").write_text(json.dumps(data))
        return folder

    return make


def one_line(text: str) -> bool:
    """An error as users see it: one line, with the program's name."""
    return text.startswith("ecovision-edge: ") and text.count("\n") == 1 and text.endswith("\n")


def test_the_report_is_facts_and_two_tables() -> None:
    """Columns of one width, shares in percent, what has no noise is exact, and what was chosen."""
    assert report_lines(FULL) == [
        "target: arm64",
        "format: QDQ",
        "ranges: mse",
        "biases corrected: yes",
        "folded excitations: none",
        "clipping safe: no",
        "fp32 blocks: 0-1",
        "",
        "tried, on photographs that set no range; the cost is modelled, as a share of fp32's:",
        "  stage           what        SQNR dB  agreement  expected   cost",
        "  numbers         ranges mse     27.4    99.22 %  100.00 %   0.56",
        "  leading blocks  fp32: 0         8.5    98.76 %    5.00 %  0.569",
        "chosen: blocks 0-1 in fp32",
        "",
        "layers; SQNR of what each makes, with the noise of those before it:",
        "  layer                 kind      precision          range  SQNR dB  rows with room",
        "  stem                  conv 3x3  fp32                        exact",
        "  features.2.block.0.0  conv 1x1  int8       -3.0 to 306.9     34.4              12",
    ]


@pytest.mark.parametrize("part", ["tried", "layers"])
def test_each_table_stands_alone(part: str) -> None:
    """A model made without a search has layers all the same."""
    lines = report_lines({part: FULL[part]})
    assert any(line.startswith("  stage") for line in lines) is (part == "tried")
    assert any(line.startswith("  layer") for line in lines) is (part == "layers")
    assert not any("recorded" in line for line in lines)


@pytest.mark.parametrize("recipe", [{}, {"tried": [], "layers": []}, {"tried": None, "layers": "none"}])
def test_an_empty_recipe_is_told(recipe: dict[str, Any]) -> None:
    """Older bundles have none; what to do about it is said."""
    assert report_lines(recipe) == ["no search and no layers are recorded; export it again to have them"]


def test_the_command_prints_the_report(cli: Cli, bundle_of: Bundles) -> None:
    """Under a line with the bundle and the artifact; nothing on standard error."""
    status, out, err = cli("quant-report", bundle_of(FULL))
    assert (status, err) == (0, "")
    assert out.splitlines() == ["reference, int8-onnx", *report_lines(FULL)]


def test_the_reference_is_the_default(cli: Cli) -> None:
    """It has a search and its layers on record."""
    status, out, err = cli("quant-report")
    assert (status, err) == (0, "")
    assert "\ntried, " in out
    assert "\nchosen: blocks " in out
    assert layer_rows(out) > 50


def layer_rows(out: str) -> int:
    """Rows of the last table."""
    return len(out.partition("\nlayers; ")[2].splitlines()) - 2


STRANGE: dict[str, Any] = {
    "text for rows": {"tried": "x", "layers": {"a": 1}},
    "rows that are none": {"tried": [1, None, "x", []], "layers": [[{}], True]},
    "empty rows": {"tried": [{}], "layers": [{}]},
    "wrong types": {
        "target": ["a", {"b": [None]}],
        "fp32_blocks": {"a": {"b": []}},
        "clipping_safe": 1e300,
        "tried": [
            {
                "stage": [1, [2]],
                "what": {"a": None},
                "sqnr_db": "loud",
                "agreement": "all",
                "expected_agreement": True,
                "modelled_cost": [],
            }
        ],
        "layers": [
            {"layer": None, "kind": 3, "precision": {}, "range": [1], "roomy_rows": "x", "sqnr_db": {}},
            {"layer": False, "range": [None, {"a": []}], "roomy_rows": [[]], "sqnr_db": []},
            {"layer": 1, "range": "0 to 1", "roomy_rows": -1},
        ],
    },
    "controls": {
        "target": "\x1b[2J",
        "format": ["\x07", "\x9b31m"],
        "ranges": "\u202e",
        "fp32_blocks": "0\r\n1",
        "tried": [{"stage": "\x1b]0;x\x07", "what": {"\x1b": "\x1b"}, "sqnr_db": "\x1b[A"}],
        "layers": [{"layer": "a\nb\x1b[1m", "kind": "\x00", "precision": "\x7f", "range": ["\x1b", "\x08"]}],
    },
    "a whole number beyond all floats": {"tried": [{"agreement": 10**400}]},
    "the largest float": {"tried": [{"agreement": 1.7e308, "expected_agreement": -1.7e308}]},
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_values_are_shown_and_harmless(cli: Cli, bundle_of: Bundles, name: str) -> None:
    """Whatever a manifest has: no traceback, and nothing that drives the terminal."""
    recipe = STRANGE[name]
    status, out, err = cli("quant-report", bundle_of(recipe))
    assert (status, err) == (0, "")
    lines = out.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines), lines
    assert len(lines) == 1 + len(report_lines(recipe))


def test_names_that_would_drive_the_terminal_are_escaped(cli: Cli, bundle_of: Bundles) -> None:
    """They are still to be seen."""
    _, out, _ = cli("quant-report", bundle_of(STRANGE["controls"]))
    assert "target: \\x1b[2J\n" in out
    assert "a\\nb\\x1b[1m" in out
    assert "\\u202e" in out


@pytest.mark.parametrize("recipe", [FULL, {}, STRANGE["controls"], STRANGE["wrong types"]])
def test_json_on_standard_output_is_all_there_is(cli: Cli, bundle_of: Bundles, recipe: Any) -> None:
    """The recipe as the manifest has it."""
    status, out, err = cli("quant-report", bundle_of(recipe), "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"artifact": "int8-onnx", "recipe": recipe}


def test_json_into_a_file_leaves_the_lines(cli: Cli, bundle_of: Bundles, tmp_path: Path) -> None:
    """The file is whole, and nothing else is left beside it."""
    target = tmp_path / "out" / "recipe.json"
    target.parent.mkdir()
    status, out, _ = cli("quant-report", bundle_of(FULL), "--json", target)
    assert status == 0
    assert out.splitlines()[1:] == report_lines(FULL)
    assert json.loads(target.read_bytes())["recipe"] == FULL
    assert [p.name for p in target.parent.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize("arguments", [["--artifact", "fp32"], ["--artifact", "int4"], ["--json", "none/x"]])
def test_misuse_is_one_line_and_status_2(
    cli: Cli, bundle_of: Bundles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    """An fp32 model has no recipe; a folder that is not there; nothing on standard output."""
    folder = bundle_of(FULL)
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("quant-report", folder, *arguments)
    assert (status, out) == (2, "")
    assert one_line(err), err
    assert arguments[1].partition("/")[0] in err
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_that_is_not_there_is_misuse(cli: Cli, tmp_path: Path) -> None:
    """No folder, and a folder that is no bundle."""
    for folder in (tmp_path / "none", tmp_path):
        status, out, err = cli("quant-report", folder)
        assert (status, out) == (2, "")
        assert one_line(err), err


def test_a_recipe_that_is_no_object_is_a_failed_check(cli: Cli, bundle_of: Bundles) -> None:
    """The manifest is malformed."""
    status, out, err = cli("quant-report", bundle_of([FULL]))
    assert (status, out) == (1, "")
    assert one_line(err), err


def test_inspect_counts_rows(cli: Cli, bundle_of: Bundles) -> None:
    """Hundreds of numbers are no summary; how to get them is said."""
    folder = bundle_of(FULL)
    status, out, err = cli("inspect", folder)
    assert (status, err) == (0, "")
    assert "      tried: 2 rows (--json FILE has them)\n" in out
    assert "      layers: 2 rows (--json FILE has them)\n" in out
    assert "ranges mse" not in out
    assert not set("{}") & set(out)
    _, out, _ = cli("inspect", folder, "--json", "-")
    assert json.loads(out)["artifacts"]["int8-onnx"]["recipe"] == FULL


def detail(recipe: dict[str, Any], cpu: Cpu, precision: Precision = "int8") -> str:
    """What verification says of a model of that recipe whose logits are the golden ones."""
    entry = Bundle.open(embedded_bundle_path()).artifact("int8")
    logits = np.array([[1, 2, 3]], np.float32)
    entry = dataclasses.replace(entry, precision=precision, recipe=recipe)
    check = compare_golden("golden", logits, logits, 0.1, entry, cpu)
    assert check.ok
    return check.detail


@pytest.mark.parametrize("cpu", [NO_VNNI, NOT_KNOWN])
@pytest.mark.parametrize("recipe", [{}, {"clipping_safe": False}, {"clipping_safe": "yes"}])
def test_a_model_with_no_room_is_better_fp32_where_sums_are_clipped(cpu: Cpu, recipe: dict[str, Any]) -> None:
    """Also where the recipe does not say, or says it in other words than true."""
    said = detail(recipe, cpu)
    assert "int8 sums may be clipped: fp32 may be the better choice here" in said
    assert "room" not in said


@pytest.mark.parametrize("cpu", [NO_VNNI, NOT_KNOWN])
def test_a_model_with_room_for_clipped_sums_is_no_reason_for_fp32(cpu: Cpu) -> None:
    """Made so that no sum is beyond 16 bits."""
    said = detail({"clipping_safe": True}, cpu)
    assert "int8 sums may be clipped: which this model has room for" in said
    assert "fp32" not in said


def test_nothing_is_said_of_clipping_where_there_is_none() -> None:
    """On a CPU of exact sums, and of an fp32 model."""
    assert "clipped" not in detail({"clipping_safe": True}, EXACT)
    assert "clipped" not in detail({}, EXACT)
    assert "clipped" not in detail({}, NO_VNNI, "fp32")
