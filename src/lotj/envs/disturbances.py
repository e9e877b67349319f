"""What goes wrong on real benches, by name, as a wrapper of any environment: see `DISTURBANCES`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.errors import SettingsError, find
from lotj.sim.bench import Bench


@dataclass(frozen=True)
class Disturbance:
    """One thing that goes wrong. What is None stays as it is."""

    what: str  # in one line, with units
    # (the episode's pictures so far (..., H, W, 3) uint8, generator) -> the picture that is delivered
    picture: Callable[[Sequence[np.ndarray], np.random.Generator], np.ndarray] | None = None
    # The episode's actions so far -> the action that is executed
    action: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    # (bench, generator) -> the bench as it is from the chosen episode on, the same one or another
    change: Callable[[Bench, np.random.Generator], Bench] | None = None
    # (bench, generator): changes the bench before each episode
    episode: Callable[[Bench, np.random.Generator], None] | None = None
    begins: float = 0.0  # share of practice after which the bench changes; evaluation comes after all of it


def _levels(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _blur(seen: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter  # takes longer to import than making a task does

    pixels = seen[-1].shape[-2] / 64
    return _levels(gaussian_filter(seen[-1].astype(np.float32), pixels, axes=(-3, -2), mode="nearest"))


def _soften(bench: Bench, rng: np.random.Generator) -> Bench:
    bench.model.actuator_gainprm[:, 0] *= 0.6
    bench.model.actuator_biasprm[:, 1] *= 0.6
    return bench


def _wear(bench: Bench, rng: np.random.Generator) -> Bench:
    features = tuple(replace(f, clearance=f.clearance + 0.1e-3) for f in bench.connector.features)
    return Bench(replace(bench.connector, features=features), bench.arm, bench.drawn, bench.image_size)


def _second_socket(bench: Bench, rng: np.random.Generator) -> Bench:
    aside = (8e-3, bench.connector.housing_size[1] + 12e-3)  # the jaws of the clamp stand along the other axis
    return Bench(bench.connector, bench.arm, replace(bench.drawn, second_socket=aside), bench.image_size)


def _other_light(bench: Bench, rng: np.random.Generator) -> Bench:
    x, y, z = bench.base_light["light_dir"]
    bench.base_light |= {"light_dir": np.array([-y, x, z]), "light_diffuse": 0.6 * bench.base_light["light_diffuse"]}
    return bench


def _move_socket(bench: Bench, rng: np.random.Generator) -> Bench:
    """Only the socket and its clamp move. Where the socket is believed to be moves with it: somebody shows the robot
    where it is now, with the usual error. So evaluation starts as far from the socket as without the move, and what is
    tested is whether the policy holds on to the socket or to what lies around it. A robot that is told nothing would
    believe in the position of its successes, 20 mm away: as far as `far` starts anyway. Had it kept its first estimate,
    up to 20 mm off, it could miss the socket by 40 mm, beyond its workspace and all that it has ever seen."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    bench.move_socket(20e-3 * np.array([np.cos(angle), np.sin(angle), 0.0]))
    return bench


DISTURBANCES = {
    "camera-noise": Disturbance(
        "normal noise of 8 levels of 255 on each pixel and colour",
        picture=lambda seen, rng: _levels(seen[-1] + rng.normal(0.0, 8.0, seen[-1].shape)),
    ),
    "blur": Disturbance("blurred by a normal kernel of 1 pixel (at 64; 1/64 of the width)", picture=_blur),
    "exposure-drift": Disturbance(
        "darker by 2 % of the first picture at each step, 40 % at most",
        picture=lambda seen, rng: _levels(seen[-1] * max(0.6, 1.0 - 0.02 * (len(seen) - 1))),
    ),
    "dropped-frame": Disturbance(
        "one picture in ten is that of the step before",
        picture=lambda seen, rng: seen[max(-2, -len(seen)) if rng.random() < 0.1 else -1],
    ),
    "late-frame": Disturbance("each picture is one step (0.1 s) old", lambda seen, rng: seen[max(-2, -len(seen))]),
    "action-latency": Disturbance(
        "each action is executed one step (0.1 s) later; first none",
        action=lambda given: given[-2] if len(given) > 1 else np.zeros_like(given[-1]),
    ),
    "soft-arm": Disturbance("stiffness of the arm 40 % lower", change=_soften),
    "worn-clearance": Disturbance("clearance 0.1 mm larger on each side", change=_wear),
    "changed-light": Disturbance(
        "from mid-practice on the lamp is 40 % darker and turned by 90 degrees about the vertical",
        change=_other_light,
        begins=0.5,
    ),
    "loose-grasp": Disturbance(
        "in each episode the plug sits anew in the fingers, up to 1 mm and 1 degree off along and about each axis",
        episode=lambda bench, rng: bench.regrasp(rng, scale=2.0),
    ),
    "moved-socket": Disturbance(
        "after practice socket and clamp are moved by 20 mm, and their pose is estimated anew, with the usual error",
        change=_move_socket,
        begins=1.0,
    ),
    "second-socket": Disturbance("a second socket like the first, 12 mm beside it", change=_second_socket),
}
"""Name -> what goes wrong. Those of the bench need `InsertionEnv`; those of pictures need pictures."""


class Disturbed(gym.Wrapper):
    """An environment in which one thing goes wrong, all of it determined by the seed.

    Args:
        env: observes ``image``, where the disturbance is one of pictures.
        name: key of `DISTURBANCES`.
        seed: with the seed of the episode it fixes all that is drawn.
        after: the bench changes before this episode, counted from 0: in mid-practice, or after it.

    Raises:
        SettingsError: an unknown name, or an environment without what it disturbs.
    """

    def __init__(self, env: gym.Env, name: str, seed: int = 0, after: int = 0) -> None:
        super().__init__(env)
        of = find("disturbance", name, DISTURBANCES)
        if (of.change or of.episode) and not hasattr(env.unwrapped, "bench"):
            raise SettingsError(f"disturbance {name!r}: is of the bench, for connectors (insertion/...) alone")
        if of.picture and "image" not in getattr(env.observation_space, "spaces", ()):
            raise SettingsError(f"disturbance {name!r}: is of pictures; choose an observation with 'image'")
        self._name, self._seed, self._after = name, [seed, zlib.crc32(name.encode())], after
        self._rng, self._episode = np.random.default_rng(self._seed), 0
        self._seen: list[np.ndarray] = []
        self._given: list[np.ndarray] = []

    @property
    def _disturbance(self) -> Disturbance:
        return DISTURBANCES[self._name]  # by name, for functions cannot be pickled

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        if seed is not None:
            self._rng = np.random.default_rng([*self._seed, seed])
        inner: Any = self.env.unwrapped
        if self._disturbance.change is not None and self._episode == self._after:
            before = inner.bench
            before.close()
            inner.bench = self._disturbance.change(before, np.random.default_rng(self._seed))
            inner.bench.hold_as(before)  # maybe regrasped already, where practice goes on
        if self._disturbance.episode is not None:
            self._disturbance.episode(inner.bench, self._rng)
        self._episode += 1
        self._seen, self._given = [], []
        observation, info = self.env.reset(seed=seed, options=options)
        return self._deliver(observation), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Do what is left of the action, and see what is left of the picture."""
        if self._disturbance.action is not None:
            self._given.append(np.asarray(action))
            action = self._disturbance.action(self._given)
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._deliver(observation), reward, terminated, truncated, info

    def relax(self) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See `InsertionEnv.relax`; it comes at once."""
        inner: Any = self.env
        observation, *rest = inner.relax()
        return self._deliver(observation), *rest

    def _deliver(self, observation: dict[str, Any]) -> dict[str, Any]:
        if self._disturbance.picture is None:
            return observation
        self._seen.append(observation["image"])
        return {**observation, "image": self._disturbance.picture(self._seen, self._rng)}


def disturbed(env: gym.Env, name: str, seed: int, trials: int = 0, finished: int = 0) -> gym.Env:
    """An environment as it is in practice of so many trials, an episode each, some of which are finished; as it is
    after practice, with 0 trials; as it was, where the name is empty. SettingsError for an unknown name."""
    if name == "":
        return env
    begins = round(find("disturbance", name, DISTURBANCES).begins * trials)
    return Disturbed(env, name, seed, max(0, begins - finished))
