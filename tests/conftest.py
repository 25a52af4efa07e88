"""All tests run in float64: they check mathematics."""

import jax

jax.config.update("jax_enable_x64", True)
