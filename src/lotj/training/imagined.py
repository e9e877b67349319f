"""Practice on goals that the robot sets itself: an environment of pictures, seen as codes and a goal (RIG, CC-RIG).

Everything else is the house's: trials of `Rewarded`, the replay with `choose_goals`, any agent on vectors, `practice`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.data.store import MemoryStore, Store
from lotj.envs.base import spec_of
from lotj.errors import SettingsError
from lotj.experience import Episode
from lotj.goals.encoder import Latent
from lotj.goals.proposer import GoalProposer
from lotj.goals.reward import GoalReward

READS = ("code", "goal", "context")
"""What an agent looks at; ``context`` where the encoder has one."""


class Imagined(gym.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """A task whose goal is a picture, as codes.

    Observation: "code" and "goal" (D,), "context" (C,) of the episode's first picture where the encoder has one, and
    what the `reward` reads besides.
    Reward: `reward` of each frame for the goal. Episodes end by time alone, and `info` says nothing of success: of the
    true distances practice learns nothing. ``reset(options={"goal": "task"})`` sets the goal that the task shows, for
    evaluation; else the `proposer` does.

    Args:
        env: observes ``image`` of one camera, and has `picture_of_goal`.
        encoder, proposer, reward: see `lotj.goals`.
    """

    def __init__(self, env: gym.Env, encoder: Latent, proposer: GoalProposer, reward: GoalReward) -> None:
        super().__init__(env)
        image = spec_of(env).observation.get("image")
        if image is None or image.shape[0] != 1 or not hasattr(env.unwrapped, "picture_of_goal"):
            raise SettingsError(f"{env.unwrapped}: needs pictures of one camera, observation=image, and a goal picture")
        self.encoder, self.proposer, self._reward = encoder, proposer, reward
        self._kept = {"image"} & {*reward.reads}
        boxes: dict[str, gym.Space] = {name: gym.spaces.Box(-np.inf, np.inf, (encoder.size,)) for name in READS[:2]}
        if encoder.needs_context:
            boxes["context"] = gym.spaces.Box(-np.inf, np.inf, (encoder.context_size,))
        if "precision" in reward.reads:
            boxes["precision"] = gym.spaces.Box(0.0, np.inf, (encoder.size,))
        boxes |= {name: env.observation_space[name] for name in self._kept}  # type: ignore[index]
        self.observation_space = gym.spaces.Dict(boxes)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode and set its goal, by random numbers of the seed."""
        asked = dict(options or {}).pop("goal", "proposed")
        if asked not in ("proposed", "task") or set(options or {}) - {"goal"}:
            raise SettingsError(f"reset options {options}: must be goal, proposed or task")
        seen, info = self.env.reset(seed=seed)
        self.first = seen["image"]
        self.context = self.encoder.context(self.first)
        if asked == "task":
            self.goal = self.task_goal()
        else:
            rng = np.random.default_rng(seed if seed is None else [seed, 5])
            self.goal = self.proposer.propose(self.context[0] if self.context.size else None, 1, rng)[0]
        return self._coded(seen), _untold(info)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act; the time limit truncates, nothing terminates."""
        seen, _, _, truncated, info = self.env.step(action)
        coded = self._coded(seen)
        shown = {name: values[None] for name, values in coded.items()} | {"context": self.context}
        reward = self._reward(shown, self.goal[None])
        return coded, float(reward[0]), False, truncated, _untold(info)

    def task_goal(self) -> np.ndarray:
        """(D,) code of the goal picture that the task shows, in the running episode."""
        picture = self.env.unwrapped.picture_of_goal()  # type: ignore[attr-defined]
        return self.encoder.encode(picture[None], self.first)[0]

    def _coded(self, seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.last = seen["image"]
        code, precision = (part[0] for part in self.encoder.encode_with_precision(seen["image"], self.first))
        coded = {"code": code, "goal": self.goal.astype(np.float32), "precision": precision}
        coded |= {"context": self.context[0], **{name: seen[name] for name in self._kept}}
        return {name: coded[name] for name in self.observation_space.spaces}  # type: ignore[attr-defined]


def _untold(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name not in ("is_success", "lost")}


class Stated(gym.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """The oracle: the true state as "code" and the task's goal as "goal", each entry in its `unit` (see `units_of`),
    with minus their distance as the reward. It bounds what codes can do; no practice on its own sees this."""

    def __init__(self, env: gym.Env, unit: np.ndarray) -> None:
        super().__init__(env)
        shape = spec_of(env).observation["goal"].shape
        self.observation_space = gym.spaces.Dict({name: gym.spaces.Box(-np.inf, np.inf, shape) for name in READS[:2]})
        self.unit = unit

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; its goal is the task's whatever is asked."""
        seen, info = self.env.reset(seed=seed)
        return self._scaled(seen), _untold(info)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act; the time limit truncates, nothing terminates."""
        seen, _, _, truncated, info = self.env.step(action)
        scaled = self._scaled(seen)
        return scaled, -float(np.linalg.norm(scaled["code"] - scaled["goal"])), False, truncated, _untold(info)

    def _scaled(self, seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"code": seen["achieved_goal"] / self.unit, "goal": seen["goal"] / self.unit}


def coded_store(
    store: Store, encoder: Latent, proposer: GoalProposer, seed: int, reads: tuple[str, ...] = ()
) -> MemoryStore:
    """Prior data of pictures as episodes of codes, each with one goal of the `proposer`, as if it had been practised
    with that; nothing in them terminates, and rewards are 0: they follow from the goals that are drawn. All are
    transitions to learn from."""

    def observed(episode: Episode, rng: np.random.Generator) -> dict[str, np.ndarray]:
        images = episode.observation["image"][:, 0]
        code, precision = encoder.encode_with_precision(images, images[:1])
        context = encoder.context(images[:1])
        goal = proposer.propose(context[0] if encoder.needs_context else None, 1, rng)
        context, goal = (np.repeat(one, len(code), 0) for one in (context, goal))
        coded = {"code": code, "goal": goal, "precision": precision, "context": context}
        coded |= {"image": episode.observation["image"]}
        wanted = ("code", "goal", *(("context",) if encoder.needs_context else ()), *reads)
        return {name: coded[name] for name in dict.fromkeys(wanted)}

    return _seen_as(store, observed, seed)


def units_of(store: Store) -> np.ndarray:
    """(D,) [m]: the deviations of the true places in random data, which the oracle's distance is in as that of a VAE's
    codes about is. In metres the hand, which gets about, counts for more than the puck, which does not, and to push
    hardly pays (docs/lab-notes/chapters.md)."""
    return np.maximum(store.truth("places").std(0), 1e-3, dtype=np.float32)


def stated_store(store: Store, unit: np.ndarray, proposer: GoalProposer, seed: int) -> MemoryStore:
    """The same prior data as the oracle sees them, `Stated`: the true places in their `unit`, each episode with one
    goal of the `proposer`."""

    def observed(episode: Episode, rng: np.random.Generator) -> dict[str, np.ndarray]:
        code = episode.truth["places"] / unit
        return {"code": code, "goal": np.repeat(proposer.propose(None, 1, rng), len(code), 0)}

    return _seen_as(store, observed, seed)


def _seen_as(
    store: Store, observed: Callable[[Episode, np.random.Generator], Mapping[str, np.ndarray]], seed: int
) -> MemoryStore:
    made, rng = MemoryStore(store.tasks), np.random.default_rng([seed, 7])
    for episode in map(store.episode, range(len(store))):
        seen = observed(episode, rng)
        untold: dict[str, Any] = {"reward": np.zeros_like(episode.reward), "notes": {}, "truth": {}}
        made.append(replace(episode, observation=seen, terminated=False, truncated=True, **untold))
    return made
