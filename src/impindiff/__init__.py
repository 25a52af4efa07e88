"""Im-PiNDiff: implicit hybrid neural-physics PDE models in JAX."""
