"""Facts about the frozen dataclasses that every start loads: they are what the standard decorator makes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from dataclasses import field

import pytest

from ecovision_edge.base import records
from ecovision_edge.prediction import Prediction, Timings


def make(decorator):
    """Three classes, by one decorator or the other."""

    @decorator(frozen=True, slots=True)
    class Nothing:
        """Without a field."""

    @decorator(frozen=True, slots=True)
    class One:
        """With a single one."""

        name: str

    @decorator(frozen=True, slots=True)
    class Many:
        """With one of each kind."""

        first: int
        second: float = 2.0
        made: list[int] = field(default_factory=list, hash=False)
        hidden: str = field(default="h", repr=False, compare=False)
        kind = "no field"

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("below 0")

        @property
        def double(self) -> int:
            return 2 * self.first

    return Nothing, One, Many


STANDARD, OURS = make(dataclasses.dataclass), make(records.dataclass)
GIVEN = [(), ("x",), (1, 3.0)]
CASES = list(zip(STANDARD, OURS, GIVEN, strict=True))


def said(call):
    """What a call returns or raises, but for where the class was made."""
    try:
        return call()
    except (TypeError, ValueError, AttributeError) as e:
        return type(e), str(e)


@pytest.mark.parametrize(("standard", "ours", "given"), CASES)
def test_objects_look_and_compare_as_those_of_the_standard_decorator(standard, ours, given):
    """And hash to the same number."""
    a, b = standard(*given), ours(*given)
    assert repr(a) == repr(b)
    assert hash(a) == hash(b)
    assert b == ours(*given)
    assert b != a
    assert dataclasses.asdict(a) == dataclasses.asdict(b)
    assert not hasattr(b, "__dict__")
    assert ours.__slots__ == standard.__slots__
    assert ours.__match_args__ == standard.__match_args__
    assert (ours.__doc__, ours.__qualname__, ours.__module__) == (
        standard.__doc__,
        standard.__qualname__,
        standard.__module__,
    )
    assert str(inspect.signature(ours)) == str(inspect.signature(standard))
    assert ours.__init__.__annotations__ == standard.__init__.__annotations__
    assert repr(ours.__dataclass_params__) == repr(standard.__dataclass_params__)


def test_fields_count_as_they_say():
    """What is hidden is not shown nor compared; a factory makes a value for each object."""
    many = OURS[2]
    assert repr(many(1)).endswith("Many(first=1, second=2.0, made=[])")
    assert many(1, hidden="a") == many(1, hidden="b")
    assert many(1).made is not many(1).made
    assert hash(many(1, made=[1])) == hash(many(1))
    assert many(1) != many(2)
    assert (many.kind, many(4).double) == ("no field", 8)


@pytest.mark.parametrize(("standard", "ours", "given"), CASES)
def test_wrong_calls_are_refused_in_the_same_words(standard, ours, given):
    """Missing, unknown and superfluous arguments; what `__post_init__` refuses."""
    for call in (
        lambda cls: cls(*given, "one", "too", "many", "of", "them"),
        lambda cls: cls(*given, unknown=1),
        lambda cls: cls(*given[:-1]) if given else None,
        lambda cls: cls(-1),
    ):
        one, other = said(lambda call=call: call(standard)), said(lambda call=call: call(ours))
        assert one == other or dataclasses.is_dataclass(one)


@pytest.mark.parametrize(("ours", "given"), list(zip(OURS, GIVEN, strict=True)))
def test_nothing_can_be_changed(ours, given):
    """Neither a field, nor what is none; the error is the standard one."""
    record = ours(*given)
    for name in ("name", "first", "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(record, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(record, name)


def test_objects_can_be_copied_replaced_and_pickled():
    """As processes and tests do."""
    timings = Timings(1.0, 2.0, 0.5)
    said = Prediction("a", 0, 0.9, 0.8, (0.9, 0.1), timings)
    for again in (copy.copy(said), copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert (again, hash(again)) == (said, hash(said))
    assert dataclasses.replace(said, timings=Timings(0, 0, 0)).timings.total_ms == 0
    match said:
        case Prediction(label, timings=Timings(prepare)):
            assert (label, prepare) == ("a", 1.0)
    assert len(dataclasses.fields(Prediction)) == 6


def test_what_a_class_defines_itself_stays():
    """Its own way to be shown, compared and hashed."""

    @records.dataclass(frozen=True, slots=True)
    class Own:
        """One that does."""

        value: int

        def __repr__(self):
            return "own"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    assert (repr(Own(1)), Own(1) == 3, hash(Own(1))) == ("own", True, 7)


@pytest.mark.parametrize("decorator", [dataclasses.dataclass, records.dataclass])
def test_a_class_that_compares_its_own_way_is_hashed_by_its_fields(decorator):
    """As the standard decorator has it."""

    @decorator(frozen=True, slots=True)
    class Own:  # noqa: PLW1641 - that is the fact
        """One that does."""

        value: int

        def __eq__(self, other):
            return True

    assert hash(Own(1)) == hash((1,))


def test_another_kind_of_dataclass_is_refused():
    """Rather than made wrongly."""
    with pytest.raises(TypeError, match="only dataclass"):
        records.dataclass(frozen=False, slots=True)
    for body in ({"__annotations__": {"a": int}, "a": field(kw_only=True)}, {}):
        bases = () if body else (Timings,)
        with pytest.raises(TypeError, match="not made here"):
            records.dataclass(frozen=True, slots=True)(type("Odd", bases, {"__doc__": "Odd.", **body}))


def test_a_start_makes_no_dataclass_the_slow_way():
    """Of a process up to its first answer; nor does it load what few need."""
    code = (
        "import dataclasses, sys\n"
        "import cv2, numpy as np, onnxruntime\n"
        "made, was = [], dataclasses._process_class\n"
        "def see(cls, init, *rest):\n"
        "    made.append(cls.__name__) if init else None\n"
        "    return was(cls, init, *rest)\n"
        "before = set(sys.modules)\n"
        "dataclasses._process_class = see\n"
        "from ecovision_edge import Classifier\n"
        "Classifier.load().classify(np.zeros((48, 64, 3), np.uint8))\n"
        "assert made == [], made\n"
        "few = {'importlib.metadata', 'platformdirs', 'logging', 'shutil', 'secrets', 'zipfile'}\n"
        "ours = ('base.device', 'base.installation', 'bundle.golden', 'preprocess.fast')\n"
        "loaded = (few | {f'ecovision_edge.{name}' for name in ours}) & (set(sys.modules) - before)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
