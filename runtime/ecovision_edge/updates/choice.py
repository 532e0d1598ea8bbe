"""Which bundle of a store this process runs: the current one, unless it cannot."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import EcovisionError, MissingDependencyError, OptionError, StoreError
from ecovision_edge.updates.probation import begin
from ecovision_edge.updates.store import BundleStore

if TYPE_CHECKING:
    from ecovision_edge.classifier import Classifier

__all__ = ["Choice", "short"]

_NO_FAULT = (OptionError, MissingDependencyError, OSError)  # of a bundle that cannot be loaded

_LOGGER = logging.getLogger("ecovision_edge")


class Choice:
    """Chooses, loads, passes over and refuses bundles. A bundle is told by its id; None is the base.

    Args:
        store: Of the device.
        base: Folder of what runs where nothing of the store does; None for the embedded reference.
        open_bundle: Loads a bundle's folder, or the embedded reference of None.
        fits: Raises EcovisionError over labels that the bin's rules do not fit.
    """

    def __init__(
        self,
        store: BundleStore,
        base: Path | None,
        open_bundle: Callable[[Path | None], Classifier],
        fits: Callable[[Sequence[str]], object] = lambda labels: None,
    ) -> None:
        self._store, self._base, self.open_bundle = store, base, open_bundle
        self._fits = fits
        self._passed: set[str] = set()  # which this process cannot run

    def first(self, *, count: bool) -> tuple[str | None, Classifier]:
        """Count the start, and load what is to run; of a bundle that cannot be loaded the one before.

        Raises:
            EcovisionError: as `open_bundle`, of the base; of any bundle if nothing is to be counted.
        """
        bundle = begin(self._store) if count else self._store.current()
        self._passed.update(itertools.takewhile(lambda other: other != bundle, self._store.line()))
        failed: list[tuple[str, EcovisionError]] = []
        while True:
            try:
                classifier = self._open(bundle, checked=count)
                break
            except EcovisionError as e:
                if bundle is None or not count:
                    raise
                self._passed.add(bundle)
                failed.append((bundle, e))
                bundle = self.wanted()
        for other, error in failed:  # another one can be loaded so: it is no fault of how it is done
            self.pass_over(other, error)
        return bundle, classifier

    def _open(self, bundle: str | None, *, checked: bool) -> Classifier:
        classifier = self.open_bundle(self.folder(bundle))
        if bundle is not None and checked:
            self.check_labels(bundle, classifier.labels)
        return classifier

    def check_labels(self, bundle: str, labels: Sequence[str]) -> None:
        """Refuse labels that do not fit, if those of the bundle before do: else it is no fault of this one.

        Raises:
            EcovisionError: of `fits`.
        """
        try:
            self._fits(labels)
        except EcovisionError:
            if self._fits_before(bundle):
                raise

    def _fits_before(self, bundle: str) -> bool:
        previous = self._store.previous()
        folder = self.folder(None if previous == bundle else previous) or embedded_bundle_path()
        try:
            self._fits(Bundle.open(folder).contract.labels)
        except EcovisionError:
            return False
        return True

    def wanted(self) -> str | None:
        """Return what is to run of what this process can run."""
        return next((bundle for bundle in self._store.line() if bundle not in self._passed), None)

    def before(self) -> str | None:
        """Return the whole id of the bundle to go back to, the base's too; None if it cannot be read."""
        previous = self._store.previous()
        if previous is not None:
            return previous
        try:
            return Bundle.open(self._base or embedded_bundle_path()).identity.id
        except EcovisionError:
            return None

    def pass_over(self, bundle: str, error: EcovisionError) -> None:
        """Run another bundle, which can be loaded; one on probation that never can is refused, too.

        Not for what is no fault of its own: an option, an engine that is not installed, the disk.
        """
        self._passed.add(bundle)
        _LOGGER.warning("bundle %s cannot be loaded, another one runs: %s", bundle[:12], error)
        probation = self._store.state().probation
        if probation is not None and probation.bundle == bundle and not isinstance(error, _NO_FAULT):
            self.refuse(bundle, f"cannot be loaded: {error.message}")

    def refuse(self, bundle: str, reason: str) -> None:
        """Refuse a bundle; where that cannot be written this process goes back all the same."""
        self._passed.add(bundle)
        try:
            self._store.refuse(bundle, reason)
        except StoreError as e:
            _LOGGER.warning("%s: bundle %s is not refused for the next start", e, bundle[:12])
        else:
            self._passed.discard(bundle)  # whoever activates it by hand wants it

    def folder(self, bundle: str | None) -> Path | None:
        """Return the folder of a bundle; None for the embedded reference."""
        return self._base if bundle is None else self._store.folder(bundle)


def short(bundle: str | None) -> str:
    """Return a bundle's id for people."""
    return "of the installation" if bundle is None else bundle[:12]
