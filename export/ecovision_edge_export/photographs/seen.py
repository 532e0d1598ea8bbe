"""Which photographs weights have seen: in the checkpoint, and when others judge them.

A photograph is known by the first bytes of its file's sha256, so it is found under any name and in any
folder; one that was saved again, in another size say, is not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue, parse_json
from ecovision_edge.errors import CheckpointError, ContractError, DatasetError, ImageReadError
from ecovision_edge.photographs.images import decode_image, read_image_bytes
from ecovision_edge_export.photographs.dataset import Photograph, PhotographSet
from ecovision_edge_export.photographs.decoding import decode_rgb
from ecovision_edge_export.transcript import Transcript

__all__ = ["METADATA_KEY", "Seen", "Validation", "check_image", "read_validation"]

METADATA_KEY = "seen_photographs"
"""Of a safetensors file of `ecovision-edge train`; `Checkpoint.seen` is read from its text."""

SCHEMA = 1
PREFIX = 8  # bytes of a sha256: of a million photographs two are the same with a chance of 3e-8
MAX_TEXT = 64 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What a training saw, and the trainings before it, as far as their checkpoints say.

    Args:
        trained: First bytes of the sha256 of the photographs that were trained on.
        chosen: Likewise of those by which an epoch was chosen.
    """

    trained: frozenset[bytes] = frozenset()
    chosen: frozenset[bytes] = frozenset()

    def and_of(self, trained: Iterable[bytes], chosen: Iterable[bytes]) -> Seen:
        """With the photographs of another training, of which these are the sha256."""
        return Seen(
            self.trained | {digest[:PREFIX] for digest in trained},
            self.chosen | {digest[:PREFIX] for digest in chosen},
        )

    def __or__(self, other: Seen) -> Seen:
        """Return what either saw."""
        return Seen(self.trained | other.trained, self.chosen | other.chosen)

    def count_trained(self, digests: Iterable[bytes]) -> int:
        """Return how many of the photographs with these sha256 were trained on."""
        return sum(digest[:PREFIX] in self.trained for digest in digests)

    def dumps(self) -> str:
        """Return JSON on one line."""
        sides = {"trained": self.trained, "chosen": self.chosen}
        texts = {k: base64.b64encode(b"".join(sorted(v))).decode() or None for k, v in sides.items()}
        return json.dumps({"schema": SCHEMA, **texts}, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str, where: str) -> Seen:
        """Read what `dumps` wrote.

        Raises:
            CheckpointError: malformed, or of a newer version.
        """
        try:
            f = parse_json(text.encode(), where)
            f.integer("schema", SCHEMA, SCHEMA)
            sides = [f.text_or_none(key, most=MAX_TEXT) or "" for key in ("trained", "chosen")]
            f.done()
            return cls(*map(_parts, sides))
        except (ContractError, ValueError) as e:
            reason = e.message if isinstance(e, ContractError) else f"{where}: not base64 of whole hashes"
            raise CheckpointError(reason, fix="train again, or take the metadata out") from e


@dataclass(frozen=True, slots=True)
class Validation:
    """The photographs that judge an export.

    Args:
        photographs: Those that judge; all of them can be read on both sides.
        trained_on: How many of these the weights were trained on; None where the checkpoint does not say.
        chosen_on: How many of these an epoch of the training was chosen by; likewise.
    """

    photographs: PhotographSet
    trained_on: int | None = None
    chosen_on: int | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return what the manifest says of them."""
        known: dict[str, JsonValue] = {"trained_on": self.trained_on, "chosen_on": self.chosen_on}
        digest = self.photographs.digest()
        return {"digest": digest, **known} if self.trained_on is not None else {"digest": digest}


def check_image(photograph: Photograph) -> bytes:
    """Return the sha256 of a photograph's file, which PIL and OpenCV both can decode.

    Raises:
        ImageReadError: one of them cannot.
    """
    data = read_image_bytes(photograph.path)
    decode_rgb(data, str(photograph.path), draft=True)
    decode_image(data, str(photograph.path))
    return hashlib.sha256(data).digest()


def read_validation(
    photographs: PhotographSet,
    seen: Seen | None,
    option: str,
    script: Transcript,
) -> Validation:
    """Find those that can judge, as the stage `read`: what cannot be read, or was trained on, is left out.

    Where all were trained on they stay. All that is told.

    Args:
        photographs: As listed.
        seen: What the checkpoint says that it saw; None is nothing.
        option: The option that named them, for messages.
        script: Runs the stage, and warns.

    Raises:
        DatasetError: none can be read.
    """
    with script.stage("read"):
        found = _judges(photographs, seen, option, script)
        script.figure(f"{len(found.photographs)} photographs of {option}")
    return found


def _judges(photographs: PhotographSet, seen: Seen | None, option: str, script: Transcript) -> Validation:
    files, digests = _readable(photographs, option, script)
    if seen is None:
        return Validation(PhotographSet(tuple(files)))
    pairs = list(zip(files, digests, strict=True))
    others = [(p, d) for p, d in pairs if d[:PREFIX] not in seen.trained]
    known = len(pairs) - len(others)
    if not others:
        script.warn(f"the weights were trained on all of {option}: agreement and accuracy are flattered")
    elif known:
        script.warn(
            f"the weights were trained on {known} of the {len(pairs)} photographs of {option}: these are "
            f"left out, the other {len(others)} judge"
        )
        pairs = others
    return Validation(
        PhotographSet(tuple(p for p, _ in pairs)),
        trained_on=0 if others else known,
        chosen_on=sum(d[:PREFIX] in seen.chosen for _, d in pairs),
    )


def _readable(
    photographs: PhotographSet, option: str, script: Transcript
) -> tuple[list[Photograph], list[bytes]]:
    def look(photograph: Photograph) -> bytes | str:
        try:
            return check_image(photograph)
        except ImageReadError as e:
            return e.message

    files: list[Photograph] = []
    digests: list[bytes] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        found = pool.map(look, photographs.photographs)
        for done, (photograph, result) in enumerate(zip(photographs.photographs, found, strict=True), 1):
            if isinstance(result, str):
                script.warn(f"left out: {result}")
            else:
                files.append(photograph)
                digests.append(result)
            script.progress("read", done, len(photographs))
    if not files:
        raise DatasetError(
            option, expected="a photograph that can be read", found=f"{len(photographs)} that cannot"
        )
    return files, digests


def _parts(text: str) -> frozenset[bytes]:
    data = base64.b64decode(text, validate=True)
    if len(data) % PREFIX:
        raise ValueError(text[:20])
    return frozenset(data[i : i + PREFIX] for i in range(0, len(data), PREFIX))
