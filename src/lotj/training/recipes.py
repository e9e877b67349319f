"""How prior data are made: controllers with the flaws of people, of chance, or of a policy.

A recipe is made for one episode, of a task's environment, its scripted expert and seeded random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers import Controller
from lotj.controllers.waypoints import Waypoints
from lotj.errors import SettingsError
from lotj.experience import Episode, Observation
from lotj.runs import Run
from lotj.training.exploration import Exploration, acting

NOISE = (0.1, 0.2)  # standard deviation of a person's actions, drawn for each episode
PAUSE, PAUSES = 0.03, (3, 8)  # probability in each step that a pause begins, and how long it is [steps]
LATE = 3  # fingers open and close up to so many steps late
RETURNS, SPREAD = 0.15, 0.3  # of the random walk: share by which it goes back to 0 in a step, deviation of a step
MAZE_NOISE = 0.3  # standard deviation
PLAYED, PLAY_NOISE, MISSES = 50, 0.1, 1 / 12  # steps; standard deviation; probability that a skill misses on purpose
UP, IDLE = 10, 15  # steps up at the end of a primitive, and of a random motion after that, at most
NEAR = 0.3  # a sub-goal is reached within this of it [m]


class Recipe:
    """A controller of one episode: the expert, but for random actions, with a probability of `noise` each."""

    options: dict[str, Any] | None = None
    """Of the reset."""
    over = False
    """The episode is cut off here."""

    def __init__(self, env: Any, expert: Any, rng: np.random.Generator, noise: float = 0.0) -> None:
        self.env, self.expert, self.rng, self.noise = env, expert, rng, noise

    def reset(self, seed: int) -> None:
        """Start the episode."""
        self.expert.reset(seed)

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        """(A,) float32."""
        action = np.asarray(self.expert(observation, info), np.float32)
        if self.rng.random() < self.noise:
            action = self.rng.uniform(-1.0, 1.0, action.shape).astype(np.float32)
        return action

    def fault(self, episode: Episode) -> str:
        """Why an episode does not belong to such data; empty where it does."""
        return ""


class Human(Recipe):
    """The expert as a person would teleoperate it: trembling, with pauses, fingers that come late, and the mistakes of
    its `err`: a wrong height to grasp at, letting go too early, a bad aim. Where an environment names a `person`, who
    sees more than its own controller does, that is the expert."""

    def __init__(self, env: Any, expert: Any, rng: np.random.Generator) -> None:
        person = getattr(getattr(env, "unwrapped", None), "person", None)
        super().__init__(env, person() if person else expert, rng)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        getattr(self.expert, "err", lambda rng: None)(self.rng)
        self._sigma, self._late, self._pause = self.rng.uniform(*NOISE), int(self.rng.integers(LATE + 1)), 0
        self._fingers: list[np.ndarray] = []

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        action = np.array(self.expert(observation, info), np.float32)
        fingers = getattr(self.expert, "fingers", slice(0, 0))
        self._fingers.append(action[fingers].copy())
        action += self.rng.normal(0.0, self._sigma, action.shape).astype(np.float32)
        if not self._pause and self.rng.random() < PAUSE:
            self._pause = int(self.rng.integers(PAUSES[0], PAUSES[1], endpoint=True))
        if self._pause:
            self._pause -= 1
            action[:] = 0.0
        action[fingers] = self._fingers[max(0, len(self._fingers) - 1 - self._late)]
        return action.clip(-1.0, 1.0)


class Stitched(Recipe):
    """Goes to and fro between random cells of a stretch of a maze's route, at most a third of it, so that no episode
    shows the whole way; the goal observed is the end of the route."""

    def __init__(self, env: Any, expert: Controller, rng: np.random.Generator) -> None:
        super().__init__(env, expert, rng)
        if not hasattr(env, "route") or not isinstance(expert, Waypoints):
            raise SettingsError(f"recipe stitched on {type(env).__name__}: only for mazes with a route; choose another")
        way = expert.way(*env.route)
        moves = (len(way) - 1) // 3
        first = int(rng.integers(len(way) - moves))
        self.stretch = way[first : first + moves + 1]
        walls = np.ones_like(expert.walls)
        walls[tuple(np.transpose(self.stretch))] = False
        self.expert: Waypoints = Waypoints(walls)
        start = self._draw(env.route[1])
        self.options = {"reset_cell": start, "goal_cell": env.route[1]}
        self._next = self._draw(start)

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        if np.linalg.norm(self.expert.middle(self._next) - observation["state"][:2]) < NEAR:
            self._next = self._draw(self._next)
        action = self.expert({**observation, "goal": self.expert.middle(self._next)}, info)
        return (action + self.rng.normal(0.0, MAZE_NOISE, action.shape)).clip(-1.0, 1.0).astype(np.float32)

    def fault(self, episode: Episode) -> str:
        """``whole route`` where it has been in every cell of that."""
        visited = {self.expert.cell(position) for position in episode.observation["state"]}
        return "whole route" if visited >= {*self.env.route} else ""

    def _draw(self, but: tuple[int, int]) -> tuple[int, int]:
        """Another cell of the stretch."""
        cells = [cell for cell in self.stretch if cell != but]
        return cells[int(self.rng.integers(len(cells)))]


class Random(Recipe):
    """A random walk that returns to 0 (Ornstein-Uhlenbeck): without aim, but further than independent noise gets."""

    def reset(self, seed: int) -> None:
        self._action = np.zeros(self.env.action_space.shape, np.float32)

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        noise = self.rng.normal(0.0, SPREAD, self._action.shape).astype(np.float32)
        self._action = (self._action * np.float32(1 - RETURNS) + noise).clip(-1.0, 1.0)
        return self._action


class Play(Recipe):
    """Of `table/play`: the scripted hand visits all that is there, in random order, for `length` steps, trembling; one
    visit in twelve misses on purpose."""

    task, length = "play", PLAYED

    def __init__(self, env: Any, expert: Any, rng: np.random.Generator) -> None:
        super().__init__(env, expert, rng)
        if getattr(env.unwrapped, "task", "") != self.task or not hasattr(expert, "misses"):
            raise SettingsError(
                f"recipe {self.task}: is for table/{self.task} alone; name that task, or another recipe"
            )

    def reset(self, seed: int) -> None:
        self.expert.misses = MISSES
        super().reset(seed)
        self._steps = 0

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        self._steps += 1
        self.over = self._steps >= self.length
        action = self.aim(observation, info) + self.rng.normal(0.0, PLAY_NOISE, self.env.action_space.shape)
        return action.clip(-1.0, 1.0).astype(np.float32)

    def aim(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        """The action before noise."""
        return self.expert(observation, info)


class Primitives(Play):
    """Of `table/primitives`: one skill a trajectory, done or not, then 10 steps up and up to 15 of one random motion
    (PTP's own data); 5 to 150 steps in all."""

    task, length = "primitives", 150

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._tail = [np.array([0.0, 0.0, 1.0, 0.0, 1.0])] * UP
        self._tail += [self.rng.uniform(-1.0, 1.0, 5)] * int(self.rng.integers(IDLE + 1))

    def aim(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        """The skill's until that has finished, then those of the tail; with the last of these the episode is over."""
        action = self.expert(observation, info)
        if self.expert.finished:
            action = self._tail.pop(0)
            self.over = self.over or not self._tail
        return action


class Policy(Recipe):
    """The policy of a run's agent, with actions drawn from it: of BC, or of one that was stopped half way."""

    def __init__(self, env: Any, expert: Controller, rng: np.random.Generator, run: str) -> None:
        agent, shown = _agent_of(run), env.observation_space.spaces
        if agent.spec.action != env.action_space.shape or not agent.reads <= shown.keys():
            made_for = f"{', '.join(sorted(agent.reads))} and actions {agent.spec.action}"
            raise SettingsError(f"policy of {run}: made for {made_for}, which this task has not; name another run")
        super().__init__(env, Exploration(acting(agent), 0.0, 0.0, rng), rng)


@cache
def _agent_of(run: str) -> Any:
    """What a run has last saved of its agent: of practice, or else of pretraining."""
    from lotj.agents import Learner  # PyTorch takes a second, and the other recipes do without

    found = Run.open(Path(run))
    name = next((name for name in ("practice", found.config.get("agent", "")) if found.has(name)), None)
    if name is None:
        raise SettingsError(
            f"policy of {run}: the run holds no agent; name a run of `lotj practice` or `lotj pretrain`"
        )
    return Learner.load(found.load(name)["agent"])


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "expert": Recipe,
    "human": Human,
    "stitched": Stitched,
    "random": Random,
    "play": Play,
    "primitives": Primitives,
    "policy": Policy,
    "demonstrator": Policy,
}
