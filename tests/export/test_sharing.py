"""Which targets share an int8 model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from ecovision_edge.bundle.targets import TARGETS, Target
from ecovision_edge_export.int8.costs import SIGNED
from ecovision_edge_export.int8.fidelity import Fidelity
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.sharing import MOST_LOSS, Shared, share
from ecovision_edge_export.targets import resolve_targets
from ecovision_edge_export.tflite.choose import COSTS, TfliteTrial, tflite_loss

if TYPE_CHECKING:
    from collections.abc import Callable


def losing(losses: Mapping[tuple[Target, Target], float]) -> Callable[[Target, Target], float]:
    """What is not named loses all."""
    return lambda lead, target: losses.get((lead, target), 1.0)


def served(shares: tuple[Shared, ...]) -> dict[Target, tuple[Target, ...]]:
    return {one.lead: one.targets for one in shares}


def test_a_lone_target_has_its_own() -> None:
    """Nothing is asked."""
    assert served(share(("arm64",), losing({}))) == {"arm64": ("arm64",)}


def test_the_fewest_models_that_serve_all_are_taken() -> None:
    """Not that of the first target, but the one that all can live with; else as few as can be."""
    targets: tuple[Target, ...] = ("arm64-dotprod", "arm64", "x86")
    one = share(targets, losing({("arm64", "x86"): 0.0, ("arm64", "arm64-dotprod"): MOST_LOSS}))
    assert served(one) == {"arm64": ("x86", "arm64", "arm64-dotprod")}
    assert str(one[0]) == "for arm64, serves x86 (+0.0 % of cost), arm64-dotprod (+5.0 % of cost)"
    assert one[0].to_json() == {
        "target": "arm64",
        "serves": ["x86 (+0.0 % of cost)", "arm64-dotprod (+5.0 % of cost)"],
    }
    two = share(targets, losing({("arm64", "x86"): 0.04, ("x86", "arm64"): 0.01}))
    assert served(two) == {"arm64-dotprod": ("arm64-dotprod",), "x86": ("x86", "arm64")}
    assert served(share(targets, losing({}))) == {t: (t,) for t in targets}


def test_the_order_in_which_targets_are_named_does_not_matter() -> None:
    losses = losing({("arm64", "arm64-dotprod"): 0.034, ("arm64-dotprod", "arm64"): 0.07})
    for targets in (("arm64", "arm64-dotprod"), ("arm64-dotprod", "arm64")):
        assert served(share(targets, losses)) == {"arm64": ("arm64", "arm64-dotprod")}


def test_signed_activations_are_shared_with_no_cpu_that_they_slow_down() -> None:
    """By the figures that were measured: unsigned ones serve all, signed ones only their own kind."""
    unsigned = {target: 1 / SIGNED[target] - 1 for target in ("arm64-dotprod", "arm64-fp16")}
    assert all(loss <= MOST_LOSS for loss in unsigned.values())
    assert all(SIGNED[t] - 1 > MOST_LOSS for t in TARGETS if t not in unsigned)


def trial(blocks: int, *, half: bool = False) -> TfliteTrial:
    recipe = dataclasses.replace(Recipe(), fp32_blocks=blocks)
    return TfliteTrial(recipe, f"{blocks}{half}".encode(), Fidelity(1.0, 1.0, 30.0), (), half)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"arm64": 1, "arm64-dotprod": 1}, {"arm64": ("arm64", "arm64-dotprod")}),
        ({"arm64": 1, "arm64-dotprod": 0}, {"arm64-dotprod": ("arm64", "arm64-dotprod")}),
        ({"x86": 1, "arm64-dotprod": -1}, {"x86": ("x86",), "arm64-dotprod": ("arm64-dotprod",)}),
        ({"x86-vnni": 3, "arm64": 3}, {"x86-vnni": ("x86-vnni", "arm64")}),  # not measured, but the same
        ({"x86-vnni": 3, "arm64": 1}, {"x86-vnni": ("x86-vnni",), "arm64": ("arm64",)}),  # not measured
    ],
)
def test_tflite_is_shared_by_the_instructions_that_were_counted(
    blocks: dict[Target, int], expected: dict[Target, tuple[Target, ...]]
) -> None:
    firsts = {target: trial(number) for target, number in blocks.items()}
    assert served(share(tuple(firsts), tflite_loss(firsts))) == expected


def test_what_is_made_for_fp16_serves_no_cpu_without_it() -> None:
    """In fp32 its depthwise layers cost more than what fp16 saves."""
    firsts: dict[Target, TfliteTrial] = {"arm64-fp16": trial(1, half=True), "arm64-dotprod": trial(1)}
    assert len(share(tuple(firsts), tflite_loss(firsts))) == 2
    assert COSTS.keys() == set(TARGETS)


def test_targets_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order given; `auto` is this machine's, and no target comes twice."""
    monkeypatch.setattr("ecovision_edge_export.targets.target_of", lambda cpu: "x86")
    assert resolve_targets("arm64, x86-vnni") == ("arm64", "x86-vnni")
    assert resolve_targets("auto,x86,arm64") == ("x86", "arm64")
