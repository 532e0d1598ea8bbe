"""Where a training runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError

__all__ = ["choose_device", "describe_device", "torch_threads", "usable_cores"]


def choose_device(text: str) -> str:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        OptionError: no such device, or it is not there.
    """
    if text == "cpu":
        return text
    there = torch.cuda.is_available()
    if text == "auto":
        return "cuda" if there else "cpu"
    kind, colon, number = text.partition(":")
    valid = kind == "cuda" and (not colon or (number.isascii() and number.isdigit() and len(number) < 4))
    if not valid:
        raise OptionError("--device", expected="auto, cpu, cuda or cuda:NUMBER", found=quoted(text))
    count = torch.cuda.device_count() if there else 0
    if int(number or 0) >= count:
        raise OptionError(
            f"--device {text}",
            expected="a CUDA device that is there",
            found=f"{count} of them",
            fix="choose --device auto",
        )
    return text


def describe_device(device: str) -> str:
    """Return the device by its name, for the record."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, automatic mixed precision"
    from ecovision_edge.base.device import read_cpu

    threads = torch.get_num_threads()
    return f"{read_cpu().model}, {threads} thread{'' if threads == 1 else 's'}"


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Give torch `count` threads for the time of a block; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
