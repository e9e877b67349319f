"""Data and tasks seen through an encoder: what a learner is shown, and where goals and rewards come from."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from disc_world import picture, pictures, tensor
from lotj.agents import Learner, find_agent
from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.replay import Replay, Source
from lotj.data.store import MemoryStore
from lotj.envs.base import spec_of
from lotj.envs.registry import make_task
from lotj.errors import DataError
from lotj.experience import Episode, Task
from lotj.experiments.codes import Redrawn
from lotj.goals.codes import CodeEncoder, CodeGenerator
from lotj.goals.pixelcnn_proposer import PixelCNNProposer
from lotj.goals.planner import Pursuit
from lotj.goals.proposer import Given, Seen
from lotj.goals.sparse import SparseReward
from lotj.nets.front import Vector
from lotj.nets.pixelcnn import PixelCNN, PixelCNNConfig
from lotj.nets.subgoal_cvae import SubgoalConfig, SubgoalCVAE
from lotj.nets.vq_vae import VQVAE, VQVAEConfig
from lotj.runs import Run
from lotj.training.coded import CodedStore, Pursued
from lotj.training.imagined import READS
from lotj.training.practice import practice
from lotj.training.practice_config import PracticeConfig
from lotj.training.rewarded import Rewarded


@pytest.fixture(scope="module")
def encoder() -> CodeEncoder:
    torch.manual_seed(0)
    config = VQVAEConfig(image_size=16, hidden=8, residual_hidden=4, residual_layers=1, embedding=2, codes=8)
    model = VQVAE(config)
    model.encoder = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Conv2d(3, 2, 1))  # a cell's mean colour
    with torch.no_grad():
        cells = model.encode(tensor(pictures(64, np.random.default_rng(0))[0])).permute(0, 2, 3, 1).reshape(-1, 2)
        kinds = (1e4 * cells).round().unique(dim=0) / 1e4  # the ground and three discs
    model.dictionary.data = torch.cat([kinds, 9.0 + torch.randn(4, 2)])
    return CodeEncoder(model)


def raw() -> MemoryStore:
    """Two episodes of 3 and 5 steps; rewards and a success of the simulator, which must not be learnt from."""
    store, rng = MemoryStore([Task("a", "a")]), np.random.default_rng(0)
    for seed, steps in enumerate((3, 5)):
        images = pictures(steps + 1, rng)[0][:, None]
        action, reward = rng.uniform(-1, 1, (steps, 2)).astype(np.float32), np.ones(steps, np.float32)
        truth = {"things": np.arange(steps + 1.0)[:, None]}
        store.append(Episode({"image": images}, action, reward, True, False, "a", "play", seed, {}, truth))
    return store


def test_codes_are_kept_as_numbers_and_come_back(encoder: CodeEncoder) -> None:
    images = pictures(5, np.random.default_rng(1))[0]
    codes = encoder.encode(images)
    assert (codes.shape, codes.dtype, encoder.size) == ((5, 32), np.float32, 32)
    np.testing.assert_array_equal(encoder.look_up(encoder.numbers(codes)), codes)
    assert encoder.decode(codes).shape == images.shape
    rows = codes.reshape(5, 2, 16).transpose(0, 2, 1).reshape(-1, 2)
    dictionary = encoder.model.dictionary.detach().numpy()
    assert np.abs(rows[:, None] - dictionary).sum(2).min(1).max() == 0  # every cell is a code


def test_the_robots_own_state_is_kept_beside_codes(encoder: CodeEncoder) -> None:
    """Where data have it; a learner asks for it by name."""
    seen, store = raw(), MemoryStore([Task("a", "a")])
    for episode in map(seen.episode, range(2)):
        own = np.arange(len(episode) + 1.0, dtype=np.float32)[:, None] + 10 * episode.seed
        store.append(replace(episode, observation={**episode.observation, "state": own}))
    coded = CodedStore(store, encoder)
    assert coded.observe(np.array([1, 5]), ["state"])["state"].tolist() == [[1.0], [11.0]]
    assert set(coded.schema.observation) == {*READS, "state"}
    assert set(CodedStore(seen, encoder).schema.observation) == {*READS}


def test_a_pursued_task_shows_the_hand_and_nothing_that_is_true() -> None:
    task = make_task("table/open-drawer,scene=0,max_steps=3,observation=image+state")
    reward = SparseReward(0.5)
    with closing(Pursued(task, Column(), Seen(lambda: np.ones((1, 1), np.float32)), reward)) as env:
        observation, info = env.reset(seed=0)
        assert set(observation) == {*READS, "state"} and info == {}
        now = env.unwrapped.table.look()  # type: ignore[attr-defined]
        assert observation["state"] == pytest.approx(np.append(now["hand"], now["gap"]), abs=1e-6)
        assert env.observation_space.contains(observation)
        assert set(env.step(np.zeros(5, np.float32))[0]) == {*READS, "state"}


def test_a_generator_says_codes_only(encoder: CodeEncoder) -> None:
    for contexts in (0, 1, 2):
        made = CodeGenerator(SubgoalCVAE(SubgoalConfig(latent=3, hidden=8), 2, 4, contexts), encoder)
        out = made((torch.randn(6, 32),) * contexts, torch.randn(6, 3))
        cells = out.view(6, 2, 16).transpose(1, 2).reshape(-1, 1, 2)
        assert (cells - encoder.model.dictionary).abs().sum(2).amin(1).max() == 0


def test_prior_data_hold_no_reward_or_end_of_the_simulator(encoder: CodeEncoder) -> None:
    store = CodedStore(raw(), encoder)
    assert store.numbers.nbytes == 10 * 16 * 2
    known = CodedStore(raw(), encoder, store.numbers)
    assert known.observe(np.arange(10))["code"].tolist() == store.observe(np.arange(10))["code"].tolist()
    with pytest.raises(DataError, match="codes of 9 frames for data of 10"):
        CodedStore(raw(), encoder, store.numbers[:9])
    assert not store.terminated().any()
    assert raw().column("reward").any() and not store.column("reward").any()
    last = encoder.encode(raw().observe(np.array([3, 9]), ["image"])["image"][:, 0])
    seen = store.observe(np.array([0, 2, 4, 9]))
    np.testing.assert_array_equal(seen["goal"], last[[0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["code"][3], last[1])
    np.testing.assert_array_equal(seen["context"][2:], np.repeat(store.observe(np.array([4]))["code"], 2, 0))


def test_goals_of_prior_data_are_chosen_anew_for_their_own_scene(encoder: CodeEncoder) -> None:
    store, asked = CodedStore(raw(), encoder), []

    def propose(context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        assert context is not None
        asked.append(n)
        return np.repeat(context[None] + 100.0, n, 0)

    relabel = choose_goals(GoalShares(0.3, 0.0, 0.3, 0.4), propose, True, SparseReward(1e-6))
    batch = Replay([Source(store, relabel=[relabel])], 200, observation=READS).sample(np.random.default_rng(0))
    proposed = batch.observation["goal"][:, 0] > 50.0
    np.testing.assert_allclose(batch.observation["goal"][proposed], batch.observation["context"][proposed] + 100.0)
    assert len(asked) == 2  # one call for each scene
    near = np.linalg.norm(batch.next_observation["code"] - batch.observation["goal"], axis=1) < 1e-6
    np.testing.assert_array_equal(batch.reward, np.where(near, 0.0, -1.0))
    assert not batch.terminated.any()
    assert 0.1 < near.mean() < 0.6


def test_a_scene_keeps_its_draws(encoder: CodeEncoder) -> None:
    torch.manual_seed(1)
    model = PixelCNN(PixelCNNConfig(channels=4, layers=2, head=8), 8, 2, 4)
    made = PixelCNNProposer(model, encoder, bank=6, scenes=2)
    rng, contexts = (
        np.random.default_rng(0),
        encoder.encode(np.stack([picture((0, x), 0) for x in range(3)])),
    )
    many = made.propose(contexts[0], 200, rng)
    assert many.shape == (200, 32)
    assert 2 <= len(np.unique(many, axis=0)) <= 6
    kept = {row.tobytes() for row in many}
    made.propose(contexts[1], 1, rng)
    assert {row.tobytes() for row in made.propose(contexts[0], 50, rng)} <= kept
    made.propose(contexts[2], 1, rng)  # a third scene: the one longest unused is forgotten
    assert len(made._banks) == 2
    again = PixelCNNProposer(model, encoder, bank=6)
    again.keep(contexts[2:], made.banks(contexts[2:]))
    first, second = (one.propose(contexts[2], 20, np.random.default_rng(1)) for one in (made, again))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="those of a scene"):
        made.propose(None, 1, rng)


def test_draws_follow_from_the_scene_alone(encoder: CodeEncoder) -> None:
    """Whatever was drawn before: practice that was stopped draws again what it drew."""
    torch.manual_seed(1)
    model = PixelCNN(PixelCNNConfig(channels=4, layers=2, head=8), 8, 2, 4)
    contexts = encoder.encode(np.stack([picture((0, x), 0) for x in range(3)]))
    made, resumed = (PixelCNNProposer(model, encoder, bank=6) for _ in range(2))
    for number, context in enumerate(contexts):
        made.propose(context, 3, np.random.default_rng(number))
    resumed.propose(contexts[2], 1, np.random.default_rng(9))
    np.testing.assert_array_equal(resumed.banks(contexts[2:]), made.banks(contexts[2:]))
    assert not np.array_equal(made.banks(contexts[1:2]), made.banks(contexts[2:]))


class First:
    """A model that decodes whatever it is asked to the first picture that it was shown."""

    size, context_size = 1, 16 * 16 * 3

    def context(self, first: np.ndarray) -> np.ndarray:
        return first.reshape(len(first), -1).astype(np.float32)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((count, 1), np.float32)

    def decode(self, codes: np.ndarray, context: np.ndarray) -> np.ndarray:
        return np.repeat(context.astype(np.uint8).reshape(1, 16, 16, 3), len(codes), 0)


def test_another_models_goals_are_of_the_true_first_picture(encoder: CodeEncoder) -> None:
    seen = [picture((1, x), 1)[None] for x in range(2)]
    made = Redrawn(First(), encoder, lambda: seen[-1], bank=3)  # type: ignore[arg-type]
    context, rng = encoder.context(seen[1])[0], np.random.default_rng(0)
    np.testing.assert_array_equal(made.propose(context, 2, rng), np.repeat(context[None], 2, 0))
    seen.append(seen[0])
    made.propose(context, 1, rng)  # relabelled later: as drawn when its episode began
    wrong = encoder.context(picture((3, 3), 2)[None])[0]
    with pytest.raises(DataError, match="scene that has not begun"):
        made.propose(wrong, 1, rng)


class Discs(gym.Env):
    """A disc that moves a place a step; the goal is two places to the right."""

    max_steps, metadata = 5, {"render_fps": 10}
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (1, 16, 16, 3), np.uint8)})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self._x, self._steps = 0, 0
        return self._see(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self._x, self._steps = int(np.clip(self._x + np.sign(action[0]), 0, 3)), self._steps + 1
        return self._see(), 0.0, False, self._steps >= 5, {"is_success": self._x == 2}

    def picture_of_goal(self) -> np.ndarray:
        return picture((0, 2), 0)

    def _see(self) -> dict[str, Any]:
        return {"image": picture((0, self._x), 0)[None]}


class Column:
    """The column of the disc, a code of one number."""

    size, context_size, needs_context = 1, 1, False

    def encode(self, images: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        return (images[..., 0].astype(float).max(1).argmax(1)[:, None] // 4).astype(np.float32)

    def encode_with_precision(self, images: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.encode(images), np.ones((len(images), 1), np.float32)

    def context(self, first: np.ndarray) -> np.ndarray:
        return self.encode(first)


class Steps:
    def plan(self, h: np.ndarray, h_goal: np.ndarray, value: Any) -> np.ndarray:
        return np.array([h + 1, h_goal], np.float32)


class One:
    needs_context = True

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        assert context is not None
        return np.repeat(context[None] + 1.0, n, 0)


RIGHT = np.array([1.0, 0.0], np.float32)


def pursued(**more: Any) -> Pursued:
    """Practice on `One`'s goals; an evaluation, which is told, on those of the task."""
    proposer = Given(lambda: env.task_goal()) if more.get("told") else One()
    env = Pursued(Discs(), Column(), proposer, SparseReward(0.5), **more)
    return env


@pytest.mark.parametrize(("told", "goal"), [(False, 1.0), (True, 2.0)])
def test_practice_sets_its_own_goals_and_is_told_nothing(told: bool, goal: float) -> None:
    env = pursued(told=told)
    observation, info = env.reset(seed=0)
    assert {name: seen.tolist() for name, seen in observation.items()} == {
        "code": [0],
        "goal": [goal],
        "context": [0],
    }
    steps = [env.step(RIGHT if number < 2 else 0 * RIGHT) for number in range(5)]
    assert [step[1] for step in steps] == ([-1.0, 0.0, 0.0, 0.0, 0.0] if told else [0.0, -1.0, -1.0, -1.0, -1.0])
    assert [step[2:4] for step in steps] == [(False, False)] * 4 + [(False, True)]
    assert [step[4] for step in steps] == ([{"is_success": n == 4} for n in range(5)] if told else [{}] * 5)
    assert info == {}


def test_success_is_that_of_the_last_step() -> None:
    env = pursued(told=True)
    env.reset(seed=0)
    assert not any(env.step(RIGHT)[4]["is_success"] for _ in range(5))  # it went past the goal


def test_goals_of_prior_data_go_by_their_scene_whoever_proposes_in_practice(tmp_path: Path) -> None:
    env = Pursued(Discs(), Column(), Seen(lambda: np.ones((1, 1), np.float32)), SparseReward(0.5))
    prior, zeros, asked = MemoryStore([Task("a", "a")]), np.zeros((4, 1), np.float32), []
    seen, action = {"code": zeros, "goal": zeros, "context": zeros + 7.0}, np.zeros((3, 2), np.float32)
    prior.append(Episode(seen, action, np.zeros(3, np.float32), False, True, "a", "play", 0))

    def propose(context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        asked.append(None if context is None else context.tolist())
        return np.zeros((n, 1), np.float32)

    by_scene = choose_goals(GoalShares(0.0, 0.0, 0.0, 1.0), propose, True, SparseReward(0.5))
    kept = choose_goals(GoalShares(1.0, 0.0, 0.0, 0.0), One().propose, False, SparseReward(0.5))
    kind = find_agent("td3")
    config = kind.CONFIG(hidden=(8,), critic_hidden=8, critic_projection=0)
    learner = Learner(kind, spec_of(env), Vector(("code", "goal")), config, 1, 0)
    how = PracticeConfig(trials=1, max_steps=5, online_fraction=0.5, batch_size=8, updates_per_step=0.2,
                         warmup_trials=1, threads=1)  # fmt: skip
    with Run.create(tmp_path, "practice", {}, 0) as run:
        source = Source(prior, 0.5, relabel=[by_scene])
        practice(Rewarded(env, 5, 0), learner, [source], how, run, "disc", [kept], live=False)
    assert asked == [[7.0]]


def test_an_agent_is_shown_the_subgoal_it_pursues() -> None:
    env = pursued(told=True, pursuit=Pursuit(Steps(), lambda states, goals: states[:, 0], 0.5, 3))
    for _ in range(2):  # a new plan for each episode
        goals = [env.reset(seed=0)[0]["goal"]] + [env.step(RIGHT)[0]["goal"] for _ in range(2)]
        assert [goal.tolist() for goal in goals] == [[1.0], [2.0], [2.0]]
