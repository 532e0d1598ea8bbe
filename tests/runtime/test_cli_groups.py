"""Facts about commands whose options are one object."""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from ecovision_edge.camera import WatchOptions
from ecovision_edge.cli.groups import takes_options
from ecovision_edge.cli.run_options import PageOptions, RunOptions
from ecovision_edge.decision.settings import DecisionSettings
from ecovision_edge.errors import OptionError
from ecovision_edge.loop import LoopOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    often: Annotated[int, typer.Option(help="How often, 1 or more.")] = 3

    def __post_init__(self):
        if self.often < 1:
            raise OptionError("--often", expected="1 or more", found=self.often)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: Annotated[str, typer.Option("--name", help="Whose.")] = "nobody"
    inner: Inner = dataclasses.field(default_factory=Inner)
    decision: DecisionSettings = dataclasses.field(default_factory=DecisionSettings)
    last: Annotated[bool, typer.Option("--last", help="The last.")] = False


def parsed(*arguments):
    """What the command is given of a command line."""
    given = []

    @takes_options(Outer)
    def command(outer):
        """Do nothing."""
        given.append(outer)
        return 7

    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    assert typer.main.get_command(app).main(list(arguments), standalone_mode=False) == 7
    return given[0]


def test_groups_are_shown_flat_in_the_order_of_their_fields():
    """And what is not given has its default."""
    flat = inspect.signature(takes_options(Outer)(lambda outer: 0)).parameters
    decision = [field.name for field in dataclasses.fields(DecisionSettings)]
    assert list(flat) == ["name", "often", *decision, "last"]
    assert parsed() == Outer()


def test_each_option_reaches_its_group():
    """A setting is read as the rules read it."""
    assert parsed("--often", "2", "--settle", "200ms", "--error", "0.05", "--last") == Outer(
        inner=Inner(often=2), decision=DecisionSettings(settle=0.2, error=0.05), last=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--settle", "soon"), "--settle.*seconds, 0 to 5, or like 300ms.*soon"),
        (("--error", "2"), "--error.*above 0, at most 0.5.*2"),
        (("--often", "0"), "--often.*1 or more"),
    ],
)
def test_what_a_setting_or_a_group_refuses_is_refused_by_the_option(arguments, message):
    """Before the command runs."""
    with pytest.raises(OptionError, match=message):
        parsed(*arguments)


def test_defaults_of_run_are_those_of_the_objects_that_it_makes():
    """Nobody has to keep them alike."""
    assert RunOptions().pace.loop_options() == LoopOptions(watch=WatchOptions())


def test_a_token_is_not_shown():
    """By the options' own text."""
    assert "s3cret" not in repr(RunOptions(page=PageOptions(http_token="s3cret")))
