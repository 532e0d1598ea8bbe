"""Instructions per inference, by the method that the package describes."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import ArtifactNotFoundError, InferenceError, ModelError, OptionError
from ecovision_edge_bench.arm64.boards import BOARDS
from ecovision_edge_bench.arm64.guest import INFERENCE, NOTHING
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.sources import checkout, sha256
from ecovision_edge_bench.arm64.steps import NETWORK, Step
from ecovision_edge_bench.arm64.tools import EmulationError, last_line

__all__ = [
    "MOST_DIFFERENCE",
    "NOTE",
    "Mark",
    "Model",
    "Row",
    "count",
    "differences",
    "find_models",
    "net_count",
    "one_of_each",
    "read_marks",
    "to_markdown",
]

SUFFIXES = (".onnx", ".tflite")
REPEATS = 2
MOST_DIFFERENCE = 1e-4
"""Of two runs: what repeats less well is not printed as exact."""

MOST_ELSEWHERE = 0.01
"""Share of the count that other threads may execute in every inference; one that helps does far more."""

NOTE = (
    "Instructions are not time: caches, memory and the cost of each instruction are left out. They compare "
    "graphs or engines on the same CPU."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model file: its name in the table, where it is, and the sha256 of its bytes."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What the plugin wrote at one mark.

    Attributes:
        label: `guest.NOTHING` or `guest.INFERENCE`.
        first: Instructions of the process's first thread so far.
        others: Of all its other threads, about.
        words: Of the first thread, by instruction word; empty unless it was asked for.
    """

    label: int
    first: int
    others: int
    words: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One step with one model in one engine on one CPU.

    Attributes:
        model: Which.
        engine: Name and version (`onnxruntime 1.32.0`).
        cpu: `cortex-a72` or `cortex-a76`.
        instructions: Of one inference, from call to result: the mean of `repeats`, rounded.
        repeats: The same figure of each process.
        raw: Each process's inferences one by one, marks included.
        words: How often each instruction word was executed in one inference; empty unless it was asked for.
        step: What was counted; where this is not the network, read "step" for "inference" above.
    """

    model: Model
    engine: str
    cpu: str
    instructions: int
    repeats: tuple[int, ...]
    raw: tuple[tuple[int, ...], ...] = field(repr=False)
    words: Mapping[int, int] = field(default_factory=dict, repr=False)
    step: Step = NETWORK

    @property
    def name(self) -> str:
        """Name of the model, and of the step where that is not the network (`reference, prepare 640x480`)."""
        return ", ".join(filter(None, (self.model.name, self.step.name)))

    @property
    def difference(self) -> float:
        """The difference of the maximum and the minimum of `repeats`, as a share of the minimum."""
        return max(self.repeats) / min(self.repeats) - 1

    def to_json(self) -> dict[str, object]:
        """Return JSON values."""
        return {
            "model": self.model.name,
            "step": self.step.name or self.step.kind,
            "fp16": self.step.fp16,
            "file": self.model.path.name,
            "sha256": self.model.sha256,
            "engine": self.engine,
            "cpu": self.cpu,
            "instructions": self.instructions,
            "difference": self.difference,
            "repeats": list(self.repeats),
            "raw": [list(counts) for counts in self.raw],
        }


def find_models(paths: Sequence[Path]) -> list[Model]:
    """Find the models to count: files as they are, of a bundle all; by default the embedded bundle.

    Raises:
        ArtifactNotFoundError: nothing there.
        OptionError: no engine opens such a file.
        BundleError, ContractError: a bundle that is not one, or is damaged.
    """
    found: list[Model] = []
    for path in paths or [embedded_bundle_path()]:
        if path.is_dir():
            bundle = Bundle.open(path)
            for entry in bundle.manifest.artifacts:
                bundle.read(entry)  # raises unless the bytes are those that the manifest names
                name = f"{bundle.manifest.name} {entry.name}"
                found.append(Model(name, (path / entry.file.file).resolve(), entry.file.sha256))
        elif not path.is_file():
            raise ArtifactNotFoundError("no model", expected="a model file or a bundle's folder", found=path)
        elif path.suffix not in SUFFIXES:
            raise OptionError(
                "model", expected=f"a bundle, or a file named {' or '.join(SUFFIXES)}", found=path
            )
        else:
            found.append(Model(path.name, path.resolve(), sha256(path)))
    return found


def one_of_each(paths: Sequence[Path]) -> list[Model]:
    """Find the models whose contracts to prepare frames by: as `find_models`, but of a bundle the first."""
    return [find_models([path])[0] for path in paths or [embedded_bundle_path()]]


def count(root: PiRoot, model: Model, cpu: str, *, mix: bool = False, step: Step = NETWORK) -> Row:
    """Count the instructions of one inference, or of another step, in two processes.

    Args:
        root: Where the engines are.
        model: Which model; its engine goes by the file's suffix.
        cpu: `cortex-a72` or `cortex-a76`.
        mix: Whether to fill `Row.words`; takes twice as long.
        step: What to count.

    Raises:
        OptionError: no board has that CPU.
        ModelError: the engine does not open or run the model.
        InferenceError: the engine keeps to more than one thread.
        EmulationError: the emulator or the plugin failed, or a step other than the network is to be counted
            and this is no checkout.
    """
    repeats: list[int] = []
    raw: list[tuple[int, ...]] = []
    for _ in range(REPEATS):
        engine, marks = _run(root, model, cpu, mix, step)
        repeats.append(net_count(marks))
        raw.append(tuple(pair.first for pair in differences(marks, INFERENCE)))
    words = differences(marks, INFERENCE)[-1].words
    return Row(model, engine, cpu, round(statistics.fmean(repeats)), tuple(repeats), tuple(raw), words, step)


def read_marks(log: str) -> list[Mark]:
    """Read what the plugin wrote; what else is in QEMU's log is passed over.

    Raises:
        EmulationError: a line of the plugin's is cut off.
    """
    marks: list[Mark] = []
    words: dict[int, int] = {}
    for line in log.splitlines():
        kind, *values = line.split()[:4] or [""]
        try:
            if kind == "mark":
                label, first, others = map(int, values)
                words = {}
                marks.append(Mark(label, first, others, words))
            elif kind == "word":
                bits, times = values
                words[int(bits, 16)] = int(times)
        except ValueError as error:
            raise EmulationError("the counting plugin's log is damaged", found=line[:80]) from error
    return marks


def differences(marks: Sequence[Mark], label: int) -> list[Mark]:
    """Return what was executed between the first and the second mark of each pair with that label.

    Raises:
        EmulationError: there is no such pair, or half of one, or a counter goes backwards.
    """
    own = [mark for mark in marks if mark.label == label]
    pairs = [
        Mark(label, end.first - begin.first, end.others - begin.others, _difference(end.words, begin.words))
        for begin, end in zip(own[::2], own[1::2], strict=False)
    ]
    if not pairs or len(own) % 2 or any(pair.first < 0 or pair.others < 0 for pair in pairs):
        found = ", ".join(str(mark.first) for mark in own) or "none"
        raise EmulationError("the plugin's marks", expected="pairs that count upwards", found=found[:200])
    return pairs


def net_count(marks: Sequence[Mark]) -> int:
    """Instructions of one inference: the median, less that of nothing at all.

    Raises:
        EmulationError: the marks are not all there.
        InferenceError: another thread works in every inference.
    """
    inferences = differences(marks, INFERENCE)
    empty = statistics.median_low(pair.first for pair in differences(marks, NOTHING))
    whole = statistics.median_low(pair.first for pair in inferences)
    elsewhere = min(pair.others for pair in inferences)
    if elsewhere > MOST_ELSEWHERE * whole:
        raise InferenceError(
            "the engine does not keep to one thread",
            expected="all instructions in the first",
            found=f"{elsewhere} of {elsewhere + whole} in others",
        )
    return whole - empty


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a markdown table: a line for each step, model and engine, a column for each CPU."""
    cpus = list(dict.fromkeys(row.cpu for row in rows))
    heads = [f"{cpu} ({BOARDS[cpu].short})" for cpu in cpus]
    of = "an inference " if all(row.step.kind == "network" for row in rows) else ""
    lines = [
        f"| millions of instructions {of}| sha256 | engine | {' | '.join(heads)} | second run |",
        f"|---|---|---|{'---:|' * len(cpus)}---:|",
    ]
    for name, model, engine in dict.fromkeys((row.name, row.model, row.engine) for row in rows):
        own = {row.cpu: row for row in rows if (row.name, row.model, row.engine) == (name, model, engine)}
        counts = [f"{own[cpu].instructions / 1e6:.1f}" if cpu in own else "" for cpu in cpus]
        differs = max(row.difference for row in own.values())
        cells = [name, model.sha256[:12], engine, *counts, f"{differs:+.4%}".replace("%", " %")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _run(root: PiRoot, model: Model, cpu: str, mix: bool, step: Step) -> tuple[str, list[Mark]]:
    """Run one process; return the engine's name and the marks."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        plugin = str(root.path / "plugin.so").replace(",", ",,")  # a comma ends the name
        environment = {
            "QEMU_PLUGIN": plugin + (",mix=on" if mix else ""),
            "QEMU_LOG": "plugin",
            "QEMU_LOG_FILENAME": str(log),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }
        if step.kind != "network":  # of this checkout, whatever wheel the root has
            path = [str(checkout() / "runtime")]
            if step.native is not None:
                path.append(_unpacked(step.native, Path(folder) / "native"))
            environment |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}
        guest = Path(__file__).with_name("guest.py")
        done = root.python(cpu, "-P", str(guest), str(model.path), *step.arguments(), environment=environment)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        found = last_line(done.stderr, done.returncode)
        raise EmulationError(f"counting {model.name} on {cpu} failed", found=found) from error
    if "engine" not in answer:
        raise ModelError(f"{model.path.name} does not run on {cpu}", found=answer["error"])
    return str(answer["engine"]), read_marks(text)


def _unpacked(wheel: Path, folder: Path) -> str:
    """Unpack a wheel, and return the folder to put into the path: a library in it is opened as a file."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise OptionError(
            "--native",
            expected="a wheel of ecovision-edge-native for AArch64",
            found=f"{wheel}, {reason_of(error)}",
        ) from error
    return str(folder)


def _difference(end: Mapping[int, int], begin: Mapping[int, int]) -> dict[int, int]:
    less = {word: times - begin.get(word, 0) for word, times in end.items()}
    return {word: times for word, times in less.items() if times}
