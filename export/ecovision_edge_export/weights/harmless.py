"""Data types that checkpoints hold beside their weights, read without creating objects of these types.

`torch.load(weights_only=True)` refuses a file for one `argparse.Namespace`, though its weights are fine.
The types below are data alone. `SAFE_GLOBALS` gives each a stand-in that keeps what the file says and runs
nothing of the type itself, so it does not matter whether the type exists here (`WindowsPath` on Linux, the
private modules of another numpy), nor what its constructor would do with hostile arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["SAFE_GLOBALS", "StandIn", "plain"]

MAX_ITEMS = 1000  # of an array that is read as a list: there are no more labels
_KINDS = re.compile(r"b1|\?|[iu][1248]|f[248]|[US][0-9]{1,4}|O8?")  # of numpy, those that labels come in


class StandIn:
    """What a file says of an object: the arguments that it is made of, and its state."""

    def __new__(cls, *arguments: object) -> StandIn:
        """Keep the arguments."""
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = None
        return made

    arguments: tuple[object, ...]
    state: object

    def __setstate__(self, state: object) -> None:
        """Keep the state."""
        self.state = state


class _Namespace(StandIn):
    """`argparse.Namespace`, `types.SimpleNamespace`: the state is its attributes."""


class _Dtype(StandIn):
    """`numpy.dtype`: its kind, then flags; the state has the byte order."""


class _Scalar(StandIn):
    """A number or text of numpy: its dtype, and its bytes."""


class _Array(StandIn):
    """An array of numpy: the state is a version, the shape, the dtype, the order and the bytes or items."""


class _Dict(StandIn):
    """`collections.defaultdict`: a plain dict, which torch fills; what makes missing values is not kept."""

    def __new__(cls, *arguments: object) -> dict[object, object]:  # type: ignore[misc]
        """Return an empty dict."""
        return {}


class _List(StandIn):
    """`collections.deque`: a plain list, which torch fills."""

    def __new__(cls, *arguments: object) -> list[object]:  # type: ignore[misc]
        """Return a list of the first argument's items, where it has one."""
        first = arguments[0] if arguments else ()
        return list(first) if isinstance(first, (list, tuple)) else []


def _names() -> Iterator[tuple[Callable[..., object], str]]:
    for name in ("argparse.Namespace", "types.SimpleNamespace"):
        yield _Namespace, name
    for module in ("pathlib", "pathlib._local"):  # the second in Python 3.13
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"):
            yield StandIn, f"{module}.{name}"
    for module in ("numpy.core", "numpy._core"):  # before and since numpy 2
        yield _Scalar, f"{module}.multiarray.scalar"
        yield _Array, f"{module}.multiarray._reconstruct"
    yield _Dtype, "numpy.dtype"
    yield _Dict, "collections.defaultdict"
    yield _List, "collections.deque"
    for module, names in (
        ("datetime", "datetime date time timedelta timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("uuid", "UUID SafeUUID"),
        ("torch.torch_version", "TorchVersion"),
        ("builtins", "bool bytes dict float frozenset int list object range slice str tuple"),
        ("numpy", "ndarray bool_ float16 float32 float64 int8 int16 int32 int64 uint8 str_"),
    ):
        for name in names.split():
            yield StandIn, f"{module}.{name}"


SAFE_GLOBALS = tuple(_names())
"""For `torch.serialization.safe_globals`: each stand-in with the name that it answers to."""


def plain(value: object) -> object:
    """Turn a stand-in into the Python value that it means, where labels may be in it; others as they are.

    Namespaces become dicts, numbers and texts of numpy `bool`, `int`, `float` or `str`, its arrays of one
    dimension lists. Small tensors of integers become an `int` or a list.
    """
    import torch

    if isinstance(value, StandIn):
        return _plain(value)
    if not isinstance(value, torch.Tensor) or value.is_meta or value.layout != torch.strided:
        return value
    small = value.ndim <= 1 and value.numel() <= MAX_ITEMS
    return value.tolist() if small and value.dtype in (torch.int32, torch.int64) else value


def _plain(value: StandIn) -> object:
    if isinstance(value, _Namespace):
        return value.state if isinstance(value.state, dict) else {}
    if isinstance(value, _Scalar) and len(value.arguments) == 2:
        items = _items(value.arguments[0], value.arguments[1])
        return items[0] if items is not None and len(items) == 1 else value
    if isinstance(value, _Array) and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, dtype, _, data = value.state
        items = _items(dtype, data)
        if items is not None and shape == (len(items),):
            return items
    return value


def _items(dtype: object, data: object) -> list[object] | None:
    """Return the items of numpy's bytes; None where they are not of a kind that labels come in."""
    if not isinstance(dtype, _Dtype) or not dtype.arguments or not isinstance(dtype.arguments[0], str):
        return None
    kind = dtype.arguments[0]
    if not _KINDS.fullmatch(kind):
        return None
    if kind.startswith("O"):
        return list(data) if isinstance(data, list) and len(data) <= MAX_ITEMS else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "="
    numpy = np.dtype(f"{order}{kind}" if order in ("<", ">") else kind)
    if not isinstance(data, bytes) or not numpy.itemsize or len(data) % numpy.itemsize:
        return None
    if len(data) // numpy.itemsize > MAX_ITEMS:
        return None
    try:
        items = np.frombuffer(data, numpy).tolist()
    except (ValueError, UnicodeDecodeError):
        return None
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
