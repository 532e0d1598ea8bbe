"""What a bin is made with where its maker leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.settings import DecisionSettings
from ecovision_edge.decision.verdict import Sorting
from ecovision_edge.rules import Rules
from ecovision_edge.triggers.addresses import open_trigger
from ecovision_edge.triggers.base import Trigger

if TYPE_CHECKING:
    from ecovision_edge.classifier import Classifier

__all__ = ["bins_of", "choose_decision", "fit_options", "identity_of"]


def choose_decision(
    rules: Sorting | None, options: DeciderOptions | None, trigger: Trigger | None, device: str
) -> tuple[DeciderOptions, Trigger | None]:
    """Return when a decision is made, and what it waits for: as given, else as the rules say.

    Raises:
        MissingDependencyError: the library of the rules' trigger is not installed.
    """
    if options is None:
        settings = rules.decision if isinstance(rules, Rules) else DecisionSettings()
        options = settings.options()
        if trigger is None and settings.trigger is not None:
            trigger = open_trigger(settings.trigger, device=device)
    return options if trigger is None else replace(options, gate="trigger"), trigger


def fit_options(options: DeciderOptions, classifier: Classifier) -> DeciderOptions:
    """Fit options to a model: one that sees the middle square alone has to be given a square."""
    return replace(options, aspect=1.0) if classifier.contract.resize.mode == "shortest" else options


def bins_of(rules: Sorting, labels: Sequence[str]) -> list[str]:
    """List each bin that an event may name."""
    costs = rules.expected_costs([1 / len(labels)] * len(labels), labels)
    return list(dict.fromkeys((*costs, rules.default)))


def identity_of(classifier: Classifier) -> BundleIdentity | None:
    """Return which bundle the classifier is of; None of a lone model file."""
    return None if classifier.bundle is None else classifier.bundle.identity
