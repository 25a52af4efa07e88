"""Identifiability: combinations of parameters that the data determine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError

# Belsley, Kuh and Welsch: dependencies are weak up to about 10, and moderate to strong from 30 on
_WEAK, _STRONG = 10.0, 30.0
# the parameters named for a direction make up this fraction of its square
_SHARE = 0.9
_NAMED = 4


@dataclass(frozen=True)
class Identifiability:
    """The result of `identifiability`.

    - `names`: of the n parameters.
    - `correlation`: of the parameters' errors, (n, n); NaN for one without influence on the data.
    - `singular_values`: of the scaled Jacobian, decreasing, one for each parameter with influence,
      (k,).
    - `directions`: combinations of the scaled parameters, unit length, a row per singular value,
      (k, n): a step of 1 along one changes the misfit by its singular value.
    - `unseen`: the parameters on which the misfit does not depend at all.
    """

    names: tuple[str, ...]
    correlation: Float[np.ndarray, "n n"]
    singular_values: Float[np.ndarray, " k"]
    directions: Float[np.ndarray, "k n"]
    unseen: tuple[str, ...]

    @property
    def condition_indices(self) -> Float[np.ndarray, " k"]:
        """Condition indices: the largest singular value over each; infinite if undetermined."""
        largest = self.singular_values[:1]
        positive = self.singular_values > 0
        return np.divide(
            largest,
            self.singular_values,
            out=np.full_like(self.singular_values, np.inf),
            where=positive,
        )

    def composition(self, direction: int = -1) -> dict[str, float]:
        """Share of each parameter in a direction, largest first, with sum 1."""
        shares = self.directions[direction] ** 2
        return {self.names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable")}

    @property
    def is_complete(self) -> bool:
        """True if the data determine every combination: condition indices below 30, all seen."""
        return not self.unseen and bool((self.condition_indices < _STRONG).all())

    def weakest(self) -> str:
        """One line: `cannot be told apart: gamma and prefactor (condition index 430)`.

        Below a condition index of 30 the line reads `hard to tell apart`, below 10 that all can be
        told apart. Parameters without influence on the data are named too.
        """
        unseen = f"not seen by the data: {_list(self.unseen)}" if self.unseen else ""
        if len(self.singular_values) < 2:
            return unseen or "a single parameter, seen by the data"
        index = float(self.condition_indices[-1])
        if index < _WEAK:
            told = "all others" if unseen else "all"
            line = f"{told} can be told apart (condition index {index:.2g})"
        else:
            how = "cannot be told apart" if index >= _STRONG else "hard to tell apart"
            size = (
                f"{index:.2g}" if index < 100 else f"{index:.0f}" if index < 1e4 else f"{index:.0e}"
            )
            line = f"{how}: {_list(self._weakest_names())} (condition index {size})"
        return f"{line}; {unseen}" if unseen else line

    def _weakest_names(self) -> tuple[str, ...]:
        shares = self.composition()
        enough = int(np.searchsorted(np.cumsum(list(shares.values())), _SHARE)) + 1
        # a dependency involves at least two, even if one dominates
        involved = list(shares)[: max(enough, 2)]
        more = len(involved) - _NAMED
        shown = set(involved if more <= 1 else involved[:_NAMED])
        # in the caller's order: shares are often equal up to round-off
        named = tuple(name for name in self.names if name in shown)
        return named if more <= 1 else (*named, f"{more} more")


def identifiability(
    jacobian: Float[Array | np.ndarray, "m n"], names: Sequence[str]
) -> Identifiability:
    r"""Analyse the identifiability of parameters from the Jacobian of a misfit.

    Each column of J is divided by its length, which removes units and sizes: S = J D. The singular
    value decomposition S = U diag(s) V^T gives combinations of parameters (rows of V^T), the best
    determined first; s_1 / s_k are the condition indices. The correlations of the parameters'
    errors are those of (S^T S)^{-1}, for independent errors of equal variance.

    **Arguments:**

    - `jacobian`: dr/dp, observations by parameters, as computed by `LevenbergMarquardt`.
    - `names`: one for each column.

    **Raises:** `InputError` for another number of names and for values that are not finite.

    Source: Belsley, Kuh and Welsch, Regression Diagnostics, 1980, chapter 3; Seber and Wild,
    Nonlinear Regression, 1989, chapter 3.
    """
    columns = np.asarray(jacobian, dtype=np.float64)
    m, n = columns.shape
    if len(names) != n:
        raise InputError(
            f"identifiability: {len(names)} names for a Jacobian of {n} columns; give one for each"
        )
    if not np.isfinite(columns).all():
        column = int(np.argmin(np.isfinite(columns).all(axis=0)))
        raise InputError(
            f"identifiability: the Jacobian's column of '{names[column]}' is not finite; take it "
            f"where every step of the rollout converged"
        )
    lengths = np.linalg.norm(columns, axis=0)
    seen = lengths > 0
    k = int(seen.sum())
    scaled = np.zeros((max(m, k), k))
    scaled[:m] = columns[:, seen] / lengths[seen]
    _, values, rows = np.linalg.svd(scaled, full_matrices=False)
    # below round-off a singular value is zero; its direction is still right
    floor = max(m, k) * np.finfo(float).eps * (values[0] if k else 0.0)
    covariance = (rows.T / np.maximum(values, floor) ** 2) @ rows
    deviation = np.sqrt(np.diag(covariance))
    correlation = np.full((n, n), np.nan)
    correlation[np.ix_(seen, seen)] = covariance / np.outer(deviation, deviation)
    directions = np.zeros((k, n))
    directions[:, seen] = rows
    return Identifiability(
        names=tuple(names),
        correlation=correlation,
        singular_values=np.where(values > floor, values, 0.0),
        directions=directions,
        unseen=tuple(name for name, was in zip(names, seen, strict=True) if not was),
    )


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
