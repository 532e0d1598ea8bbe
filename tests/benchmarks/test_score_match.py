"""Facts about counting events: found, missed, doubled, false, and what the first event was worth."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.errors import OptionError
from ecovision_edge.rules import Rules
from ecovision_edge.simulation.truth import Distractor, TrueItem, Truth, TruthError
from ecovision_edge_bench.score.document import document
from ecovision_edge_bench.score.match import Decision, MatchOptions, Verdict, match
from ecovision_edge_bench.score.text import figure_rows, label_rows, time_figures, wrong_lines

RULES = Rules.loads(
    """
    schema = 1
    name = "small"
    default = "rest"
    [bins]
    paper = ["paper", "cardboard"]
    glass = ["glass"]
    rest = ["trash"]
    special = ["battery"]
    [costs]
    unknown = 0.3
    [costs.battery]
    paper = 20.0
    """
)


def item(id=0, label="paper", arrives=10.0, leaves=15.0, **given):
    return TrueItem(id=id, label=label, arrives_s=arrives, leaves_s=leaves, **given)


def truth(*items, distractors=()):
    return Truth(items, 100.0, distractors)


def says(at, label="paper", bin="paper"):
    return Decision(at, label, bin)


def score(items, events, **options):
    return match(truth(*items), events, RULES, MatchOptions(**options))


def test_an_event_while_it_lies_there_finds_an_item():
    found = score([item(rests_s=10.5)], [says(12.0)])
    assert (found.found, found.missed, found.doubled, len(found.false)) == (1, 0, 0, 0)
    assert found.items[0].since_arrival_s == 2.0
    assert found.items[0].since_rest_s == 1.5


def test_no_event_is_a_missed_item_with_no_verdict():
    found = score([item()], [])
    assert (found.found, found.missed, found.items[0].verdict, found.mean_cost) == (0, 1, None, None)


@pytest.mark.parametrize(
    ("at", "belongs"), [(9.99, False), (10.0, True), (15.0, True), (16.0, True), (16.01, False)]
)
def test_an_event_belongs_to_an_item_until_the_grace_after_it_left(at, belongs):
    found = score([item()], [says(at)])
    assert (found.found, len(found.false)) == ((1, 0) if belongs else (0, 1))


def test_an_event_after_the_next_item_came_is_the_next_ones():
    """Whatever a flap does then, it does to that one."""
    found = score([item(), item(1, "glass", 15.2, 20.0)], [says(15.5)])
    assert [one.found for one in found.items] == [False, True]
    assert found.items[1].verdict is Verdict.WRONG_BIN


def test_a_second_event_beyond_the_debounce_doubles_an_item():
    found = score([item()], [says(11.0), says(12.01)])
    assert (found.found, found.doubled, found.merged) == (1, 1, 0)


def test_events_within_the_debounce_are_one_and_told():
    found = score([item()], [says(11.0), says(11.4), says(12.0)])
    assert (found.found, found.doubled, found.merged) == (1, 0, 2)


def test_a_burst_longer_than_the_debounce_counts_again():
    """Time is taken from the event that counts, not from the last one that did not."""
    burst = [says(11 + n / 10) for n in range(13)]
    found = score([item()], burst)
    assert [event.at_s for event in found.items[0].events] == [11.0, pytest.approx(12.1)]


def test_without_debounce_each_event_counts():
    found = score([item()], [says(11.0), says(11.0), says(11.1)], debounce=0)
    assert (len(found.items[0].events), found.merged) == (3, 0)


def test_a_false_event_is_told_with_what_was_there():
    hands = (Distractor("hand", 30.0, 31.0),)
    found = match(truth(item(), distractors=hands), [says(31.5), says(50.0), says(50.5)], RULES)
    assert [false.during for false in found.false] == ["hand", "nothing"]
    assert found.false_merged == 1


@pytest.mark.parametrize(
    ("label", "event", "verdict", "cost"),
    [
        ("paper", ("paper", "paper"), Verdict.RIGHT, 0.0),
        ("paper", ("cardboard", "paper"), Verdict.RIGHT_BIN, 0.0),
        ("paper", ("glass", "glass"), Verdict.WRONG_BIN, 1.0),
        ("paper", ("paper", "rest"), Verdict.WRONG_BIN, 1.0),
        ("battery", ("paper", "paper"), Verdict.WRONG_BIN, 20.0),
        ("paper", (None, "rest"), Verdict.UNKNOWN, 0.3),
        ("trash", (None, "rest"), Verdict.UNKNOWN, 0.3),
        (None, (None, "rest"), Verdict.RIGHT, 0.0),
        (None, ("glass", "glass"), Verdict.WRONG_BIN, 1.0),
        (None, ("trash", "rest"), Verdict.RIGHT_BIN, 0.0),
    ],
)
def test_what_the_first_event_is_worth(label, event, verdict, cost):
    found = score([item(label=label)], [says(11.0, *event), says(14.0, "glass", "glass")])
    assert found.items[0].verdict is verdict
    assert found.items[0].cost == cost
    assert found.count(verdict) == 1


def test_the_bin_of_the_truth_comes_before_the_rules():
    found = score([item(bin="rest")], [says(11.0)])
    assert found.items[0].verdict is Verdict.WRONG_BIN


def test_without_rules_each_label_is_a_bin():
    found = match(truth(item()), [says(11.0, "paper", "paper")])
    assert (found.items[0].verdict, found.mean_cost) == (Verdict.RIGHT, None)


@st.composite
def days(draw):
    """Items one after the other, and events at any time."""
    now, items = 0.0, []
    for k in range(draw(st.integers(0, 5))):
        arrives = now + draw(st.floats(0, 5))
        leaves = arrives + draw(st.floats(0.1, 5))
        items.append(item(k, "paper", arrives, leaves))
        now = leaves
    times = draw(st.lists(st.floats(0, now + 10), max_size=30))
    return items, [says(at) for at in times]


@given(days(), st.floats(0, 3), st.floats(0, 3))
def test_every_event_counts_once_or_is_merged(day, grace, debounce):
    items, events = day
    found = score(items, events, grace=grace, debounce=debounce)
    counted = sum(len(one.events) for one in found.items) + len(found.false)
    assert counted + found.merged == len(events)
    assert found.found + found.missed == len(items)
    assert sum(found.count(v) for v in Verdict) == found.found
    for one in found.items:
        assert all(a.at_s < b.at_s for a, b in zip(one.events, one.events[1:], strict=False)) or debounce == 0


@given(days())
def test_found_and_false_are_as_mlperf_tiny_counts_where_windows_lie_apart(day):
    """Its rule, written down again: windows in their order take what is in them, the rest debounces."""
    items, events = day
    apart = [item(k, "paper", one.arrives_s + 2 * k, one.leaves_s + 2 * k) for k, one in enumerate(items)]
    times = sorted(event.at_s for event in events)
    true, left = 0, times
    for one in apart:
        inside = [t for t in left if one.arrives_s <= t <= one.leaves_s + 1.0]
        true += bool(inside)
        left = [t for t in left if t not in inside]
    false = []
    for t in left:
        if not false or t > false[-1] + 1.0:
            false.append(t)
    found = score(apart, events)
    assert (found.found, [one.decision.at_s for one in found.false]) == (true, false)


@pytest.mark.parametrize("given", [{"grace": -1}, {"debounce": float("nan")}, {"debounce": 1e9}])
def test_options_out_of_range_are_refused(given):
    with pytest.raises(OptionError, match=next(iter(given))):
        MatchOptions(**given)


def test_percentiles_are_given_where_there_are_enough():
    """As the house does: p90 needs 64 samples."""
    assert time_figures([1.0] * 63) == {"p50": 1.0, "p90": None, "max": 1.0}
    assert time_figures([2.0] * 3) == {"p50": None, "p90": None, "max": 2.0}
    assert time_figures([float(n) for n in range(100)]) == {"p50": 49.0, "p90": 89.0, "max": 99.0}
    assert time_figures([]) == {"p50": None, "p90": None, "max": None}


def test_tables_say_what_was_counted_and_what_went_wrong():
    items = [item(0, rests_s=10.5), item(1, "glass", 20.0, 25.0), item(2, "battery", 30.0, 35.0)]
    events = [says(11.0), says(31.0), says(33.0), says(50.0, None, "rest")]
    found = score(items, events)
    rows = {row[0]: row[1:] for row in figure_rows(found)}
    assert rows["found"][0] == "2"
    assert rows["doubled"][0] == rows["missed"][0] == rows["false"][0] == rows["wrong bin"][0] == "1"
    assert rows["cost of a found item"][0] == "10.000"
    assert label_rows(found)[1] == ("battery", "1", "1", "0", "0", "1", "0")
    told = "\n".join(wrong_lines(found))
    for part in (
        "item 1, glass: missed",
        "item 2, battery: doubled: events at 31.00, 33.00 s",
        "unknown to rest",
    ):
        assert part in told


def test_the_document_has_each_item_and_is_json():
    found = score([item(rests_s=10.5)], [says(11.0), says(50.0)])
    written = json.loads(
        json.dumps(document(found, "t", MatchOptions(), {"rules": "small"}), allow_nan=False)
    )
    assert (written["schema"], written["schema_version"]) == ("ecovision-edge/score", 1)
    assert (written["found"], written["false"], written["verdicts"]["right"]) == (1, 1, 1)
    assert written["each_item"][0]["events"][0]["at_s"] == 11.0
    assert written["each_false"][0]["while"] == "nothing"


# The file of truth.

labels = st.one_of(st.none(), st.sampled_from(["paper", "glass", "Grünglas"]))


@st.composite
def truths(draw):
    now, items = 0.0, []
    for k in range(draw(st.integers(0, 4))):
        arrives = now + draw(st.floats(0, 5))
        leaves = arrives + draw(st.floats(0.1, 5))
        rests = draw(st.one_of(st.none(), st.floats(arrives, leaves)))
        bin = draw(st.one_of(st.none(), st.just("rest")))
        items.append(item(k, draw(labels), arrives, leaves, rests_s=rests, bin=bin))
        now = leaves
    begins = draw(st.lists(st.floats(0, 50), max_size=3))
    return Truth(tuple(items), now, tuple(Distractor("hand", b, b + 1) for b in begins))


@given(truths())
def test_a_truth_survives_its_file(one):
    assert Truth.loads(one.dumps()) == one


GOOD = {
    "schema": "ecovision-edge/bin-truth",
    "schema_version": 1,
    "seconds": 60,
    "items": [
        {"id": 0, "label": "glass", "arrives_s": 1, "leaves_s": 5},
        {"id": 1, "label": None, "arrives_s": 6, "leaves_s": 9},
    ],
}


def changed(**changes):
    """The good file with changes; of an item by `item_KEY`."""
    value = json.loads(json.dumps(GOOD))
    for key, new in changes.items():
        place, name = (value["items"][1], key[5:]) if key.startswith("item_") else (value, key)
        if new is ...:
            del place[name]
        else:
            place[name] = new
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "an object"),
        (changed(schema="x"), "bin-truth"),
        (changed(schema_version=2), "upgrade"),
        (changed(items=...), "items"),
        (changed(extra=1), "only the keys"),
        (changed(item_id=0), "each id once"),
        (changed(item_label=...), "label"),
        (changed(item_label=7), "label"),
        (changed(item_arrives_s=-1), "arrives_s"),
        (changed(item_leaves_s=6), "before leaves_s"),
        (changed(item_arrives_s=4), "after the one before"),
        (changed(item_rests_s=5), "rests_s"),
        (changed(distractors=[{"kind": "hand", "begins_s": 3, "ends_s": 2}]), "begins_s before ends_s"),
        (changed(distractors=[{"kind": "hand", "begins_s": 3}]), "ends_s"),
    ],
)
def test_a_malformed_truth_is_one_clear_line(data, told):
    with pytest.raises(TruthError, match=told) as caught:
        Truth.loads(data, "truth.json")
    assert "\n" not in caught.value.message
    assert caught.value.exit_status == 2


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_other_bytes_are_a_truth_error(data):
    with pytest.raises(TruthError):
        Truth.loads(data)


def test_labels_and_bins_that_are_not_there_are_refused():
    with pytest.raises(TruthError, match="found glas"):
        truth(item(label="glas")).check(("paper", "glass"), None)
    with pytest.raises(TruthError, match="found attic"):
        truth(item(bin="attic")).check(("paper",), ("rest",))
    truth(item(), item(1, None, 20, 30)).check(("paper",), ("rest",))


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(TruthError, match="No such file"):
        Truth.load(tmp_path / "truth.json")
    with pytest.raises(TruthError, match="cannot read"):
        Truth.load(tmp_path)
