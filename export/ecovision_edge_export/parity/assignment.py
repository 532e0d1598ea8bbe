"""The best pairing of rows with columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_assignment"]


def best_assignment(gain: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """For each row its column, each column once, so that the sum of the gains is largest.

    Of equal sums, one that keeps more rows on their own number. O(n^3).

    Source: H. W. Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics Quarterly
    2 (1955) 83-97; with shortest augmenting paths and potentials.

    Args:
        gain: `(n, n)`, of absolute values up to 2**31.
    """
    n = len(gain)
    cost = -(gain * (n + 1) + np.eye(n, dtype=np.int64)).astype(np.float64)  # exact: below 2**53
    row_potential, column_potential = np.zeros(n), np.zeros(n)
    row_of = np.full(n, -1)
    for row in range(n):
        distance, came_from = np.full(n, np.inf), np.full(n, -1)
        done = np.zeros(n, bool)
        rows, column, current = [row], -1, row
        while True:
            reduced = cost[current] - row_potential[current] - column_potential
            closer = ~done & (reduced < distance)
            distance[closer], came_from[closer] = reduced[closer], column
            column = int(np.where(done, np.inf, distance).argmin())
            step = distance[column]
            row_potential[rows] += step
            column_potential[done] -= step
            distance[~done] -= step
            done[column] = True
            if row_of[column] < 0:
                break
            current = int(row_of[column])
            rows.append(current)
        while column >= 0:
            before = int(came_from[column])
            row_of[column] = row if before < 0 else row_of[before]
            column = before
    columns = np.empty(n, np.intp)
    columns[row_of] = np.arange(n)
    return columns
