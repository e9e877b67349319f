"""What every environment is, the family of tasks it belongs to, and the goal-conditioned ones of gymnasium-robotics.

The contract, which `tests/test_tasks.py` holds against every registered task: the observation is a ``Dict``, with
"state", "image" (V, H, W, 3) of V cameras, "goal" and "achieved_goal" as far as the task has them; actions lie in
[-1, 1]; ``info["is_success"]`` is the truth; a success pays 1, once; `terminated` says that the task has
ended, by success or because its part is lost, `truncated` that the time is up, never both; equal seeds, equal episodes.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from lotj.controllers import Controller
from lotj.errors import SettingsError, unknown
from lotj.sim.drawing import Drawing
from lotj.spaces import Spec

OBSERVATIONS = ("image", "state")
STATE = ("simulator", "goal")  # options of a reset
_KINDS = mujoco.mjtState.mjSTATE_FULLPHYSICS, mujoco.mjtState.mjSTATE_CTRL, mujoco.mjtState.mjSTATE_MOCAP_POS
_WHOLE = sum(int(kind) for kind in (*_KINDS, mujoco.mjtState.mjSTATE_MOCAP_QUAT))


@dataclass(frozen=True)
class Family:
    """Tasks that one class makes: ``fetch/reach``, ... An environment's module calls its own `FAMILY`."""

    name: str  # before the slash
    title: str  # one line for people
    members: Mapping[str, str]  # after the slash -> one line for people
    make: Callable[..., gym.Env]  # called with the member and options by name; its signature says which there are
    expert: Callable[[Any], Controller] | None = None  # of an environment that `make` has made; not all have one
    others: str = ""  # what else may stand after the slash, e.g. "file.toml"; `make` then judges what is not listed

    def options(self) -> dict[str, Any]:
        """Option -> default."""
        _, *given = inspect.signature(self.make).parameters.values()
        return {parameter.name: parameter.default for parameter in given if parameter.name != "render_mode"}


def spec_of(env: gym.Env) -> Spec:
    """What an environment, wrapped or not, shows and takes."""
    max_steps = env.get_wrapper_attr("max_steps")
    return Spec.from_spaces(env.observation_space, env.action_space, env.metadata["render_fps"], max_steps)


class GoalEnv(gym.Env[dict[str, Any], np.ndarray]):
    """A goal-conditioned environment of gymnasium-robotics, made to follow our contract.

    Action: Box(-1, 1, (A,)), theirs.
    Observation: float32 "goal" and "achieved_goal" (G,); "state" (S,), their "observation"; "image" (1, H, H, 3) uint8.
    Reward: 1 in the step in which the goal is first reached, else 0. Theirs is 0 as long as the goal is reached and -1
    elsewhere (Fetch), or 1 and 0 (mazes). With `end_on_success` it is always `compute_reward` of the observation;
    without, that stays 1 at the goal, and a learner that wants it paid at every step there relabels with it.
    `terminated` on success and when the object is lost; `truncated` after `max_steps`.

    Args:
        inner: theirs, not wrapped; the goal is reached `within` this of it [m]; `camera` is that of the pictures.
        observation: names of what is observed beside the goals: ``image``, ``state``, or both in a tuple.
        image_size: side of the image [pixels].
        max_steps: time limit.
        end_on_success: false lets an episode go on to the time limit, as in the papers on hindsight.

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    RESETS: Sequence[str] = ()
    """The task's own options of a reset."""

    def __init__(
        self,
        inner: Any,
        within: float,
        rate_hz: float,
        camera: mujoco.MjvCamera,
        observation: str | Sequence[str],
        image_size: int,
        max_steps: int,
        end_on_success: bool,
    ) -> None:
        shown = check_view(observation, image_size, max_steps)
        self.inner, self.within, self.max_steps, self.end_on_success = inner, within, max_steps, end_on_success
        self.metadata = {**self.metadata, "render_fps": rate_hz}
        self._theirs = {"goal": "desired_goal", "achieved_goal": "achieved_goal"}  # our name -> theirs
        if "state" in shown:
            self._theirs["state"] = "observation"
        self._image_size = image_size if "image" in shown else None
        self._camera = camera
        inner.model.vis.quality.offsamples = 0  # with 4 samples a pixel a small picture takes 3 times as long
        self._drawing = Drawing(inner.model)
        self._steps: int | None = None  # none before the first reset
        self._paid = False
        self.action_space = gym.spaces.Box(-1.0, 1.0, inner.action_space.shape, np.float32)
        boxes: dict[str, gym.Space] = {
            name: gym.spaces.Box(-np.inf, np.inf, inner.observation_space[key].shape, np.float32)
            for name, key in self._theirs.items()
        }
        if self._image_size:
            boxes["image"] = gym.spaces.Box(0, 255, (1, image_size, image_size, 3), np.uint8)
        self._boxes, self.observation_space = boxes, gym.spaces.Dict(boxes)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; SettingsError for options that the task has not.

        ``options={"simulator": (N,), "goal": (G,)}`` starts from what `truth` said of a time, with another goal: from
        within a demonstration, see `DemonstratedStarts`.
        """
        options = dict(check_options(options, (*self.RESETS, *STATE)))
        put = {name: options.pop(name) for name in STATE if name in options}
        if put:
            shapes = self._simulator().shape, self._boxes["goal"].shape
            for name, shape in zip(STATE, shapes, strict=True):
                if np.shape(put.get(name, ())) != shape or not np.isfinite(np.asarray(put[name], float)).all():
                    rule = f"must be finite numbers of shape {shape}; {' and '.join(STATE)} go together"
                    raise SettingsError(f"reset option {name}: {rule}")
        options = self.start(options)
        super().reset(seed=seed)
        self._steps, self._paid = 0, False
        theirs = self.inner.reset(seed=seed, options=options)[0]
        if put:
            mujoco.mj_setState(self.inner.model, self.inner.data, np.asarray(put["simulator"], float), _WHOLE)
            mujoco.mj_forward(self.inner.model, self.inner.data)
            self.inner.goal = np.array(put["goal"], float)
            theirs = self._now()
        return self._observe(theirs)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act: (A,) in [-1, 1]; what lies outside is clipped."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        self._steps += 1
        observation, info = self._observe(self.inner.step(checked_action(action, self.action_space.shape))[0])
        reward = float(info["is_success"] and not self._paid)
        self._paid = self._paid or info["is_success"]
        terminated = info["lost"] or (info["is_success"] and self.end_on_success)
        return observation, reward, terminated, not terminated and self._steps >= self.max_steps, info

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where (..., G) `achieved_goal` has reached (..., G) `goal`, else 0; for hindsight."""
        return (np.linalg.norm(achieved_goal - goal, axis=-1) <= self.within).astype(np.float32)

    def start(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """The task's own options of a reset, `RESETS`, checked, as theirs takes them."""

    def truth(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What only a simulator knows, to be recorded: its whole state, "simulator" (N,), and what `info` says besides
        success."""
        return {"simulator": self._simulator(), **{name: info[name] for name in info if name != "is_success"}}

    def lost(self, achieved_goal: np.ndarray) -> bool:
        """Whether the object is where the robot cannot reach it again."""
        return False

    def facts(self, success: bool) -> dict[str, bool]:
        """What else is true of a time and goes into `info` by name."""
        return {}

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8."""
        return self._picture(256)[0]

    def close(self) -> None:
        """Free the renderers."""
        self._drawing.close()
        self.inner.close()

    def _simulator(self) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self.inner.model, _WHOLE))
        mujoco.mj_getState(self.inner.model, self.inner.data, state, _WHOLE)
        return state

    def _now(self) -> Mapping[str, np.ndarray]:
        """What theirs observes of the simulator as it is."""
        return self.inner._get_obs()

    def _observe(self, theirs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation = {name: theirs[key].astype(np.float32) for name, key in self._theirs.items()}
        if self._image_size:
            observation["image"] = self._picture(self._image_size)
        achieved = observation["achieved_goal"]
        success = bool(self.compute_reward(achieved, observation["goal"]))
        return observation, {"is_success": success, "lost": self.lost(achieved), **self.facts(success)}

    def _picture(self, size: int) -> np.ndarray:
        """(1, size, size, 3) uint8."""
        self._place_goal()
        return self._drawing(self.inner.data, [self._camera], size, size)

    def _place_goal(self) -> None:
        """Show the goal where it is, without a step of physics: pictures must not change what follows."""


def robotics_module(name: str) -> Any:
    """A module of gymnasium-robotics, without the news of Adroit that it prints to stderr on its first import."""
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics

        return importlib.import_module(f"{gymnasium_robotics.__name__}.{name}")


def check_view(observation: str | Sequence[str], image_size: int, max_steps: int) -> tuple[str, ...]:
    """The setting `observation`, one name or several, as names.

    Raises:
        SettingsError: a name that is not known, or none; a size or limit that is not allowed.
    """
    names = (observation,) if isinstance(observation, str) else observation
    known = isinstance(names, Sequence) and all(isinstance(name, str) and name in OBSERVATIONS for name in names)
    if not known or not names or len(set(names)) < len(names):
        raise SettingsError(f"observation = {observation!r}: must be some of {', '.join(OBSERVATIONS)}, each once")
    check_whole("image_size", image_size, 16, 1024)
    check_whole("max_steps", max_steps, 1)
    return tuple(names)


def checked_action(action: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """An action within [-1, 1]; what lies outside is clipped.

    Raises:
        SettingsError: another shape, or not finite.
    """
    action = np.asarray(action, float)
    if action.shape != shape or not np.isfinite(action).all():
        raise SettingsError(f"action {action!r}: must be finite numbers in [-1, 1] of shape {shape}")
    return np.clip(action, -1.0, 1.0)


def check_options(options: Any, known: Sequence[str]) -> Mapping[str, Any]:
    """The options of a reset, none for None; SettingsError unless they are a mapping of known names."""
    options = {} if options is None else options
    odd = [name for name in options if name not in known] if isinstance(options, Mapping) else [options]
    if odd:
        raise unknown("reset option", str(odd[0]), known, "" if known else "there are none here")
    return options


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raises SettingsError unless a setting is a whole number within the limits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise SettingsError(f"{name} = {value!r}: must be a whole number {limits}")
