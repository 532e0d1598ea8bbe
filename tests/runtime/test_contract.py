"""Facts about the contract: what it holds, and what it refuses."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.contract import (
    MAX_CLASSES,
    MAX_SIDE,
    SCHEMA_VERSION,
    Contract,
    InputSpec,
    Normalization,
    OutputSpec,
    ResizeSpec,
    WeightsSource,
)
from ecovision_edge.bundle.views import UPRIGHT, ViewPlan
from ecovision_edge.errors import ContractError, SchemaVersionError

WEIGHTS = WeightsSource("tiny", "test", "0" * 64)
GOOD = Contract(("a", "b"), WEIGHTS)
VIEWED = Contract(
    ("a", "b"), WEIGHTS, any_orientation=True, views=ViewPlan(UPRIGHT, (1.0, 0.9, 0.8, 0.7), (0.5, 0.6))
)
FLOAT = InputSpec("frame", "NCHW", "float32", "RGB")

labels = st.lists(
    st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable() and t == t.strip()),
    min_size=2,
    max_size=12,
    unique=True,
)
numbers = st.floats(0.001, 100)


@st.composite
def contracts(draw):
    """Any valid contract."""
    names = tuple(draw(labels))
    height, width = draw(st.integers(1, MAX_SIDE)), draw(st.integers(1, MAX_SIDE))
    uint8 = draw(st.booleans())
    form = ("NHWC", "uint8", "BGR") if uint8 else ("NCHW", "float32", "RGB")
    shortest = draw(st.none() | st.integers(max(height, width), MAX_SIDE))
    some = st.none() | st.lists(st.floats(0, 1), min_size=len(names), max_size=len(names)).map(tuple)
    return Contract(
        names,
        WeightsSource("x", "hf://a/b", "ab" * 32, draw(st.none() | st.just("main"))),
        InputSpec("frame", *form, height, width),
        ResizeSpec("shortest" if shortest else "squash", shortest, draw(st.sampled_from(["pil", "fast"]))),
        Normalization(
            draw(st.tuples(numbers, numbers, numbers)), draw(st.tuples(numbers, numbers, numbers)), uint8
        ),
        OutputSpec("logits", draw(st.sampled_from(["logits", "probabilities"]))),
        draw(st.floats(0.001, 1000)),
        draw(some),
        draw(st.booleans()),
        draw(st.none() | some.map(lambda t: ViewPlan(UPRIGHT[:2], (1.0, 0.5), t))),
    )


@given(contracts())
def test_a_contract_comes_back_as_it_was_written(contract):
    """`loads(dumps(c)) == c`, and the text is the same each time."""
    assert Contract.loads(contract.dumps()) == contract
    assert Contract.loads(contract.dumps()).dumps() == contract.dumps()


def test_the_json_says_everything():
    """The schema's version first, then every field by its name."""
    value = json.loads(VIEWED.dumps())
    assert list(value) == ["schema_version", *(f.name for f in dataclasses.fields(Contract))]
    assert value["schema_version"] == SCHEMA_VERSION
    assert value["any_orientation"] is True
    assert value["views"] == {
        "views": ["plain", "x0.85", "mirrored", "mirrored+x0.85"],
        "correlation": [1.0, 0.9, 0.8, 0.7],
        "thresholds": [0.5, 0.6],
    }
    assert value["input"] == {
        **{"name": "frame", "layout": "NHWC", "dtype": "uint8"},
        **{"color": "BGR", "height": 224, "width": 224},
    }


def test_a_contract_that_needs_no_newer_version_is_of_the_first():
    """A runtime that knows no views takes it, to the byte as it always was; of one with views it is told."""
    value = json.loads(GOOD.dumps())
    assert value["schema_version"] == 1
    assert "any_orientation" not in value
    assert "views" not in value
    for newer in (
        dataclasses.replace(GOOD, any_orientation=True),
        dataclasses.replace(GOOD, views=VIEWED.views),
    ):
        assert json.loads(newer.dumps())["schema_version"] == 2
        assert Contract.loads(newer.dumps()) == newer
    for key in ("any_orientation", "views"):
        with pytest.raises(ContractError, match=key):
            Contract.loads(edited(key, None))  # not of version 1


def test_a_contract_cannot_be_changed():
    """Frozen, and hashable."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.temperature = 2.0
    assert hash(GOOD) == hash(Contract.loads(GOOD.dumps()))


def test_the_input_shape_follows_the_layout():
    """NHWC or NCHW, the batch first."""
    assert InputSpec(height=4, width=6).shape(2) == (2, 4, 6, 3)
    assert dataclasses.replace(FLOAT, height=4, width=6).shape(2) == (2, 3, 4, 6)


BROKEN = {
    "one label": lambda: Contract(("a",), WEIGHTS),
    "too many labels": lambda: Contract(tuple(map(str, range(MAX_CLASSES + 1))), WEIGHTS),
    "a label twice": lambda: Contract(("a", "b", "a"), WEIGHTS),
    "an empty label": lambda: Contract(("a", ""), WEIGHTS),
    "a label in spaces": lambda: Contract(("a", " b"), WEIGHTS),
    "a label with a newline": lambda: Contract(("a", "b\nc"), WEIGHTS),
    "a label with an escape": lambda: Contract(("a", "\x1b[2J"), WEIGHTS),
    "a label with half a character": lambda: Contract(("a", "\ud800"), WEIGHTS),
    "a label too long": lambda: Contract(("a", "b" * 201), WEIGHTS),
    "uint8 that is not normalized in the graph": lambda: dataclasses.replace(
        GOOD, normalization=Normalization(in_graph=False)
    ),
    "float32 that is": lambda: dataclasses.replace(GOOD, input=FLOAT),
    "NHWC float32": lambda: InputSpec(dtype="float32"),
    "NCHW uint8": lambda: InputSpec(layout="NCHW"),
    "uint8 RGB": lambda: InputSpec(color="RGB"),
    "float32 BGR": lambda: InputSpec("frame", "NCHW", "float32", "BGR"),
    "a side of 0": lambda: InputSpec(height=0),
    "a negative side": lambda: InputSpec(width=-1),
    "a side too large": lambda: InputSpec(width=MAX_SIDE + 1),
    "an unknown mode": lambda: ResizeSpec("crop"),
    "an unknown filter": lambda: ResizeSpec(filter="nearest"),
    "shortest without its size": lambda: ResizeSpec("shortest"),
    "a size without shortest": lambda: ResizeSpec("squash", 256),
    "shortest 0": lambda: ResizeSpec("shortest", 0),
    "shortest too large": lambda: ResizeSpec("shortest", MAX_SIDE + 1),
    "shortest below the input": lambda: dataclasses.replace(GOOD, resize=ResizeSpec("shortest", 223)),
    "a mean of two": lambda: Normalization(mean=(0.5, 0.5)),
    "a mean that is NaN": lambda: Normalization(mean=(0.5, 0.5, float("nan"))),
    "a std of 0": lambda: Normalization(std=(1, 1, 0)),
    "a negative std": lambda: Normalization(std=(1, 1, -1)),
    "an infinite std": lambda: Normalization(std=(1, 1, float("inf"))),
    "shortest between the input's sides": lambda: dataclasses.replace(
        GOOD, input=InputSpec(height=224, width=300), resize=ResizeSpec("shortest", 256)
    ),
    "an unknown output": lambda: OutputSpec(kind="scores"),
    "temperature 0": lambda: dataclasses.replace(GOOD, temperature=0.0),
    "temperature NaN": lambda: dataclasses.replace(GOOD, temperature=float("nan")),
    "temperature infinite": lambda: dataclasses.replace(GOOD, temperature=float("inf")),
    "too few thresholds": lambda: dataclasses.replace(GOOD, thresholds=(0.5,)),
    "a threshold above 1": lambda: dataclasses.replace(GOOD, thresholds=(0.5, 1.01)),
    "too few thresholds of views": lambda: dataclasses.replace(
        GOOD, views=ViewPlan(UPRIGHT[:1], (1.0,), (0.5,))
    ),
    "a threshold that is NaN": lambda: dataclasses.replace(GOOD, thresholds=(0.5, float("nan"))),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_a_contract_that_contradicts_itself_cannot_be_made(make):
    """A ContractError, which is a ValueError, and says what was expected."""
    with pytest.raises(ContractError, match="expected") as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert caught.value.message.isprintable()


def edited(path, value):
    """The good contract's JSON with one value in it replaced, or deleted with `...`."""
    data = json.loads(GOOD.dumps())
    *folders, last = path.split(".")
    place = data
    for name in folders:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[("schema_version", v) for v in (0, -1, "1", 1.0, True, None, ..., 2**40)],
        *[("labels", v) for v in (None, "ab", {}, ["a", 1], ["a", None], [], [["a"], "b"], ...)],
        *[("weights.sha256", v) for v in ("0" * 63, "G" * 64, "A" * 64, 0, "0" * 64 + "\n", ...)],
        *[("weights.revision", v) for v in (1, "", "x" * 1001, "a\nb")],
        *[("input.height", v) for v in ("224", 224.0, True, 0, 10**30, None, ...)],
        *[("input.layout", v) for v in ("nhwc", 1, None, [], ...)],
        *[("input", v) for v in (None, [], "x", ...)],
        *[("normalization.mean", v) for v in ([0, 0], [0, 0, "0"], [0, 0, True], [0, 0, 10**400], None)],
        *[("normalization.in_graph", v) for v in (1, "true", None)],
        *[("temperature", v) for v in ("1", True, None, 0, 10**400, ...)],
        *[("thresholds", v) for v in ([], [0.5], [0.5, 2], [0.5, "1"], "x", {})],
        *[("output.kind", v) for v in ("Logits", None)],
        *[
            (f"{where}unknown", 1)
            for where in ("", "weights.", "input.", "resize.", "normalization.", "output.")
        ],
    ],
)
def test_json_that_is_not_a_contract_is_refused(path, value):
    """Wrong types, missing and unknown keys; the message names the place."""
    with pytest.raises(ContractError) as caught:
        Contract.loads(edited(path, value))
    place, _, key = path.rpartition(".")
    assert key in caught.value.message or place in caught.value.message


def test_revision_and_thresholds_may_be_null_or_missing():
    """They are the contract's only optional values."""
    for path in ("weights.revision", "thresholds"):
        assert Contract.loads(edited(path, None)) == Contract.loads(edited(path, ...)) == GOOD


def test_a_newer_schema_is_its_own_error():
    """It says to upgrade, whatever else is in there."""
    with pytest.raises(SchemaVersionError, match="pip install --upgrade") as caught:
        Contract.loads(edited("schema_version", SCHEMA_VERSION + 1))
    assert isinstance(caught.value, ContractError)
    with pytest.raises(SchemaVersionError):
        Contract.loads('{"schema_version": 3, "something": "else"}')


@pytest.mark.parametrize(
    "text",
    [
        *["", "nonsense", "[]", "null", "1", '"x"', "{", "{}", "\ud800", "\0"],
        *["[" * 100_000, '{"a":' * 100_000, '{"schema_version": ' + "9" * 10_000 + "}"],
        *['{"schema_version": NaN}', '{"schema_version": Infinity}', '{"schema_version": 1e999}'],
        '{"schema_version": 1, "schema_version": 1}',
    ],
    ids=lambda t: ascii(t[:20]),
)
def test_text_that_is_no_contract_is_refused(text):
    """Whatever stands there: a ContractError with a short, printable message."""
    with pytest.raises(ContractError) as caught:
        Contract.loads(text)
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
