"""Facts about rules: which bin takes what, and what a mistake costs."""

import copy
import json
import math
import pickle
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ecovision_edge
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import OptionError, RulesError
from ecovision_edge.rules import Rules, _parsing
from ecovision_edge.rules._parsing import MAX_DEPTH

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
    with pytest.raises(OptionError, match="expected 4, one per label, found 2"):
        read.expected_costs([0.5, 0.5], LABELS)


def test_costs_may_be_left_out():
    """A mistake costs 1, a refusal 0.3; region and date are empty."""
    read = rules('schema = 1\nname = "n"\ndefault = "a"\nbins.a = ["x"]\n')
    assert (read.wrong_cost, read.unknown_cost, read.region, read.date) == (1.0, 0.3, "", "")


def test_rules_fit_a_model_whose_labels_they_all_name():
    """And no other one; the key is that of the rule, or of the bins."""
    read = rules()
    read.check(LABELS)
    read.check(LABELS[::-1])
    with pytest.raises(RulesError, match=r"^r.toml: bins: .*found none for glass, metal"):
        read.check((*LABELS, "glass", "metal"))
    with pytest.raises(RulesError, match=r"^r.toml: bins.paper\[1\]: .* cardboard \(close to cardbord\)"):
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
    (("schema = 1", "schema = 2"), "schema: expected at most 1, found 2; .*pip install --upgrade"),
    (("schema = 1", "schema = true"), "schema: expected 1, found True"),
    (("schema = 1\n", ""), "the rules: expected a key schema"),
    (('name = "Home"', 'name = ""'), "name: expected text"),
    (('name = "Home"', "name = 3"), "name: expected text"),
    (('region = "DE"', 'regoin = "DE"'), r"regoin: expected only the keys .*did you mean region\?"),
    (("2026-01-31", '"31.1.2026"'), "date: expected a date, as 2026-01-31"),
    (("2026-01-31", "2026-01-31 10:00:00"), "date: expected a date"),
    (("2026-01-31", '"2026-02-30"'), "date: expected a date"),
    (('"residual"', '"resdual"'), r"default: expected one of the bins .*did you mean residual\?"),
    (('["biological"]', '"biological"'), "bins.bio: expected a list of labels, found 'biological'"),
    (('["biological"]', "[7]"), r"bins.bio\[0\]: expected a label"),
    (
        ('["biological"]', '["biological",\n\n"paper"]'),
        r"bins.bio\[1\]: .* paper again, .* in bins.paper\[0\]",
    ),
    (('["battery"]', '["battery", "battery"]'), "each label in one bin, found battery again"),
    (('["battery"]', '[" battery"]'), "no leading or trailing spaces"),
    (("bio =", '"" ='), "a bin's name, 1 to 200 printable characters"),
    (("[costs]", "[cost]"), r"cost: .*did you mean costs\?"),
    (("wrong = 1.5", "wrong = -1"), "costs.wrong: expected a number from 0 to 1e\\+06, found -1"),
    (("wrong = 1.5", "wrong = inf"), "costs.wrong: .* found inf"),
    (("wrong = 1.5", "wrong = nan"), "costs.wrong: .* found nan"),
    (("wrong = 1.5", "wrong = true"), "costs.wrong: .* found True"),
    (("wrong = 1.5", 'wrong = "1"'), "costs.wrong: .* found '1'"),
    (("wrong = 1.5", "wrng = 1.5"), r"costs.wrng: .*did you mean wrong\?"),
    (("unknown = 0.25", "unknown = []"), "costs.unknown: .* found a list of 0"),
    (("[costs.battery]", "[costs.batteri]"), r"costs.batteri: .*did you mean battery\?"),
    (("bio = 20", "boi = 20"), r"costs.battery.boi: .*did you mean bio\?"),
    (("bio = 20", "hazard = 1"), "costs.battery.hazard: expected 0 or none: battery belongs into hazard"),
    (("bio = 20", "bio = {}"), "costs.battery.bio: .* found a table"),
    (("[costs]\nwrong = 1.5\nunknown = 0.25\n[costs.battery]\nbio = 20\n", "costs = 3"), "bins.costs"),
    (("[costs.battery]\nbio = 20", "battery = 3"), "costs.battery: expected a table, found 3"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[w[0][1][:24] for w in WRONG])
def test_what_is_wrong_is_named_with_its_key(change, message):
    """File, key, what was expected and what was found."""
    with pytest.raises(RulesError, match=f"^r.toml: .*{message}"):
        rules(changed(*change))


BROKEN = [
    (("bio = ", "Müll = "), 8, "not valid TOML: .*needs quotes around it"),
    (("bio = 20", "bio = 20\nbio = 21"), 16, "not valid TOML: Cannot overwrite a value"),
    (("wrong = 1.5", "wrong = "), 12, "not valid TOML"),
]


@pytest.mark.parametrize(("change", "line", "message"), BROKEN)
def test_what_is_no_toml_is_named_with_its_line(change, line, message):
    """As the parser tells it."""
    with pytest.raises(RulesError, match=f"^r.toml:{line}: {message}"):
        rules(changed(*change))


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
def test_in_json_an_error_is_named_the_same(old, new, message):
    """By its key; where the parser refuses the text, by its line."""
    assert JSON.count(old) == 1
    text = JSON.replace(old, new)
    line = text[: text.index(new) + len(new)].count("\n") + 1
    place = f"r.json:{line}" if message.startswith("not valid") else "r.json"
    with pytest.raises(RulesError, match=f"^{place}: {message}"):
        rules(text, "json")


def test_a_key_twice_at_the_root_of_json_is_refused_too():
    """The values would be those of the second."""
    with pytest.raises(RulesError, match=r"^r.json: name: expected each key once, found a second one"):
        rules('{"name": "a", "name": "b"}', "json")


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
    """Its work grows with the square of the parts: 40 kB took ten seconds."""
    parser = _parsing.tomllib.loads

    def loads(text):
        assert text.count(".") < 1000
        return parser(text)

    monkeypatch.setattr(_parsing.tomllib, "loads", loads)
    with pytest.raises(
        RulesError, match=rf"^r.toml(:\d)?: .*\.\.\.: expected a key of at most {MAX_DEPTH} parts"
    ):
        rules(text)


def test_deep_json_is_refused():
    """Each of its elements would have a long path."""
    text = '{"a": ' + "[" * 100 + "1, 1" + "]" * 100 + "}"
    with pytest.raises(RulesError, match=r"^r.json: a\[0\]\[0\]\.\.\.: expected a key of at most"):
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
    with pytest.raises(RulesError, match=r"^r\.toml: costs"):
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
    """As editors on Windows write them."""
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert Rules.load(path) == rules()
    assert Rules.loads("\ufeff" + TEXT) == rules()
    assert Rules.loads("\ufeff" + JSON, kind="json") == rules()
    (tmp_path / "r.json").write_text("\ufeff" + JSON, "utf-8")
    assert Rules.load(tmp_path / "r.json") == rules()
    path.write_bytes(TEXT.replace("\n", "\r\n").replace("bio = 20", "boi = 20").encode())
    with pytest.raises(RulesError, match=r"r\.toml: costs\.battery\.boi"):
        Rules.load(path)


def test_rules_made_by_hand_are_checked_too():
    """Under the name `rules`, for there is no file."""
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


DOTS = ".".join("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    "text",
    [
        f'a = "{DOTS}"',
        f"a = '{DOTS}'",
        f'a = """x"" {DOTS}\n{DOTS}"""',
        f"a = '''x'' {DOTS}\n{DOTS}'''",
        f'"{DOTS}" = 1',
        f"a = 1 # {DOTS}",
        f"# don't\n# {DOTS}",
        "a = [" + "1.5, " * 40 + "]",
    ],
)
def test_dots_that_are_no_keys_are_taken(text):
    """In texts, quoted keys, comments and numbers."""
    assert _parsing.parse(text, "r.toml", "toml")[0] == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        f"b = 1 # '\n{DOTS} = 1",
        f'b = "\\\\" # "\n{DOTS} = 1',
        f'b = {{c = """ " """, {DOTS} = 1}}',
        f"b = {{c = ''' ' ''', {DOTS} = 1}}",
        f'b = {{c = """ \\""" """, {DOTS} = 1}}',
        f"""'''a'''.{DOTS} = 1""",
    ],
)
def test_no_quote_before_it_hides_a_key_of_many_parts(text):
    """In a comment, escaped, inside a long text."""
    with pytest.raises(RulesError, match=r"a.*\.\.\.: expected a key of at most 16 parts"):
        _parsing.parse(text, "r.toml", "toml")


BITS = st.sampled_from(
    [
        *["a", "b", '"c"', "'d'", "1", "1.5", "=", " = ", ".", ",", "[", "]", "[[", "]]", "{", "}", '"', "'"],
        *['"""', "'''", "\\", "#", "\n", "\r\n", " ", "\t", "true", "2026-01-01", "inf", "[a]\n", "a = 1\n"],
        *["a.b = [1, 2]\n", "\\u0041", "é", "\ud800", "\0"],
    ]
)
SOUP = st.lists(BITS, max_size=25).map("".join) | st.text(max_size=60)


def depth(value):
    """Parts of the longest key path."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((1 + depth(v) for v in inner), default=0)


@given(SOUP)
@example("a = 1 # x")
def test_whatever_tomllib_takes_is_read(text):
    """Unless it is nested too deep."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    if depth(data) <= MAX_DEPTH:
        assert repr(_parsing.parse(text, "r.toml", "toml")[0]) == repr(data)


def refusal(text, kind):
    """What is wrong with a text; None if nothing is."""
    try:
        Rules.loads(text, "f", kind)
    except RulesError as e:
        return str(e)
    return None


@given(SOUP, st.sampled_from(["toml", "json"]))
def test_any_text_gives_rules_or_a_rules_error(text, kind):
    """Nothing else, and always with the file."""
    message = refusal(text, kind)
    assert message is None or (re.match(r"f(:[1-9]\d*)?: ", message) and message.isprintable())


@given(st.data())
def test_any_change_of_good_rules_gives_rules_or_a_rules_error(data):
    """A piece of the file replaced by another one, or by anything."""
    kind = data.draw(st.sampled_from(["toml", "json"]))
    text = TEXT if kind == "toml" else JSON
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    text = text[:start] + data.draw(SOUP) + text[end:]
    message = refusal(text, kind)
    assert message is None or re.match(r"f(:[1-9]\d*)?: ", message)


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
