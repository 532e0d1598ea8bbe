"""How many items each bundle decided on this device, and how many it called unknown: `rates.json` of a store.

The rate of the bundle that runs is what the next one's is held against. A damaged file is replaced by an
empty one: what is lost is a comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.files import read_regular_file, replace_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import ContractError, EcovisionError
from ecovision_edge.updates.unknowns import Counts

__all__ = ["Rates"]

_LOGGER = logging.getLogger("ecovision_edge")
_VERSION = 1
_MOST_BYTES = 2**16
_MOST_BUNDLES = 8
_MOST_ITEMS = 2000  # beyond it both numbers are halved: what was long ago counts less
_MOST = 2**31


class Rates:
    """Counts by bundle, kept in a file; only the process that decides writes it.

    Args:
        root: The folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / "rates.json"
        self._counts = dict(self._read())
        self._kept = dict(self._counts)

    def of(self, bundle: str | None) -> Counts:
        """Return what a bundle made of its items; none of one that is not known."""
        return self._counts.get(bundle or "", Counts())

    def add(self, bundle: str, *, unknown: bool) -> None:
        """Count an item."""
        counts = self.of(bundle).plus(unknown=unknown)
        if counts.items > _MOST_ITEMS:
            counts = Counts(counts.items // 2, counts.unknowns // 2)
        others = [(name, known) for name, known in self._counts.items() if name != bundle]
        # At once, as another thread may read it; the one that decided last is at the end.
        self._counts = {**dict(others[1 - _MOST_BUNDLES :]), bundle: counts}

    def keep(self) -> None:
        """Write them, if there is something new; what the disk refuses is told in the log at DEBUG."""
        counts = dict(self._counts)
        if counts == self._kept:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, [_dumps(counts)], fsync=False, mode=0o644)
        except OSError as e:
            _LOGGER.debug("cannot write %s: %s", self._file, reason_of(e))
        else:
            self._kept = counts

    def _read(self) -> Mapping[str, Counts]:
        try:
            f = parse_json(read_regular_file(self._file, _MOST_BYTES), self._file.name, fix="remove it")
            f.schema_version(_VERSION)
            return {name: _counts(f.sub("bundles"), name) for name in f.free("bundles")}
        except FileNotFoundError:
            return {}
        except (OSError, EcovisionError) as e:
            _LOGGER.warning("cannot use %s (%s): counting begins again", self._file, reason_of(e))
            return {}


def _dumps(counts: Mapping[str, Counts]) -> bytes:
    bundles: dict[str, JsonValue] = {
        name: {"items": c.items, "unknowns": c.unknowns} for name, c in counts.items()
    }
    return canonical_json({"schema_version": _VERSION, "bundles": bundles})


def _counts(bundles: Fields, name: str) -> Counts:
    f = bundles.sub(name)
    counts = Counts(f.integer("items", 0, _MOST), f.integer("unknowns", 0, _MOST))
    if counts.unknowns > counts.items:
        raise ContractError(bundles.at(name), expected="no more unknowns than items", found=counts.words)
    return counts
