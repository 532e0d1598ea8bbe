"""Facts about the gates: what a new bundle has to pass on this device, and what each refusal says."""

import json
import os
import shutil
import signal

import cv2
import numpy as np
import pytest
from onnx import numpy_helper

from ecovision_edge import Classifier
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.errors import (
    DatasetError,
    EcovisionError,
    GateError,
    MissingDependencyError,
    OptionError,
    RulesError,
    SchemaVersionError,
    TryLaterError,
    UpdateError,
)
from ecovision_edge.updates.children import Ended, run_child
from ecovision_edge.updates.gates import GATES, GateResult, Loading, Trial, prove
from ecovision_edge.updates.trial import run_gates

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = {"blue": BLUE, "green": GREEN, "red": RED}


@pytest.fixture(scope="session")
def swapped(forge, tmp_path_factory):
    """A sound bundle that calls what is blue red, and what is red blue."""
    proto = forge.proto()
    weight = numpy_helper.to_array(proto.graph.initializer[0])[:, ::-1].copy()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    model = proto.SerializeToString()
    folder = tmp_path_factory.mktemp("swapped") / "bundle"
    return forge.bundle(folder, models={"fp32": model, "int8": model})


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few rounds of a comparison that has a clock of its own here."""
    monkeypatch.setattr("ecovision_edge.updates.trial._ROUNDS", 6)


def pictures(folder, count):
    """One folder per class with so many pictures each."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / name / f"{i:03}.png"), np.full((16, 16, 3), colour, np.uint8))
    return str(folder)


class Paces:
    """A clock under which a frame takes the old bundle a second, and the new one `new` seconds."""

    def __init__(self, new):
        self.new, self.now, self.calls = new, 0.0, 0

    def __call__(self):
        turn, end = divmod(self.calls, 2)
        first_is_old = (turn // 2) % 2 == 0
        is_old = (turn % 2 == 0) == first_is_old
        self.calls += 1
        self.now += (1.0 if is_old else self.new) if end else 0.0
        return self.now


def pass_gates(candidate, current, pace=1.0, **changes):
    """What each gate said, by its name."""
    trial = Trial(str(candidate), str(current), **{"loading": Loading(threads=1), **changes})
    trial = Trial.of(json.loads(json.dumps(trial.to_json())))
    said = []
    run_gates(trial, said.append, clock=Paces(pace))
    assert [result.gate for result in said] == list(GATES[: len(said)])
    assert all(result.ok for result in said[:-1])
    return {result.gate: result for result in said}


def refused(candidate, current, gate, **changes):
    """The reason of the gate that a bundle does not pass."""
    said = pass_gates(candidate, current, **changes)
    last = [*said.values()][-1]
    assert (last.gate, last.ok) == (gate, False), said
    return last.detail


RULES = """
schema = 1
name = "kitchen"
default = "rest"
[bins]
sea = ["blue"]
rest = ["green", "red"]
"""


def test_a_good_bundle_passes_all(bundle, pristine, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    labelled, recorded = pictures(tmp_path / "labelled", 2), pictures(tmp_path / "recorded", 7)
    said = pass_gates(
        bundle, pristine, rules=str(tmp_path / "rules.toml"), labelled=labelled, recorded=recorded
    )
    assert list(said) == list(GATES)
    assert not [result for result in said.values() if result.skipped]
    assert said["contract"].detail == "int8-onnx, 3 labels"
    assert said["rules"].detail == "kitchen: a bin for each label"
    assert said["golden"].detail == "right: fp32-onnx, int8-onnx"
    assert said["latency"].detail == "1000.00 ms, 1000.00 ms before: 1.00 times as long (1.00 to 1.00)"
    assert said["labelled"].detail == "6 of 6 right, 6 before; 0 got worse, 0 better (McNemar p 1)"
    assert said["recorded"].detail == "as before on 21 of 21 frames, 90% needed"


def test_what_there_is_nothing_to_ask_with_is_skipped(bundle, pristine, tmp_path):
    """No review was made yet; the folder is empty, or not there."""
    (tmp_path / "empty").mkdir()
    for folder in (None, str(tmp_path / "nonesuch"), str(tmp_path / "empty")):
        said = pass_gates(bundle, pristine, labelled=folder, recorded=folder)
        assert {gate for gate, result in said.items() if result.skipped} == {"rules", "labelled", "recorded"}


@pytest.mark.parametrize("name", ["model.fp32.onnx", "golden.npz"])
def test_a_file_that_is_not_the_manifests_is_refused(bundle, pristine, name):
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    assert name in refused(bundle, pristine, "files")


def test_a_bundle_without_what_is_to_run_is_refused(forge, bundle, pristine):
    forge.edit(bundle, lambda manifest: manifest.update(artifacts=manifest["artifacts"][:1]))
    [left] = Bundle.open(bundle).manifest.artifacts
    gone = next(entry.name for entry in Bundle.open(pristine).manifest.artifacts if entry.name != left.name)
    assert f"no artifact '{gone}'" in refused(bundle, pristine, "contract", loading=Loading(gone, 1))


def test_an_artifact_that_the_bundle_that_runs_has_not_either_is_misuse_and_no_refusal(bundle, pristine):
    """A mistyped option would refuse each release for ever."""
    with pytest.raises(OptionError, match=r"--artifact: no artifact 'int8-onxn'.* has none either"):
        pass_gates(bundle, pristine, loading=Loading("int8-onxn", 1))


def test_rules_that_do_not_fit_its_labels_refuse_it(bundle, pristine, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.replace(', "red"', ""))
    assert "none for red" in refused(bundle, pristine, "rules", rules=str(rules))
    rules.write_text("x")
    with pytest.raises(RulesError):
        pass_gates(bundle, pristine, rules=str(rules))


def test_a_model_that_the_engine_does_not_open_is_refused(forge, bundle, pristine):
    forge.put(bundle, "model.int8.onnx", b"no model")
    assert refused(bundle, pristine, "engine")


def test_a_model_with_other_answers_than_at_export_is_refused(forge, bundle, pristine, swapped):
    forge.put(bundle, "model.int8.onnx", (swapped / "model.int8.onnx").read_bytes())
    assert "golden int8-onnx: 3 vectors, max |dlogit|" in refused(bundle, pristine, "golden")


def test_a_slower_bundle_is_refused(bundle, pristine):
    detail = refused(bundle, pristine, "latency", pace=1.5, max_slower=0.4)
    assert detail.endswith("1.50 times as long (1.50 to 1.50), and 1.40 is allowed")
    assert pass_gates(bundle, pristine, pace=1.5, max_slower=0.5)["latency"].ok


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_picture_that_cannot_be_read_keeps_no_bundle_out(bundle, pristine, tmp_path, damaged):
    """One that a power cut cut off; and where no other one is left."""
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((16, 16, 3), RED, np.uint8))
    for i in range(damaged):
        (tmp_path / f"{i}.png").write_bytes(b"")
    said = pass_gates(bundle, pristine, recorded=str(tmp_path))
    assert said["latency"].ok
    assert not said["latency"].skipped
    assert list(said) == list(GATES)


def test_both_are_timed_alike_whatever_tune_found_for_the_old_one(bundle, pristine, monkeypatch):
    """A profile is of one bundle: the new one has none yet. `run` lets no threads spin."""
    given, load = [], Classifier.load
    monkeypatch.setattr(
        Classifier, "load", lambda *args, **named: given.append(named) or load(*args, **named)
    )
    pass_gates(bundle, pristine)
    assert [(named["profile"], named["spinning"]) for named in given] == [(False, False)] * 2


def test_a_bundle_that_is_worse_on_labelled_frames_is_refused(swapped, pristine, tmp_path):
    detail = refused(swapped, pristine, "labelled", labelled=pictures(tmp_path / "many", 5))
    assert detail == "5 of 15 right, 15 before; 10 got worse, 0 better (McNemar p 0.000977)"
    few = pass_gates(swapped, pristine, labelled=pictures(tmp_path / "few", 2))
    assert few["labelled"].detail == "2 of 6 right, 6 before; 4 got worse, 0 better (McNemar p 0.0625)"
    assert pass_gates(pristine, swapped, labelled=str(tmp_path / "many"))["labelled"].ok


def test_a_slow_device_looks_at_fewer_frames(bundle, pristine, tmp_path):
    """So that it gets through: here a frame takes a second, by either bundle."""
    folders = {"labelled": pictures(tmp_path / "l", 20), "recorded": pictures(tmp_path / "r", 20)}
    said = pass_gates(bundle, pristine, seconds=500.0, **folders)
    assert said["labelled"].detail.startswith("39 of 39 right")
    assert said["recorded"].detail.startswith("as before on 39 of 39 frames")
    said = pass_gates(bundle, pristine, seconds=60.0, **folders)
    assert said["recorded"].detail.startswith("as before on 20 of 20 frames")


def test_folders_that_are_no_labels_are_misuse_and_no_refusal(bundle, pristine, tmp_path):
    pictures(tmp_path / "labelled", 1)
    (tmp_path / "labelled" / "blue").rename(tmp_path / "labelled" / "sky")
    with pytest.raises(DatasetError, match="sky"):
        pass_gates(bundle, pristine, labelled=str(tmp_path / "labelled"))


def test_a_bundle_that_says_something_else_of_recorded_frames_is_refused(swapped, pristine, tmp_path):
    recorded = pictures(tmp_path / "recorded", 7)
    assert (
        refused(swapped, pristine, "recorded", recorded=recorded) == "as before on 7 of 21 frames, 90% needed"
    )
    assert pass_gates(swapped, pristine, recorded=recorded, min_agree=0.3)["recorded"].ok
    few = pass_gates(swapped, pristine, recorded=pictures(tmp_path / "few", 6))["recorded"]
    assert (few.ok, few.skipped) == (True, True)


def test_a_withdrawn_bundle_is_not_compared_with(swapped, pristine, tmp_path):
    """It was withdrawn as it was bad: to differ from it is no fault."""
    folders = {"labelled": pictures(tmp_path / "l", 7), "recorded": pictures(tmp_path / "r", 7)}
    said = pass_gates(swapped, pristine, pace=9.0, compared=False, **folders)
    assert {said[gate].detail for gate in ("latency", "labelled", "recorded")} == {
        "not compared: the bundle that runs was withdrawn"
    }


def test_a_bundle_that_runs_and_cannot_be_loaded_is_not_compared_with(bundle, pristine, tmp_path):
    """That is no fault of the new one, which is the way out."""
    shutil.copytree(pristine, tmp_path / "broken")
    (tmp_path / "broken" / "model.int8.onnx").write_bytes(b"")
    said = pass_gates(bundle, tmp_path / "broken")
    assert said["latency"].skipped
    assert "the bundle that runs cannot be loaded: model.int8.onnx" in said["latency"].detail


def test_a_bundle_for_a_newer_program_is_not_refused_for_ever(forge, bundle, pristine):
    """When the program is upgraded it may be tried."""
    forge.edit(bundle, lambda manifest: manifest.update(schema_version=99))
    with pytest.raises(SchemaVersionError):
        pass_gates(bundle, pristine)


def ended(*answers, status=0, in_time=True, words=""):
    return lambda module, request, seconds: Ended(answers, status, in_time, words)


GOOD = tuple(GateResult(gate, True, "fine").to_json() for gate in GATES)
TRIAL = Trial("new", "old", seconds=60.0)


def test_what_the_process_says_is_what_is_proved():
    assert [result.gate for result in prove(TRIAL, child=ended({"x": 1}, *GOOD))] == list(GATES)
    bad = GateResult("rules", False, "no bin for red").to_json()
    with pytest.raises(GateError, match="gate rules: no bin for red"):
        prove(TRIAL, child=ended(*GOOD[:2], bad))


@pytest.mark.parametrize(
    ("child", "error", "words"),
    [
        (ended(*GOOD[:3], status=-signal.SIGSEGV), GateError, "gate engine: .*it died of SIGSEGV"),
        (ended(*GOOD[:4], status=-signal.SIGILL), GateError, "gate golden: .*SIGILL"),
        (ended(*GOOD[:5], status=-9, in_time=False), GateError, "gate latency: expected an end within 60 s"),
        (
            ended(*GOOD[:3], status=-signal.SIGKILL),
            TryLaterError,
            "gate engine was stopped: it died of SIGKILL",
        ),
        (ended(*GOOD[:3], status=-signal.SIGTERM), TryLaterError, "SIGTERM"),
        (ended(*GOOD[:3], status=1, words="KeyError: 3"), UpdateError, "could not be tried: .*KeyError: 3"),
        (ended(*GOOD[:3]), UpdateError, "could not be tried"),
        (
            ended({"error": "MissingDependencyError", "message": "no onnxruntime"}, status=1),
            MissingDependencyError,
            "no onnxruntime",
        ),
        (ended({"error": "nonesuch", "message": "what"}, status=1), UpdateError, "what"),
        (ended({"error": "dataclass", "message": "what"}, status=1), UpdateError, "what"),
    ],
)
def test_how_the_process_ends_says_whose_fault_it_is(child, error, words):
    """The bundle's, which is refused; the device's, which tries later; or nobody knows, and it is told."""
    with pytest.raises(EcovisionError, match=words) as raised:
        prove(TRIAL, child=child)
    assert type(raised.value) is error


def test_where_no_process_can_be_started_it_is_later():
    def child(module, request, seconds):
        raise OSError(11, "Resource temporarily unavailable")

    with pytest.raises(TryLaterError, match="Resource temporarily unavailable"):
        prove(TRIAL, child=child)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module that `python -m` runs, of its text."""
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    def make(text):
        (tmp_path / "child_of_a_test.py").write_text(text)
        return "child_of_a_test"

    return make


def test_a_process_is_given_a_request_and_what_it_says_is_read(module):
    """What a library prints between the answers is none."""
    text = (
        "import json, sys\nprint('hello')\nprint(json.dumps(json.load(sys.stdin)))\nprint('[1]')\nprint('{')"
    )
    done = run_child(module(text), {"a": "\u00e4"}, 60.0)
    assert (done.answers, done.status, done.in_time) == (({"a": "\u00e4"},), 0, True)


def test_a_process_that_dies_or_hangs_is_told(module):
    done = run_child(module("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"), {}, 60.0)
    assert done.how == "it died of SIGSEGV"
    done = run_child(module("print('{}', flush=True)\nimport time\ntime.sleep(600)"), {}, 0.5)
    assert (done.answers, done.how) in ((({},), "it did not end in time"), ((), "it did not end in time"))
    done = run_child(module("raise ValueError('what\\nnow')"), {}, 60.0)
    assert done.how.startswith("it ended with status 1: ")
    assert done.how.endswith("ValueError: what now")


@pytest.mark.slow
def test_a_bundle_passes_in_a_process_of_its_own(bundle, pristine):
    """With this one's engine and libraries."""
    results = prove(Trial(str(bundle), str(pristine), Loading(threads=1), max_slower=1000.0))
    assert [result.gate for result in results] == list(GATES)
    (bundle / "golden.npz").write_bytes(b"")
    with pytest.raises(GateError, match=r"gate files: golden\.npz"):
        prove(Trial(str(bundle), str(pristine)))
