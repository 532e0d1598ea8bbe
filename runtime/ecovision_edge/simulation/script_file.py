"""A script as a file.

A JSON file::

    {
      "schema": "ecovision-edge/tray-script",
      "schema_version": 1,
      "seed": 1, "turn": 3.14159, "fps": 12, "width": 320, "height": 240,
      "camera": {"jitter_px": 0.05, "grain": 1, "vignette": 0.15, "drift": 0.04, "flicker": 0.01},
      "steps": [
        {"do": "empty", "seconds": 1.5},
        {"do": "item", "label": "glass", "comes": "hand", "stays": 4.5, "goes": "slide",
         "meanwhile": [{"what": "nudge", "at": 2.0}, {"what": "light", "at": 3.0, "factor": 0.7}]},
        {"do": "hand", "rests": 0.5},
        {"do": "light", "factor": 2.0, "over": 0.1},
        {"do": "empty", "seconds": 3.0}
      ]
    }

Steps follow each other; `item` may name a photograph by `picture`, else it is drawn (`ITEM_KINDS`) or, where
a folder of photographs is given, one of its label is taken. What is left out has the default of its class:
without `turn` things lie nearly upright, by 0.2 radians at most.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import get_args

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.errors import ContractError, OptionError
from ecovision_edge.simulation.script import (
    ANY_TURN,
    CAMERA_RANGES,
    LONGEST,
    UPRIGHT,
    Arrival,
    Camera,
    Departure,
    Empty,
    Hand,
    Happening,
    Item,
    Light,
    Meanwhile,
    Script,
    Step,
)
from ecovision_edge.simulation.truth import TruthError

__all__ = ["SCHEMA", "SCHEMA_VERSION", "dump_script", "load_script"]

SCHEMA = "ecovision-edge/tray-script"
SCHEMA_VERSION = 1
MOST_STEPS = 100_000


def dump_script(script: Script) -> bytes:
    """Write the file of a script."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "seed": script.seed,
            **({} if script.turn == UPRIGHT else {"turn": script.turn}),
            "fps": script.fps,
            "width": script.width,
            "height": script.height,
            "camera": {**asdict(script.camera)},
            "steps": [_to_json(step) for step in script.steps],
        }
    )


def load_script(data: bytes, where: str = "script") -> Script:
    """Read the bytes of such a file; `where` is its name for messages.

    Raises:
        TruthError: malformed, or out of range.
    """
    try:
        return _read(parse_json(data, where, fix="mend the file"))
    except (ContractError, OptionError) as e:
        raise TruthError(e.message) from e


def _to_json(step: Step) -> dict[str, JsonValue]:
    if isinstance(step, Item):
        picture: dict[str, JsonValue] = {} if step.picture is None else {"picture": step.picture}
        return {
            "do": "item",
            "label": step.label,
            **picture,
            "comes": step.comes,
            "stays": step.stays,
            "goes": step.goes,
            "meanwhile": [{**asdict(one)} for one in step.meanwhile],
        }
    if isinstance(step, Empty):
        return {"do": "empty", "seconds": step.seconds}
    if isinstance(step, Hand):
        return {"do": "hand", "rests": step.rests}
    return {"do": "light", "factor": step.factor, "over": step.over}


def _read(f: Fields) -> Script:
    f.choice("schema", (SCHEMA,))
    f.schema_version(SCHEMA_VERSION)
    camera = Camera()
    if f.has("camera"):
        given = f.sub("camera")
        ranges = CAMERA_RANGES
        camera = Camera(**{name: given.number(name, *ranges[name]) for name in ranges if given.has(name)})
        given.done()
    steps = [
        _step(Fields.of(value, f"{f.at('steps')}[{i}]"))
        for i, value in enumerate(f.items("steps", most=MOST_STEPS))
    ]
    script = Script(
        steps=tuple(steps),
        seed=f.integer("seed", 0, 2**32 - 1) if f.has("seed") else 0,
        turn=f.number("turn", 0, ANY_TURN) if f.has("turn") else UPRIGHT,
        fps=f.number("fps", 1, 240) if f.has("fps") else 12.0,
        width=f.integer("width", 64, 4096) if f.has("width") else 320,
        height=f.integer("height", 64, 4096) if f.has("height") else 240,
        camera=camera,
    )
    f.done()
    return script


def _step(f: Fields) -> Step:
    kind = f.choice("do", ("item", "empty", "hand", "light"))
    step: Step
    if kind == "item":
        step = _item(f)
    elif kind == "empty":
        step = Empty(_seconds(f, "seconds", 1.5))
    elif kind == "hand":
        step = Hand(_seconds(f, "rests", 0.0))
    else:
        step = Light(f.number("factor", 0.01, 100), _seconds(f, "over", 0.2))
    f.done()
    return step


def _item(f: Fields) -> Item:
    meanwhile: list[Meanwhile] = []
    for i, value in enumerate(f.items("meanwhile", most=1000) if f.has("meanwhile") else []):
        one = Fields.of(value, f"{f.at('meanwhile')}[{i}]")
        what: Happening = one.choice("what", get_args(Happening))  # type: ignore[assignment]
        factor = one.number("factor", 0.01, 100) if one.has("factor") else 1.0
        meanwhile.append(Meanwhile(what, one.number("at", 0, LONGEST), factor, _seconds(one, "over", 0.2)))
        one.done()
    comes = f.choice("comes", get_args(Arrival)) if f.has("comes") else "slide"
    goes = f.choice("goes", get_args(Departure)) if f.has("goes") else "slide"
    return Item(
        label=None if f.value("label") is None else f.text("label"),
        picture=f.text_or_none("picture"),
        comes=comes,  # type: ignore[arg-type]  # `choice` has checked both
        stays=_seconds(f, "stays", 4.5),
        goes=goes,  # type: ignore[arg-type]
        meanwhile=tuple(meanwhile),
    )


def _seconds(f: Fields, key: str, default: float) -> float:
    return f.number(key, 0, LONGEST) if f.has(key) else default
