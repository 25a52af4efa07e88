"""Peak memory of a traced program, from its jaxpr: nothing is compiled or run."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

# Elementwise primitives: XLA fuses them into their only consumer, so they allocate nothing. It
# fuses `pad`, by which operators join faces, only sometimes: not listed, it counts as allocated.
_FUSED = frozenset({
    "abs", "add", "add_any", "and", "broadcast_in_dim", "concatenate", "convert_element_type",
    "copy", "cos", "div", "eq", "exp", "expand_dims", "ge", "gt", "integer_pow", "iota",
    "is_finite", "le", "log", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or",
    "pow", "reshape", "rev", "rsqrt", "select_n", "sign", "sin", "slice", "sqrt", "squeeze",
    "stop_gradient", "sub", "tanh",
})  # fmt: skip
# Linear solves and the operators' products: their internals are not part of the jaxpr.
_OPAQUE = frozenset({"linear_solve", "linear_solution", "inflow_by_fluxes", "inflow_by_star"})
_REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or"})


def peak_bytes(jaxpr: ClosedJaxpr) -> int:
    """Peak bytes of the values computed in a program.

    Every value is freed after its last use; an operation that frees an operand of the size of its
    result overwrites it; a loop updates its carry in place. Arguments and results of the whole
    program are not counted, as in `temp_size_in_bytes` of XLA's memory analysis. XLA fuses
    operations (less memory) and packs buffers with gaps (more).
    """
    results = {v for v in jaxpr.jaxpr.outvars if isinstance(v, Var)}
    return _peak(jaxpr.jaxpr, frozenset(), frozenset(results))


def _bytes(variables: Iterable[Any]) -> int:
    # values without a size are no arrays but tokens that order effects
    arrays = (v.aval for v in variables if hasattr(v.aval, "size"))
    return sum(aval.size * aval.dtype.itemsize for aval in arrays)


def _peak(jaxpr: Jaxpr, owned: frozenset[Var], elsewhere: frozenset[Var] = frozenset()) -> int:
    """The peak of `jaxpr`: its computed values, and its owned arguments until their last use.

    - `elsewhere`: results whose memory is counted by a caller.
    """
    fused, last_use = _uses(jaxpr)
    live = {v: _bytes([v]) for v in owned}
    now = peak = sum(live.values())
    for i, equation in enumerate(jaxpr.eqns):
        dying = {v for v in live if last_use.get(v, i) <= i}
        freed = sum(live.pop(v) for v in dying)
        results = [v for v in equation.outvars if v in last_use and v not in elsewhere]
        inside = _inside(equation, frozenset(dying))
        kept = 0 if fused[i] else _bytes(results)
        # without inner programs, the result overwrites a dying operand of sufficient size
        during = max(kept, freed) if inside is None else max(inside, kept, freed)
        peak = max(peak, now - freed + during)
        live |= {v: 0 if kept == 0 else _bytes([v]) for v in results}
        now += kept - freed
    return peak


def _uses(jaxpr: Jaxpr) -> tuple[list[bool], dict[Var, int]]:
    """Flags of operations fused into their consumer, and each value's last use.

    Operands of a fused operation live until its consumer runs.
    """
    readers: dict[Var, list[int]] = {}
    for i, equation in enumerate(jaxpr.eqns):
        for v in {v for v in equation.invars if isinstance(v, Var)}:
            readers.setdefault(v, []).append(i)
    results = {v for v in jaxpr.outvars if isinstance(v, Var)}
    last_use = {v: len(jaxpr.eqns) for v in results}
    runs_at = list(range(len(jaxpr.eqns)))
    fused = [False] * len(jaxpr.eqns)
    for i, equation in reversed(list(enumerate(jaxpr.eqns))):
        by = readers.get(equation.outvars[0], []) if equation.primitive.name in _FUSED else []
        if len(by) == 1 and equation.outvars[0] not in results:
            fused[i] = jaxpr.eqns[by[0]].primitive.name in _FUSED | _REDUCTIONS
        if fused[i]:
            runs_at[i] = runs_at[by[0]]
        for v in equation.invars:
            if isinstance(v, Var):
                last_use[v] = max(last_use.get(v, i), runs_at[i])
    return fused, last_use


def _inside(equation: JaxprEqn, dying: frozenset[Var]) -> int | None:
    """Bytes that an operation takes while its inner programs run; None if it has none."""
    name, parameters = equation.primitive.name, equation.params
    if name == "scan":
        body = parameters["jaxpr"].jaxpr
        consts, carry = parameters["num_consts"], parameters["num_carry"]
        stacked = _bytes(equation.outvars[carry:])
        return stacked + _peak(body, frozenset(body.invars[consts:]))
    if name == "while":
        body = parameters["body_jaxpr"].jaxpr
        return _peak(body, frozenset(body.invars[parameters["body_nconsts"] :]))
    if name == "custom_linear_solve":
        return _peak(parameters["jaxprs"].solve.jaxpr, frozenset())
    if name in _OPAQUE:
        programs = [_implementation(equation)]
    else:
        programs = [
            p.jaxpr if isinstance(p, ClosedJaxpr) else p
            for p in jax.tree.leaves(list(parameters.values()), is_leaf=_is_program)
            if _is_program(p)
        ]
    if not programs:
        return None
    return max(_peak(p, _handed_over(p, equation, dying)) for p in programs)


def _handed_over(program: Jaxpr, equation: JaxprEqn, dying: frozenset[Var]) -> frozenset[Var]:
    """The arguments of an operation's program that are not used afterwards."""
    arguments = equation.invars[len(equation.invars) - len(program.invars) :]
    if len(arguments) != len(program.invars):
        return frozenset()
    pairs = zip(program.invars, arguments, strict=True)
    return frozenset(p for p, a in pairs if not isinstance(a, Literal) and a in dying)


def _implementation(equation: JaxprEqn) -> Jaxpr:
    arrays: list[Any] = [v.aval for v in equation.invars]
    arguments = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in arrays]
    run = functools.partial(equation.primitive.impl, **equation.params)
    return jax.make_jaxpr(run)(*arguments).jaxpr


def _is_program(parameter: Any) -> bool:
    return isinstance(parameter, ClosedJaxpr | Jaxpr)
