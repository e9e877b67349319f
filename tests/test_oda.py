"""ODA: posteriors worked out by hand, who moves the encoder, and that demonstrations tell tasks apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lotj.agents import AGENTS, At, Learner
from lotj.agents.oda import ODA, ContextEncoder, ODAConfig
from lotj.data.replay import Contexts, Replay, Source
from lotj.data.store import MemoryStore
from lotj.errors import DataError
from lotj.experience import PRACTISED, Batch, Episode, Task
from lotj.nets.front import Vector
from lotj.spaces import Array, Spec
from small_agents import learner_of, make_batch, weights

LINE = Spec({"state": Array((1,), "float32", -math.inf, math.inf)}, (1,), 10.0, 1)
CONFIG = ODAConfig(hidden=(32,), critic_projection=0, critic_hidden=32, latent=2, lr=1e-2, advantage_scale=10.0)


def test_a_posterior_is_the_product_of_gaussians_and_does_not_ask_their_order() -> None:
    """Variances softplus(raw) + 1e-4: of raw 0 and ln(e^3 - 1) they are ln 2 and 3 (and 1e-4 more); means 1 and -2.
    Precisions add up: 1 / (1 / .6932 + 1 / 3.0001) = .5631; mean .5631 (1 / .6932 - 2 / 3.0001) = .4369."""
    encoder = ContextEncoder(2, ODAConfig(latent=1, context_hidden=()))
    last = encoder.factors[-1]
    last.weight.data, last.bias.data = torch.eye(2), torch.zeros(2)  # what is seen is mean and raw variance
    encoder.eval()
    seen = torch.tensor([[[1.0, 0.0], [-2.0, math.log(math.e**3 - 1)]]]) * math.sqrt(1 + 1e-5)  # as the norm divides
    mean, variance = encoder(seen)
    assert variance.item() == pytest.approx(0.5631, abs=1e-4) and mean.item() == pytest.approx(0.4369, abs=1e-4)
    torch.testing.assert_close(encoder(seen.flip(1)), (mean, variance))


def test_the_policys_loss_does_not_reach_the_encoder() -> None:
    learner = learner_of("oda")
    before = weights(learner, "context")
    learner.update(make_batch(agent="oda"), At(0, weights={"q": 0.0, "kl": 0.0}))
    for name, values in weights(learner, "context").items():
        assert "normal" in name or torch.equal(values, before[name])


def test_one_code_a_task_and_batch() -> None:
    """Rows of one task read the same code, also where the context differs by row: the first row's is asked."""
    batch = make_batch(agent="oda", rows=6)
    batch.task = np.array([1, 0, 1, 0, 1, 0])
    one = learner_of("oda").update(batch, At(0))
    batch.columns["context"][2:] = 100.0  # of rows that are not the first of their task
    assert learner_of("oda").update(batch, At(0)) == one


def test_in_practice_the_code_follows_the_encoder() -> None:
    """Acting goes by the code that the losses see: of the context alone, which the batch's own mean would take out, and
    of the encoder as it is after updates, not as it was when practice began."""
    learner = learner_of("oda")
    for number in range(20):  # of two tasks: what is observed before and after, and what is done, has a spread
        learner.update(make_batch(agent="oda"), At(number))
    batch, algorithm = make_batch(agent="oda"), learner.algorithm
    assert isinstance(algorithm, ODA)
    batch.task[:] = PRACTISED
    batch.columns["context"][:] = batch.columns["context"][:1] + 1.0
    context, normal = torch.from_numpy(batch.columns["context"][0]), algorithm.context.normal
    assert normal.running_mean is not None
    statistics = normal.running_mean.clone()
    learner.update(batch, At(20, lr=0.0))
    told = algorithm.context.code.clone()
    algorithm.adapt(context)
    torch.testing.assert_close(told, algorithm.context.code)
    assert told.abs().max() > 0 and torch.equal(normal.running_mean, statistics)
    for number in range(21, 25):
        learner.update(batch, At(number))
    assert not torch.equal(algorithm.context.code, told)
    state = learner.state()  # what a checkpoint holds is told, too
    assert torch.equal(state["modules"][""]["context.code"], algorithm.context.code)


def demonstrated(task: str, goal: float, kind: str, count: int = 30) -> list[Episode]:
    """Episodes of one step: a move that ends within 0.3 of the task's own goal pays 1."""
    rng, made = np.random.default_rng(int(10 * goal) + 50 + len(kind)), []
    for seed in range(count):
        action = np.array([[goal if kind == "human" else rng.uniform(-1, 1)]], np.float32)
        reward = np.array([abs(action[0, 0] - goal) < 0.3], np.float32)
        state = {"state": np.zeros((2, 1), np.float32)}
        made.append(Episode(state, action, reward, True, False, task, kind, seed))
    return made


def world(goals: dict[str, float]) -> MemoryStore:
    store = MemoryStore([Task(name, name) for name in goals])
    for name, goal in goals.items():
        for episode in demonstrated(name, goal, "human", 5) + demonstrated(name, goal, "expert-less"):
            store.append(episode)
    return store


def test_contexts_are_demonstrations_of_the_same_task() -> None:
    contexts = Contexts.of(world({"left": -0.6, "right": 0.6}), ["state"])
    assert {task: pool.shape for task, pool in contexts.pools.items()} == {0: (5, 4), 1: (5, 4)}
    np.testing.assert_allclose(contexts.pools[0], np.tile([0.0, -0.6, 1.0, 0.0], (5, 1)))
    drawn = contexts.draw(np.array([1, 0, 1]), np.random.default_rng(0))
    assert drawn.shape == (3, 64, 4) and (drawn[0] == drawn[2]).all()
    assert (drawn[0, :, 1] == np.float32(0.6)).all() and (drawn[1, :, 1] == np.float32(-0.6)).all()
    alone = Contexts.of(world({"left": -0.6}), ["state"], practised=True)
    assert list(alone.pools) == [PRACTISED]
    bare = MemoryStore([Task("left", "left")])
    bare.append(demonstrated("left", 0.0, "policy", 1)[0])
    with pytest.raises(DataError, match="left: no demonstrations"):
        Contexts.of(bare, ["state"])


def test_demonstrations_tell_tasks_that_look_alike_apart() -> None:
    """Two tasks that are observed alike want opposite moves. Told by demonstrations which it is, one policy does both;
    of a third, between them, it has seen no data at all, and demonstrations lead it there."""
    store = world({"left": -0.8, "right": 0.8, "half left": -0.4, "half right": 0.4})
    contexts = Contexts.of(store, ["state"])
    replay = Replay([Source(store, columns={"imitate": True})], 128, ["context", "imitate"], contexts=contexts)
    learner = Learner(AGENTS["oda"], LINE, Vector(), CONFIG, 4)
    for number in range(400):
        learner.update(replay.sample(np.random.default_rng(number)), At(number))
    algorithm = learner.algorithm
    assert isinstance(algorithm, ODA)

    def move(goal: float) -> float:
        algorithm.adapt(torch.tensor([[0.0, goal, 1.0, 0.0]] * 8))
        return float(learner.act({"state": np.zeros((1, 1), np.float32)})[0, 0])

    assert move(-0.8) < -0.5 and move(0.8) > 0.5
    assert abs(move(0.1)) < 0.45
    twin = Learner.load(learner.state())
    assert twin.act({"state": np.zeros((1, 1), np.float32)}) == learner.act({"state": np.zeros((1, 1), np.float32)})


def test_a_batch_without_a_context_is_refused() -> None:
    plain = make_batch(agent="td3")
    batch = Batch(**{name: getattr(plain, name) for name in Batch.__dataclass_fields__})
    with pytest.raises(Exception, match="context"):
        learner_of("oda").update(batch, At(0))
