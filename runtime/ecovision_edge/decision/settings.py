"""What a bin's owner sets of a decision: options of `run`, and keys of `[decision]` in the rules.

Each is a field of `DecisionSettings`, documented once, with its unit, range and default; the command line's
help, the check of a file of rules and the table in `docs/bin.md` are made of that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.markdown import table
from ecovision_edge.decision.options import RANGES, DeciderOptions, Range
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "PICTURE",
    "SETTINGS",
    "DecisionSettings",
    "Setting",
    "SettingValue",
    "settings_of",
    "settings_table",
]

PICTURE = "picture"
"""The trigger of a bin that has none: the picture tells that an item came."""

SettingValue: TypeAlias = "float | str"

_DEFAULTS = DeciderOptions()
_MOST_ADDRESS = 1000  # characters


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them.

    Args:
        means: What it does, in one sentence.
        unit: What a value of it is.
        range: Of a number; None is the address of a trigger.
        name: Of the field of `DecisionSettings`, and of the key in the rules.
    """

    means: str
    unit: str
    range: Range | None
    name: str = ""

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def in_seconds(self) -> bool:
        """Whether it is a duration, which may be written as text too: `300ms`."""
        return self.range is not None and self.range.unit == "seconds"

    @property
    def default(self) -> str:
        """The default, as a user would write it."""
        if self.range is None:
            return PICTURE
        return f"{getattr(_DEFAULTS, self.name):g}{'s' if self.in_seconds else ''}"

    @property
    def help(self) -> str:
        """For the command line."""
        return f"{self.means} Default: what the rules say under [decision], else {self.default}."

    @property
    def expected(self) -> str:
        """What messages expect."""
        if self.range is None:
            return f"{PICTURE}, or an address of a trigger, as gpio:17"
        return f"{self.range}, or like 300ms" if self.in_seconds else f"a number {self.range}"

    def read(self, given: object) -> SettingValue | None:
        """Read the value that a file or a command line gives; None if it is no value of this setting."""
        if self.range is None:
            sound = isinstance(given, str) and 0 < len(given) <= _MOST_ADDRESS and given.isprintable()
            return str(given) if sound else None
        try:
            if self.in_seconds and isinstance(given, str):
                given = parse_duration(given)
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not self.range.holds(given):
                return None
            return float(given)
        except (OptionError, OverflowError):  # no duration; an integer of hundreds of digits
            return None


def settings_of(kind: type[DataclassInstance]) -> dict[str, Setting]:
    """The settings that the fields of a dataclass carry, by name; none for a class without any."""
    fields = ((f.name, f.metadata.get("setting")) for f in dataclasses.fields(kind))
    return {name: dataclasses.replace(s, name=name) for name, s in fields if isinstance(s, Setting)}


def _setting(means: str, unit: str, range: Range | None) -> dict[str, Setting]:
    """The metadata of a field that is a setting."""
    return {"setting": Setting(means, unit, range)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """The settings that a user made; None leaves the default, which `SETTINGS` has.

    Raises:
        OptionError: the setting, what was expected, and what was found.
    """

    settle: float | None = field(
        default=None,
        metadata=_setting(
            "Time that an item has to lie still before its frames count.",
            "seconds",
            dataclasses.replace(RANGES["settle"], high=_DEFAULTS.settle_within),
        ),
    )
    decide_within: float | None = field(
        default=None,
        metadata=_setting(
            "Time limit from the first frame that counts; what is not sure by then is unknown.",
            "seconds",
            RANGES["decide_within"],
        ),
    )
    error: float | None = field(
        default=None,
        metadata=_setting(
            "At most this share of the decided items may be wrong; less makes more of them unknown.",
            "share above 0, at most 0.5",
            RANGES["error"],
        ),
    )
    cooldown: float | None = field(
        default=None,
        metadata=_setting("Time after an event in which nothing happens.", "seconds", RANGES["cooldown"]),
    )
    trigger: str | None = field(
        default=None,
        metadata=_setting(
            "What tells that an item came: picture, gpio:PIN, mqtt://HOST/TOPIC, or keyboard: (Enter).",
            "address",
            None,
        ),
    )

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, value in self.given().items():
            setting = SETTINGS[name]
            if isinstance(value, str) != (setting.range is None) or setting.read(value) is None:
                raise OptionError(name, expected=setting.expected, found=repr(value)[:60])

    @classmethod
    def of(cls, given: Mapping[str, SettingValue]) -> DecisionSettings:
        """Read values by name; raises OptionError."""
        values: dict[str, Any] = dict(given)
        return cls(**values)

    def given(self) -> dict[str, SettingValue]:
        """Return the settings that are set, by name."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}

    def over(self, below: DecisionSettings) -> DecisionSettings:
        """These, and where they leave the default those below."""
        return self.of({**below.given(), **self.given()})

    @property
    def by_trigger(self) -> bool:
        """Whether a trigger tells that an item came, and not the picture."""
        return self.trigger is not None and self.trigger.partition(":")[0].lower() != PICTURE

    def options(self) -> DeciderOptions:
        """What a decider is given; with a trigger it waits for that."""
        numbers: dict[str, Any] = {name: v for name, v in self.given().items() if name != "trigger"}
        return dataclasses.replace(_DEFAULTS, gate="trigger" if self.by_trigger else "picture", **numbers)


SETTINGS = settings_of(DecisionSettings)
"""Each setting by its name, in the order of the command line."""


def settings_table() -> list[str]:
    """All of them as a table in Markdown."""
    rows = [("`run`", "`[decision]`", "unit", "default", "what it does")]
    rows += [(f"`{s.option}`", f"`{s.name}`", s.unit, f"`{s.default}`", s.means) for s in SETTINGS.values()]
    return table(rows)
