"""What the pictures on which just one of two classifiers is right prove: McNemar's test, and an interval."""

from __future__ import annotations

import math

from ecovision_edge.base.stats import coin_tail, mcnemar_p

__all__ = ["drop_interval", "mcnemar", "photographs_needed"]

_Z95 = 1.959963984540054  # 97.5 % point of the normal distribution
_HALVINGS = 60  # of an interval of length 2: far below a float's own steps near 1


def mcnemar(worse: int, better: int, *, one_sided: bool = False) -> float:
    """Compute McNemar's exact p: did a fair coin split the pictures that just one gets right?

    Args:
        worse: Pictures on which the old one was right and the new one is wrong.
        better: Those on which the old one was wrong and the new one is right.
        one_sided: Ask only whether the new one is worse: the chance of `worse` or more of them. False:
            whether they differ at all (`base.stats.mcnemar_p`, which names the source).

    Returns:
        0 to 1; 1 where there is no such picture.

    Raises:
        ValueError: a negative count.
    """
    if worse < 0 or better < 0:
        raise ValueError(f"expected counts of 0 or more, found {worse} and {better}")
    if not one_sided:
        return mcnemar_p(worse, better)
    return coin_tail(worse + better, better)  # `worse` or more are at most `better` of the others


def drop_interval(worse: int, better: int, total: int) -> tuple[float, float]:
    """Compute Tango's 95 % score interval of the drop in accuracy, (worse - better) / total.

    It holds for any counts: of two that never differ on 10 photographs the drop may still be as much as 0.28.

    Args:
        worse: As of `mcnemar`.
        better: As of `mcnemar`.
        total: All pictures, those on which both are right or both wrong as well.

    Returns:
        Low and high, -1 to 1; above 0 the new one is worse. (-1, 1) for no pictures.

    Raises:
        ValueError: a negative count, or fewer pictures than differ.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998) 891-908.
    """
    if worse < 0 or better < 0 or total < worse + better:
        raise ValueError(f"expected 0 <= {worse}, 0 <= {better} and at least as many in all, found {total}")
    if total == 0:
        return -1.0, 1.0
    # The interval of the opposite is the mirror image.
    return -_upper(better, worse, total), _upper(worse, better, total)


def photographs_needed(margin: float) -> int:
    """Return how many photographs two that never differ need for a proof that the drop is at most `margin`.

    Where they do differ it takes more. `margin` is above 0, up to 1: the upper end of `drop_interval` for
    no difference is z^2 / (n + z^2).
    """
    return math.ceil(_Z95**2 * (1 - margin) / margin)


def _upper(worse: int, better: int, total: int) -> float:
    """Return the largest drop that the counts do not refute, by bisection: the score falls as it grows."""
    low, high = (worse - better) / total, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(worse, better, total, middle) < -_Z95:
            high = middle
        else:
            low = middle
    return high


def _score(worse: int, better: int, total: int, drop: float) -> float:
    """Return how many standard errors the drop that was seen lies above one that is supposed.

    `q` is the likeliest probability of `better` under that drop: the root of a quadratic.
    """
    seen = worse - better
    b = -worse - better + (2 * total - seen) * drop
    c = -better * drop * (1 - drop)
    q = (math.sqrt(max(b * b - 8 * total * c, 0.0)) - b) / (4 * total)
    variance = total * (2 * q + drop * (1 - drop))
    distance = seen - total * drop
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)
