"""Facts about the tool that emulates a Raspberry Pi, but for the emulation; that is in tests/packaging."""

import collections
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.backends import half
from ecovision_edge.base.device import read_cpu
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    EcovisionError,
    InferenceError,
    IntegrityError,
    MissingDependencyError,
    ModelError,
    OptionError,
)
from ecovision_edge_bench.arm64 import boards, cli, counting, guest, making, mix, process, suite, tools
from ecovision_edge_bench.arm64 import root as roots
from ecovision_edge_bench.arm64.making import make_root
from ecovision_edge_bench.arm64.root import PiRoot, Stamp
from ecovision_edge_bench.arm64.sources import sha256
from ecovision_edge_bench.arm64.steps import NETWORK, Step, parse_sizes
from ecovision_edge_bench.arm64.tools import EmulationError

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(roots.__file__).parent
INT8 = embedded_bundle_path() / "model.int8.onnx"
COUNTS = st.integers(0, 10**12)


def marks_of(empty, inferences, *, start=10**9, others=None):
    """Marks as the guest makes them: what each pair took, after `start`."""
    marks, at, elsewhere = [], start, 0
    steps = [(guest.NOTHING, took, 0) for took in empty]
    steps += [
        (guest.INFERENCE, t, o) for t, o in zip(inferences, others or [0] * len(inferences), strict=True)
    ]
    for label, took, other in steps:
        for _ in range(2):
            marks.append(counting.Mark(label, at, elsewhere))
            at, elsewhere = at + took, elsewhere + other
        at, elsewhere = at - took + 7, elsewhere - other  # a little passes between pairs
    return marks


def log_of(marks):
    """The plugin's log of these marks."""
    return "".join(f"mark {m.label} {m.first} {m.others}\n" for m in marks)


def row(
    name="m", cpu="cortex-a72", repeats=(10**8, 10**8), engine="onnxruntime 1.0", words=None, step=NETWORK
):
    model = counting.Model(name, Path("m.onnx"), "0123456789abcdef" * 4)
    return counting.Row(model, engine, cpu, sum(repeats) // 2, repeats, ((1, 2), (1, 2)), words or {}, step)


# Counting


def test_marks_are_read_and_the_rest_of_the_log_is_passed_over():
    """Words belong to the mark before them."""
    log = "mark 2 100 3\nword 4e24c820 5\nword d503201f 1\nqemu: something\n\nmark 2 250 3\n"
    first, second = counting.read_marks(log)
    assert first == counting.Mark(2, 100, 3, {0x4E24C820: 5, 0xD503201F: 1})
    assert second == counting.Mark(2, 250, 3, {})


@pytest.mark.parametrize(
    "line", ["mark 2 100", "mark 2 x 1", "mark", "word 4e24c820", "word zz 1", "word 1 2 3"]
)
def test_a_log_that_is_cut_off_is_an_error(line):
    """Rather than a smaller count."""
    with pytest.raises(EmulationError, match="log is damaged"):
        counting.read_marks(f"mark 2 1 1\n{line}\n")


@given(st.text())
def test_any_log_is_read_or_refused(text):
    """Nothing but the typed error."""
    with contextlib.suppress(EmulationError):
        counting.read_marks(text)


@given(COUNTS, COUNTS, st.lists(COUNTS, min_size=1, max_size=9), COUNTS)
def test_start_up_and_marks_are_not_in_the_count(start, empty, inferences, other):
    """Whatever was executed before; the median of an odd number is one of them."""
    inferences = [*inferences, *inferences[1:]]  # an odd number
    marks = marks_of([empty] * 5, [took + empty for took in inferences], start=start)
    assert counting.net_count(marks) == sorted(inferences)[len(inferences) // 2]
    assert counting.net_count(counting.read_marks(log_of(marks))) == counting.net_count(marks)


def test_the_mix_of_a_pair_is_what_came_between():
    """Words that were not executed again are not in it."""
    begin = counting.Mark(2, 10, 0, {1: 5, 2: 3})
    end = counting.Mark(2, 20, 0, {1: 5, 2: 4, 3: 9})
    (pair,) = counting.differences([begin, end], 2)
    assert pair == counting.Mark(2, 10, 0, {2: 1, 3: 9})


@pytest.mark.parametrize("firsts", [[], [1], [1, 2, 3], [2, 1]], ids=["none", "half", "odd", "backwards"])
def test_marks_that_are_no_pairs_are_refused(firsts):
    """The program died between two, or this is not its log."""
    with pytest.raises(EmulationError, match="pairs that count upwards"):
        counting.differences([counting.Mark(2, first, 0) for first in firsts], 2)


def test_an_engine_that_uses_a_second_thread_is_refused():
    """What that executes is not in the count."""
    marks = marks_of([9] * 5, [1000] * 5, others=[400] * 5)
    with pytest.raises(InferenceError, match="does not keep to one thread"):
        counting.net_count(marks)


def test_a_thread_that_works_now_and_then_is_no_matter():
    """As one that waits for its hour; the count is without it."""
    marks = marks_of([9] * 5, [1000] * 5, others=[400, 0, 400, 2, 400])
    assert counting.net_count(marks) == 991


def test_the_table_has_a_line_for_a_model_and_a_column_for_a_cpu():
    """Millions; of the differences the largest."""
    rows = [
        row("a", "cortex-a72", (126_490_000, 126_490_000)),
        row("a", "cortex-a76", (100_000_000, 100_002_000)),
        row("b", "cortex-a76", engine="LiteRT 2.0"),
    ]
    head, rule, *lines = counting.to_markdown(rows).splitlines()
    assert "cortex-a72 (Pi 4) | cortex-a76 (Pi 5)" in head
    assert lines == [
        "| a | 0123456789ab | onnxruntime 1.0 | 126.5 | 100.0 | +0.0020 % |",
        "| b | 0123456789ab | LiteRT 2.0 |  | 100.0 | +0.0000 % |",
    ]
    assert {line.count("|") for line in (head, rule, *lines)} == {7}


def test_steps_have_lines_of_their_own():
    """With the size of the frame; then the head does not speak of inferences."""
    steps = [Step("prepare", 640, 480), Step("whole", 640, 480, jpeg=True, filter="fast")]
    head, _, *lines = counting.to_markdown([row("a"), *(row("a", step=step) for step in steps)]).splitlines()
    assert head.startswith("| millions of instructions |")
    names = [line.split(" | ")[0] for line in lines]
    assert names == ["| a", "| a, prepare 640x480", "| a, whole 640x480 JPEG fast"]


@pytest.mark.parametrize("text", ["", "640", "640x", "0x480", "640x480,", "640x99999", "640x480x3", "-1x2"])
def test_sizes_that_no_frame_has_are_refused(text):
    """And what is not written as one."""
    with pytest.raises(OptionError, match="--prepare: expected WIDTHxHEIGHT with commas"):
        parse_sizes("--prepare", text)


def test_a_size_that_is_named_twice_is_counted_once():
    """In the order in which they were given."""
    assert parse_sizes("--prepare", "1920x1080,640x480,1920x1080") == ((1920, 1080), (640, 480))


def test_the_embedded_bundle_is_the_default_model():
    """Each artifact, by its name and with the manifest's sha256."""
    (model,) = counting.find_models([])
    assert (model.name, model.path) == ("reference int8-onnx", INT8.resolve())
    assert counting.find_models([INT8]) == [dataclasses.replace(model, name="model.int8.onnx")]


def test_what_no_engine_opens_is_refused(tmp_path):
    """Before anything is emulated; a damaged bundle too."""
    with pytest.raises(ArtifactNotFoundError, match="no model"):
        counting.find_models([tmp_path / "nowhere.onnx"])
    (tmp_path / "model.pth").touch()
    with pytest.raises(OptionError, match=r"\.onnx or \.tflite"):
        counting.find_models([tmp_path / "model.pth"])
    damaged = shutil.copytree(embedded_bundle_path(), tmp_path / "bundle")
    (damaged / "model.int8.onnx").write_bytes(b"no")
    with pytest.raises(IntegrityError):
        counting.find_models([damaged])


@dataclasses.dataclass
class FakeRoot:
    """Stands for a `PiRoot`; answers as the guest would."""

    answer: str
    logs: list
    path: Path = Path("/a,b")
    stamp: Stamp = dataclasses.field(
        default_factory=lambda: Stamp("r", "w", False, versions={"numpy": "2.0"})
    )
    asked: list = dataclasses.field(default_factory=list)

    def python(self, cpu, *arguments, environment):
        self.asked.append((cpu, arguments, environment))
        Path(environment["QEMU_LOG_FILENAME"]).write_text(self.logs.pop(0))
        return subprocess.CompletedProcess(arguments, 0, f"chatter\n{self.answer}", "first\nlast words\n")


MODEL = counting.Model("m", INT8, "0" * 64)
ANSWER = '{"engine": "onnxruntime 1.32.0"}'


def test_a_model_is_counted_in_two_processes():
    """The figure is their mean; each one is kept."""
    root = FakeRoot(ANSWER, [log_of(marks_of([9] * 5, [n] * 5)) for n in (1009, 1013)])
    counted = counting.count(root, MODEL, "cortex-a76")
    assert (counted.instructions, counted.repeats) == (1002, (1000, 1004))
    assert counted.raw == ((1009,) * 5, (1013,) * 5)
    assert counted.difference == pytest.approx(0.004)
    assert counted.engine == "onnxruntime 1.32.0"
    (cpu, arguments, environment), (*again,) = root.asked
    assert (cpu, arguments[-1]) == ("cortex-a76", str(INT8))
    assert environment["QEMU_PLUGIN"] == "/a,,b/plugin.so"  # QEMU reads two commas as one
    assert again[:2] == [cpu, arguments]


@pytest.mark.parametrize(
    ("answer", "log", "kind", "words"),
    [
        (
            '{"error": "no such operator"}',
            "",
            ModelError,
            "does not run on cortex-a72: no such operator",
        ),
        ("", "", EmulationError, "counting m on cortex-a72 failed: last words"),
        (ANSWER, "", EmulationError, "the plugin's marks"),
    ],
    ids=["engine", "crash", "plugin"],
)
def test_a_failure_in_the_emulation_is_told_in_one_line(answer, log, kind, words):
    """Whose it is, and its last words."""
    with pytest.raises(kind, match=words):
        counting.count(FakeRoot(answer, [log]), MODEL, "cortex-a72")


def test_other_steps_run_the_runtime_of_this_checkout():
    """Whatever wheel the root has; the network needs no runtime."""
    root = FakeRoot(ANSWER, [log_of(marks_of([9] * 5, [1009] * 5))] * 4)
    step = Step("prepare", 640, 480, jpeg=True, filter="fast")
    assert counting.count(root, MODEL, "cortex-a76", step=step).step == step
    counting.count(root, MODEL, "cortex-a76")
    with_runtime, alone = root.asked[0], root.asked[2]
    size = ("--step", "prepare", "--width", "640", "--height", "480", "--jpeg", "--filter", "fast")
    assert with_runtime[1][-len(size) - 1 :] == (str(INT8), *size)
    assert with_runtime[2]["PYTHONPATH"] == str(REPOSITORY / "runtime")
    assert "PYTHONPATH" not in alone[2]


def test_preparing_is_counted_with_a_wheel_of_the_native_filter(tmp_path):
    """It is unpacked beside the runtime; what is no wheel is told in one line."""
    wheel = tmp_path / "native.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ecovision_edge_native/__init__.py", "")
    root = FakeRoot(ANSWER, [log_of(marks_of([9] * 5, [1009] * 5))] * 2)
    step = Step("prepare", 640, 480, native=wheel)
    assert counting.count(root, MODEL, "cortex-a76", step=step).name.endswith("prepare 640x480 native")
    runtime, native = root.asked[0][2]["PYTHONPATH"].split(os.pathsep)
    assert (runtime, Path(native).name) == (str(REPOSITORY / "runtime"), "native")
    wheel.write_bytes(b"no wheel")
    with pytest.raises(OptionError, match="--native: expected a wheel of ecovision-edge-native"):
        counting.count(root, MODEL, "cortex-a76", step=step)


# Whole programs


@dataclasses.dataclass
class FakePrograms:
    """Stands for a `PiRoot` in which each program executes 100 to start, and 7 and 3 for each of `n`."""

    status: int = 0
    ends: str = "end {first} {others}\n"
    path: Path = Path("/pi")
    asked: list = dataclasses.field(default_factory=list)

    def python(self, cpu, *arguments, environment):
        self.asked.append((arguments, environment))
        n = int(arguments[-1])
        log = Path(environment["QEMU_LOG_FILENAME"].replace("%d", "1"))
        log.write_text(f"chatter\n{self.ends.format(first=100 + 7 * n, others=3 * n)}")
        log.with_name("log.2").write_text("end 10 0\n" if self.ends else "")  # a program that it started
        return subprocess.CompletedProcess(arguments, self.status, "", "last words\n")


def test_a_program_is_counted_by_the_difference_of_n_and_twice_n():
    """After a run that compiles its modules; what it started is in it."""
    root = FakePrograms()
    counted = process.count_process(root, "cortex-a76", ["-m", "x", "--frames", "{n}"], 5)
    assert [arguments[-1] for arguments, _ in root.asked] == ["5", "5", "10"]
    assert (counted.each, counted.each_first, counted.start) == (10, 7, 110)
    assert len({environment["PYTHONPYCACHEPREFIX"] for _, environment in root.asked}) == 1
    assert root.asked[0][1]["PYTHONPATH"].startswith(str(REPOSITORY / "runtime"))


@pytest.mark.parametrize(
    ("root", "arguments", "kind", "words"),
    [
        (FakePrograms(), ["-m", "x"], OptionError, r"expected \{n\} in its arguments"),
        (FakePrograms(status=3), ["{n}"], EmulationError, "the program failed on cortex-a76: last words"),
        (FakePrograms(ends=""), ["{n}"], EmulationError, "wrote no count; did the program end by itself?"),
    ],
    ids=["no number", "failure", "killed"],
)
def test_a_program_that_cannot_be_counted_is_an_error(root, arguments, kind, words):
    """Rather than a figure."""
    with pytest.raises(kind, match=words):
        process.count_process(root, "cortex-a76", arguments, 5)


# The program that runs inside


def test_the_guest_marks_nothing_and_then_inferences(monkeypatch, capsys):
    """Each pair around one call; the mix of the last alone. It runs on this machine as well."""
    calls = []
    monkeypatch.setattr(guest, "marker", lambda: lambda *mark: calls.append(mark))
    assert guest.main([str(INT8)]) == 0
    pairs = guest.INFERENCES
    assert calls == [
        *[(guest.NOTHING, False)] * 2 * pairs,
        *[(guest.INFERENCE, False)] * 2 * (pairs - 1),
        *[(guest.INFERENCE, True)] * 2,
    ]
    assert re.fullmatch(r"onnxruntime \d.*", json.loads(capsys.readouterr().out)["engine"])


@pytest.mark.parametrize("jpeg", [False, True], ids=["raw", "jpeg"])
@pytest.mark.parametrize("step", ["prepare", "whole"])
def test_the_guest_counts_the_other_steps_alike(monkeypatch, capsys, step, jpeg):
    """The runtime's own code, of a frame of that size."""
    marks = []
    monkeypatch.setattr(guest, "marker", lambda: lambda *mark: marks.append(mark))
    words = Step(step, 320, 240, jpeg=jpeg).arguments()
    threads = cv2.getNumThreads()
    try:
        assert guest.main([str(INT8), *words]) == 0
    finally:
        cv2.setNumThreads(threads)
    assert [label for label, _ in marks].count(guest.INFERENCE) == 2 * guest.INFERENCES
    engine = json.loads(capsys.readouterr().out.splitlines()[-1])["engine"]
    assert engine.startswith("numpy" if step == "prepare" else "onnxruntime")
    assert "OpenCV" in engine


def test_a_mark_does_nothing_on_a_machine_without_the_plugin():
    """The system call is refused, and nobody minds."""
    assert guest.marker()(guest.NOTHING, True) == -1


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_the_guest_says_why_a_model_is_not_opened(tmp_path, capsys, name):
    """One line, and status 1."""
    if name.endswith("tflite"):
        pytest.importorskip("ai_edge_litert", reason="needs LiteRT: [litert]")
    (tmp_path / name).write_bytes(b"not a model")
    assert guest.main([str(tmp_path / name)]) == 1
    (error,) = json.loads(capsys.readouterr().out.splitlines()[-1]).values()
    assert error
    assert "\n" not in error


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_the_input_is_the_same_each_time(dtype):
    """All levels of an integer are in it."""
    a, b = (guest.made_up([1, 64, 64, 3], np.dtype(dtype)) for _ in range(2))
    assert a.dtype == dtype
    assert np.array_equal(a, b)
    if dtype != "float32":
        assert len(np.unique(a)) == 256


def test_the_guest_and_the_plugin_know_the_same_mark():
    """It is written in both."""
    (mark,) = re.findall(r"MARK = (0x\w+)", (PACKAGE / "plugin.c").read_text(encoding="utf-8"))
    assert int(mark, 16) == guest.MARK


# The mix


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("add\tx0, x1, x2", "add"),
        ("fmla\tv16.4s, v0.4s, v4.s[0]", "fmla.4s"),
        ("ld1\t{v0.16b, v1.16b}, [x0], #32", "ld1.16b"),
        ("ldr\tq0, [x1, #16]", "ldr.q"),
        ("ldp\td4, d5, [x2]", "ldp.d"),
        ("ldr\tx0, [sp]", "ldr"),
        ("sub\tsp, sp, #0x10", "sub"),
        ("b.ne\t0x10  // b.any", "b.ne"),
        ("ret", "ret"),
    ],
)
def test_an_instruction_is_named_with_the_form_of_its_vector(line, name):
    """So that `fmla` of four floats is told from one of two."""
    assert mix.instruction_name(line) == name


def test_the_mix_is_named_by_objdump():
    """Each word in its place, also zeroes and what is no instruction."""
    if shutil.which("aarch64-linux-gnu-objdump") is None:
        pytest.skip(f"needs binutils for arm64: {tools.apt_line(['binutils-aarch64-linux-gnu'])}")
    words = {0x6E94_9400: 7, 0x8B02_0020: 2, 0: 3, 0x4E22_D420: 5, 0xD65F_03C0: 1, 0x8B01_0020: 4}
    expected = {"udot.4s": 7, "udf": 3, "fadd.4s": 5, "ret": 1, "add": 6}
    assert mix.named_mix(words) == collections.Counter(expected)


# The boards


def test_only_the_newer_board_has_dot_products(tmp_path):
    """As the runtime reads them."""
    found = {}
    for cpu, board in boards.BOARDS.items():
        board.write_files(tmp_path / cpu)
        found[cpu] = read_cpu(tmp_path / cpu / "proc/cpuinfo")
    assert {cpu: "asimddp" in seen.features for cpu, seen in found.items()} == {
        "cortex-a53": False,
        "cortex-a72": False,
        "cortex-a76": True,
    }
    assert found["cortex-a76"].model == "Raspberry Pi 5 Model B Rev 1.0"
    identification = "sys/devices/system/cpu/cpu3/regs/identification/midr_el1"  # OpenVINO dies without
    assert (tmp_path / "cortex-a76" / identification).read_text() == "0x00000000414fd0b1\n"


@pytest.mark.parametrize("cpu", ["max", "", "cortex-a72 ", "../x"])
def test_another_cpu_is_refused(cpu):
    """QEMU's default has what no board has."""
    with pytest.raises(OptionError, match="expected cortex-a53 or cortex-a72 or cortex-a76"):
        boards.board_of(cpu)


# The root


@pytest.fixture
def made(monkeypatch):
    """`make_root` without Debian and pip: the steps it took, one after the other."""
    steps = []

    def run(step, command, lock=None, env=None):
        steps.append(step)
        if step == "mmdebstrap":
            Path(command[-1], "usr").mkdir(parents=True)

    monkeypatch.setattr(tools, "missing_packages", list)
    monkeypatch.setattr(making, "run_step", run)
    monkeypatch.setattr(making, "_first_start", lambda root, stamp: {"numpy": "2.0"})
    return steps


@pytest.fixture
def wheel(tmp_path):
    """A file that passes for a wheel."""
    file = tmp_path / "a.whl"
    file.write_bytes(b"wheel")
    return file


def test_a_finished_root_is_used_again(made, wheel, tmp_path):
    """No step is taken twice."""
    first = make_root(tmp_path / "pi", wheel)
    assert made == ["mmdebstrap", "pip install", "gcc"]
    assert make_root(tmp_path / "pi", wheel) == first == PiRoot.open(tmp_path / "pi")
    assert made == ["mmdebstrap", "pip install", "gcc"]
    assert first.stamp.versions == {"numpy": "2.0"}
    assert sorted(p.name for p in (tmp_path / "pi").iterdir()) == ["root", "root.lock"]


def test_each_board_has_a_root_of_its_own_over_what_they_share(made, wheel, tmp_path):
    """And the emulated Python is a program."""
    root = make_root(tmp_path / "pi", wheel)
    for cpu in boards.BOARDS:
        assert (root.path / "boards" / cpu / "usr").samefile(root.path / "usr")
        assert (root.path / "boards" / cpu / "proc/cpuinfo").is_file()
    assert root.executable.stat().st_mode & 0o111


def test_another_wheel_or_recipe_makes_it_anew(made, wheel, tmp_path, monkeypatch):
    """And nothing of the old one stays."""
    (make_root(tmp_path / "pi", wheel).path / "old").touch()
    wheel.write_bytes(b"another")
    root = make_root(tmp_path / "pi", wheel)
    assert made.count("mmdebstrap") == 2
    assert not (root.path / "old").exists()
    for module in (roots, making):
        monkeypatch.setattr(module, "recipe", lambda: "another")
    with pytest.raises(EmulationError, match=r"another version of this tool; run: .* root "):
        PiRoot.open(tmp_path / "pi")
    assert make_root(tmp_path / "pi", wheel).stamp.recipe == "another"


@pytest.mark.parametrize("step", ["mmdebstrap", "pip install", "gcc"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, EmulationError("failed")], ids=["ctrl-c", "failure"])
def test_an_interrupted_run_leaves_what_was_there(made, wheel, tmp_path, monkeypatch, step, error):
    """First nothing, then the finished root of another wheel."""
    run = making.run_step

    def fail(name, *rest):
        run(name, *rest)
        if name == step:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(making, "run_step", fail)
        with pytest.raises((KeyboardInterrupt, EmulationError)):
            make_root(tmp_path / "pi", wheel)
    assert [p.name for p in (tmp_path / "pi").iterdir()] == ["root.lock"]
    with pytest.raises(EmulationError, match="no emulated root"):
        PiRoot.open(tmp_path / "pi")
    finished = make_root(tmp_path / "pi", wheel)
    wheel.write_bytes(b"another")
    monkeypatch.setattr(making, "run_step", fail)
    with pytest.raises((KeyboardInterrupt, EmulationError)):
        make_root(tmp_path / "pi", wheel)
    assert PiRoot.open(tmp_path / "pi") == finished


def test_what_a_killed_run_left_is_not_taken_for_finished(made, wheel, tmp_path):
    """Even with a stamp; it is removed and made again."""
    root = make_root(tmp_path / "pi", wheel).path
    root.rename(root.with_name("root.unfinished"))
    with pytest.raises(EmulationError, match="no emulated root"):
        PiRoot.open(tmp_path / "pi")
    make_root(tmp_path / "pi", wheel)
    assert made.count("mmdebstrap") == 2
    assert sorted(p.name for p in root.parent.iterdir()) == ["root", "root.lock"]


def test_a_root_of_another_system_is_made_in_its_place(made, wheel, tmp_path):
    """Its Python has another folder for what pip installs; no other system is known."""
    assert make_root(tmp_path / "pi", wheel).stamp.system == "bookworm"
    assert make_root(tmp_path / "pi", wheel, system="trixie").stamp.system == "trixie"
    assert made.count("mmdebstrap") == 2
    with pytest.raises(OptionError, match="--system: expected bookworm or trixie, found 'buster'"):
        make_root(tmp_path / "pi", wheel, system="buster")


def test_a_folder_that_is_not_ours_is_left_alone(made, wheel, tmp_path):
    """DIR/root may be somebody's."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "precious").touch()
    with pytest.raises(OptionError, match="was not made by this tool"):
        make_root(tmp_path, wheel)
    assert (tmp_path / "root" / "precious").exists()
    assert made == []


def test_two_processes_do_not_make_the_same_root(made, wheel, tmp_path):
    """The second is told, and does nothing."""
    with (tmp_path / "root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmulationError, match="another process is making"):
            make_root(tmp_path, wheel)
    assert made == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"recipe": 1}', '{"versions": []}', "\udc80"])
def test_a_stamp_that_is_not_one_is_none(tmp_path, text):
    """As if there were none."""
    (tmp_path / roots.STAMP).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert Stamp.read(tmp_path) is None


@given(st.text(), st.text(), st.booleans(), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_stamp_comes_back_as_it_was_written(tmp_path_factory, recipe, wheel, given_, system, versions):
    """Whatever is in it."""
    folder = tmp_path_factory.mktemp("stamp")
    stamp = Stamp(recipe, wheel, given_, system, versions)
    stamp.write(folder)
    assert Stamp.read(folder) == stamp


def test_missing_tools_are_named_with_the_apt_line(monkeypatch, wheel, tmp_path):
    """Before anything is made."""
    names = {"/nowhere/qemu": "qemu-user", sys.executable: "python3", "/nowhere/gcc": "gcc"}
    monkeypatch.setattr(tools, "TOOLS", names)
    monkeypatch.setattr(tools.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    line = "run: sudo apt-get install --no-install-recommends qemu-user gcc"
    with pytest.raises(MissingDependencyError, match=line):
        make_root(tmp_path / "pi", wheel)
    assert not (tmp_path / "pi").exists()
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="expected Debian"):
        make_root(tmp_path / "pi", wheel)


@pytest.mark.parametrize("user", [0, 1000])
def test_only_root_installs_tools(monkeypatch, user):
    """Who is not gets the line to run; what is there is not installed."""
    steps = []
    monkeypatch.setattr(tools, "missing_packages", lambda: ["gcc"])
    monkeypatch.setattr(tools, "run_step", lambda step, command, env: steps.append(command))
    monkeypatch.setattr(tools.shutil, "which", lambda name: name)
    monkeypatch.setattr(tools.os, "geteuid", lambda: user)
    if user:
        with pytest.raises(MissingDependencyError, match="expected root, on Debian; run: sudo apt-get"):
            tools.install_tools()
        assert steps == []
    else:
        tools.install_tools()
        assert [command[:2] for command in steps] == [["apt-get", "update"], ["apt-get", "install"]]
        assert steps[1][-1] == "gcc"
        monkeypatch.setattr(tools, "missing_packages", list)
        tools.install_tools()
        assert len(steps) == 2


def test_the_tests_own_script_installs_the_same_packages():
    """tests/run.sh cannot ask: it has no Python yet."""
    script = (REPOSITORY / "tests" / "run.sh").read_text(encoding="utf-8")
    (packages,) = re.findall(r"packages=\((.*)\)", script)
    assert set(packages.split()) == {*tools.TOOLS.values(), "python3-venv"}


def test_a_step_that_fails_says_its_last_words():
    """In one line."""
    with pytest.raises(EmulationError, match=r"^step failed: second$"):
        tools.run_step("step", [sys.executable, "-c", "import sys; sys.exit('first\\nsecond\\n')"])
    with pytest.raises(EmulationError, match=r"^step failed: exit status 3$"):
        tools.run_step("step", [sys.executable, "-c", "import sys; sys.exit(3)"])


# The command line


class Results(list):
    """What `count` gives; `asked` is what it was asked for."""


@pytest.fixture
def fake_count(monkeypatch):
    """`count` without an emulator: gives or raises what the list says next."""
    results, asked = Results(), []
    results.asked = asked

    def count(root, model, cpu, *, mix, step):
        asked.append((model.name, cpu, step.name))
        result = results.pop(0)
        if isinstance(result, EcovisionError):
            raise result
        return result

    stamp = Stamp("r", "w", False, versions={"numpy": "2.0"})
    monkeypatch.setattr(cli, "count", count)
    monkeypatch.setattr(cli.PiRoot, "open", lambda folder: PiRoot(folder, stamp))
    return results


def test_count_prints_the_table_and_that_it_is_no_time(fake_count, tmp_path, capsys):
    """And writes all there is."""
    fake_count += [row(), row(cpu="cortex-a76", repeats=(10, 10))]
    file = tmp_path / "out.json"
    assert cli.main(["count", "pi", "--markdown", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| millions of instructions")
    assert lines[-1] == counting.NOTE
    assert "not time" in counting.NOTE
    document = json.loads(file.read_text())
    assert document["versions"] == {"numpy": "2.0"}
    assert [r["cpu"] for r in document["rows"]] == ["cortex-a72", "cortex-a76"]
    assert document["rows"][1]["instructions"] == 10
    assert len(document["rows"][0]["sha256"]) == 64


def test_a_count_that_does_not_repeat_is_an_error(fake_count, capsys):
    """Status 1; the figures are still shown."""
    fake_count += [row(repeats=(100_000_000, 100_011_000))]
    assert cli.main(["count", "pi", "--cpu", "cortex-a72"]) == 1
    printed = capsys.readouterr()
    assert "| +0.0110 % |" in printed.out
    assert printed.err == (
        "error: m on cortex-a72 does not repeat: expected two runs within 0.01%, found 0.0110%\n"
    )


def test_what_is_named_twice_is_counted_once(fake_count, capsys):
    """A minute each."""
    fake_count += [row()]
    assert cli.main(["count", "pi", str(INT8), str(INT8), "--cpu", "cortex-a72,cortex-a72"]) == 0
    assert len(capsys.readouterr().out.split("| m |")) == 2


def test_preparing_is_counted_of_one_artifact_and_whole_answers_of_each(fake_count, capsys):
    """For each size of a frame."""
    fake_count += [row(step=Step("prepare", 640, 480))] * 3
    sizes = ["--prepare", "640x480,1920x1080", "--whole", "640x480", "--jpeg"]
    assert cli.main(["count", "pi", "--cpu", "cortex-a76", *sizes]) == 0
    assert [(cpu, step) for _, cpu, step in fake_count.asked] == [
        ("cortex-a76", "prepare 640x480 JPEG"),
        ("cortex-a76", "prepare 1920x1080 JPEG"),
        ("cortex-a76", "whole 640x480 JPEG"),
    ]
    assert "| m, prepare 640x480 |" in capsys.readouterr().out


def test_fp16_is_counted_of_tflite_models_on_cpus_that_have_it(fake_count, tmp_path, capsys):
    """Beside the model as it is; a Cortex-A72 would die of it."""
    fake_count += [row()] * 9
    (tmp_path / "model.tflite").touch()
    assert cli.main(["count", "pi", str(tmp_path / "model.tflite"), str(INT8), "--fp16"]) == 0
    asked = [(name, cpu) for name, cpu, step in fake_count.asked if step == "fp16"]
    assert asked == [("model.tflite", "cortex-a76")]
    assert len(fake_count.asked) == 5
    assert guest.FP16_FLAGS == half.QS8 | half.QU8 | half.FORCE_FP16


def test_a_model_that_fails_does_not_cost_the_others(fake_count, capsys):
    """Their rows are printed, its error too."""
    fake_count += [ModelError("broken"), row()]
    bundle = str(embedded_bundle_path())
    assert cli.main(["count", "pi", str(INT8), bundle, "--cpu", "cortex-a72"]) == 1
    printed = capsys.readouterr()
    assert "| m | 0123456789ab |" in printed.out
    assert printed.err == "error: broken\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            ["count", "DIR", "--cpu", "cortex-a72,max"],
            2,
            "--cpu: expected cortex-a53 or cortex-a72 or cortex-a76, found 'max'",
        ),
        (["count", "DIR", "nowhere.onnx"], 2, "no model"),
        (["count", "DIR", "--prepare", "640"], 2, "--prepare: expected WIDTHxHEIGHT"),
        (["count", "DIR", "--jpeg"], 2, "--jpeg: expected --prepare or --whole too"),
        (["process", "DIR", "--", "x", "{n}"], 1, "no emulated root"),
        (["count", "DIR", "--json", "nowhere/out.json"], 2, "--json"),
        (["count", "DIR"], 1, "no emulated root"),
        (["test", "DIR"], 1, "no emulated root"),
        (["count", "DIR", "a" * 300], 1, "too long"),
        (["root", "DIR", "--wheel", "nowhere.whl"], 2, "--wheel"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, monkeypatch, arguments, status, words):
    """And the status says whose fault it is."""
    monkeypatch.setattr(tools, "missing_packages", list)
    assert cli.main([a if a != "DIR" else str(tmp_path / "pi") for a in arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert error.startswith("error: ")


@pytest.fixture
def started(monkeypatch, tmp_path):
    """`test` without an emulator: what is started, and status 5 for it."""
    calls = []

    def run(command, **options):
        calls.append((command, options))
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(suite, "subprocess", types.SimpleNamespace(run=run))
    monkeypatch.setattr(cli.PiRoot, "open", lambda folder: PiRoot(folder, Stamp("r", "w", True)))
    return calls


def test_test_runs_pytest_there_and_gives_its_status(started, monkeypatch):
    """All of tests/runtime, with this checkout's settings and without this environment's."""
    monkeypatch.setenv("ECOVISION_NO_SKIP", "1")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert cli.main(["test", "/pi", "--cpu", "cortex-a76", "--", "-k", "x", "--cpu"]) == 5
    ((command, options),) = started
    assert command[:3] == ["/pi/usr/local/bin/python3", "-m", "pytest"]
    assert command[-4:] == ["tests/runtime", "-k", "x", "--cpu"]
    assert options["cwd"] == REPOSITORY
    assert options["env"]["QEMU_CPU"] == "cortex-a76"
    assert not {"ECOVISION_NO_SKIP", "PYTHONPATH"} & set(options["env"])


def test_named_tests_are_run_instead_of_all(started):
    """`-- tests/runtime/test_stats.py`."""
    cli.main(["test", "/pi", "--", "tests/runtime/test_stats.py"])
    assert "tests/runtime" not in started[0][0]


REPORT = """<testsuites><testsuite><testcase name="test_a"/><testcase
name="test_b[x]"><failure message="assert
1 == 2">long</failure></testcase><testcase name="test_c"><error message="no fixture"/></testcase><testcase
name="test_d"><skipped message="needs torch"/></testcase></testsuite></testsuites>"""


@pytest.fixture
def files(monkeypatch, tmp_path):
    """`test --log` without an emulator: of three files of tests one fails, one dies, one does not end."""
    sources = tmp_path / "sources"
    (sources / "tests/runtime").mkdir(parents=True)
    for name in ("test_a.py", "test_b.py", "test_c.py", "conftest.py"):
        (sources / "tests/runtime" / name).touch()
    started = []

    def start(root, cpu, sources, arguments, timeout):
        file = arguments[0].rpartition("/")[2]
        started.append(file)
        if file == "test_c.py":
            raise subprocess.TimeoutExpired("pytest", timeout)
        if file == "test_a.py":
            Path(arguments[1].partition("=")[2]).write_text(REPORT)
        return 139 if file == "test_b.py" else 1

    monkeypatch.setattr(suite, "start_pytest", start)
    monkeypatch.setattr(suite, "_commit", lambda sources: "ab12")
    monkeypatch.setattr(cli, "checkout", lambda: sources)
    monkeypatch.setattr(cli.PiRoot, "open", lambda folder: PiRoot(folder, Stamp("r", "w", True, "trixie")))
    return started


def test_with_a_log_each_file_of_tests_has_a_process_and_a_result(files, tmp_path, capsys):
    """The table counts tests, names what failed and why, and says why others were skipped; status 1."""
    log = tmp_path / "a53.json"
    assert cli.main(["test", "/pi", "--cpu", "cortex-a53", "--log", str(log)]) == 1
    assert files == ["test_a.py", "test_b.py", "test_c.py"]
    told = capsys.readouterr().out
    assert "| Pi 3, cortex-a53 | Debian 13, Python 3.13 | ab12 | 3 | 1 | 2 | 1 | 2 |" in told
    assert "`test_a.py`: test_b\\[x\\]: assert 1 == 2\n" in told
    assert "`test_b.py`: exit status 139, and no report\n" in told
    assert "`test_c.py`: no end within 3600 s\n" in told
    assert "| needs torch | 1 |" in told
    assert cli.main(["results", str(log)]) == 1
    assert capsys.readouterr().out == told


def test_a_run_that_was_interrupted_goes_on(files, tmp_path, monkeypatch):
    """After the files that it has done; a log of another board is refused."""
    log = tmp_path / "log.json"
    start = suite.start_pytest

    def interrupted(root, cpu, sources, arguments, timeout):
        if arguments[0].endswith("test_b.py"):
            raise KeyboardInterrupt
        return start(root, cpu, sources, arguments, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(suite, "start_pytest", interrupted)
        assert cli.main(["test", "/pi", "--log", str(log)]) == cli.INTERRUPTED
    cli.main(["test", "/pi", "--log", str(log)])
    assert files == ["test_a.py", "test_b.py", "test_c.py"]
    assert [result.file for result in suite.Log.read(log).results] == files
    assert cli.main(["test", "/pi", "--cpu", "cortex-a76", "--log", str(log)]) == OptionError.exit_status


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"header": {}, "results": []}', "\xff"])
def test_what_is_no_log_of_tests_is_an_error(text, tmp_path, capsys):
    """In one line; nor is nothing."""
    log = tmp_path / "log"
    log.write_text(text, encoding="latin-1")
    assert cli.main(["results", str(log)]) == 1
    assert "is no log of tests" in capsys.readouterr().err
    assert cli.main(["results", str(tmp_path / "none")]) == OptionError.exit_status


def test_the_tests_of_other_sources_are_refused(monkeypatch, tmp_path):
    """Unless the wheel was given on purpose."""

    def build(folder):
        (folder / "a.whl").write_bytes(b"wheel")
        return folder / "a.whl"

    monkeypatch.setattr(roots, "build_wheel", build)
    with pytest.raises(EmulationError, match=r"the wheel of other sources; run: .* root "):
        PiRoot(tmp_path / "root", Stamp("r", "another", False)).refuse_other_sources()
    PiRoot(tmp_path / "root", Stamp("r", "another", True)).refuse_other_sources()
    own = sha256(build(tmp_path))
    PiRoot(tmp_path / "root", Stamp("r", own, False)).refuse_other_sources()


def test_it_runs_as_a_module():
    """As the docs say."""
    command = [sys.executable, "-m", "ecovision_edge_bench.arm64", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "root|test|results|table|count|process" in done.stdout
