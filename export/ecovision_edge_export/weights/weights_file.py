"""From a file of weights to the Python objects in it, without ever running code from it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import warnings
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require
from ecovision_edge.base.files import is_there
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import CheckpointError
from ecovision_edge_export.weights.harmless import SAFE_GLOBALS
from ecovision_edge_export.weights.pickles import (
    find_weights,
    first_foreign,
    pickle_protocol,
    read_steps,
    runs_commands,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = [
    "ACCEPTED",
    "EMA_KEYS",
    "RAW_KEYS",
    "WEIGHT_KEYS",
    "WeightsFile",
    "decode",
    "read_weights_file",
    "safetensors_bytes",
    "safetensors_metadata",
]

# Where training scripts put the weights inside a checkpoint, best first. EMA weights come first: they are
# the ones that a training script evaluates and reports.
EMA_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema")
RAW_KEYS = (
    *("state_dict", "model_state_dict", "model", "net", "model_state", "network", "weights", "params"),
    *("best_model_state_dict", "best_model_wts", "best_model", "best_state"),
)
WEIGHT_KEYS = (*EMA_KEYS, *RAW_KEYS)
MAX_BYTES = (
    2 * 1024**3
)  # a mobilenet_v3_large is 17 MB; this leaves room for checkpoints with optimizer state
TORCH_PROTOCOL = 2  # of the pickles that torch.save writes
_LOAD_ALL = "torch.load(FILE, map_location='cpu', weights_only=False)"
ACCEPTED = (
    "`reference`, a .pth or .pt file of torch.save, a .safetensors file, a folder of `ecovision-edge train`, "
    "or hf://OWNER/REPO[@REVISION]/FILE"
)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights as read, once: the bytes that are decoded are those that were hashed.

    `name` is what messages and the contract call it, without folders of this machine.
    """

    name: str
    data: bytes
    sha256: str


def read_weights_file(path: Path, name: str) -> WeightsFile:
    """Read the whole file.

    Raises:
        CheckpointError: missing, not a file, not readable, empty, or above 2 GiB.
    """
    try:
        # Not blocking: opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{name} is not a file", fix=f"give {ACCEPTED}")
            if status.st_size > MAX_BYTES:
                raise CheckpointError(name, expected=f"at most {MAX_BYTES} bytes", found=status.st_size)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as e:
        raise CheckpointError(f"no checkpoint at {_shown(path)}", expected=ACCEPTED) from e
    except IsADirectoryError as e:
        begun = is_there(path / "last.pth", link=True)  # that of `train`, before its first epoch is over
        raise CheckpointError(
            f"{_shown(path)} is a folder without the best.safetensors of a training",
            fix="go on with the training that was begun there: ecovision-edge train --resume"
            if begun
            else f"give {ACCEPTED}",
        ) from e
    except (OSError, ValueError) as e:  # ValueError: a NUL character in the path
        reason = reason_of(e)
        raise CheckpointError(f"{name!a} cannot be read ({reason})") from e
    if not data or len(data) > MAX_BYTES:
        raise CheckpointError(
            name, expected=f"1 to {MAX_BYTES} bytes", found="an empty file" if not data else "more"
        )
    return WeightsFile(name=name, data=data, sha256=hashlib.sha256(data).hexdigest())


def _shown(path: Path) -> str:
    """Return a path that fits into one line, whatever bytes it is made of."""
    return "".join(c if c.isprintable() else "?" for c in str(path))[-255:]


def decode(file: WeightsFile) -> tuple[object, dict[str, str]]:
    """Return what the file holds, on the CPU, and the metadata of a .safetensors file (else empty).

    Raises:
        CheckpointError: not a format of weights, damaged, or wants Python code to be run.
    """
    if file.name.lower().endswith(".safetensors"):
        return _load_safetensors(file)
    return _load_torch(file), {}


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """Return the `__metadata__` of safetensors bytes; empty where there is none.

    The header is 8 bytes of length, little endian, then JSON
    (https://huggingface.co/docs/safetensors/index#format).

    Raises:
        ValueError: not such a header.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Safetensors with a sorted header, the same bytes for the same arguments.

    The library keeps metadata in a hash map of random order.
    """
    require("safetensors", "export")
    from safetensors.torch import save

    data: bytes = save(dict(tensors))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(
        {"__metadata__": dict(metadata), **dict(sorted(header.items()))}, separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 8)  # the format wants tensors to start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _load_safetensors(file: WeightsFile) -> tuple[object, dict[str, str]]:
    require("torch", "export")
    require("safetensors", "export")
    import safetensors
    import safetensors.torch

    try:
        state: object = safetensors.torch.load(file.data)
        return state, safetensors_metadata(file.data)
    except safetensors.SafetensorError as e:
        raise CheckpointError(
            f"{file.name} is not a .safetensors file, or it is damaged ({_short(e)}){_hint(file.data)}"
        ) from e
    except Exception as e:
        # A dtype that this torch does not have, or a header that only the Rust side accepts.
        raise CheckpointError(
            f"{file.name} cannot be read as .safetensors ({type(e).__name__}: {_short(e)})"
        ) from e


def _load_torch(file: WeightsFile) -> object:
    if _is_archive(file.data):
        _check_archive(file)
    elif file.data[:4] == b"PK\x03\x04":
        raise CheckpointError(
            f"{file.name} is damaged: a torch.save archive whose end is missing", fix="fetch or copy it again"
        )
    elif file.data[:1] != b"\x80":  # the first byte of a binary pickle: torch.save before 1.6
        raise CheckpointError(f"{file.name} is not a file of torch.save{_hint(file.data)}", expected=ACCEPTED)
    require("torch", "export")
    import torch

    try:
        with warnings.catch_warnings():
            # Torch warns about foreign pickle protocols; whether it loads is what counts.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(list(SAFE_GLOBALS)):
                loaded: object = torch.load(io.BytesIO(file.data), weights_only=True, map_location="cpu")
    except Exception as e:
        # Damaged pickles raise anything: KeyError, EOFError, RuntimeError, UnpicklingError, struct.error, ...
        raise _refusal(file, e) from e
    return loaded


def _is_archive(data: bytes) -> bool:
    try:
        return zipfile.is_zipfile(io.BytesIO(data))
    except zipfile.BadZipFile:  # it has the end of an archive, and that is damaged
        return True


def _check_archive(file: WeightsFile) -> None:
    """Refuse TorchScript, foreign archives, and small archives that unpack to gigabytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
        raise CheckpointError(f"{file.name} is a damaged archive ({_short(e)})") from e
    inner = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise CheckpointError(
            f"{file.name} is a TorchScript archive (torch.jit.save), which holds code",
            fix=_one_line(file, "torch.jit.load(FILE, map_location='cpu').state_dict()"),
        )
    if "data.pkl" not in inner:
        raise CheckpointError(
            f"{file.name} is a zip archive that torch.save did not write", expected=ACCEPTED
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_BYTES:
        raise CheckpointError(file.name, expected=f"at most {MAX_BYTES} bytes unpacked", found=unpacked)


def _refusal(file: WeightsFile, error: Exception) -> CheckpointError:
    """Return the error for what `torch.load` raised."""
    steps, protocol = read_steps(file.data), pickle_protocol(file.data)
    match = re.search(r"(?:GLOBAL|Unsupported class|Trying to instantiate) ([\w.]+)", str(error))
    wanted = match[1].rstrip(".") if match else None
    if wanted is None and protocol > TORCH_PROTOCOL:
        wanted = first_foreign(steps, (name for _, name in SAFE_GLOBALS))
    weights = find_weights(steps, WEIGHT_KEYS)
    fix = _one_line(file, _LOAD_ALL + weights)
    if runs_commands(steps):  # no line that would run them
        fix = "save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
    if wanted:
        whole = wanted.startswith(("torchvision.", "torch.nn.", "timm.")) and weights.endswith("()")
        what = "is a whole pickled model" if whole else "is a pickle that wants code to be run"
        return CheckpointError(
            f"{file.name} {what}: it asks for `{wanted}`, and was not loaded, because it could run anything",
            fix=fix,
        )
    if steps and protocol > TORCH_PROTOCOL and "Unsupported operand" in str(error):
        return CheckpointError(
            f"{file.name} is a pickle of protocol {protocol}, which torch reads only by running it",
            expected=f"protocol {TORCH_PROTOCOL}, the default of torch.save",
            fix=fix,
        )
    return CheckpointError(
        f"{file.name} is damaged or not a file of torch.save ({type(error).__name__}: {_short(error)})",
        fix="fetch or copy it again, and compare its size",
    )


def _one_line(file: WeightsFile, weights: str) -> str:
    """Return the line of Python that makes a good file of a refused one."""
    path = ascii(file.name.rpartition("/")[2])
    return (
        "if you made it or trust it (this runs what is in it), save the weights alone: "
        f"import torch; torch.save({weights.replace('FILE', path)}, 'weights.pth')"
    )


def _hint(data: bytes) -> str:
    """Return what the first bytes look like, where that explains the mistake."""
    start = data[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return " but a Git LFS pointer (run: git lfs pull)"
    if start.startswith((b"<!doctype", b"<html")):
        return " but a web page"
    if start.isascii():
        return " but text"
    return ""


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or "no details"
