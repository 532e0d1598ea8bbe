"""Facts about choosing between the engines: what is taken where both, one or none of them is installed."""

import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from ecovision_edge import Bundle, Classifier
from ecovision_edge.backends import BackendOptions
from ecovision_edge.base.device import Cpu
from ecovision_edge.base.installation import extra_fix, pip_fix
from ecovision_edge.bundle import engines
from ecovision_edge.cli.app import main
from ecovision_edge.errors import ArtifactNotFoundError, ContractError, OptionError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.verify import SATURATING_FACTOR, golden_tolerance, verify_bundle

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")

OLD = Cpu("x86_64", "Haswell", frozenset({"avx2", "fma"}))
NO_DELEGATE = "libnone.so.1: cannot open shared object file"


@pytest.fixture
def installed(monkeypatch):
    """Let only some of the engines be there."""

    def only(*formats):
        find = {engines.ENGINES[f].module: object() for f in formats}
        monkeypatch.setattr(engines.importlib.util, "find_spec", find.get)

    return only


@pytest.mark.parametrize(
    ("there", "order"),
    [
        *[(("onnx", "tflite"), ("onnx", "tflite")), (("onnx",), ("onnx", "tflite"))],
        *[(("tflite",), ("tflite", "onnx")), ((), ("onnx", "tflite"))],
    ],
)
def test_onnx_is_preferred_unless_only_litert_is_there(installed, there, order):
    """Where neither is, the message is about onnxruntime, which is the usual one."""
    installed(*there)
    assert [engines.is_installed(f) for f in ("onnx", "tflite")] == [f in there for f in ("onnx", "tflite")]
    assert engines.preferred_formats() == order


def test_a_module_that_python_cannot_look_for_is_not_there(monkeypatch):
    """An importer that raises, and a module without a spec."""
    for error in (ImportError, ValueError):

        def fail(name, error=error):
            raise error(name)

        monkeypatch.setattr(engines.importlib.util, "find_spec", fail)
        assert not engines.is_installed("onnx")


@pytest.mark.parametrize(
    ("names", "there", "asked", "found"),
    [
        *[(["fp32-onnx", "int8-tflite"], ("onnx", "tflite"), "auto", "fp32-onnx")],
        *[(["fp32-tflite", "int8-tflite"], ("onnx", "tflite"), "auto", "int8-tflite")],
        *[(["fp32-tflite"], ("onnx",), "auto", "fp32-tflite")],
        *[(["fp32-tflite", "int8-onnx"], ("tflite",), "auto", "fp32-tflite")],
        *[(["int8-onnx", "int8-tflite"], ("onnx", "tflite"), "int8", "int8-onnx")],
        *[(["int8-onnx", "int8-tflite"], ("tflite",), "int8", "int8-tflite")],
        *[(["fp32-onnx", "int8-tflite"], ("onnx", "tflite"), "int8", "int8-tflite")],
        *[(["int8-onnx", "int8-tflite"], ("tflite",), "int8-onnx", "int8-onnx")],
    ],
)
def test_an_artifact_is_chosen_by_format_then_by_precision(
    forge, tmp_path, installed, names, there, asked, found
):
    """A whole name is what it says; `auto` and a precision take the preferred format that there is."""
    bundle = Bundle.open(forge.bundle(tmp_path / "b", precisions=names))
    installed(*there)
    assert bundle.artifact(asked).name == found


@pytest.mark.parametrize("name", ["tflite", "onnx", "int4", "", "int8-onnx-onnx"])
def test_no_other_name_finds_an_artifact(both, name):
    """The message lists those there are."""
    with pytest.raises(
        ArtifactNotFoundError, match="auto or one of fp32-onnx, int8-onnx, fp32-tflite, int8-tfl"
    ):
        Bundle.open(both).artifact(name)


def test_a_tflite_artifact_is_loaded_by_name(both):
    """And answers as the ONNX one does."""
    classifier = Classifier.load(both, artifact="int8-tflite", threads=1)
    assert repr(classifier).startswith("<Classifier int8-tflite of 3 classes on ai-edge-litert ")
    frame = draw_frame(3, 64, 48)
    expected = Classifier.load(both, artifact="int8-onnx").classify(frame)
    assert classifier.classify(frame).probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    batch = classifier.classify_batch([frame, draw_frame(4, 30, 20)])
    assert batch[0].probabilities == classifier.classify(frame).probabilities


def test_a_lone_tflite_file_works(both, tmp_path):
    """It carries its contract; suffix in any case."""
    for name in ("m.tflite", "M.TFLITE"):
        (tmp_path / name).write_bytes((both / "model.int8.tflite").read_bytes())
        classifier = Classifier.load(tmp_path / name)
        assert (classifier.artifact, classifier.bundle) == (name, None)
        assert classifier.classify(np.full((9, 9, 3), (0, 0, 200), np.uint8)).label == "red"


def test_a_tflite_model_of_another_contract_is_refused(forge, tmp_path):
    """As an ONNX one."""
    path = forge.bundle(tmp_path / "b", precisions=["int8-tflite"])
    forge.put(path, "model.int8.tflite", forge.tflite(forge.contract(temperature=3.0)))
    with pytest.raises(ContractError, match=r"model\.int8\.tflite is not that of bundle\.json"):
        Classifier.load(path)


def test_options_of_the_other_engine_are_refused(both):
    """Whatever was chosen."""
    with pytest.raises(OptionError, match="delegate: expected none for an ONNX model"):
        Classifier.load(both, delegate="libnone.so.1")
    with pytest.raises(OptionError, match="providers: expected none for a TFLite model"):
        Classifier.load(both, artifact="int8-tflite", providers=["CPUExecutionProvider"])
    with pytest.raises(OptionError, match=re.escape(NO_DELEGATE)):
        Classifier.load(both, artifact="int8-tflite", delegate="libnone.so.1")


def test_a_bundle_of_both_formats_verifies(both):
    """Each artifact against its own golden logits; on any CPU LiteRT's sums are exact."""
    report = verify_bundle(both, cpu=OLD)
    assert report.ok, [c for c in report.checks if not c.ok]
    found = {c.name: c.detail for c in report.checks}
    assert "same bits" in found["golden int8-tflite"]
    assert "VNNI" in found["golden int8-onnx"]
    assert "VNNI" not in found["golden int8-tflite"]


def test_only_onnx_is_given_more_room_on_a_saturating_cpu(both):
    """onnxruntime's kernels clip there, XNNPACK's do not."""
    _, onnx, _, tflite = Bundle.open(both).manifest.artifacts
    assert golden_tolerance(onnx, OLD) == SATURATING_FACTOR * onnx.golden_tolerance
    assert golden_tolerance(tflite, OLD) == tflite.golden_tolerance


def test_verify_gives_each_engine_its_own_options(both, pristine, forge, tmp_path):
    """Providers do not keep TFLite artifacts from being checked; what is for none of them is a mistake."""
    assert verify_bundle(both, BackendOptions(providers=("CPUExecutionProvider",))).ok
    with pytest.raises(OptionError, match=re.escape(NO_DELEGATE)):
        verify_bundle(both, BackendOptions(delegate="libnone.so.1"))
    with pytest.raises(OptionError, match="delegate: expected none, for there is no tflite artifact"):
        verify_bundle(pristine, BackendOptions(delegate="libnone.so.1"))
    lite = forge.bundle(tmp_path / "b", precisions=["int8-tflite"])
    with pytest.raises(OptionError, match="providers: expected none, for there is no onnx artifact"):
        verify_bundle(lite, BackendOptions(providers=("CPUExecutionProvider",)))


@pytest.mark.parametrize(
    "arguments",
    [
        *[["classify", "demo:", "--artifact", "int8-tflite", "-b"], ["verify"]],
    ],
)
def test_a_delegate_that_does_not_exist_is_one_line(both, capsys, arguments):
    """With the loader's reason; misuse, and nothing on standard output."""
    assert main([*arguments, str(both), "--delegate", "libnone.so.1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ecovision-edge: delegate: expected a LiteRT delegate")
    assert NO_DELEGATE in captured.err
    assert captured.err.count("\n") == 1


def test_inspect_shows_a_lone_tflite_file(both, capsys):
    """Its contract and its engine."""
    assert main(["inspect", str(both / "model.int8.tflite")]) == 0
    out = capsys.readouterr().out
    assert "engine: ai-edge-litert " in out
    assert "labels: blue, green, red" in out


BLOCKED = """
    import sys
    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {names!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    sys.meta_path.insert(0, Blocker())
    import warnings; warnings.simplefilter("error")
    from ecovision_edge.cli import main
    sys.exit(main(sys.argv[1:]))
"""
PIP = {
    "ai_edge_litert": f"ai-edge-litert is not installed; {extra_fix('litert')}",
    "onnxruntime": f"onnxruntime is not installed; {pip_fix('onnxruntime')}",
}


@pytest.fixture
def without(tmp_path):
    """Run the command where modules cannot be imported."""

    def run(names, *arguments):
        code = textwrap.dedent(BLOCKED).format(names=set(names))
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gone", "asked", "taken"),
    [
        *[((), "auto", "int8-onnx"), ((), "int8", "int8-onnx"), ((), "fp32-tflite", "fp32-tflite")],
        *[(("ai_edge_litert",), "auto", "int8-onnx"), (("onnxruntime",), "auto", "int8-tflite")],
        *[(("onnxruntime",), "int8", "int8-tflite"), (("onnxruntime",), "fp32", "fp32-tflite")],
    ],
)
def test_the_engine_that_is_there_is_taken(without, both, gone, asked, taken):
    """ONNX first; where only LiteRT is installed, TFLite."""
    ran = without(gone, "classify", "demo:", "-b", both, "--artifact", asked, "--json", "-")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["artifact"] == taken


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gone", "asked", "missing"),
    [
        *[
            (("ai_edge_litert",), "int8-tflite", "ai_edge_litert"),
            (("onnxruntime",), "int8-onnx", "onnxruntime"),
        ],
        (("ai_edge_litert", "onnxruntime"), "auto", "onnxruntime"),
    ],
)
def test_a_missing_engine_gives_the_pip_line(without, both, gone, asked, missing):
    """One line, status 1."""
    ran = without(gone, "classify", "demo:", "-b", both, "--artifact", asked)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"ecovision-edge: {PIP[missing]}")
    assert ran.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["ai_edge_litert", "onnxruntime"])
def test_what_cannot_be_run_here_is_not_checked_and_no_failure(without, both, missing):
    """The report names the pip line; the hashes are checked all the same."""
    ran = without([missing], "verify", both, "--json", "-")
    report = json.loads(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    assert report["ok"] is True
    unchecked = [c for c in report["checks"] if not c["checked"]]
    kind = "tflite" if missing == "ai_edge_litert" else "onnx"
    assert [c["name"] for c in unchecked] == [f"golden fp32-{kind}", f"golden int8-{kind}"]
    assert all(PIP[missing] in c["detail"] and not c["ok"] for c in unchecked)
    text = without([missing], "verify", both).stdout
    assert f"-      golden int8-{kind}: not checked: {PIP[missing]}" in text
    assert text.splitlines()[-1].startswith("verified, but for 2 artifacts, on ")


@pytest.mark.slow
def test_a_bundle_of_which_nothing_can_be_run_is_not_verified(without, forge, tmp_path):
    """Not compared is not verified."""
    path = forge.bundle(tmp_path / "b", precisions=["int8-tflite"])
    ran = without(["ai_edge_litert"], "verify", path)
    assert ran.returncode == 1
    assert f"FAILED golden int8-tflite: not checked: {PIP['ai_edge_litert']}" in ran.stdout
    assert without([], "verify", path).returncode == 0
