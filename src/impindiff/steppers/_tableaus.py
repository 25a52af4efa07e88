"""Butcher tableaus of diagonally implicit Runge-Kutta methods, as published."""

import math
from typing import NamedTuple

Row = tuple[float, ...]


class Tableau(NamedTuple):
    """Butcher tableau: k_i = f(t + c_i dt, u + dt sum_{j <= i} a_ij k_j).

    The result is u_{n+1} = u + dt sum_i b_i k_i. Every implicit stage has the same `diagonal` a_ii,
    so that all share one Jacobian, and the method is stiffly accurate: b is the last row of a.

    - `below`: the rows of a left of the diagonal; the first stage is explicit if `explicit_first`.
    - `nodes`: c.
    - `embedded`: the weights of an embedded method of the order below, if there is one.
    - `explicit`: the rows (left of the diagonal) of the explicit method that goes with it in an
      IMEX pair; it has the same c, b and embedded weights.
    """

    diagonal: float
    below: tuple[Row, ...]
    nodes: Row
    explicit_first: bool = False
    embedded: Row | None = None
    explicit: tuple[Row, ...] | None = None

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.nodes)

    @property
    def weights(self) -> Row:
        """The weights b."""
        return (*self.below[-1], self.diagonal)


_ALEXANDER = 1 - math.sqrt(0.5)

# Alexander, SIAM J. Numer. Anal. 14 (1977), theorem 5
SDIRK2 = Tableau(
    diagonal=_ALEXANDER,
    below=((), (1 - _ALEXANDER,)),
    nodes=(_ALEXANDER, 1.0),
)

# Kennedy and Carpenter (2003), ARK3(2)4L[2]SA
KEN_CARP_3 = Tableau(
    diagonal=1767732205903 / 4055673282236,
    below=(
        (),
        (1767732205903 / 4055673282236,),
        (2746238789719 / 10658868560708, -640167445237 / 6845629431997),
        (
            1471266399579 / 7840856788654,
            -4482444167858 / 7529755066697,
            11266239266428 / 11593286722821,
        ),
    ),
    nodes=(0.0, 1767732205903 / 2027836641118, 3 / 5, 1.0),
    explicit_first=True,
    embedded=(
        2756255671327 / 12835298489170,
        -10771552573575 / 22201958757719,
        9247589265047 / 10645013368117,
        2193209047091 / 5459859503100,
    ),
    explicit=(
        (),
        (1767732205903 / 2027836641118,),
        (5535828885825 / 10492691773637, 788022342437 / 10882634858940),
        (
            6485989280629 / 16251701735622,
            -4246266847089 / 9704473918619,
            10755448449292 / 10357097424841,
        ),
    ),
)

# Kennedy and Carpenter (2003), ARK4(3)6L[2]SA
KEN_CARP_4 = Tableau(
    diagonal=1 / 4,
    below=(
        (),
        (1 / 4,),
        (8611 / 62500, -1743 / 31250),
        (5012029 / 34652500, -654441 / 2922500, 174375 / 388108),
        (
            15267082809 / 155376265600,
            -71443401 / 120774400,
            730878875 / 902184768,
            2285395 / 8070912,
        ),
        (82889 / 524892, 0.0, 15625 / 83664, 69875 / 102672, -2260 / 8211),
    ),
    nodes=(0.0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1.0),
    explicit_first=True,
    embedded=(
        4586570599 / 29645900160,
        0.0,
        178811875 / 945068544,
        814220225 / 1159782912,
        -3700637 / 11593932,
        61727 / 225920,
    ),
    explicit=(
        (),
        (1 / 2,),
        (13861 / 62500, 6889 / 62500),
        (
            -116923316275 / 2393684061468,
            -2731218467317 / 15368042101831,
            9408046702089 / 11113171139209,
        ),
        (
            -451086348788 / 2902428689909,
            -2682348792572 / 7519795681897,
            12662868775082 / 11960479115383,
            3355817975965 / 11060851509271,
        ),
        (
            647845179188 / 3216320057751,
            73281519250 / 8382639484533,
            552539513391 / 3454668386233,
            3354512671639 / 8306763924573,
            4040 / 17871,
        ),
    ),
)
