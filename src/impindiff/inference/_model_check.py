"""Check of a fitted model: residuals that could be the errors of its data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import chdtrc

# probability that a test rejects a right model, over all tests together
_LEVEL = 0.01
_PERMUTATIONS = 999
# below this a correlation is of no consequence, however many values show it
_NEGLIGIBLE = 0.1
_NEGLIGIBLE_EXCESS = 0.05
# a series with fewer values says nothing about a pattern
_SHORTEST = 5
_MOST_POINTS = 20_000

_Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class ResidualTest:
    """One test of the residuals.

    - `name`: "size", "in time", "in space", "at places" or "at times".
    - `statistic`: the mean square of the residuals over their standard deviations, per degree of
      freedom ("size"); the correlation of neighbouring residuals ("in time", "in space"); or the
      offset that residuals share, over their root mean square ("at places", "at times").
    - `probability`: that a right model has a statistic as large.
    - `rejects`: True if this is below the level and the statistic is of consequence.
    """

    name: str
    statistic: float
    probability: float
    rejects: bool


@dataclass(frozen=True)
class ModelCheck:
    """The result of `check_residuals`.

    - `tests`: those that the data allow.
    - `explains`: False if one rejects; None without a test.
    """

    tests: tuple[ResidualTest, ...]

    @property
    def explains(self) -> bool | None:
        """True if no test rejects the model; None without tests."""
        return not any(test.rejects for test in self.tests) if self.tests else None

    def verdict(self) -> str:
        """One sentence."""
        if self.explains is None:
            return "too few values to check the model"
        if self.explains:
            return "the model explains these data"
        return f"the model does not explain these data: {'; '.join(self._reasons())}"

    def _reasons(self) -> list[str]:
        return [_reason(test) for test in self.tests if test.rejects]


def check_residuals(
    residuals: Float[np.ndarray, " point"],
    time: Float[np.ndarray, " point"],
    position: Float[np.ndarray, "point dimension"],
    series: Shaped[np.ndarray, " point"],
    *,
    parameters: float = 0.0,
    stated: Bool[np.ndarray, " point"] | None = None,
    seed: int = 0,
) -> ModelCheck:
    """Test whether residuals of a fit look like independent errors of the stated size.

    A model that lacks something leaves a pattern: neighbours in time or space are off to the same
    side, or residuals are larger than the data's errors. Five tests, at a level of 1 % together:

    - size: the sum of squares over the standard deviations against chi-square, where these are
      stated;
    - in time: the correlation of each residual with the next at the same place of the same series;
    - in space: the correlation of each residual with its nearest neighbour's at the same time;
    - at places: the offset that the residuals of a place share at all times;
    - at times: the offset that the residuals of a time share at all places.

    The last four are judged by permutations within a series, so that no distribution of the errors
    is assumed. Statistics below 0.1, and squares less than 5 % too large, never reject: with enough
    values a test finds every approximation, such as that of the grid.

    **Arguments:**

    - `residuals`: predicted minus measured, over the standard deviations.
    - `series`: which values belong together, such as one quantity of one sample.
    - `parameters`: number of parameters fitted to these values, a fraction where a prior restrains
      them.
    - `stated`: where the standard deviations are known; None: nowhere.
    - `seed`: of the permutations.

    **Returns:** the tests and a verdict.

    Source: Gelman et al., "Bayesian Data Analysis", 2013, chapter 6; Good, "Permutation, Parametric
    and Bootstrap Tests of Hypotheses", 2005, chapter 7.
    """
    known = np.isfinite(residuals)
    residuals, time, position, series = (x[known] for x in (residuals, time, position, series))
    stated = np.zeros(len(residuals), bool) if stated is None else np.asarray(stated)[known]
    generator = np.random.default_rng(seed)
    if len(residuals) > _MOST_POINTS:
        # whole series of neighbours: a thinned series has no neighbours left
        few = _some(time, position, generator)
        residuals, time, position, series, stated = (
            x[few] for x in (residuals, time, position, series, stated)
        )
    groups = np.unique(series.astype(str), return_inverse=True)[1]
    found = []
    freedom = stated.sum() - parameters * stated.mean() if len(stated) else 0.0
    if freedom > 0:
        total = float(np.sum(residuals[stated] ** 2))
        found.append(("size", total / freedom, float(chdtrc(freedom, total))))
    statistics: dict[str, _Statistic] = {}
    for name, pairs in (
        ("in time", _next_in_time(time, position, groups)),
        ("in space", _nearest_in_space(time, position, groups)),
    ):
        if len(pairs) >= _SHORTEST:
            statistics[name] = partial(_correlation, pairs)
    for name, key in (("at places", position), ("at times", time[:, None])):
        shared = np.unique(np.column_stack([groups, key]), axis=0, return_inverse=True)[1].ravel()
        if len(shared) and len(shared) >= 2 * (shared.max() + 1) > 2:
            statistics[name] = partial(_offset, shared)
    for name, (seen, probability) in _permuted(residuals, groups, statistics, generator).items():
        found.append((name, seen, probability))
    level = _LEVEL / max(len(found), 1)
    return ModelCheck(
        tuple(
            ResidualTest(
                name, statistic, probability, probability < level and _matters(name, statistic)
            )
            for name, statistic, probability in found
        )
    )


def _matters(name: str, statistic: float) -> bool:
    return statistic > (1 + _NEGLIGIBLE_EXCESS if name == "size" else _NEGLIGIBLE)


def _reason(test: ResidualTest) -> str:
    if test.name == "size":
        return f"residuals are {math.sqrt(test.statistic):.2g} times the stated errors"
    shared = {"at places": "a place", "at times": "a time"}.get(test.name)
    if shared is not None:
        return f"residuals of {shared} share an offset ({test.statistic:.2f} of their size)"
    where = {"in time": "at the next time", "in space": "at the nearest place"}[test.name]
    return f"residuals repeat {where} (correlation {test.statistic:.2f})"


def _some(time: np.ndarray, position: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of some places, with all their times, and of some times, with all their places."""
    place = np.unique(position, axis=0, return_inverse=True)[1].ravel()
    when = np.unique(time, return_inverse=True)[1]
    share = math.sqrt(_MOST_POINTS / len(time)) / 2
    chosen_places = generator.random(place.max() + 1) < share
    chosen_times = generator.random(when.max() + 1) < share
    rows = np.flatnonzero(chosen_places[place] | chosen_times[when])
    return rows[:_MOST_POINTS]


def _next_in_time(time: np.ndarray, position: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Pairs of rows: each and the next in time, of one place of one series."""
    place = np.unique(position, axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((time, place, groups))
    one, other = order[:-1], order[1:]
    same = (groups[one] == groups[other]) & (place[one] == place[other])
    return np.column_stack([one[same], other[same]])


def _nearest_in_space(time: np.ndarray, position: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Pairs of rows: each and its nearest neighbour at the same time in the same series."""
    # slow to import, and a problem's file imports this module
    from scipy.spatial import KDTree

    spread = np.ptp(position, axis=0)
    scaled = position / np.where(spread > 0, spread, 1.0)
    key = np.unique(np.column_stack([groups, time]), axis=0, return_inverse=True)[1].ravel()
    pairs = []
    order = np.argsort(key, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(key))[:-1]):
        if len(np.unique(scaled[rows], axis=0)) < 2 or len(rows) < _SHORTEST:
            continue
        near = np.asarray(KDTree(scaled[rows]).query(scaled[rows], k=2)[1])
        pairs.append(np.column_stack([rows, rows[near[:, 1]]]))
    return np.concatenate(pairs) if pairs else np.empty((0, 2), int)


def _correlation(pairs: np.ndarray, values: np.ndarray) -> float:
    """Correlation over the pairs, for values of unit size."""
    return float(np.mean(values[pairs[:, 0]] * values[pairs[:, 1]]))


def _offset(shared: np.ndarray, values: np.ndarray) -> float:
    """Root mean square of the offset that groups share, for values of unit size."""
    count = np.bincount(shared)
    # the square of a mean exceeds that of the offset by the variance of a mean
    squares = np.bincount(shared, values) ** 2 / count - 1.0
    return math.sqrt(max(0.0, float(squares.sum() / count.sum())))


def _permuted(
    residuals: np.ndarray,
    groups: np.ndarray,
    statistics: dict[str, _Statistic],
    generator: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """(each statistic, its probability among permutations within each series)."""
    size = np.sqrt(np.bincount(groups, residuals**2) / np.bincount(groups))[groups]
    scaled = np.divide(residuals, size, out=np.zeros_like(residuals), where=size > 0)
    order = np.argsort(groups, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    seen = {name: of(scaled) for name, of in statistics.items()}
    larger, shuffled = dict.fromkeys(statistics, 1), scaled.copy()
    for _ in range(_PERMUTATIONS if statistics else 0):
        for own in rows:
            shuffled[own] = generator.permutation(scaled[own])
        for name, of in statistics.items():
            larger[name] += of(shuffled) >= seen[name]
    return {name: (seen[name], larger[name] / (_PERMUTATIONS + 1)) for name in statistics}
