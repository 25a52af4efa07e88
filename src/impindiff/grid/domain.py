"""The part of a grid that is inside a domain: fractions of its cells and faces."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from impindiff.errors import InputError

SignedDistance: TypeAlias = Callable[..., Any]
DomainLike: TypeAlias = Any

# Cells with a smaller part inside are closed. The domain moves by at most this part of a cell where
# they are, and rows of a matrix, which are divided by the volume, differ by at most its inverse.
SMALLEST = 1e-4


class Domain(eqx.Module):
    """Fractions of the cells and faces of a grid that are inside a domain, between 0 and 1.

    NumPy arrays, or JAX's where the domain depends on traced parameters.

    - `volumes`: of each cell; 0 outside.
    - `faces`: per axis of each face, one more than the cells along that axis.
    - `distance`: from the boundary to each cell's centre, positive inside. From a mask it is 1/2
      inside and -1/2 outside.
    - `staircase`: fractions are 0 and 1, and the boundary runs along faces, as from a mask.
    """

    volumes: Float[Array | np.ndarray, "*cells"]
    faces: tuple[Float[Array | np.ndarray, "..."], ...]
    distance: Float[Array | np.ndarray, "*cells"]
    staircase: bool = eqx.field(static=True, default=False)

    @property
    def inside(self) -> Bool[Array | np.ndarray, "*cells"]:
        """Cells that are inside at least in part."""
        return self.volumes > 0


def domain_of(
    given: DomainLike,
    edges: Sequence[np.ndarray],
    centers: Sequence[np.ndarray],
    periodic: tuple[bool, ...],
) -> Domain:
    """The fractions for a mask, an image's path, or a signed distance function.

    **Raises:** `InputError` for others, wrong shapes, an image on a grid that has not two axes, and
    a domain without cells.
    """
    if isinstance(given, Domain):
        if given.volumes.shape != tuple(map(len, centers)):
            raise InputError(
                f"grid: domain has fractions of {given.volumes.shape} cells, expected "
                f"{tuple(map(len, centers))}"
            )
        return given
    if isinstance(given, str | Path):
        found = of_mask(_mask_of_image(Path(given), edges, centers), periodic)
    elif callable(given):
        found = _of_function(given, edges, centers, periodic)
    else:
        found = of_mask(_checked_mask(given, tuple(map(len, centers))), periodic)
    if not isinstance(found.volumes, Tracer) and not np.any(found.volumes > 0):
        hint = "a signed distance is negative inside" if callable(given) else "True is inside"
        raise InputError(f"grid: domain has no cell inside; {hint}")
    return found


def of_mask(inside: Bool[np.ndarray, "*cells"], periodic: tuple[bool, ...]) -> Domain:
    """Whole cells: a face is open if both of its cells are inside."""
    whole = inside.astype(np.float64)
    faces = []
    for axis, wraps in enumerate(periodic):
        beyond = (np.take(whole, [-1], axis), np.take(whole, [0], axis))
        if not wraps:
            beyond = beyond[::-1]
        below = np.concatenate([beyond[0], whole], axis)
        above = np.concatenate([whole, beyond[1]], axis)
        faces.append(below * above)
    return Domain(whole, tuple(faces), whole - 0.5, staircase=True)


def _checked_mask(given: Any, cells: tuple[int, ...]) -> Bool[np.ndarray, "*cells"]:
    if isinstance(given, Tracer):
        raise InputError(
            "grid: domain is a traced array; expected a NumPy array of booleans, or a signed "
            "distance function, whose parameters can be traced"
        )
    mask = np.asarray(given)
    if mask.dtype != bool:
        raise InputError(
            f"grid: domain must be an array of booleans, True inside, the path of an image or a "
            f"signed distance function, got {type(given).__name__} of {mask.dtype}; write "
            "domain=array > 0"
        )
    if mask.shape != cells:
        raise InputError(f"grid: domain has shape {mask.shape}, expected the cells {cells}")
    return mask


def _mask_of_image(
    path: Path, edges: Sequence[np.ndarray], centers: Sequence[np.ndarray]
) -> Bool[np.ndarray, "nx ny"]:
    """Light pixels are inside; the top row is at the upper end of the second axis."""
    if len(edges) != 2:
        raise InputError(f"grid: domain is an image, which needs 2 axes, got {len(edges)}")
    from PIL import Image

    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("LA"), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"grid: domain {path} cannot be read as an image ({error})") from None
    light = (pixels[..., 0] * pixels[..., 1] / 255 >= 127.5)[::-1].T
    at = []
    for n, edge, centre in zip(light.shape, edges, centers, strict=True):
        part = (centre - edge[0]) / (edge[-1] - edge[0])
        at.append(np.minimum((part * n).astype(int), n - 1))
    return light[np.ix_(*at)]


def _of_function(
    function: SignedDistance,
    edges: Sequence[np.ndarray],
    centers: Sequence[np.ndarray],
    periodic: tuple[bool, ...],
) -> Domain:
    ndim = len(edges)

    def at(axes: Sequence[np.ndarray]) -> Any:
        where = np.meshgrid(*axes, indexing="ij")
        values = function(*where)
        if getattr(values, "shape", None) != where[0].shape:
            raise InputError(
                "grid: domain must return one signed distance for each point of its "
                f"{ndim} arrays of coordinates, {where[0].shape}, got "
                f"{getattr(values, 'shape', type(values).__name__)}"
            )
        if isinstance(values, Tracer):
            return values
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            raise InputError("grid: domain returned a signed distance that is NaN or infinite")
        return values

    corners, middle = at(edges), at(centers)
    xp = jnp if isinstance(corners, Tracer) or isinstance(middle, Tracer) else np
    # values at the centres of faces, which have a centre of their own in three dimensions
    on_faces = []
    for axis in range(ndim):
        if ndim == 3:
            places = [edges[i] if i == axis else centers[i] for i in range(ndim)]
            on_faces.append(at(places))
        else:
            on_faces.append(None)
    faces = [_face_fraction(xp, corners, on_faces[axis], axis) for axis in range(ndim)]
    volumes = _cell_fraction(xp, corners, middle, on_faces)
    kept = volumes >= SMALLEST
    volumes = xp.where(kept, volumes, 0.0)
    open_faces = []
    for axis, wraps in enumerate(periodic):
        fraction = faces[axis]
        first, last = _layers(fraction, axis, 0), _layers(fraction, axis, -1)
        if wraps:
            first = last = xp.minimum(first, last)
        inner = fraction[_cut(ndim, axis, slice(1, -1))]
        whole = xp.concatenate([first, inner, last], axis)
        ends = (_layers(kept, axis, 0), _layers(kept, axis, -1))
        before, after = (ends[1], ends[0]) if wraps else ends
        below = xp.concatenate([before, kept], axis)
        above = xp.concatenate([kept, after], axis)
        open_faces.append(xp.where(below & above, whole, 0.0))
    return Domain(volumes, tuple(open_faces), _distance(xp, corners, middle, edges))


def _distance(xp: Any, corners: Any, middle: Any, edges: Sequence[np.ndarray]) -> Any:
    """Signed distance of the centres, positive inside, for any function with these zeros."""
    ndim = len(edges)
    squares: Any = 0.0
    for axis, edge in enumerate(edges):
        along = [1] * ndim
        along[axis] = -1
        change = _mean_over(corners, [i for i in range(ndim) if i != axis])
        upper, lower = _cut(ndim, axis, slice(1, None)), _cut(ndim, axis, slice(None, -1))
        squares = squares + ((change[upper] - change[lower]) / np.diff(edge).reshape(along)) ** 2
    # far from the boundary the slope can vanish, and only the sign counts
    flat = squares < 1e-12
    return -middle / xp.where(flat, 1.0, xp.sqrt(xp.where(flat, 1.0, squares)))


def _mean_over(x: Any, axes: Sequence[int]) -> Any:
    for axis in axes:
        lower, upper = _cut(x.ndim, axis, slice(None, -1)), _cut(x.ndim, axis, slice(1, None))
        x = 0.5 * (x[lower] + x[upper])
    return x


def _cut(ndim: int, axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if i == axis else slice(None) for i in range(ndim))


def _layers(x: Any, axis: int, index: int) -> Any:
    stop = None if index == -1 else index + 1
    return x[_cut(x.ndim, axis, slice(index, stop))]


def _corners_of(x: Any, axes: Sequence[int]) -> dict[tuple[int, ...], Any]:
    """Values at the corners of each cell along these axes, by 0 or 1 along each."""
    found = {}
    for corner in itertools.product((0, 1), repeat=len(axes)):
        part = [slice(None)] * x.ndim
        for axis, side in zip(axes, corner, strict=True):
            part[axis] = slice(1, None) if side else slice(None, -1)
        found[corner] = x[tuple(part)]
    return found


def _face_fraction(xp: Any, corners: Any, middle: Any, axis: int) -> Any:
    others = [i for i in range(corners.ndim) if i != axis]
    values = _corners_of(corners, others)
    if not others:
        return xp.where(corners < 0, 1.0, 0.0)
    if len(others) == 1:
        return _inside(xp, [values[0,], values[1,]])
    return _square(xp, values, middle)


def _square(xp: Any, values: dict[tuple[int, ...], Any], middle: Any) -> Any:
    """Mean of the four triangles between the centre and a side."""
    ring = [values[0, 0], values[1, 0], values[1, 1], values[0, 1]]
    parts = [_inside(xp, [middle, ring[k - 1], ring[k]]) for k in range(4)]
    return sum(parts[1:], start=parts[0]) / 4


def _cell_fraction(xp: Any, corners: Any, middle: Any, on_faces: Sequence[Any]) -> Any:
    ndim = corners.ndim
    values = _corners_of(corners, range(ndim))
    if ndim == 1:
        return 0.5 * (_inside(xp, [values[0,], middle]) + _inside(xp, [middle, values[1,]]))
    if ndim == 2:
        return _square(xp, values, middle)
    total: Any = 0.0
    for axis, side in itertools.product(range(3), (0, 1)):
        part = slice(1, None) if side else slice(None, -1)
        face = on_faces[axis][_cut(3, axis, part)]
        ring = []
        for pair in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = list(pair)
            corner.insert(axis, side)
            ring.append(values[tuple(corner)])
        for k in range(4):
            total = total + _inside(xp, [middle, face, ring[k - 1], ring[k]])
    return total / 24


def _inside(xp: Any, values: Sequence[Any]) -> Any:
    """Part of a segment, triangle or tetrahedron where the linear function of these values is < 0.

    The boundary cuts off a corner, whose part is a product of parts of edges; of a tetrahedron it
    can also leave two corners on either side, a wedge, which is the sum of three tetrahedra.
    """
    v = _sorted(xp, values)
    n = len(v)
    negative = [x < 0 for x in v]

    def part(low: int, high: int) -> Any:
        """Part of the edge that is negative, where its lower end is and its upper one is not."""
        cut = negative[low] & ~negative[high]
        return xp.where(cut, v[low], -1.0) / xp.where(cut, v[low] - v[high], -1.0)

    first = math.prod(part(0, k) for k in range(1, n))
    found = xp.where(negative[0], first, 0.0)
    if n == 4:
        ac, ad, bc, bd = part(0, 2), part(0, 3), part(1, 2), part(1, 3)
        wedge = ac * ad + ac * (1 - ad) * bd + (1 - ac) * bc * bd
        found = xp.where(negative[1], wedge, found)
    if n > 2:
        last = 1.0 - math.prod(1.0 - part(k, n - 1) for k in range(n - 1))
        found = xp.where(negative[n - 2], last, found)
    return xp.where(negative[n - 1], 1.0, found)


def _sorted(xp: Any, values: Sequence[Any]) -> list[Any]:
    v = list(values)
    for end in range(len(v) - 1, 0, -1):
        for i in range(end):
            v[i], v[i + 1] = xp.minimum(v[i], v[i + 1]), xp.maximum(v[i], v[i + 1])
    return v
