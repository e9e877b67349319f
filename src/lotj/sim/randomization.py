"""What a domain fixes besides the connector: where things are held and how they look, all drawn from one seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lotj.sim.connector import Connector

PIXELS = 64  # of the bench's texture
DEGREE = np.pi / 180


Triple = tuple[float, float, float]
ZERO = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Clutter:
    """A thing that lies on the bench and has nothing to do with the task: ``box``, ``cylinder`` or ``ellipsoid``, its
    position (x, y) from the socket [m], half sizes [m], turn about z [rad] and linear RGB."""

    shape: str
    place: tuple[float, float]
    size: Triple
    yaw: float
    colour: Triple


@dataclass(frozen=True)
class CameraMount:
    """How a camera sits against its nominal pose: moved [m], turned (rotation vector) [rad], factor on its angle."""

    shift: Triple = ZERO
    turn: Triple = ZERO
    zoom: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """One draw of mount, grasp, camera, light, materials and background; a plain one with nothing displaced, unless
    told otherwise. Colours are linear RGB in [0, 1]."""

    clamp_tilt: Triple = ZERO  # rotation vector of the socket against the bench, without yaw about z [rad]
    clamp_yaw: float = 0.0  # of the socket about z against the plug [rad]
    clamp_shift: Triple = ZERO  # of the socket against its nominal position [m]; the policy never learns it
    grasp_shift: Triple = ZERO  # of the plug in the hand [m]
    grasp_tilt: Triple = ZERO  # rotation vector of the plug in the hand [rad]
    cameras: tuple[CameraMount, CameraMount] = (CameraMount(), CameraMount())
    friction_scale: float = 1.0  # factor on the connector's friction
    grip_scale: float = 1.0  # factor on the robot's grip force
    plug_colour: Triple
    socket_colour: Triple
    metal_colour: Triple = (0.72, 0.66, 0.5)
    clamp_colour: Triple = (0.30, 0.34, 0.40)
    hand_colour: Triple = (0.55, 0.57, 0.60)
    gloss: float = 0.3
    light_direction: Triple = (0.4, 0.6, -1.0)
    light_level: float = 0.9
    light_tint: Triple = (1.0, 1.0, 1.0)
    ambient: float = 0.4
    bench_texture: np.ndarray = field(default_factory=lambda: np.full((PIXELS, PIXELS, 3), 205, np.uint8))
    clamp_width: float = 0.012  # [m]
    clutter: tuple[Clutter, ...] = ()
    second_socket: tuple[float, float] | None = None  # where another one like it is, from the socket [m]


def _uniform(rng: np.random.Generator, half: float, n: int = 3) -> Any:
    return tuple(rng.uniform(-half, half, n))


def _vary(rng: np.random.Generator, colour: Triple) -> Any:
    """A part's usual colour with another shade; one part in four comes in any colour."""
    if rng.random() < 0.25:
        return _any_colour(rng)
    return tuple(np.clip(np.asarray(colour) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.05, 3), 0.05, 1.0))


def _any_colour(rng: np.random.Generator) -> Triple:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.9), rng.uniform(0.1, 1.0))


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(P, P, 3) uint8: a smooth blend of two colours with grain, stripes or tiles, like wood, mats and paper."""
    first, second = np.array(_any_colour(rng)), np.array(_any_colour(rng))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, PIXELS, endpoint=False)] * 2, indexing="ij"))
    kind = rng.integers(4)
    wave = rng.integers(1, 7, 2)
    if kind == 0:
        mask = np.zeros((PIXELS, PIXELS))
    elif kind == 1:
        mask = 0.5 + 0.5 * np.sin(2 * np.pi * (wave[0] * grid[0] + wave[1] * grid[1]))
    elif kind == 2:
        mask = ((np.floor(grid[0] * wave[0]) + np.floor(grid[1] * wave[1])) % 2).astype(float)
    else:
        mask = np.kron(rng.random((8, 8)), np.ones((PIXELS // 8,) * 2))
    image = first + mask[..., None] * (second - first) * rng.uniform(0.2, 1.0)
    image += rng.normal(0, rng.uniform(0.0, 0.12), (PIXELS, PIXELS, 1))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _clutter(rng: np.random.Generator, keep_out: float) -> tuple[Clutter, ...]:
    things = []
    for _ in range(rng.integers(2, 9)):
        angle, radius = rng.uniform(0, 2 * np.pi), keep_out + rng.uniform(0.01, 0.09)
        size: Any = tuple(rng.uniform(0.004, 0.018, 3))
        shape = ("box", "cylinder", "ellipsoid")[rng.integers(3)]
        place = (radius * np.cos(angle), radius * np.sin(angle))
        things.append(Clutter(shape, place, size, rng.uniform(0, np.pi), _any_colour(rng)))
    return tuple(things)


def _camera_mount(rng: np.random.Generator) -> CameraMount:
    turn = _uniform(rng, 1.2 * DEGREE)
    return CameraMount(_uniform(rng, 0.003), turn, rng.uniform(0.94, 1.06))


LABORATORY = ("cameras", "clamp_colour", "hand_colour", "light_direction", "light_level", "light_tint", "ambient")
LABORATORY += ("bench_texture", "clamp_width", "clutter")
"""What all connectors have in common that are tried on one bench of a laboratory."""


def draw_randomization(connector: Connector, seed: int, laboratory: int | None = None) -> Randomization:
    """The randomization of a domain. The same connector name and seed give the same one on every machine; with a number
    of a `laboratory` all that is in `LABORATORY` is that of its bench, whatever the connector."""
    # The whole name: parts of one family must not share their draws, least of all a test part and its relatives.
    drawn = _draw(connector, np.random.default_rng([seed, *connector.name.encode()]))
    if laboratory is None:
        return drawn
    bench = _draw(connector, np.random.default_rng([laboratory]))
    return replace(drawn, **{name: getattr(bench, name) for name in LABORATORY})


def _draw(connector: Connector, rng: np.random.Generator) -> Randomization:
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    metal, tint = np.array([0.72, 0.68, 0.58]), tuple(1.0 + rng.uniform(-0.12, 0.12, 3))
    return Randomization(
        clamp_tilt=(*_uniform(rng, 1.0 * DEGREE, 2), 0.0),
        clamp_yaw=rng.uniform(-1.5, 1.5) * DEGREE,
        clamp_shift=_uniform(rng, 0.030),
        grasp_shift=_uniform(rng, 0.0015),
        grasp_tilt=(*_uniform(rng, 1.2 * DEGREE, 2), rng.uniform(-1.0, 1.0) * DEGREE),
        cameras=(_camera_mount(rng), _camera_mount(rng)),
        friction_scale=rng.uniform(0.8, 1.25),
        grip_scale=rng.uniform(0.85, 1.3),
        plug_colour=_vary(rng, connector.plug_colour),
        socket_colour=_vary(rng, connector.socket_colour),
        metal_colour=tuple(metal * rng.uniform(0.7, 1.25)),
        clamp_colour=_any_colour(rng),
        hand_colour=_any_colour(rng),
        gloss=rng.uniform(0.0, 0.7),
        light_direction=(-height * np.cos(azimuth), -height * np.sin(azimuth), -1.0),
        light_level=rng.uniform(0.55, 1.1),
        light_tint=tint,
        ambient=rng.uniform(0.25, 0.5),
        bench_texture=_texture(rng),
        clamp_width=rng.uniform(0.008, 0.020),
        clutter=_clutter(rng, max(connector.housing_size) / 2 + 0.035),
    )
