"""Facts about events: their form, and the schema that describes it."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.events import BinEvent, BinState, StateMessage, event_schema
from ecovision_edge.preprocess.region import Region

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")


ADDED = {"best_label", "best_probability", "box", "bundle_name", "bundle_version", "type"}
"""Fields that came within the version."""


def event(**changes):
    """A whole one."""
    given = {
        **{"id": "run-3", "sequence": 3, "item": 4, "time": 1.7e9, "monotonic": 12.5, "label": "paper"},
        **{"bin": "Papier", "probability": 0.97, "margin": 0.9, "frames": 5, "seconds": 0.8},
        **{"reason": "paper at 0.97", "frame_age_ms": 7.5, "timings_ms": {"prepare": 0.5, "infer": 4.0}},
        **{"bundle": "0" * 64, "device": "bin7", "health": "RUNNING", "box": Region(10, 20, 110, 80)},
        **{"best_label": "paper", "best_probability": 0.97},
        **{"bundle_name": "kitchen", "bundle_version": "2.1+3f2a90bc"},
    }
    return BinEvent(**{**given, **changes})


@pytest.fixture(scope="module")
def check():
    """Validate a document, formats included."""
    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate


def test_an_event_is_one_line_that_the_schema_describes(check):
    """And says what it was given."""
    line = event().dumps()
    assert "\n" not in line
    data = json.loads(line)
    check(data)
    assert (data["bin"], data["label"], data["item"]) == ("Papier", "paper", 4)
    assert data["time"] == "2023-11-14T22:13:20.000+00:00"
    assert data["box"] == [10, 20, 110, 80]


def test_what_is_not_known_is_null(check):
    """An unknown item, of a lone model file, of a frame without a time."""
    unknown = ("label", "time", "bundle", "frame_age_ms", "box", "best_label", "best_probability")
    unknown += ("bundle_name", "bundle_version")
    data = event(timings_ms={}, **dict.fromkeys(unknown)).to_json()
    check(data)
    assert [data[k] for k in unknown] == [None] * 9


def test_the_schema_has_every_field_and_no_other():
    """As `BinEvent.to_json` writes them; one that was added within the version may be missing."""
    schema = event_schema()["$defs"]["event"]
    assert set(schema["properties"]) == set(event().to_json())
    assert set(schema["required"]) == set(schema["properties"]) - ADDED


def test_an_event_of_before_a_field_was_added_is_still_one(check):
    """A spool on disk may hold some."""
    data = event().to_json()
    check({key: data[key] for key in data.keys() - ADDED})


@pytest.mark.parametrize(
    "change",
    [
        *[{"probability": 1.5}, {"sequence": -1}, {"bin": ""}, {"bundle": "abc"}, {"reason": ""}],
        *[{"seconds": -1}, {"box": [1, 2, 3]}, {"box": [-1, 2, 3, 4]}, {"best_probability": 1.5}],
        *[{"bundle_version": "a b"}, {"bundle_name": ""}],
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_event(check, change):
    """Else it would describe nothing."""
    with pytest.raises(jsonschema.ValidationError):
        check({**event().to_json(), **change})


@pytest.mark.parametrize("missing", sorted(event().to_json().keys() - ADDED))
def test_the_schema_wants_every_field(check, missing):
    """A reader may rely on them."""
    data = event().to_json()
    del data[missing]
    with pytest.raises(jsonschema.ValidationError):
        check(data)


def test_a_number_that_is_none_is_refused():
    """NaN is not JSON."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        event(probability=math.nan).dumps()


@given(st.text(min_size=1), st.text(min_size=1), st.floats(0, 1), st.floats(0, 4e9))
def test_any_names_and_times_make_a_valid_event(bin, reason, probability, time):
    """Of whatever characters, also those that a terminal would act on."""
    line = event(bin=bin, reason=reason, probability=probability, time=time).dumps()
    data = json.loads(line)
    assert (data["bin"], data["probability"]) == (bin, probability)
    assert "\n" not in line
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", data["time"])


def test_states_are_words():
    """As the JSON has them."""
    words = ["starting", "empty", "settling", "deciding", "decided", "fault"]
    assert [str(s) for s in BinState] == words
    assert event_schema()["$defs"]["state"]["properties"]["state"]["enum"] == words
    assert [s for s in BinState if not s.ready] == [BinState.STARTING, BinState.FAULT]


BUNDLE = BundleIdentity("kitchen", "2.1", "0" * 64)


def state(**changes):
    """A whole message of a fault."""
    given = {"id": "ab12", "state": BinState.FAULT, "reason": "camera STALLED", "time": 1.7e9, "since": 1.6e9}
    return StateMessage(**{**given, "device": "bin7", "bundle": BUNDLE, **changes})


def test_a_state_is_one_line_that_the_schema_describes(check):
    """In every field, and in no other; told from an event by its type."""
    data = json.loads(state().dumps())
    check(data)
    schema = event_schema()["$defs"]["state"]
    assert set(schema["properties"]) == set(data)
    assert set(schema["required"]) == set(data) - {"bundle", "bundle_name", "bundle_version"}
    assert (data["bundle"], data["bundle_name"], data["bundle_version"]) == ("0" * 64, "kitchen", "2.1")
    check(state(bundle=None).to_json())
    assert (data["type"], data["state"], data["reason"]) == ("state", "fault", "camera STALLED")
    assert (data["time"], data["since"]) == ("2023-11-14T22:13:20.000+00:00", "2020-09-13T12:26:40.000+00:00")
    assert event().to_json()["type"] == "event"


@pytest.mark.parametrize(
    "change", [{"state": "broken"}, {"type": "event"}, {"reason": None}, {"id": ""}], ids=str
)
def test_the_schema_refuses_what_is_no_state(check, change):
    """Else it would describe nothing."""
    with pytest.raises(jsonschema.ValidationError):
        check({**state().to_json(), **change})
