"""A hand pushes pucks about a table, to where a picture shows them (RIG, CC-RIG: Nair et al. 2018, 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from lotj.controllers.pushing import Pushing
from lotj.envs.base import Family, TaskEnv, check_whole
from lotj.errors import find
from lotj.sim.drawing import free_camera
from lotj.sim.push_scene import HAND, HEIGHT, REACH, dress, push_scene

MEMBERS = {
    "reacher": "the hand alone, to where a picture shows it",
    "one": "one puck, and the hand",
    "two": "two pucks, each in its half of the table, and the hand",
}
WITHIN = 0.03  # of the goal's place, the hand and each puck [m]
STEP_LIMIT = 0.02  # commanded motion of an action of 1 along an axis [m]
RATE_HZ = 10.0
STEPS = (30, 50, 100)  # time limits, by the number of pucks
PUCK_BOX = 0.09  # middles of pucks at starts and goals, both ways along x and y [m]
APART = 0.065 + HAND  # of a hand and a puck at starts and goals, at least [m]
NEAR = 0.1  # of the hand's start, from the nearest puck, at most: else random actions hardly ever move one [m]
STARTS = {"random": "near", "anywhere": "", "fixed": "fixed"}
FIXED = ((0.0, -0.12), ((0.0, -0.02),), ((-0.06, -0.02), (0.06, -0.02)))  # of the hand, of one puck, of two


class GoalPicture(TaskEnv):
    """An environment whose goal is a picture, with a hand that slides along x and y, for which a state is places; the
    distances, which only a simulator knows, are in `info`.

    Args:
        size: entries of a state, and of the goal. For the others see `TaskEnv`.
    """

    hand: slice | list[int] = slice(2)
    """Where it is in the model's positions."""
    step_limit, reach = STEP_LIMIT, np.inf
    """Commanded motion of an action of 1; how far from the middle it may be, both ways [m]."""

    def __init__(
        self, model: mujoco.MjModel, size: int, camera: mujoco.MjvCamera, observation: Any, *view: Any
    ) -> None:
        self.model = model
        self.data, self._goal_data = mujoco.MjData(model), mujoco.MjData(model)
        self._substeps = round(1.0 / RATE_HZ / model.opt.timestep)
        self.goal = np.zeros(size)
        names = ("state", "goal", "achieved_goal") if "state" in str(observation) else ()
        shapes = {name: (size,) for name in names}
        super().__init__(model, shapes, (2,), RATE_HZ, camera, observation, *view)

    @property
    def state(self) -> np.ndarray:
        """(S,) the places [m]."""
        return self.data.qpos[self.hand].copy()

    def act(self, action: np.ndarray) -> None:
        here = self.data.qpos[self.hand]
        start = np.clip(self.data.ctrl, here - self.step_limit, here + self.step_limit)  # who is blocked: no wind-up
        self.data.ctrl[:] = np.clip(start + self.step_limit * action, -self.reach, self.reach)
        mujoco.mj_step(self.model, self.data, self._substeps)

    def measure(self) -> dict[str, np.ndarray]:
        state = self.state
        return {"state": state, "achieved_goal": state, "goal": self.goal}

    def picture_of_goal(self) -> np.ndarray:
        """(H, W, 3) uint8: the goal of the running episode, hand included, as the episode's own scene would look."""
        return self.picture(self._image_size or 48, self._goal_data)[0]

    def picture_of(self) -> mujoco.MjData:
        return self.data


class PushEnv(GoalPicture):
    """Each episode has a goal, a state that is drawn with the start from the episode's seed: a hand and pucks where the
    hand can push them. With images it is shown by `picture_of_goal` alone.

    Action: (2,) of 20 mm, along x and y; 10 Hz, of at most 6 N.
    Observation: "image" (1, H, H, 3) uint8; or "state", "achieved_goal" (both alike) and "goal": places of the hand and
    of each puck, x and y from the table's middle [m].
    Success: hand and pucks within 3 cm of the goal; it does not end an episode unless asked to. `info` holds
    ``hand_distance`` and ``object_distance``, the mean over the pucks that are there [m].

    Args:
        task: a name in `MEMBERS`.
        vary: ``none``; ``colour`` of the pucks in each episode; or ``shape``, with size, mass, friction, texture, light
            and distractors.
        split: ``train`` or ``held-out``: colours, shapes and textures.
        start: ``random``, the hand near a puck; ``anywhere``; or ``fixed``, as in RIG.
        max_steps: time limit; 30, 50 and 100 unless given.
        present: pucks that are there, the first ones; others lie out of sight. None: all.
        For the others see `TaskEnv`.
    """

    reach = REACH

    def __init__(
        self,
        task: str = "one",
        observation: str | Sequence[str] = "state",
        image_size: int = 48,
        max_steps: int | None = None,
        end_on_success: bool = False,
        vary: str = "none",
        split: str = "train",
        start: str = "random",
        present: int | None = None,
    ) -> None:
        pucks = list(MEMBERS).index(task)
        max_steps = STEPS[pucks] if max_steps is None else max_steps
        check_whole("present", pucks if present is None else present, 0, pucks)
        self._vary, self._split, self._start = vary, split, find("start", start, STARTS)
        self._present = pucks if present is None else present
        model = push_scene(pucks)
        dress(model, mujoco.MjData(model), np.random.default_rng(0), vary, split)
        self.hand = [model.joint(f"hand-{axis}").qposadr[0] for axis in "xy"]
        self._pucks = [model.joint(f"puck{puck}").qposadr[0] for puck in range(pucks)]
        camera = free_camera((0.0, 0.0, 0.0), 0.49, azimuth=90.0, elevation=-65.0)
        super().__init__(model, 2 + 2 * pucks, camera, observation, image_size, max_steps, end_on_success)
        self.scene: Mapping[str, Any] = {}

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        rng = self.np_random
        self.scene = dress(self.model, self.data, rng, self._vary, self._split)
        start, self.goal = self._draw(self._start), self._draw()
        while any(
            np.linalg.norm(start[at : at + 2] - self.goal[at : at + 2]) < WITHIN for at in range(0, len(start), 2)
        ):
            self.goal = self._draw()
        turns = rng.uniform(-np.pi, np.pi, (2, len(self._pucks)))
        for data, state, turn in ((self._goal_data, self.goal, turns[0]), (self.data, start, turns[1])):
            self._place(data, state, turn)

    @property
    def state(self) -> np.ndarray:
        """(2 + 2 pucks,) places of hand and pucks [m]; of a puck that is not there its goal."""
        places = [self.data.qpos[at : at + 2] for at in self._pucks[: self._present]]
        return np.concatenate([self.data.qpos[self.hand], *places, self.goal[2 + 2 * self._present :]])

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        return bool(self._distances().max() < WITHIN), False

    def facts(self, success: bool) -> dict[str, Any]:
        hand, *pucks = self._distances()[: 1 + self._present].tolist()
        return {"hand_distance": hand, "object_distance": float(np.mean(pucks)) if pucks else 0.0}

    def truth(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What only a simulator knows, to be recorded: the places of hand and pucks, and the first puck's colour."""
        return {
            "places": self.state.astype(np.float32),
            "colour": np.asarray(self.scene.get("colour", (0,) * 3), np.float32),
        }

    def _distances(self) -> np.ndarray:
        return np.linalg.norm((self.state - self.goal).reshape(-1, 2), axis=1)

    def _draw(self, how: str = "") -> np.ndarray:
        """A state: pucks apart from each other, in two halves where they are two, and the hand apart from them; at a
        start it is ``near`` one, or all is ``fixed``."""
        rng, count = self.np_random, len(self._pucks)
        if how == "fixed":
            return np.concatenate([FIXED[0], *FIXED[count]]) if count else np.array(FIXED[0])
        pucks = rng.uniform(-PUCK_BOX, PUCK_BOX, (count, 2))
        if count == 2:
            pucks[:, 0] = 0.04 + np.abs(pucks[:, 0]) * 0.6
            pucks[0, 0] *= -1
        while True:
            hand = rng.uniform(-REACH, REACH, 2)
            away = np.linalg.norm(pucks - hand, axis=1)
            if not count or (away.min() > APART and (not how or away.min() < NEAR)):
                return np.concatenate([hand, *pucks])

    def _place(self, data: mujoco.MjData, state: np.ndarray, turn: np.ndarray) -> None:
        mujoco.mj_resetData(self.model, data)
        data.qpos[self.hand] = data.ctrl[:] = state[:2]
        for puck, at in enumerate(self._pucks):
            there = puck < self._present
            place = (*state[2 + 2 * puck :][:2], HEIGHT) if there else (5.0 + puck, 5.0, -5.0)
            data.qpos[at : at + 7] = (*place, np.cos(turn[puck] / 2), 0.0, 0.0, np.sin(turn[puck] / 2))
        mujoco.mj_forward(self.model, data)


FAMILY = Family(
    name="push",
    title="a hand pushes pucks to where a picture shows them",
    members=MEMBERS,
    make=PushEnv,
    expert=lambda env: Pushing(),
)
