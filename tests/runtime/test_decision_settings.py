"""Facts about what a bin's owner sets of a decision: one table for command line, rules and docs."""

import dataclasses
import inspect
import math
from pathlib import Path

import pytest

from ecovision_edge.cli.run import run
from ecovision_edge.decision import DeciderOptions, DecisionSettings
from ecovision_edge.decision.options import RANGES
from ecovision_edge.decision.settings import PICTURE, SETTINGS, settings_table
from ecovision_edge.errors import OptionError, RulesError
from ecovision_edge.rules import Rules
from ecovision_edge.triggers import open_trigger

REPOSITORY = Path(__file__).parents[2]
RULES = """\
schema = 1
name = "Home"
default = "residual"
[bins]
residual = ["battery"]
[decision]
settle = "200ms"
decide_within = 2
error = 0.05
cooldown = "1.5s"
trigger = "gpio:17?pull=up"
"""
GIVEN = DecisionSettings(settle=0.2, decide_within=2, error=0.05, cooldown=1.5, trigger="gpio:17?pull=up")


def test_each_is_an_option_of_run_and_a_field_and_a_line_of_the_readme():
    """With its help; nobody has to keep them alike."""
    assert [f.name for f in dataclasses.fields(DecisionSettings)] == list(SETTINGS)
    parameters = inspect.signature(run, eval_str=True).parameters
    for name, setting in SETTINGS.items():
        [option] = parameters[name].annotation.__metadata__
        assert option.help == setting.help
        assert parameters[name].default is None
    assert "\n".join(settings_table()) in (REPOSITORY / "docs" / "bin.md").read_text()


@pytest.mark.parametrize("name", ["settle", "decide_within", "error", "cooldown"])
def test_the_default_that_is_documented_is_the_decider_s(name):
    """And what a decider refuses, the setting refuses."""
    setting, default = SETTINGS[name], getattr(DeciderOptions(), name)
    assert setting.read(default) == default
    assert setting.default.removesuffix("s") == f"{default:g}"
    for value in (-1, math.nan, math.inf, True, None, [], "soon", 10**400, -(10**400)):
        assert setting.read(value) is None
    assert setting.range.high <= RANGES[name].high
    assert setting.range.above == RANGES[name].above


def test_nothing_set_is_the_default():
    """Of a decider."""
    assert DecisionSettings().options() == DeciderOptions()
    assert Rules.loads(RULES[: RULES.index("[decision]")]).decision == DecisionSettings()


def test_the_rules_say_it_too():
    """As numbers, or as durations; by a trigger the decider waits for that."""
    rules = Rules.loads(RULES)
    assert rules.decision == GIVEN
    assert rules.decision.options() == DeciderOptions(
        gate="trigger", settle=0.2, decide_within=2, error=0.05, cooldown=1.5
    )
    again = dataclasses.replace(rules, name="again")
    assert again.to_json()["decision"] == GIVEN.given()
    assert "decision" not in dataclasses.replace(rules, decision=DecisionSettings()).to_json()


def test_the_command_line_comes_before_the_rules_and_they_before_the_default():
    """Setting by setting; `picture` there takes the rules' trigger away."""
    told = DecisionSettings(settle=1, trigger=PICTURE).over(
        DecisionSettings(settle=2, error=0.2, trigger="gpio:4")
    )
    assert told == DecisionSettings(settle=1, error=0.2, trigger=PICTURE)
    assert told.options() == DeciderOptions(settle=1, error=0.2)


@pytest.mark.parametrize("address", ["picture", "Picture", "picture:", "keyboard:", "gpio:4", "mqtt://h/x"])
def test_a_decider_waits_for_a_trigger_where_there_is_one(address):
    """However it is written: else it would wait for ever."""
    gate = DecisionSettings(trigger=address).options().gate
    assert gate == ("picture" if open_trigger(address) is None else "trigger")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"200ms"', "-1", "decision.settle: expected seconds, 0 to 5, or like 300ms, found -1"),
        ('"200ms"', "6", "decision.settle: expected seconds, 0 to 5, or like 300ms, found 6"),
        ('"200ms"', '"soon"', "decision.settle: expected seconds, 0 to 5, or like 300ms, found 'soon'"),
        ("= 2", "= 0", "decision.decide_within: expected seconds above 0, or like 300ms, found 0"),
        ("0.05", "0.6", "decision.error: expected a number above 0, at most 0.5, found 0.6"),
        ("0.05", '"0.1"', "decision.error: expected a number above 0, at most 0.5, found '0.1'"),
        ('"1.5s"', "nan", "decision.cooldown: expected seconds, 0 or more, or like 300ms, found nan"),
        ('"gpio:17?pull=up"', "17", "decision.trigger: expected picture, or an address of a trigger"),
        ("settle =", "setle =", "decision.setle: expected only the keys settle, .*did you mean settle"),
        ("[decision]", "[decison]", "decison: expected only the keys .*did you mean decision"),
    ],
)
def test_what_is_wrong_in_the_rules_is_named_with_its_key(old, new, says):
    """And with what was expected."""
    with pytest.raises(RulesError, match=f"^r.toml: {says}"):
        Rules.loads(RULES.replace(old, new), "r.toml")


@pytest.mark.parametrize(
    "wrong", [{"settle": -1}, {"settle": "1s"}, {"error": 0}, {"trigger": 17}, {"trigger": ""}], ids=str
)
def test_settings_made_by_hand_are_checked_too(wrong):
    """By name; in Python a duration is a number."""
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))}: expected "):
        DecisionSettings(**wrong)
