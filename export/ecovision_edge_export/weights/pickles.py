"""What a pickle would do, read from its opcodes without running it: for a helpful refusal."""

from __future__ import annotations

import io
import itertools
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Step", "find_weights", "first_foreign", "pickle_protocol", "read_steps", "runs_commands"]

MAX_STEPS = 1_000_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before 1.6: two more pickles come before the object
# A module that was named before is not named again, so it may be missing.
_OF_TENSORS = re.compile(
    r"(torch\._utils\.)?_rebuild_\w+|(torch\.)?\w+Storage|torch\.storage\.\w+|_codecs\.encode|OrderedDict"
)
_COMMANDS = frozenset(
    ("posix", "nt", "os", "sys", "subprocess", "commands", "pty", "shutil", "socket", "runpy", "importlib")
)
_EVALUATORS = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("eval", "exec", "execfile", "compile", "open", "__import__", "getattr", "apply")
)
_DATA = ("collections.OrderedDict", "collections.defaultdict", "torch._utils.")  # begin no module


@dataclass(frozen=True, slots=True)
class Step:
    """A text that the pickle holds, a class or function that it names, or any other opcode by its name."""

    kind: Literal["text", "global", "other"]
    value: str


_DICT = Step("other", "EMPTY_DICT")


def read_steps(data: bytes) -> list[Step]:
    """List the steps of the pickle of a `torch.save`, or of a lone pickle; what is damaged ends them."""
    steps: list[Step] = []
    try:
        stream = _find_pickle(data)
        for step in _steps(stream):
            if step == Step("other", "STACK_GLOBAL"):
                texts = [s.value for s in steps[-2:] if s.kind == "text"]
                del steps[len(steps) - len(texts) :]
                steps.append(Step("global", ".".join(texts)))
            else:
                steps.append(step)
            if len(steps) >= MAX_STEPS:
                break
    except Exception:  # noqa: BLE001 - a damaged pickle raises anything; the caller has an error to raise
        return steps
    return steps


def pickle_protocol(data: bytes) -> int:
    """Return the protocol that the pickle says it is written in; 0 where it says none."""
    try:
        head = _find_pickle(data).read(2)
    except Exception:  # noqa: BLE001 - likewise
        return 0
    return head[1] if len(head) == 2 and head[0] == 0x80 else 0


def first_foreign(steps: Sequence[Step], allowed: Iterable[str]) -> str | None:
    """Find the first class or function that a pickle names and no state dict has; else None."""
    known = {"collections.OrderedDict", *allowed}
    named = (step.value for step in steps if step.kind == "global")
    return next((n for n in named if n not in known and not _OF_TENSORS.fullmatch(n)), None)


def runs_commands(steps: Sequence[Step]) -> bool:
    """Return whether a pickle names something that no network is made of, but attacks are."""
    return any(
        step.kind == "global" and (step.value in _EVALUATORS or step.value.partition(".")[0] in _COMMANDS)
        for step in steps
    )


def find_weights(steps: Sequence[Step], keys: Sequence[str]) -> str:
    """Return the Python that takes the state dict out of the loaded object, as `['model'].state_dict()`.

    Args:
        steps: Of the pickle.
        keys: Under which a checkpoint dict may hold it, best first.
    """
    if steps and _is_module(steps[0]):
        return ".state_dict()"
    after: dict[str, Step] = {}
    for text, following in itertools.pairwise(steps):
        if text.kind == "text":
            after.setdefault(text.value, following)
    for key in keys:
        step = after.get(key)
        if step is not None and (step.kind == "global" or step == _DICT or _is_module(step)):
            return f"[{key!r}]" + (".state_dict()" if _is_module(step) else "")
    return ""


def _is_module(step: Step) -> bool:
    """Return whether an object begins here; torch before 1.6 began a module with a text."""
    return step == Step("text", "module") or (step.kind == "global" and not step.value.startswith(_DATA))


def _find_pickle(data: bytes) -> io.BytesIO:
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            return io.BytesIO(archive.read(name))
    stream = io.BytesIO(data)
    if _LEGACY_MAGIC in [argument for _, argument, _ in pickletools.genops(stream)]:
        for _ in range(2):
            for _ in pickletools.genops(stream):
                pass
        return stream
    return io.BytesIO(data)


def _steps(stream: io.BytesIO) -> Iterator[Step]:
    for opcode, argument, _ in pickletools.genops(stream):
        if "UNICODE" in opcode.name:
            yield Step("text", str(argument)[:100])
        elif opcode.name == "GLOBAL":
            yield Step("global", str(argument).replace(" ", "."))
        elif opcode.name not in {"PROTO", "FRAME", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT"}:
            yield Step("other", opcode.name)
