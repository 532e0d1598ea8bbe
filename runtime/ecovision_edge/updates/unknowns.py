"""Whether a new bundle calls more items unknown than the one before: a sequential test with a stated error.

The rate of the old bundle is known from as many items as it decided, so it is taken at the upper end of its
confidence interval; "well beyond" it begins at half as much again in odds. Against every rate up to there the
new bundle's items are weighed one by one: the weight is how much likelier they are under the rates above it,
all of them counted alike, than under the one at the limit. Under any rate up to the limit that weight is a
supermartingale which begins at 1, so it reaches 1 / error with a chance of `error` at most, however long one
looks and however often.

Sources: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of
the binomial", Biometrika 26 (1934) 404-413; J. Ville, "Etude critique de la notion de collectif" (1939); H.
Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970)
1397-1409 (the mixture).
"""

from __future__ import annotations

import math

from ecovision_edge.base.records import dataclass

__all__ = ["ERROR", "Counts", "UnknownsTest", "binomial_cdf", "upper_limit"]

ERROR = 0.01
"""The chance that a bundle as good as the old one is taken for a worse one, in its whole probation."""

_FEWEST = 10  # items: people bring things of one kind one after the other, which chance does not know
_BEYOND = 1.5  # odds of the limit over those of the old rate
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Counts:
    """Items that were decided, and how many of them were called unknown."""

    items: int = 0
    unknowns: int = 0

    def plus(self, *, unknown: bool) -> Counts:
        """Return them with an item more."""
        return Counts(self.items + 1, self.unknowns + unknown)

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.unknowns} of {self.items} items"


class UnknownsTest:
    """Compares the items of a new bundle with those of the old one.

    Args:
        old: What the old bundle made of its items; with none nothing can be said.
        error: The chance of a false alarm, above 0 and below 1.
    """

    def __init__(self, old: Counts, error: float = ERROR) -> None:
        self.old = old
        bound = upper_limit(old, error / 2)
        odds = math.inf if bound >= 1 else _BEYOND * bound / (1 - bound)
        self.limit = 1.0 if odds == math.inf else odds / (1 + odds)
        """The rate up to which the new bundle is as good as the old one, 0 to 1."""
        self._needed = math.log(2 / error)

    def is_worse(self, new: Counts) -> bool:
        """Return whether the new bundle's rate is proved to be beyond the limit; asked after each item."""
        return new.items >= _FEWEST and self.log_weight(new) >= self._needed

    def log_weight(self, new: Counts) -> float:
        """Return the natural logarithm of how much the items speak for a rate beyond the limit.

        0 where they do not.
        """
        n, k, limit = new.items, new.unknowns, self.limit
        if k <= n * limit:  # no rate beyond the limit is likelier
            return 0.0
        # The integral of q^k (1-q)^(n-k) over (limit, 1), by the tail of a binomial distribution.
        integral = (
            math.lgamma(k + 1)
            + math.lgamma(n - k + 1)
            - math.lgamma(n + 2)
            + _log_cdf(k, n + 1, limit)
            - math.log1p(-limit)
        )
        return integral - k * math.log(limit) - (n - k) * math.log1p(-limit)


def upper_limit(counts: Counts, error: float) -> float:
    """Return the rate that is exceeded with a chance of `error` at most (Clopper-Pearson, one-sided)."""
    if counts.unknowns >= counts.items:
        return 1.0
    low, high = counts.unknowns / counts.items, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if binomial_cdf(counts.unknowns, counts.items, middle) > error:
            low = middle
        else:
            high = middle
    return high


def binomial_cdf(most: int, trials: int, p: float) -> float:
    """Compute the chance of `most` successes at most in so many trials of chance `p`, above 0 and below 1."""
    return math.exp(_log_cdf(most, trials, p))


def _log_cdf(most: int, trials: int, p: float) -> float:
    if most >= trials:
        return 0.0
    log_p, log_q = math.log(p), math.log1p(-p)
    term = trials * log_q
    terms = [term]
    for i in range(most):
        term += math.log((trials - i) / (i + 1)) + log_p - log_q
        terms.append(term)
    top = max(terms)
    return min(0.0, top + math.log(math.fsum(math.exp(t - top) for t in terms)))
