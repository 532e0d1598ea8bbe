"""What a bin's owner sets of a decision: options of `run`, and keys of `[decision]` in the rules.

`SETTINGS` documents each of them once, with its unit and its default; the command line's help, the check of a
file of rules and the table in `docs/bin.md` are made of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.markdown import table
from ecovision_edge.decision.options import RANGES, DeciderOptions, Range
from ecovision_edge.errors import OptionError

__all__ = ["PICTURE", "SETTINGS", "DecisionSettings", "Setting", "SettingValue", "settings_table"]

PICTURE = "picture"
"""The trigger of a bin that has none: the picture tells that an item came."""

SettingValue: TypeAlias = "float | str"

_DEFAULTS = DeciderOptions()
_MOST_ADDRESS = 1000  # characters


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them.

    Args:
        name: Of the field of `DecisionSettings`, and of the key in the rules.
        means: What it does, in one sentence.
        unit: What a value of it is.
        range: Of a number; None is the address of a trigger.
    """

    name: str
    means: str
    unit: str
    range: Range | None

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


_SETTLE = dataclasses.replace(RANGES["settle"], high=_DEFAULTS.settle_within)

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "settle", "An item has to lie still for so long before its frames count.", "seconds", _SETTLE
        ),
        Setting(
            "decide_within",
            "Time limit from the first frame that counts; what is not sure by then is unknown.",
            "seconds",
            RANGES["decide_within"],
        ),
        Setting(
            "error",
            "At most this share of the decided items may be wrong; less makes more of them unknown.",
            "share above 0, at most 0.5",
            RANGES["error"],
        ),
        Setting("cooldown", "After an event nothing happens for so long.", "seconds", RANGES["cooldown"]),
        Setting(
            "trigger",
            "What tells that an item came: picture, gpio:PIN, mqtt://HOST/TOPIC, or keyboard: (Enter).",
            "address",
            None,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """The settings that a user made; None leaves the default, which `SETTINGS` has.

    Args:
        settle: Seconds that an item has to lie still before its frames count, 0 to 5.
        decide_within: Seconds from its first frame that counts until it is unknown, above 0.
        error: Share of the decided items that may be wrong, above 0, at most 0.5.
        cooldown: Seconds after an event in which nothing happens, 0 or more.
        trigger: `picture`, or the address of a trigger (`ecovision_edge.triggers.open_trigger`).

    Raises:
        OptionError: the setting, what was expected, and what was found.
    """

    settle: float | None = None
    decide_within: float | None = None
    error: float | None = None
    cooldown: float | None = None
    trigger: str | None = None

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


def settings_table() -> list[str]:
    """All of them as a table in Markdown."""
    rows = [("`run`", "`[decision]`", "unit", "default", "what it does")]
    rows += [(f"`{s.option}`", f"`{s.name}`", s.unit, f"`{s.default}`", s.means) for s in SETTINGS.values()]
    return table(rows)
