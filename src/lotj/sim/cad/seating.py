"""Where a plug sits in its socket, found from their meshes: about which axis, turned by what, how deep.

A part goes in along a straight line, so of the plug only its lowest points count, of the socket its highest. Coarse:
over all turns, shifts and depths at once (by Fourier transforms), the volume in which each stands within the other's
convex outline, less what both would fill. Fine: the gaps are made equal, then the plug is let down until it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from scipy import fft, ndimage, optimize
from scipy.spatial.transform import Rotation

from lotj.errors import MeshError
from lotj.sim.cad.elements import is_round
from lotj.sim.cad.solid import Solid

AXES: dict[str, np.ndarray] = {
    "z": np.eye(3),
    "-z": np.diag([1.0, -1.0, -1.0]),
    "x": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "-x": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
"""Rotations that bring an axis of a file up. Up leads out of the socket, and from the plug's tip to its body."""

_CELLS, _LEVELS = 56, 28  # across the wider part, and along the taller one
_PENALTIES = (3.0, 8.0)
"""Of a volume that both fill, in volumes that interlock. Cells are coarse: the first lets walls cross and does not see
thin ones, the second, for which bores count as full, mistakes tight fits for overlap. So both propose, and of what
really goes in the most interlocked is taken."""
_CUTS, _POINTS = 5, 120  # levels at which gaps are looked at, and points on each
_SEEN = 8.0  # how far from the overlap a part may touch [mm]
_LEAST = 1.0  # depth of what counts as mating [mm]


@dataclass(frozen=True)
class Seat:
    """Plug and socket in one frame, z up: the plug touches at the end of a straight way down."""

    plug: Solid
    socket: Solid
    plug_axis: str
    socket_axis: str
    turn: float  # of the plug about z, against the socket [degrees]
    score: float  # interlocked volume [mm3]


@dataclass(frozen=True, eq=False)
class _Stuck:
    """The likeliest pose, which cannot be reached."""

    score: float  # [mm3]
    depth: float  # to which it goes [mm]; 0 if nothing is likely
    short: float  # of where it should [mm]
    place: np.ndarray  # (3,) where it touches, in the socket's file [mm]


@dataclass(frozen=True, eq=False)
class _Guess:
    score: float  # [mm3]
    proposed: float  # score with the penalty that proposed it
    rank: int
    turn: float  # [rad]
    shift: np.ndarray  # (3,) of the turned plug [mm]
    coarse: float  # uncertainty along z [mm]


def find_seat(plug: Solid, socket: Solid, plug_axis: str = "auto", socket_axis: str = "auto") -> Seat:
    """The seated pose; an axis is a key of `AXES`, or ``auto``: z first, the others where nothing mates.

    Raises:
        MeshError: they do not mate so, but perhaps another way up; one line.
    """
    asked = (plug_axis, socket_axis)
    first = tuple("z" if axis == "auto" else axis for axis in asked)
    found = _seat(plug, socket, *first)
    if isinstance(found, Seat):
        return found
    others = [(p, s) for p in AXES for s in AXES if (p, s) != first]
    likely = sorted(((_best(plug, socket, p, s), p, s) for p, s in others), reverse=True)
    for _, p, s in [way for way in likely if way[0] > 0][:4]:
        seat = _seat(plug, socket, p, s)
        if isinstance(seat, Seat) and all(axis in ("auto", way) for axis, way in zip(asked, (p, s), strict=True)):
            return seat
        if isinstance(seat, Seat):
            raise MeshError(
                f"{plug.name} does not go into {socket.name} with --plug-axis {first[0]} --socket-axis {first[1]}; one "
                f"is upside down or on its side: it does with --plug-axis {p} --socket-axis {s}"
            )
    if found.depth > 0:
        x, y, z = found.place
        raise MeshError(
            f"{plug.name} goes {found.depth:.2f} mm into {socket.name} at most, {found.short:.2f} mm short "
            f"of where its outline fits: it meets it near x {x:.2f}, y {y:.2f}, z {z:.2f} mm of the socket's file; an "
            "undercut, a latch, a thread or an overlap is in the way: leave it out of the meshes (docs/own-part.md)"
        )
    raise MeshError(
        f"{plug.name} and {socket.name} do not mate: nothing of the one goes {_LEAST:g} mm into the other along a "
        "straight line; are both of one size and unit, the plug first? (--assembled, if both files show them seated in "
        "one frame)"
    )


def assembled_seat(plug: Solid, socket: Solid, axis: str = "z") -> Seat:
    """As `find_seat`, of two files in one frame that show the plug seated; `axis` leads out of the socket.

    Raises:
        MeshError: the plug could not come there along a straight line.
    """
    turn = AXES["z" if axis == "auto" else axis]
    plug, socket = plug.moved(turn, np.zeros(3)), socket.moved(turn, np.zeros(3))
    hit, place = _contact(plug, socket)
    if not np.isfinite(hit):
        raise MeshError(
            f"{plug.name} and {socket.name} do not mate: nothing of the one is over the other along {axis}; are they "
            "in one frame? (without --assembled the pose is searched for)"
        )
    if hit > 0.05:
        x, y, z = turn.T @ place
        raise MeshError(
            f"{plug.name} cannot be pulled out of {socket.name} along {axis}: something stands over it or they overlap "
            f"({hit:.2f} mm, near x {x:.2f}, y {y:.2f}, z {z:.2f} mm): an undercut, a latch, a thread, or not the axis "
            "(--socket-axis)"
        )
    return Seat(plug.moved(np.eye(3), np.array([0, 0, min(hit, 0.0)])), socket, axis, axis, 0.0, np.inf)


def _about_z(angle: float) -> np.ndarray:
    return Rotation.from_euler("z", angle).as_matrix()


def _centred(solid: Solid) -> np.ndarray:
    return -np.append(solid.bounds.mean(axis=0)[:2], 0.0)


def _seat(plug: Solid, socket: Solid, plug_axis: str, socket_axis: str) -> Seat | _Stuck:
    socket = socket.moved(AXES[socket_axis], np.zeros(3))
    plug = plug.moved(AXES[plug_axis], np.zeros(3))
    found: list[Seat] = []
    stuck = [_Stuck(0.0, 0.0, 0.0, np.zeros(3))]
    for guesses in _guesses(plug, socket, list(_turns(plug, socket))):
        best = max(guesses, key=lambda g: g.proposed)
        good = [g for g in guesses if g.proposed > max(0.9 * best.proposed, 0.0)]
        first: list[_Guess] = [*sorted(good, key=lambda g: g.rank)[:3], *([best] if good else [])]
        for guess in list(dict.fromkeys(first)):
            placed, turn = _evened(plug, socket, guess)
            deep = socket.bounds[1, 2] - placed.bounds[0, 2]
            hit, place = _contact(placed, socket)
            if not np.isfinite(hit):  # nothing of the one is over the other
                continue
            if abs(hit) <= 2.5 * guess.coarse and deep - hit >= _LEAST:
                placed = placed.moved(np.eye(3), np.array([0, 0, hit]))
                found.append(Seat(placed, socket, plug_axis, socket_axis, np.degrees(turn), guess.score))
                break
            stuck.append(_Stuck(guess.proposed, deep - hit, hit, AXES[socket_axis].T @ place))
    return max(found, key=lambda s: s.score) if found else max(stuck, key=lambda s: s.score)


def _best(plug: Solid, socket: Solid, plug_axis: str, socket_axis: str) -> float:
    turned = [s.moved(AXES[a], np.zeros(3)) for s, a in ((plug, plug_axis), (socket, socket_axis))]
    return max(g.proposed for g in _guesses(turned[0], turned[1], [0.0, np.pi / 2, np.pi, -np.pi / 2])[0])


def _turns(plug: Solid, socket: Solid) -> Iterator[float]:
    """Turns worth trying, best first: outlines along each other, then what is level with level, then all around."""
    seen: list[float] = []
    for cut in ((0.5, 0.9, 0.5), (0.1, 0.9, 0.9)):
        mine, theirs = (_direction(solid, f) for solid, f in ((plug, cut[1 if cut[0] > 0.3 else 0]), (socket, cut[2])))
        ways = [theirs - mine + k * np.pi / 2 for k in range(4)]
        seen += sorted(
            ((way + np.pi) % (2 * np.pi) - np.pi for way in ways), key=lambda way: (abs(way) > 1e-6, abs(way))
        )
    seen += np.radians(np.arange(-165, 181, 15)).tolist()
    for number, way in enumerate(seen):
        if all(abs((way - other + np.pi) % (2 * np.pi) - np.pi) > np.radians(1.0) for other in seen[:number]):
            yield way


def _direction(solid: Solid, part: float) -> float:
    """Of a side of the smallest rectangle around the section at a part of the height [rad]."""
    (_, _, low), (_, _, high) = solid.bounds
    hull = solid.section(low + part * (high - low)).convex_hull
    corners = shapely.get_coordinates(hull.minimum_rotated_rectangle)
    if len(corners) < 4 or is_round(hull):
        return 0.0
    x, y = corners[1] - corners[0]
    return float(np.arctan2(y, x))


def _stack(heights: np.ndarray, planes: np.ndarray, x: np.ndarray, below: bool) -> tuple[np.ndarray, ...]:
    """Three times (levels, n, n): what is filled at or beyond each plane, this without bores, its convex outline."""
    filled = heights < planes[:, None, None] if below else heights > planes[:, None, None]
    outline = np.zeros_like(filled)
    grid = np.meshgrid(x, x)
    for k, level in enumerate(filled):
        if k and (level == filled[k - 1]).all():
            outline[k] = outline[k - 1]
        elif level.any():
            points = np.column_stack([grid[0][level], grid[1][level]])
            outline[k] = shapely.contains_xy(shapely.MultiPoint(points).convex_hull.buffer(1e-6), grid[0], grid[1])
    return filled, np.stack([np.asarray(ndimage.binary_fill_holes(level)) for level in filled]), outline


def _guesses(plug: Solid, socket: Solid, turns: list[float]) -> list[list[_Guess]]:
    """The best shift and depth for each turn, by each penalty."""
    wide = max(np.hypot(*np.ptp(s.bounds, axis=0)[:2]) for s in (plug, socket))
    tall = min(max(np.ptp(s.bounds, axis=0)[2] for s in (plug, socket)), 60.0)
    cell, step = wide / _CELLS, tall / _LEVELS
    x = (np.arange(_CELLS + 2) - (_CELLS + 1) / 2) * cell
    shape = (2 * _LEVELS, *[fft.next_fast_len(2 * len(x), real=True)] * 2)
    top, away = socket.bounds[1, 2], _centred(socket)
    planes = top - (np.arange(_LEVELS) + 0.5) * step
    stack = _stack(socket.moved(np.eye(3), away).heights(x, x, lowest=False), planes, x, below=False)
    theirs: list[Any] = [fft.rfftn(a.astype(np.float32), shape) for a in stack]
    found: list[list[_Guess]] = [[] for _ in _PENALTIES]
    for rank, turn in enumerate(turns):
        turned = plug.moved(_about_z(turn), np.zeros(3))
        centre = _centred(turned)
        low = turned.bounds[0, 2]
        planes = low + (np.arange(_LEVELS) + 0.5) * step
        stack = _stack(turned.moved(np.eye(3), centre).heights(x, x, lowest=True), planes, x, below=True)
        mine: list[Any] = [fft.rfftn(a[:, ::-1, ::-1].astype(np.float32), shape) for a in stack]
        scores: list[Any] = [
            fft.irfftn(mine[k] * theirs[2] + mine[2] * theirs[k] - penalty * mine[0] * theirs[0], shape)[:_LEVELS]
            for k, penalty in enumerate(_PENALTIES)
        ]
        for guesses, score in zip(found, scores, strict=True):
            place = np.unravel_index(np.argmax(score), score.shape)
            shift = [cell * (place[2] - len(x) + 1), cell * (place[1] - len(x) + 1), top - (place[0] + 1) * step - low]
            volumes = [round(float(s[place]) * cell**2 * step, 3) for s in (scores[0], score)]
            guesses.append(_Guess(volumes[0], volumes[1], rank, turn, centre - away + np.array(shift), step))
    return found


def _contact(plug: Solid, socket: Solid) -> tuple[float, np.ndarray]:
    """How far the plug must be raised until it touches on its way down [mm], and where it then touches (3,)."""
    low = np.maximum(plug.bounds[0], socket.bounds[0])[:2]
    high = np.minimum(plug.bounds[1], socket.bounds[1])[:2]
    plug, socket = plug.between(-np.inf, socket.bounds[1, 2] + _SEEN), socket.between(plug.bounds[0, 2] - _SEEN, np.inf)
    found, place = -np.inf, np.zeros(3)
    for points in (250, 60):  # all over, then finer where they touch, as a slope might
        pitch = float((high - low).max()) / points
        x, y = (np.arange(a + 0.37 * pitch, b, pitch) for a, b in zip(low, high, strict=True))
        if not (len(x) and len(y)):
            break
        top, bottom = socket.heights(x, y, lowest=False), plug.heights(x, y, lowest=True)
        over = np.where(np.isfinite(top) & np.isfinite(bottom), top - bottom, -np.inf)
        j, i = np.unravel_index(np.argmax(over), over.shape)
        if over[j, i] > found:
            found, place = float(over[j, i]), np.array([x[i], y[j], top[j, i]])
        low, high = place[:2] - 2 * pitch, place[:2] + 2 * pitch
    return found, place


def _evened(plug: Solid, socket: Solid, guess: _Guess) -> tuple[Solid, float]:
    """The plug where the gaps are even, at about the guessed depth, and its turn [rad]."""
    placed = plug.moved(_about_z(guess.turn), guess.shift)
    deep = socket.bounds[1, 2] - placed.bounds[0, 2]
    levels = placed.bounds[0, 2] + np.linspace(0.15, 0.85, _CUTS) * deep
    pairs = []
    for z in levels:
        mine, theirs = placed.section(z - min(guess.coarse, 0.1 * deep)), socket.section(z)
        if mine.is_empty or theirs.is_empty:
            continue
        points = shapely.get_coordinates(shapely.segmentize(shapely.boundary(mine), 0.25))
        shapely.prepare(theirs)
        near = shapely.distance(shapely.points(points), shapely.boundary(theirs)) < 2 * guess.coarse + 1.0
        points = points[near][:: max(1, near.sum() // _POINTS)]
        pairs.append((points, theirs, shapely.boundary(theirs)))
    if not sum(len(points) for points, _, _ in pairs):
        return placed, guess.turn
    pivot = placed.bounds.mean(axis=0)[:2]

    def gaps(pose: np.ndarray) -> np.ndarray:
        turn = _about_z(pose[2])[:2, :2].T
        values = []
        for points, theirs, edge in pairs:
            moved = shapely.points((points - pivot) @ turn + pivot + pose[:2])
            away = shapely.distance(moved, edge)
            values.append(np.where(shapely.contains(theirs, moved), -away, away))
        return np.concatenate(values)

    def crowding(pose: np.ndarray, scale: float) -> float:
        near = -gaps(pose) / scale
        worst = near.max()
        beyond = max(float(np.hypot(*pose[:2])) - 2.0 * guess.coarse, 0.0)  # out of the socket there is room, too
        return float(scale * (worst + np.log(np.exp(near - worst).mean()))) + beyond

    straight, turned = (_even(crowding, moves) for moves in (2, 3))
    # What no gap is for stays as the outlines are: round parts are not turned by their facets.
    pose = straight if gaps(straight).min() > gaps(turned).min() - 0.03 else turned
    middle = np.append(pivot, 0.0)
    turn = _about_z(pose[2])
    placed = placed.moved(turn, middle - turn @ middle + np.append(pose[:2], 0.0))
    return placed, float(guess.turn + pose[2])


def _even(crowding: Callable[[np.ndarray, float], float], moves: int) -> np.ndarray:
    """The shift [mm], and the turn [rad] where `moves` is 3, at which the gaps are most even."""
    pose = np.zeros(3)
    for scale, step in ((0.3, 0.5), (0.1, 0.1), (0.03, 0.03)):
        simplex = pose[:moves] + np.vstack([np.zeros(moves), np.diag([step, step, step / 20][:moves])])
        options = {"initial_simplex": simplex, "xatol": 2e-4, "fatol": 1e-5, "maxiter": 150}
        start, rest = pose[:moves], pose[moves:]
        found = optimize.minimize(
            lambda p, s=scale, r=rest: crowding(np.append(p, r), s), start, method="Nelder-Mead", options=options
        )
        pose = np.append(found.x, rest)
    return pose
