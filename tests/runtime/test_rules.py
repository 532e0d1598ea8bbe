"""Facts about rules: which bin takes what, and what a mistake costs."""

import copy
import json
import math
import pickle
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ecovision_edge
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import OptionError, RulesError
from ecovision_edge.rules import Rules, _reading
from ecovision_edge.rules._places import MAX_DEPTH, TooDeepError, json_lines, line_of, toml_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = sorted((Path(ecovision_edge.__file__).parent / "data/rules").glob("*.toml"))
TEXT = """\
schema = 1
name = "Home"
region = "DE"
date = 2026-01-31
default = "residual"
[bins]
paper = ["paper", "cardboard"]
bio = ["biological"]
hazard = ["battery"]
residual = []
[costs]
wrong = 1.5
unknown = 0.25
[costs.battery]
bio = 20
"""
LABELS = ("battery", "biological", "cardboard", "paper")


def rules(text=TEXT, kind="toml"):
    return Rules.loads(text, f"r.{kind}", kind)


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_a_file_is_read(tmp_path):
    """All that it says; a TOML date becomes text."""
    path = tmp_path / "r.toml"
    path.write_text(TEXT)
    read = Rules.load(path)
    assert (read.name, read.region, read.date, read.default) == ("Home", "DE", "2026-01-31", "residual")
    assert read.bins == ("paper", "bio", "hazard", "residual")
    assert dict(read.bin_of) == {
        **{"paper": "paper", "cardboard": "paper"},
        **{"biological": "bio", "battery": "hazard"},
    }
    assert (read.wrong_cost, read.unknown_cost) == (1.5, 0.25)
    assert read == rules() == Rules.load(str(path))


def test_a_cost_is_zero_in_the_right_bin_and_else_as_the_file_says():
    """The label's own figure for a bin, else `wrong`."""
    read = rules()
    assert read.cost("battery", "hazard") == 0
    assert read.cost("battery", "bio") == 20
    assert read.cost("battery", "paper") == read.cost("paper", "bio") == 1.5


@pytest.mark.parametrize(("label", "bin"), [("batery", "bio"), ("battery", "boi")])
def test_a_cost_of_what_is_not_known_is_refused(label, bin):
    """With the name that may have been meant."""
    with pytest.raises(RulesError, match="close to b"):
        rules().cost(label, bin)


def test_expected_costs_weigh_each_mistake_by_its_probability():
    """A hundredth of a battery keeps an apple out of the compost bin."""
    read = rules()
    costs = read.expected_costs([0.1, 0.9, 0, 0], LABELS)
    assert costs == pytest.approx({"paper": 1.5, "bio": 2.0, "hazard": 1.35, "residual": 1.5})
    assert read.best_bin([0, 1, 0, 0], LABELS) == "bio"
    assert read.best_bin([0.01, 0.99, 0, 0], LABELS) == "bio"
    assert read.best_bin([0.02, 0.98, 0, 0], LABELS) == "residual"  # 0.4 in bio, more than 0.25
    with pytest.raises(OptionError, match="expected 4, one a label, found 2"):
        read.expected_costs([0.5, 0.5], LABELS)


def test_costs_may_be_left_out():
    """A mistake costs 1, a refusal 0.3; region and date are empty."""
    read = rules('schema = 1\nname = "n"\ndefault = "a"\nbins.a = ["x"]\n')
    assert (read.wrong_cost, read.unknown_cost, read.region, read.date) == (1.0, 0.3, "", "")


def test_rules_fit_a_model_whose_labels_they_all_name():
    """And no other one; the line is that of the rule, or of the bins."""
    read = rules()
    read.check(LABELS)
    read.check(LABELS[::-1])
    with pytest.raises(RulesError, match=r"^r.toml:6: bins: .*found none for glass, metal"):
        read.check((*LABELS, "glass", "metal"))
    with pytest.raises(RulesError, match=r"^r.toml:7: bins.paper\[1\]: .* cardboard \(close to cardbord\)"):
        read.check([label.replace("cardboard", "cardbord") for label in LABELS])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_fit_the_reference_model(path):
    """A battery goes into no other bin for less than ten mistakes; unsure things go to the default."""
    read = Rules.load(path)
    labels = Bundle.open(embedded_bundle_path()).contract.labels
    read.check(labels)
    own = read.bin_of["battery"]
    assert all(read.cost("battery", bin) >= 10 * read.wrong_cost for bin in read.bins if bin != own)
    assert read.best_bin([1 / len(labels)] * len(labels), labels) == read.default
    for i, label in enumerate(labels):
        assert read.best_bin([float(i == j) for j in range(len(labels))], labels) == read.bin_of[label]


def test_there_are_two_examples():
    """A German household and a US single stream."""
    assert [p.stem for p in EXAMPLES] == ["de-household", "us-single-stream"]


WRONG = [
    (("schema = 1", "schema = 2"), 1, "schema: expected at most 1, found 2; .*pip install --upgrade"),
    (("schema = 1", "schema = true"), 1, "schema: expected 1, found True"),
    (("schema = 1\n", ""), 1, "the rules: expected a key schema"),
    (('name = "Home"', 'name = ""'), 2, "name: expected text"),
    (('name = "Home"', "name = 3"), 2, "name: expected text"),
    (('region = "DE"', 'regoin = "DE"'), 3, r"regoin: expected only the keys .*did you mean region\?"),
    (("2026-01-31", '"31.1.2026"'), 4, "date: expected a date, as 2026-01-31"),
    (("2026-01-31", "2026-01-31 10:00:00"), 4, "date: expected a date"),
    (("2026-01-31", '"2026-02-30"'), 4, "date: expected a date"),
    (('"residual"', '"resdual"'), 5, r"default: expected one of the bins .*did you mean residual\?"),
    (('["biological"]', '"biological"'), 8, "bins.bio: expected a list of labels, found 'biological'"),
    (('["biological"]', "[7]"), 8, r"bins.bio\[0\]: expected a label"),
    (('["biological"]', '["biological",\n\n"paper"]'), 10, r"bins.bio\[1\]: .* paper again, .* on line 7"),
    (('["battery"]', '["battery", "battery"]'), 9, "each label in one bin, found battery again"),
    (('["battery"]', '[" battery"]'), 9, "no leading or trailing spaces"),
    (("bio =", '"" ='), 8, "a bin's name, 1 to 200 printable characters"),
    (("[costs]", "[cost]"), 11, r"cost: .*did you mean costs\?"),
    (("wrong = 1.5", "wrong = -1"), 12, "costs.wrong: expected a number from 0 to 1e\\+06, found -1"),
    (("wrong = 1.5", "wrong = inf"), 12, "costs.wrong: .* found inf"),
    (("wrong = 1.5", "wrong = nan"), 12, "costs.wrong: .* found nan"),
    (("wrong = 1.5", "wrong = true"), 12, "costs.wrong: .* found True"),
    (("wrong = 1.5", 'wrong = "1"'), 12, "costs.wrong: .* found '1'"),
    (("wrong = 1.5", "wrng = 1.5"), 12, r"costs.wrng: .*did you mean wrong\?"),
    (("unknown = 0.25", "unknown = []"), 13, "costs.unknown: .* found a list of 0"),
    (("[costs.battery]", "[costs.batteri]"), 14, r"costs.batteri: .*did you mean battery\?"),
    (("bio = 20", "boi = 20"), 15, r"costs.battery.boi: .*did you mean bio\?"),
    (("bio = 20", "hazard = 1"), 15, "costs.battery.hazard: expected 0 or none: battery belongs into hazard"),
    (("bio = 20", "bio = {}"), 15, "costs.battery.bio: .* found a table"),
    (("[costs]\nwrong = 1.5\nunknown = 0.25\n[costs.battery]\nbio = 20\n", "costs = 3"), 11, "bins.costs"),
    (("[costs.battery]\nbio = 20", "battery = 3"), 14, "costs.battery: expected a table, found 3"),
    (("bio = ", "Müll = "), 8, "not valid TOML: .*needs quotes around it"),
    (("bio = 20", "bio = 20\nbio = 21"), 16, "not valid TOML: Cannot overwrite a value"),
    (("wrong = 1.5", "wrong = "), 12, "not valid TOML"),
]


@pytest.mark.parametrize(("change", "line", "message"), WRONG, ids=[w[0][1][:24] for w in WRONG])
def test_what_is_wrong_is_named_with_its_line(change, line, message):
    """File, line, key, what was expected and what was found."""
    with pytest.raises(RulesError, match=message) as caught:
        rules(changed(*change))
    found = re.match(r"r.toml:(\d+): ", str(caught.value))
    assert found
    assert int(found[1]) == line


def test_the_end_of_a_file_is_its_last_line():
    """Where the parser itself says no line."""
    with pytest.raises(RulesError, match=r"^r.toml:2: not valid TOML"):
        rules('schema = 1\nname = ["a"')


JSON = json.dumps(rules().to_json(), indent=1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"battery": {', '"battary": {', r"costs.battary: .*did you mean battery\?"),
        ('"bio": 20.0', '"bio": NaN', "costs.battery.bio: .*found nan"),
        ('"bio": 20.0', '"bio": 1e999', "costs.battery.bio: .*found inf"),
        ('"bio": 20', '"bio": 1,\n"bio": 20', "costs.battery.bio: expected each key once"),
        ('"schema": 1,', '"schema": 1, ,', "not valid JSON"),
        ('"unknown": 0.25,', '"unknown": 0.25 "x', "not valid JSON"),
    ],
)
def test_in_json_an_error_has_its_line_too(old, new, message):
    """Counted in the text."""
    assert JSON.count(old) == 1
    text = JSON.replace(old, new)
    line = text[: text.index(new) + len(new)].count("\n") + 1
    with pytest.raises(RulesError, match=message) as caught:
        rules(text, "json")
    assert str(caught.value).startswith(f"r.json:{line}: ")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "", "[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_no_object_is_refused(text):
    """However deep it is."""
    with pytest.raises(RulesError, match=r"^r.json:1: "):
        rules(text, "json")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000])
def test_toml_that_would_break_the_parser_is_refused(text):
    """Nested too deep, or a number of thousands of digits."""
    with pytest.raises(RulesError, match=r"^r.toml:1: "):
        rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + "a = 1",
        "[" + "a . " * 50_000 + "a]",
        "[[" + "'a'." * 50_000 + "a]]",
        "b = {" + '"a".' * 50_000 + "a = 1}",
        "a = " + "[" * 40 + "1," * 100_000 + "]" * 40,
        "a = 1\n" + "a." * 50_000,
    ],
    ids=["key", "header", "array", "inline", "nested", "broken"],
)
def test_keys_of_many_parts_never_reach_the_parser(text, monkeypatch):
    """Its work, and that of telling lines, grows with the square of the parts: 40 kB took ten seconds."""
    parser = _reading.tomllib.loads

    def loads(text):
        assert text.count(".") < 1000
        return parser(text)

    monkeypatch.setattr(_reading.tomllib, "loads", loads)
    with pytest.raises(
        RulesError, match=rf"^r.toml:\d: .*\.\.\.: expected a key of at most {MAX_DEPTH} parts"
    ):
        rules(text)


def test_deep_json_is_refused():
    """Each of its elements would have a long path."""
    text = '{"a": ' + "[" * 100 + "1, 1" + "]" * 100 + "}"
    with pytest.raises(RulesError, match=r"^r.json:1: a\[0\]\[0\]\.\.\.: expected a key of at most"):
        rules(text, "json")


def test_a_hint_compares_the_beginnings_of_long_names_alone(monkeypatch):
    """Of a thousand labels with 200 letters each the whole would take seconds."""
    compared = []

    def matches(name, candidates, n):
        compared.extend([name, *candidates])
        return []

    monkeypatch.setattr("difflib.get_close_matches", matches)
    labels = ", ".join(f'"{i:04d}{"ab" * 98}"' for i in range(1000))
    text = f'schema = 1\nname = "x"\ndefault = "a"\nbins.a = [{labels}]\n[costs]\n"{"ba" * 100}" = 1\n'
    with pytest.raises(RulesError, match=r"^r\.toml:6: costs"):
        rules(text)
    assert len(compared) > 1000
    assert max(map(len, compared)) <= 60


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """Missing, a folder, another suffix, not UTF-8, too large."""
    for path in (tmp_path / "none.toml", tmp_path / ("x" * 300 + ".json"), "a\0.toml"):
        with pytest.raises(RulesError, match="cannot read"):
            Rules.load(path)
    with pytest.raises(RulesError, match=r"expected a \.toml or \.json file"):
        Rules.load(tmp_path / "rules.yaml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"schema = 1\nname = '\xff'\n")
    with pytest.raises(RulesError, match=r"bad\.toml:2: not UTF-8: byte 0xff"):
        Rules.load(bad)
    bad.write_bytes(b"#" * (2**18 + 1))
    with pytest.raises(RulesError, match="too large"):
        Rules.load(bad)


def test_a_byte_order_mark_and_crlf_are_taken(tmp_path):
    """As editors on Windows write them; lines are counted the same."""
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert Rules.load(path) == rules()
    assert Rules.loads("\ufeff" + TEXT) == rules()
    assert Rules.loads("\ufeff" + JSON, kind="json") == rules()
    (tmp_path / "r.json").write_text("\ufeff" + JSON, "utf-8")
    assert Rules.load(tmp_path / "r.json") == rules()
    path.write_bytes(TEXT.replace("\n", "\r\n").replace("bio = 20", "boi = 20").encode())
    with pytest.raises(RulesError, match=r"r\.toml:15: costs\.battery\.boi"):
        Rules.load(path)


def test_rules_made_by_hand_are_checked_too():
    """Without a line, for there is none."""
    made = Rules(name="n", bins=("a", "b"), bin_of={"x": "a"}, default="b")
    assert made.cost("x", "b") == 1
    for changes, message in (
        ({"default": "c"}, "rules: default: expected one of the bins a, b"),
        ({"bins": ("a", "a", "b")}, "each bin once"),
        ({"wrong_cost": math.nan}, "costs.wrong"),
        ({"costs": {"y": {"a": 1.0}}}, "costs.y"),
        ({"bin_of": {"x": "c"}}, "bin_of"),
    ):
        given = {"name": "n", "bins": ("a", "b"), "bin_of": {"x": "a"}, "default": "b", **changes}
        with pytest.raises(RulesError, match=message):
            Rules(**given)
    with pytest.raises(RulesError, match=r"^rules: bins.a\[0\]: expected labels of the model: z"):
        made.check(["z"])


def test_rules_can_be_copied_and_pickled():
    """And are the same."""
    read = rules()
    assert copy.deepcopy(read) == pickle.loads(pickle.dumps(read)) == read


NASTY = {
    "dotted keys": ('a.b.c = 1\na . "b" . d = 2\n', {("a",): 1, ("a", "b", "c"): 1, ("a", "b", "d"): 2}),
    "headers": (
        "[a.b]\nx = 1\n[ a . c ]\ny.z = 2\n[a]\nw = 3",
        {("a",): 1, ("a", "b", "x"): 2, ("a", "c"): 3, ("a", "c", "y", "z"): 4, ("a", "w"): 6},
    ),
    "comments that look like keys": (
        "# x = 1\n  # [t]\na = [ # b = 2\n  # 'c' = ]\n  1, # ]\n]\nx = 3 # y = 4",
        {("a",): 3, ("a", 0): 5, ("x",): 7},
    ),
    "strings that look like keys": (
        'a = \'\'\'\nb = 1\n[t]\n\'\'\'\nb = """\n c = 2 \\"""\n"""\nc = \'# "\'\nd = "]\\"#"',
        {("a",): 1, ("b",): 5, ("c",): 8, ("d",): 9},
    ),
    "quotes at the end of a long string": (
        'a = """x"""""\nb = \'\'\'x\'\'\'\'\'\nc = """"""\nd = ""\ne = \'\'',
        {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4, ("e",): 5},
    ),
    "inline tables": (
        'a = { b = [ 1,\n 2 ], "c d".e = { f = "}" } }\ng = {}',
        {("a", "b", 1): 2, ("a", "c d", "e", "f"): 2, ("g",): 3},
    ),
    "nested arrays": ("a = [\n [],\n [ '',\n ''],\n]", {("a", 0): 2, ("a", 1): 3, ("a", 1, 1): 4}),
    "array of tables": (
        "[[t]]\na = 1\n[[t]]\na = 2\n[t.u]\nb = 3\n[[t.v]]\nc = 1\n[[t.v]]\nc = 2",
        {("t", 0, "a"): 2, ("t", 1, "a"): 4, ("t", 1, "u", "b"): 6, ("t", 1, "v", 1, "c"): 10},
    ),
    "dates and numbers": (
        "a = 1979-05-27 07:32:00Z\nb = [1979-05-27 07:32:00,\n +inf, 0x_f]\nc = -1e-3".replace("0x_f", "0xf"),
        {("a",): 1, ("b", 1): 3, ("b", 2): 3, ("c",): 4},
    ),
    "quoted keys": (
        '"a.b" = 1\n"#" = 2\n"\\u00e9\\t\\"" = 3\n\'c"\' = 4\n"" = 5',
        {("a.b",): 1, ("#",): 2, ('é\t"',): 3, ('c"',): 4, ("",): 5},
    ),
    "blank lines and CRLF": (
        "\r\n\r\na = 1\r\n\r\n[b]\r\n\tc = '''\r\n'''\r\nd = 1",
        {("a",): 3, ("b", "d"): 8},
    ),
}


@pytest.mark.parametrize("name", NASTY)
def test_toml_lines_are_exact_in_any_layout(name):
    """Each key where it stands, and no other key."""
    text, expected = NASTY[name]
    lines = toml_lines(text)
    assert {path: lines[path] for path in expected} == expected
    assert set(lines) == set(paths(tomllib.loads(text)))


def paths(value, at=()):
    """Every key path of plain values, but for the root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def test_json_lines_are_exact_in_any_layout():
    """Strings that look like keys, escapes, brackets in strings."""
    text = '\n{"a": [1,\n{"b\\"": "]}"\n,"\\u0063":\n[\n"x"]}], "d" : {}\n,"":null}'
    lines = json_lines(text, lambda path, line: AssertionError())
    expected = {
        **{("a",): 2, ("a", 0): 2, ("a", 1): 3, ("a", 1, 'b"'): 3, ("a", 1, "c"): 4, ("a", 1, "c", 0): 6},
        **{("d",): 6, ("",): 7, (): 2},
    }
    assert lines == expected


def test_what_has_no_line_is_where_its_parent_is():
    """The root is the first line."""
    assert line_of({("a",): 4, ("a", "b"): 5}, ("a", "b", "c", 3)) == 5
    assert line_of({("a",): 4}, ("b",)) == 1


BITS = st.sampled_from(
    [
        *["a", "b", '"c"', "'d'", "1", "1.5", "=", " = ", ".", ",", "[", "]", "[[", "]]", "{", "}", '"', "'"],
        *['"""', "'''", "\\", "#", "\n", "\r\n", " ", "\t", "true", "2026-01-01", "inf", "[a]\n", "a = 1\n"],
        *["a.b = [1, 2]\n", "\\u0041", "é", "\ud800", "\0"],
    ]
)
SOUP = st.lists(BITS, max_size=25).map("".join) | st.text(max_size=60)


@settings(max_examples=600, deadline=None)
@given(SOUP)
@example("a = 1 # x")
def test_whatever_tomllib_takes_its_keys_are_found(text):
    """The scanner knows every key path that the parser knows, and no other."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    try:
        found = toml_lines(text)
    except TooDeepError:
        assert max(map(len, paths(data))) > MAX_DEPTH
    else:
        assert set(found) == set(paths(data))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_whatever_json_takes_its_keys_are_found(value, indent, ascii):
    """As of TOML."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    found = json_lines(text, lambda path, line: AssertionError(path))
    assert set(found) == {(), *paths(value)}


def refusal(text, kind):
    """What is wrong with a text; None if nothing is."""
    try:
        Rules.loads(text, "f", kind)
    except RulesError as e:
        return str(e)
    return None


@settings(max_examples=400, deadline=None)
@given(SOUP, st.sampled_from(["toml", "json"]))
def test_any_text_gives_rules_or_a_rules_error(text, kind):
    """Nothing else, and always with file and line."""
    message = refusal(text, kind)
    assert message is None or (re.match(r"f:[1-9]\d*: ", message) and message.isprintable())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_good_rules_gives_rules_or_a_rules_error(data):
    """A piece of the file replaced by another one, or by anything."""
    kind = data.draw(st.sampled_from(["toml", "json"]))
    text = TEXT if kind == "toml" else JSON
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    text = text[:start] + data.draw(SOUP) + text[end:]
    message = refusal(text, kind)
    assert message is None or re.match(r"f:[1-9]\d*: ", message)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["p", "q", "r"]), max_size=6),
    st.sampled_from(["p", "q", "r"]),
    st.floats(0, 1e6),
    st.dictionaries(st.sampled_from(["p", "q", "r"]), st.floats(0, 1e6)),
)
def test_rules_come_back_from_json_as_they_were(bin_of, default, wrong, costs):
    """`to_json` is what `loads` reads."""
    own = {label: {b: c for b, c in costs.items() if b != bin_of[label]} for label in bin_of}
    made = Rules(name="n", bins=("p", "q", "r"), bin_of=bin_of, default=default, wrong_cost=wrong, costs=own)
    assert Rules.loads(json.dumps(made.to_json()), "x", "json") == made
