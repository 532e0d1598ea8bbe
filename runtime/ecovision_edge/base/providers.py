"""onnxruntime's execution providers: their names, and whose each option is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError

__all__ = [
    "CPU",
    "CUDA",
    "TENSORRT",
    "ProviderArguments",
    "choose_providers",
    "option_pairs",
    "provider_arguments",
]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

_SUFFIX = "executionprovider"
_NAME = re.compile(r"(?:[A-Za-z0-9_]+:)?[A-Za-z0-9_.]+")


class ProviderArguments(TypedDict):
    """The two arguments of `Classifier.load`."""

    providers: tuple[str, ...] | None
    provider_options: dict[str, str]


def provider_arguments(providers: str | None, options: Sequence[str] | None) -> ProviderArguments:
    """Read them as a command line has them: names with commas, and a text NAME=VALUE for each option.

    Raises:
        OptionError: an option that is not NAME=VALUE, or is given twice.
    """
    found: dict[str, str] = {}
    for word in options or ():
        name, equals, value = word.partition("=")
        if not equals or not name or name in found:
            twice = "the same twice" if name in found else word
            raise OptionError("--provider-option", expected="NAME=VALUE, each name once", found=twice)
        found[name] = value
    names = None if providers is None else tuple(word.strip() for word in providers.split(","))
    return {"providers": names, "provider_options": found}


def option_pairs(options: Mapping[str, str | int] | None) -> tuple[tuple[str, str], ...]:
    """Return options as onnxruntime takes them, each a text: 1 for True.

    Raises:
        OptionError: a name or a value that can be none.
    """
    pairs = []
    for name, value in (options or {}).items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise OptionError(
                "provider_options", expected="NAME or PROVIDER:NAME of an option", found=quoted(name)
            )
        if not isinstance(value, str | int):
            raise OptionError(
                f"provider option {name}", expected="a text or a whole number", found=quoted(value)
            )
        pairs.append((name, str(int(value)) if isinstance(value, bool) else str(value)))
    return tuple(pairs)


def choose_providers(
    wanted: Sequence[str] | None, options: Sequence[tuple[str, str]], available: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return the providers by onnxruntime's names, in order, each with its options.

    Args:
        wanted: As onnxruntime has them (`CUDAExecutionProvider`) or short (`cuda`); None is the CPU.
        options: Name and value. `PROVIDER:NAME` is that provider's; of the others `trt_...` is TensorRT's,
            `device_id` of each of NVIDIA's, and the rest of the only provider beside the CPU.
        available: Those that this onnxruntime was built with.

    Raises:
        OptionError: none is wanted, one that is not available, or an option that is nobody's.
    """
    short = {name.lower().removesuffix(_SUFFIX): name for name in available}
    words = (CPU,) if wanted is None else tuple(map(str, wanted))
    names = [short.get(word.lower().removesuffix(_SUFFIX), word) for word in words]
    missing = [name for name in names if name not in available]
    if missing or not names:
        raise OptionError(
            "providers",
            expected=f"some of {', '.join(available)}",
            found=", ".join(missing) or "none",
            fix="install the onnxruntime build that has it",
        )
    chosen: dict[str, dict[str, str]] = {name: {} for name in names}
    for option, value in options:
        prefix, colon, name = option.rpartition(":")
        owners = [short.get(prefix.lower(), prefix)] if colon else _owners(name, names)
        if not owners or not chosen.keys() >= set(owners):
            raise OptionError(
                f"provider option {option}",
                expected=f"one of {', '.join(names)}",
                found="nobody's" if not owners else f"one of {', '.join(owners)}",
                fix="name its provider among the providers and, where it is not plain, before it: cuda:NAME",
            )
        for owner in owners:
            chosen[owner][name] = value
    return chosen


def _owners(option: str, names: Sequence[str]) -> list[str]:
    """Return whose an option is that names no provider."""
    if option.startswith("trt_"):
        return [TENSORRT]
    if option == "device_id" and (found := [name for name in names if name in (CUDA, TENSORRT)]):
        return found
    others = [name for name in names if name != CPU]
    return others if len(others) == 1 else []
