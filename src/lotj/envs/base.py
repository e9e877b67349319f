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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_THEIRS = {"goal": "desired_goal", "achieved_goal": "achieved_goal", "state": "observation"}  # our name -> theirs


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


class TaskEnv(gym.Env[dict[str, Any], np.ndarray], ABC):
    """The contract, for a task in one MuJoCo model or in none, which a subclass starts, moves, measures and judges. A
    success pays 1, once, unless the subclass says otherwise.

    Args:
        model, camera: what is drawn, and whence; None where the subclass has a `picture` of its own.
        arrays: name -> shape of what can be observed beside images; "state" is where it is asked for.
        action: its shape.
        rate_hz: of actions.
        observation: names of what is observed beside the goals: ``image``, ``state``, or both in a tuple.
        image_size: side of the image [pixels].
        max_steps: time limit.
        end_on_success: false lets an episode go on to the time limit, as in the papers on hindsight.

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    returns: tuple[float, float] = (0.0, 1.0)
    """Range of an episode's rewards, summed; an environment that does not say so may pay anything."""

    def __init__(
        self,
        model: mujoco.MjModel | None,
        arrays: Mapping[str, tuple[int, ...]],
        action: tuple[int, ...],
        rate_hz: float,
        camera: mujoco.MjvCamera | None,
        observation: str | Sequence[str],
        image_size: int,
        max_steps: int,
        end_on_success: bool,
    ) -> None:
        shown = check_view(observation, image_size, max_steps)
        check_switch("end_on_success", end_on_success)
        self.max_steps, self.end_on_success = max_steps, end_on_success
        self.metadata = {**self.metadata, "render_fps": rate_hz}
        self._image_size = image_size if "image" in shown else None
        self._camera, self._drawing = camera, None
        if model is not None:
            model.vis.quality.offsamples = 0  # with 4 samples a pixel a small picture takes 3 times as long
            self._drawing = Drawing(model)
        self._steps: int | None = None  # none before the first reset
        self._paid = False
        self.action_space = gym.spaces.Box(-1.0, 1.0, action, np.float32)
        boxes: dict[str, gym.Space] = {
            name: gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
            for name, shape in arrays.items()
            if name != "state" or "state" in shown
        }
        self._arrays = tuple(boxes)
        if self._image_size:
            boxes["image"] = gym.spaces.Box(0, 255, (1, image_size, image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict(boxes)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; SettingsError for options that the task has not."""
        options = self.start(options)
        super().reset(seed=seed)
        self._steps, self._paid = 0, False
        self.begin(seed, options)
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act: (A,) in [-1, 1]; what lies outside is clipped."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        self._steps += 1
        self.act(checked_action(action, self.action_space.shape))
        observation, info = self._observe()
        reward = self.reward(info)
        self._paid = self._paid or info["is_success"]
        terminated = info["lost"] or (info["is_success"] and self.end_on_success)
        return observation, reward, terminated, not terminated and self._steps >= self.max_steps, info

    def start(self, options: Any) -> dict[str, Any] | None:
        """The options of a reset, checked: there are none."""
        check_options(options, ())

    @abstractmethod
    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        """Start an episode; random numbers come from the seed or from `np_random`."""

    @abstractmethod
    def act(self, action: np.ndarray) -> None:
        """Carry out a checked action."""

    @abstractmethod
    def measure(self) -> Mapping[str, np.ndarray]:
        """All `arrays`, now."""

    @abstractmethod
    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        """Whether the task is accomplished now, and whether it can no longer be."""

    def picture_of(self) -> mujoco.MjData:
        """What a picture shows."""
        raise NotImplementedError

    def picture(self, size: int, of: mujoco.MjData | None = None) -> np.ndarray:
        """(1, H, H, 3) uint8, of what is now or of another state of the model."""
        assert self._drawing is not None and self._camera is not None
        return self._drawing(self.picture_of() if of is None else of, [self._camera], size, size)

    def facts(self, success: bool) -> dict[str, Any]:
        """What else is true now and goes into `info` by name."""
        return {}

    def reward(self, info: Mapping[str, Any]) -> float:
        """Of the step that led to here."""
        return float(info["is_success"] and not self._paid)

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8."""
        return self.picture(256)[0]

    def close(self) -> None:
        """Free the renderers."""
        if self._drawing is not None:
            self._drawing.close()

    def _observe(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        measured = self.measure()
        observation = {name: measured[name].astype(np.float32) for name in self._arrays}
        if self._image_size:
            observation["image"] = self.picture(self._image_size)
        success, lost = self.judge(observation)
        return observation, {"is_success": success, "lost": lost, **self.facts(success)}


class GoalEnv(TaskEnv):
    """A goal-conditioned environment of gymnasium-robotics, made to follow our contract.

    Action: Box(-1, 1, (A,)), theirs.
    Observation: float32 "goal" and "achieved_goal" (G,); "state" (S,), their "observation"; "image" (1, H, H, 3) uint8.
    Reward: 1 in the step in which the goal is first reached, else 0. Theirs is 0 as long as the goal is reached and -1
    elsewhere (Fetch), or 1 and 0 (mazes). With `end_on_success` it is always `compute_reward` of the observation;
    without, that stays 1 at the goal, and a learner that wants it paid at every step there relabels with it.
    `terminated` on success and when the object is lost; `truncated` after `max_steps`.

    Args:
        inner: theirs, not wrapped; the goal is reached `within` this of it [m]. For the others see `TaskEnv`.
    """

    RESETS: Sequence[str] = ()
    """The task's own options of a reset."""

    def __init__(self, inner: Any, within: float, rate_hz: float, camera: mujoco.MjvCamera, *view: Any) -> None:
        self.inner, self.within = inner, within
        arrays = {name: inner.observation_space[theirs].shape for name, theirs in _THEIRS.items()}
        super().__init__(inner.model, arrays, inner.action_space.shape, rate_hz, camera, *view)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; SettingsError for options that the task has not.

        ``options={"simulator": (N,), "goal": (G,)}`` starts from what `truth` said of a time, with another goal: from
        within a demonstration, see `DemonstratedStarts`.
        """
        options = dict(check_options(options, (*self.RESETS, *STATE)))
        self._put = {name: options.pop(name) for name in STATE if name in options}
        if self._put:
            shapes = self._simulator().shape, self.inner.observation_space["desired_goal"].shape
            for name, shape in zip(STATE, shapes, strict=True):
                given = self._put.get(name, ())
                if np.shape(given) != shape or not np.isfinite(np.asarray(given, float)).all():
                    rule = f"must be finite numbers of shape {shape}; {' and '.join(STATE)} go together"
                    raise SettingsError(f"reset option {name}: {rule}")
        return super().reset(seed=seed, options=options)

    def start(self, options: Any) -> dict[str, Any] | None:
        """The task's own options of a reset, `RESETS`, checked, as theirs takes them."""

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        self._now = self.inner.reset(seed=seed, options=options)[0]
        if self._put:
            mujoco.mj_setState(self.inner.model, self.inner.data, np.asarray(self._put["simulator"], float), _WHOLE)
            mujoco.mj_forward(self.inner.model, self.inner.data)
            self.inner.goal = np.array(self._put["goal"], float)
            self._now = self.observed()

    def observed(self) -> Mapping[str, np.ndarray]:
        """What theirs observes of the simulator as it is."""
        return self.inner._get_obs()

    def truth(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What only a simulator knows, to be recorded: its whole state, "simulator" (N,), and what `info` says besides
        success."""
        return {"simulator": self._simulator(), **{name: info[name] for name in info if name != "is_success"}}

    def _simulator(self) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self.inner.model, _WHOLE))
        mujoco.mj_getState(self.inner.model, self.inner.data, state, _WHOLE)
        return state

    def act(self, action: np.ndarray) -> None:
        self._now = self.inner.step(action)[0]

    def measure(self) -> Mapping[str, np.ndarray]:
        return {name: self._now[theirs] for name, theirs in _THEIRS.items()}

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        achieved = observation["achieved_goal"]
        return bool(self.compute_reward(achieved, observation["goal"])), self.lost(achieved)

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where (..., G) `achieved_goal` has reached (..., G) `goal`, else 0; for hindsight."""
        return (np.linalg.norm(achieved_goal - goal, axis=-1) <= self.within).astype(np.float32)

    def lost(self, achieved_goal: np.ndarray) -> bool:
        """Whether the object is where the robot cannot reach it again."""
        return False

    def picture_of(self) -> mujoco.MjData:
        self._place_goal()
        return self.inner.data

    def close(self) -> None:
        super().close()
        self.inner.close()

    def _place_goal(self) -> None:
        """Show the goal where it is, without a step of physics: pictures must not change what follows."""


def robotics_module(name: str) -> Any:
    """A module of gymnasium-robotics, without the news of Adroit that it prints to stderr on its first import."""
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics

        return importlib.import_module(f"{gymnasium_robotics.__name__}.{name}")


@contextlib.contextmanager
def scene_of_others() -> Iterator[None]:
    """While a scene of others is read: MuJoCo 4 warns of their ``settotalmass``, on stderr and into a file."""
    told = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(told)


def check_view(observation: str | Sequence[str], image_size: int, max_steps: int) -> tuple[str, ...]:
    """The setting `observation`, one name or several (also as ``image+state``), as names.

    Raises:
        SettingsError: a name that is not known, or none; a size or limit that is not allowed.
    """
    names = tuple(observation.split("+")) if isinstance(observation, str) else observation
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


def check_switch(name: str, value: Any) -> None:
    """Raises SettingsError unless a setting is True or False."""
    if not isinstance(value, bool):
        raise SettingsError(f"{name} = {value!r}: must be True or False")


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raises SettingsError unless a setting is a whole number within the limits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise SettingsError(f"{name} = {value!r}: must be a whole number {limits}")
