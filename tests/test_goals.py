"""Imagined goals: losses and rewards by numbers worked out by hand, whence goals come, a small model that learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.replay import Replay, Source
from lotj.data.store import MemoryStore
from lotj.errors import DataError, LotjError, NumericsError, SettingsError
from lotj.experience import Episode, Task
from lotj.experiments.codes import SIZED
from lotj.goals.encoder import Latent, pixels
from lotj.goals.judge import Scenes, ranks, reconstruction
from lotj.goals.proposer import Given, Prior, Seen
from lotj.goals.reward import LatentReward
from lotj.nets.cc_vae import CCVAE, CCVAEConfig
from lotj.nets.vae import LEAST_LOG_VARIANCE, VAE, Broadcast, Pixels, SpatialSoftmax, VAEConfig, bernoulli, divergence
from lotj.runs import Run
from lotj.training.encoders import Modeller, ModelTraining, picture_model


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """(N, 48, 48, 3): a bright square of 12 pixels, elsewhere in each, on grey."""
    rng, made = np.random.default_rng(seed), np.full((count, 48, 48, 3), 100, np.uint8)
    for picture in made:
        row, column = rng.integers(0, 36, 2)
        picture[row : row + 12, column : column + 12] = (230, 30, 30)
    return made


# ---- losses ---------------------------------------------------------------------------------------------------------


def test_divergence_by_hand() -> None:
    """Of N(1, 1) 1/2; of N(0, 4) (4 - 1 - ln 4) / 2; summed over entries, mean over rows."""
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)], [0.0, 0.0]])
    assert divergence(mean, log_variance).item() == pytest.approx((0.5 + (3 - math.log(4)) / 2) / 2)


def test_bernoulli_is_summed_over_pixels_by_hand() -> None:
    """A logit of 0 says 1/2: ln 2 for each of 2 rows x 12 numbers, mean over rows, whatever the picture."""
    assert bernoulli(torch.zeros(2, 3, 2, 2), torch.rand(2, 3, 2, 2)).item() == pytest.approx(12 * math.log(2))


def test_the_place_of_a_feature_by_hand() -> None:
    """All mass in the upper right of 3 x 3 cells: x = 1, y = -1; even mass: the middle."""
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 0, 2] = 100.0
    assert SpatialSoftmax()(maps)[0].tolist() == pytest.approx([1.0, 0.0, -1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("kind", ["vae", "ae", "spatial"])
def test_only_a_vae_has_a_divergence_and_none_a_smaller_variance_than_its_floor(kind: Any) -> None:
    model = VAE(VAEConfig(kind=kind, size=4))
    images = torch.rand(3, 3, 48, 48)
    terms = model.losses(images, images)
    assert set(terms) == ({"reconstruction", "divergence"} if kind == "vae" else {"reconstruction"})
    mean, log_variance = model.code(images, images)
    assert mean.shape == log_variance.shape == (3, 4) and log_variance.min() >= LEAST_LOG_VARIANCE


def test_the_context_goes_round_the_bottleneck() -> None:
    """Its decoder is moved by z_c; the divergence is not, and e_0 has no weights of q."""
    model = CCVAE(CCVAEConfig(size=2, context_size=3))
    images, first = torch.rand(4, 3, 48, 48), torch.rand(4, 3, 48, 48)
    terms = model.losses(images, first)
    assert set(terms) == {"reconstruction", "divergence", "context"}
    of_context = [*model.context_trunk.parameters(), *model.context_head.parameters()]
    moved = torch.autograd.grad(terms["divergence"], of_context, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in moved)
    gradients = torch.autograd.grad(terms["reconstruction"], of_context, retain_graph=True)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[:1])
    assert not {*map(id, of_context)} & {*map(id, [*model.trunk.parameters(), *model.head.parameters()])}


# ---- rewards --------------------------------------------------------------------------------------------------------


def test_rewards_by_hand() -> None:
    """z' - z_g = (3, 4): -5; with precisions (1, 1/4): -sqrt(9 + 4)."""
    seen = {"code": np.array([[3.0, 4.0]], np.float32), "precision": np.array([[1.0, 0.25]], np.float32)}
    goal = np.zeros((1, 2), np.float32)
    assert LatentReward()(seen, goal).tolist() == [-5.0]
    assert LatentReward("precision")(seen, goal) == pytest.approx([-math.sqrt(13)])
    assert LatentReward("precision").reads == ("code", "precision")


def test_the_reward_of_pixels_by_hand() -> None:
    """A picture that is darker than the decoded goal by 51 of 255 everywhere: -(0.2)^2."""
    encoder = Latent(VAE(VAEConfig(size=2)))
    goal = np.zeros((1, 2), np.float32)
    wanted = encoder.decode(goal)
    assert wanted.min() >= 51
    seen = {"image": (wanted - 51)[:, None]}
    assert LatentReward("pixel", encoder)(seen, goal) == pytest.approx([-0.04])
    with pytest.raises(SettingsError, match="needs the encoder"):
        LatentReward("pixel")


def test_a_goal_is_decoded_once_and_the_same_whoever_is_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, asked = Latent(VAE(VAEConfig(size=2))), list[int]()
    decode = encoder.decode
    monkeypatch.setattr(encoder, "decode", lambda *of: asked.append(len(of[0])) or decode(*of))
    goals = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    seen = {"image": np.full((3, 1, 48, 48, 3), 90, np.uint8)}
    reward = LatentReward("pixel", encoder)
    first = reward(seen, goals)
    assert reward(seen, goals[::-1].copy()).tolist() == first[::-1].tolist() and asked == [1, 1, 1]
    monkeypatch.setattr("lotj.goals.reward.KEPT", 2)  # what is full is emptied: memory stays flat
    assert reward(seen, goals + 1)[0] == LatentReward("pixel", encoder)(seen, goals + 1)[0]


def test_without_a_model_the_distance_is_that_of_pixels_by_hand() -> None:
    """A black picture, and one with a white cell of 3 x 3 pixels and one that is white to a third: sqrt(3 + 3 / 9)."""
    encoder, images = Latent(Pixels()), np.zeros((2, 48, 48, 3), np.uint8)
    images[1, :3, 3:6] = 255
    images[1, 45:, 1] = 255
    codes = encoder.encode(images)
    assert codes.shape == (2, 768) == (2, encoder.size)
    apart = LatentReward()({"code": codes[:1]}, codes[1:])
    assert apart == pytest.approx([-math.sqrt(3 + 3 / 9)])
    shown = encoder.decode(codes)
    assert (shown[0] == 0).all() and (shown[1, :3, 3:6] == 255).all() and (shown[1, 45:, :3] == 85).all()


def test_the_context_cancels_in_the_reward() -> None:
    """With z_c beside code and goal, of the same episode, distances are those of z_t alone."""
    rng = np.random.default_rng(0)
    code, goal, context = (rng.normal(size=(5, n)).astype(np.float32) for n in (3, 3, 4))
    whole = LatentReward()({"code": np.hstack([code, context])}, np.hstack([goal, context]))
    assert LatentReward()({"code": code}, goal) == pytest.approx(whole)


# ---- whence goals come ----------------------------------------------------------------------------------------------


def store_of(lengths: tuple[int, ...]) -> MemoryStore:
    """Episodes whose codes are (number of the episode, frame), practised for the goal (-1, -1)."""
    store = MemoryStore([Task("push", "push")])
    for number, steps in enumerate(lengths):
        code = np.array([(number, frame) for frame in range(steps + 1)], np.float32)
        seen = {"code": code, "goal": np.full_like(code, -1), "context": np.full((steps + 1, 1), number, np.float32)}
        action, reward = np.zeros((steps, 2), np.float32), np.full(steps, 9, np.float32)
        store.append(Episode(seen, action, reward, False, True, "push", "practice", number))
    return store


def test_goals_come_in_the_shares_that_are_set_and_rewards_follow() -> None:
    def proposed(context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        assert context is not None
        return np.tile([100 + context[0], -2], (n, 1))

    shares = GoalShares(keep=0.1, next=0.2, future=0.3, proposed=0.4)
    relabel = choose_goals(shares, proposed, True, LatentReward())
    batch = Replay([Source(store_of((5, 9)), relabel=[relabel])], 8000).sample(np.random.default_rng(0))
    episode, frame = batch.next_observation["code"].T
    goal = batch.observation["goal"]
    kept, made = (goal == -1).all(1), goal[:, 1] == -2
    assert (goal[made, 0] == 100 + episode[made]).all()  # each row's own context
    later = ~kept & ~made
    assert (goal[later, 0] == episode[later]).all() and (goal[later, 1] >= frame[later]).all()
    assert kept.mean() == pytest.approx(0.1, abs=0.015) and made.mean() == pytest.approx(0.4, abs=0.02)
    # Next always is what came of the step; future is so too where one of the k frames left is drawn.
    left = np.where(episode == 0, 5, 9) - frame + 1
    assert (goal[later, 1] == frame[later]).sum() / 8000 == pytest.approx(0.2 + 0.3 * (1 / left).mean(), abs=0.02)
    apart = np.linalg.norm(batch.next_observation["code"] - goal, axis=1)
    assert batch.reward == pytest.approx(-apart) and not batch.terminated.any()
    assert np.array_equal(batch.next_observation["goal"], goal)


def test_what_was_done_is_imitated_for_goals_of_its_own_episode_alone() -> None:
    """Not for one that is proposed now, which it was not done for; nor where it was not to be imitated anyway."""
    shares = GoalShares(keep=0.2, next=0.2, future=0.2, proposed=0.4)
    relabel = choose_goals(shares, lambda c, n, rng: np.full((n, 2), -2.0), False, LatentReward())
    for imitated in (True, False):
        source = Source(store_of((5, 9)), columns={"imitate": imitated}, relabel=[relabel])
        batch = Replay([source], 1000, columns=["imitate"]).sample(np.random.default_rng(0))
        own = batch.observation["goal"][:, 1] != -2
        assert 0 < own.sum() < 1000
        np.testing.assert_array_equal(batch.columns["imitate"], own & imitated)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(SettingsError, match="must add up to 1"):
        GoalShares(keep=0.5)
    with pytest.raises(SettingsError, match="between 0 and 1"):
        GoalShares(keep=-0.5, future=1.0)


def test_proposers() -> None:
    rng = np.random.default_rng(0)
    encoder = Latent(model := VAE(VAEConfig(size=2)))
    drawn = Prior(encoder).propose(None, 4000, rng)
    assert drawn.dtype == np.float32 and abs(drawn.mean()) < 0.05 and drawn.std() == pytest.approx(1, abs=0.05)
    for _ in range(1000):  # codes (3, 0) and (1, 2): their mean is (2, 1), their covariance ((1, -1), (-1, 1))
        model.count(torch.tensor([[3.0, 0.0], [1.0, 2.0]]))
    drawn = Prior(encoder).propose(None, 4000, rng)
    np.testing.assert_allclose(drawn.mean(0), [2, 1], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), [[1, -1], [-1, 1]], atol=0.06)
    assert {*Seen(lambda: np.array([[1.0], [2.0]])).propose(None, 50, rng).ravel()} == {1.0, 2.0}
    with pytest.raises(DataError, match="nothing yet"):
        Seen(lambda: np.zeros((0, 2))).propose(None, 1, rng)
    assert Given(lambda: np.array([5.0, 6.0])).propose(None, 2, rng).tolist() == [[5, 6], [5, 6]]


# ---- encoders -------------------------------------------------------------------------------------------------------


def test_codes_and_pictures_have_the_shapes_that_are_promised() -> None:
    images = pictures(3)
    of_table = [picture_model(name, SIZED[name]) for name in ("vae", "cc-vae")]
    for model in of_table:  # whose scenes have colours, not only places
        assert not any(isinstance(part, SpatialSoftmax | Broadcast) for part in model.modules())
    known = [VAE(VAEConfig(size=4)), CCVAE(CCVAEConfig(size=2, context_size=5)), *of_table]
    for model, context in zip(known, (0, 5, 0, 32), strict=True):
        encoder = Latent(model)
        codes = encoder.encode(images, images[:1])
        assert codes.shape == (3, model.size) and codes.dtype == np.float32
        contexts = encoder.context(images[:1])
        assert contexts.shape == (1, context) and encoder.needs_context == (context > 0)
        shown = encoder.decode(codes, contexts)
        assert shown.shape == images.shape and shown.dtype == np.uint8
        assert encoder.encode(images[1:2], images[:1]) == pytest.approx(codes[1:2], abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda: Latent(CCVAE(CCVAEConfig())).encode(pictures(1)), "first picture"),
        (lambda: Latent(CCVAE(CCVAEConfig())).decode(np.zeros((1, 4))), "must be 8"),
        (lambda: Latent(VAE(VAEConfig())).encode(pictures(1)[0]), "uint8 (B, H, W, 3)"),
        (lambda: VAE(VAEConfig(kind="spatial", size=3)), "must be even"),
        (lambda: VAEConfig(kind=cast(Any, "gan")), "must be one of vae, ae, spatial"),
    ],
)
def test_bad_input_is_named_in_one_line(asked: Any, words: str) -> None:
    with pytest.raises(LotjError) as caught:
        asked()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_small_model_learns_where_the_square_is_and_goes_on_from_its_state() -> None:
    """200 updates: below half the error of the mean picture, and codes rank as true distances."""
    images = pictures(200)
    training, shown = ModelTraining(200, 2e-2), pixels(images)
    made, again = (Modeller(picture_model("vae", {"size": 4, "beta": 1.0}), training) for _ in range(2))
    for number in range(200):
        batch = shown[np.random.default_rng(number).integers(200, size=12)]
        made.update(batch, batch)
        if number == 3:
            again.restore(made.state())
        if number == 4:
            again.update(batch, batch)
            mine, other = (Latent(one.model).encode(images[:8]) for one in (made, again))
            assert np.array_equal(mine, other) and again.updates == 5
    encoder = Latent(made.model)
    fresh = pictures(200, seed=1)
    places = np.array([[np.argmax(p[:, :, 0].max(1) == 230), np.argmax(p[:, :, 0].max(0) == 230)] for p in fresh])
    halves = [
        Scenes(fresh[at], fresh[at], places[at].astype(float), np.zeros((100, 3)))
        for at in (slice(100), slice(100, 200))
    ]
    error = np.square(fresh / 255.0 - images.mean(0) / 255.0).mean()
    assert reconstruction(encoder, halves[0])["mse"] < 0.5 * error
    assert ranks(encoder, *halves)["rank"] > 0.9


class Line(torch.nn.Linear):
    def losses(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"error": (self(x) - y).square().mean()}


def test_a_model_finds_a_line_the_same_stopped_and_gone_on_with(tmp_path: Path) -> None:
    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(rng.normal(size=(32, 1)).astype(np.float32))
        return x, 3.0 * x + 1.0

    def line() -> Line:
        torch.manual_seed(0)
        return Line(1, 1)

    with Run.create(tmp_path, "encoder", {}, 0) as run:
        stopped = Modeller(line(), training := ModelTraining(300, 0.1), seed=1)
        for number in range(100):
            stopped.update(*draw(np.random.default_rng([1, number])))
        run.save("line", {"agent": stopped.state()})
        found, whole = line(), line()
        Modeller(found, training, seed=1).learn(draw, run, "line")
    Modeller(whole, training, seed=1).learn(draw)
    assert found.weight.item() == whole.weight.item() == pytest.approx(3.0, abs=0.05)
    with pytest.raises(NumericsError, match="update 0 is nan"):
        Modeller(whole, training).update(torch.full((1, 1), np.nan), torch.ones(1, 1))
