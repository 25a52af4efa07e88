"""What a rollout keeps for its backward pass."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

Body = Callable[[PyTree[Any], PyTree[Any]], tuple[PyTree[Any], PyTree[Any]]]


class AbstractCheckpointing(eqx.Module):
    """A checkpoint schedule: how the loop over steps is run and differentiated."""

    @abc.abstractmethod
    def scan(
        self, body: Body, start: PyTree[Any], xs: PyTree[Any]
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """`jax.lax.scan(body, start, xs)`, with this schedule's storage."""


class StoreStates(AbstractCheckpointing):
    """Keep the state of every step; re-run no solve.

    Memory of the backward pass: one state a step (the steppers recompute everything else).
    """

    def scan(
        self, body: Body, start: PyTree[Any], xs: PyTree[Any]
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """See `AbstractCheckpointing.scan`."""
        return jax.lax.scan(body, start, xs)
