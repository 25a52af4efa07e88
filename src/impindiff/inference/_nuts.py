"""Draws from the posterior without the Gaussian approximation, for few parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.inference._posterior import FlatParameters, Linearization, flat_parameters, laplace
from impindiff.training import TrajectoryLoss

M = TypeVar("M", bound=eqx.Module)
_MOST = 30
_CHAINS = 4
# above this the chains have not forgotten their starts (Vehtari et al., 2021)
_RHAT = 1.01


@dataclass(frozen=True)
class Sampled(Generic[M]):
    """The result of `nuts`.

    - `parameters`: those of the fit.
    - `values`: the draws, chain after chain, (draws, n).
    - `r_hat`: of each parameter, the potential scale reduction between and within chains, (n,).
    - `divergences`: number of draws whose trajectory diverged.
    """

    parameters: FlatParameters[M]
    values: Float[Array, "draws n"]
    r_hat: Float[Array, " n"]
    divergences: int

    @property
    def converged(self) -> bool:
        """True if no trajectory diverged and every r_hat is below 1.01."""
        return self.divergences == 0 and bool((self.r_hat < _RHAT).all())

    def of(self, quantity: Callable[[M], PyTree[Array]]) -> PyTree[Array]:
        """Evaluate a quantity for every draw, along a leading axis."""
        model = self.parameters.model
        at = jax.jit(lambda draws: jax.lax.map(lambda v: quantity(model(v)), draws))
        return at(self.values)

    def standard_deviation(self, quantity: Callable[[M], PyTree[Array]]) -> PyTree[Array]:
        """Standard deviation of each entry of `quantity(model)` over the draws."""
        return jax.tree.map(lambda x: jnp.std(x, axis=0, ddof=1), self.of(quantity))


def nuts(
    model: M,
    loss: TrajectoryLoss,
    *,
    freeze: Sequence[str] = (),
    draws: int = 1000,
    warmup: int = 300,
    linearization: Linearization | None = None,
    key: PRNGKeyArray | None = None,
) -> Sampled[M]:
    r"""Draw from the posterior by the no-U-turn sampler, as a check of `laplace`.

    The density of the parameters is that of independent normal errors, one over the loss's weights,
    and of the loss's prior: $\log p = -\tfrac12 \sum_i r_i^2$ with all weighted residuals r.
    Unlike `laplace` it takes no Gaussian for it. Four chains start from draws of the Laplace
    approximation, in whose principal axes they move. The gradient is that of training.

    Needs BlackJAX, `pip install 'impindiff[nuts]'`. Cost: about 3 to 15 gradients per draw.

    **Arguments:**

    - `model`: fitted, at a minimum of `loss`, with at most 30 parameters.
    - `loss`: with weights of one over the data's standard deviations.
    - `freeze`: parts of the model that count as known.
    - `draws`, `warmup`: in all, and steps of each chain before, which set the length of a step.
    - `linearization`: misfit and Jacobian at the model, if known already, see `laplace`.
    - `key`: default a fixed one.

    **Returns:** the draws and their diagnostics.

    **Raises:** `InputError` without BlackJAX, for more parameters, for parameters that the data
    leave undetermined, and for a loss with a penalty.

    Source: Hoffman and Gelman, "The No-U-Turn sampler", JMLR 15 (2014); Vehtari et al., Bayesian
    Analysis 16 (2021).
    """
    try:
        import blackjax  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "nuts: needs the package blackjax; install it by pip install 'impindiff[nuts]'"
        ) from None
    flat = flat_parameters(model, freeze)
    n = flat.values.size
    if n > _MOST:
        raise InputError(
            f"nuts: is for at most {_MOST} parameters, the model has {n}; freeze some, or use "
            f"laplace"
        )
    gaussian = laplace(model, loss, freeze=freeze, errors="given", linearization=linearization)
    if not bool(jnp.isfinite(gaussian.factor).all()):
        raise InputError(
            "nuts: the data leave a combination of parameters undetermined; give the loss a prior, "
            "or freeze one of them (inference.identifiability names it)"
        )
    centre = flat.values + (0.0 if gaussian.to_minimum is None else gaussian.to_minimum)

    def log_density(z: Float[Array, " n"]) -> Float[Array, ""]:
        found, result = loss.misfit(flat.model(centre + gaussian.factor @ z), None)
        value = -jnp.sum((found * loss.size()) ** 2) / 2
        return jnp.where(jnp.all(result.stats.converged), value, -jnp.inf)

    start_key, warm_key, draw_key = jax.random.split(jax.random.key(0) if key is None else key, 3)
    starts = jax.random.normal(start_key, (_CHAINS, n), flat.values.dtype)
    adaptation: Any = blackjax.window_adaptation(blackjax.nuts, log_density)
    each = -(-draws // _CHAINS)

    @jax.jit
    def chain(start: Array, warm: PRNGKeyArray, own: PRNGKeyArray) -> tuple[Array, Array]:
        (state, parameters), _ = adaptation.run(warm, start, num_steps=warmup)
        kernel: Any = blackjax.nuts(log_density, **parameters)

        def step(state: Any, key: PRNGKeyArray) -> tuple[Any, tuple[Array, Array]]:
            state, info = kernel.step(key, state)
            return state, (state.position, info.is_divergent)

        return jax.lax.scan(step, state, jax.random.split(own, each))[1]

    keys = jax.random.split(warm_key, _CHAINS), jax.random.split(draw_key, _CHAINS)
    # Optax and BlackJAX mix integers and floats, which JAX's strict mode refuses
    with jax.numpy_dtype_promotion("standard"):
        positions, diverged = jax.lax.map(lambda x: chain(*x), (starts, *keys))
    values = centre + positions.reshape(-1, n) @ gaussian.factor.T
    return Sampled(flat, values[:draws], jnp.atleast_1d(_r_hat(positions)), int(jnp.sum(diverged)))


def _r_hat(chains: Float[Array, "chains draws n"]) -> Float[Array, " n"]:
    """The split potential scale reduction: chains cut in half, between against within."""
    half = chains.shape[1] // 2
    split = jnp.concatenate([chains[:, :half], chains[:, half : 2 * half]])
    within = jnp.mean(jnp.var(split, axis=1, ddof=1), axis=0)
    between = jnp.var(jnp.mean(split, axis=1), axis=0, ddof=1)
    return jnp.sqrt((half - 1) / half + between / within)
