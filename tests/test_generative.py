"""VQ-VAE, PixelCNN and the generator of subgoals: losses by hand, what sees what, what they learn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disc_world import pictures, tensor
from lotj.errors import SettingsError
from lotj.nets.pixelcnn import PixelCNN, PixelCNNConfig
from lotj.nets.subgoal_cvae import SubgoalConfig, SubgoalCVAE, kl_to_standard
from lotj.nets.vq_vae import VQVAE, VQVAEConfig

SMALL = VQVAEConfig(image_size=16, hidden=16, residual_hidden=8, residual_layers=1, embedding=2, codes=4, idle=5)


def test_the_laptop_vq_vae_has_720_numbers() -> None:
    assert (VQVAEConfig().size, VQVAEConfig().cells) == (720, 12)
    made = VQVAE(VQVAEConfig())
    maps = made.encode(torch.zeros(2, 3, 48, 48))
    assert maps.shape == (2, 5, 12, 12)
    assert made.decode(maps).shape == (2, 3, 48, 48)
    with pytest.raises(SettingsError, match="multiple of 4"):
        VQVAEConfig(image_size=50)
    with pytest.raises(SettingsError, match=r"reads \(B, \(3, 48, 48\)\)"):
        made.encode(torch.zeros(2, 3, 32, 32))


def fixed(maps: Tensor, dictionary: list[list[float]]) -> Any:
    """A VQ-VAE that encodes every picture to `maps` and decodes it to black."""
    made: Any = VQVAE(SMALL).eval()
    made.dictionary.data = torch.tensor(dictionary)
    made.encode = lambda images: maps.expand(len(images), *maps.shape[1:])
    made.decode = lambda codes: 0.0 * codes.sum() + torch.zeros(len(codes), 3, 16, 16)
    return made


def test_losses_of_a_vq_vae_by_hand() -> None:
    # One cell at (1, 2); codes (0, 0), (1, 1) and far ones: the nearest is (1, 1), off by (0, 1).
    made = fixed(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), [[0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [-9.0, 9.0]])
    assert made.nearest(made.encode(torch.zeros(1))).item() == 1
    shades = torch.tensor([0.0, 0.4]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
    losses = made.losses(shades)
    assert losses["reconstruction"].item() == pytest.approx(0.08 / 0.04)  # (0 + 0.16) / 2, and 0.2 squared
    assert losses["codebook"].item() == pytest.approx(0.5)  # (0 + 1) / 2
    assert losses["commitment"].item() == pytest.approx(0.125)  # a quarter of it


def test_the_gradient_passes_the_quantisation_straight_through() -> None:
    made: Any = VQVAE(SMALL).eval()
    maps = torch.randn(1, 2, 4, 4, requires_grad=True)
    made.encode = lambda images: maps
    made.decode = lambda codes: codes.sum() + torch.zeros(1, 3, 16, 16)
    made.losses(torch.zeros(1, 3, 16, 16))["reconstruction"].backward()
    assert maps.grad is not None
    grad = maps.grad
    torch.testing.assert_close(grad, grad[0, 0, 0, 0].expand_as(grad))  # as if nothing had been quantised
    assert made.dictionary.grad is None or made.dictionary.grad.abs().max() == 0


def test_codes_that_nothing_uses_are_moved_to_where_the_encoder_is() -> None:
    made = fixed(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), [[1.0, 1.0], [50.0, 50.0], [60.0, 0.0], [70.0, 0.0]])
    made.train()
    made.unused.zero_()
    for _ in range(SMALL.idle):
        made.losses(torch.zeros(1, 3, 16, 16))
    assert made.dictionary[1].tolist() == [50.0, 50.0]
    made.losses(torch.zeros(1, 3, 16, 16))
    assert made.dictionary[1:].tolist() == [[1.0, 2.0]] * 3


def cnn(seed: int = 0, codes: int = 5, cells: int = 6) -> PixelCNN:
    torch.manual_seed(seed)
    return PixelCNN(PixelCNNConfig(channels=8, layers=3, head=16), codes, 2, cells).eval()


def test_no_cell_sees_itself_or_what_comes_after_it() -> None:
    model = cnn().double()
    context = torch.randn(1, 2, 6, 6, dtype=torch.double)
    numbers = torch.randint(5, (1, 6, 6))
    before = model(numbers, context).flatten(2)
    reached = np.zeros((36, 36), bool)
    for place in range(36):
        changed = numbers.clone().flatten(1)
        changed[0, place] = (changed[0, place] + 1) % 5
        reached[place] = (model(changed.view(1, 6, 6), context).flatten(2) != before).any(1)[0].numpy()
    assert not np.tril(reached).any()  # its own cell and all before it stay
    assert all(reached[place, place + 1] for place in range(35) if (place + 1) % 6)  # the next in the row changes
    assert reached[4, 4 + 6 + 1]  # above to the right is seen, which a masked square is blind to


def test_log_probabilities_of_all_maps_add_up_to_one() -> None:
    model = cnn(codes=2, cells=2).double()
    every = torch.tensor([[int(bit) for bit in f"{number:04b}"] for number in range(16)]).view(16, 2, 2)
    context = torch.randn(1, 2, 2, 2, dtype=torch.double).expand(16, -1, -1, -1)
    assert model.log_prob(every, context).exp().sum().item() == pytest.approx(1.0)
    assert model.losses(every, context)["nats"].item() == pytest.approx(
        -model.log_prob(every, context).mean().item() / 4
    )


def test_cached_sampling_draws_what_full_passes_do() -> None:
    model = cnn().double()
    context = torch.randn(4, 2, 6, 6, dtype=torch.double)
    drawn = model.sample(context, torch.Generator().manual_seed(1))
    generator, slow = torch.Generator().manual_seed(1), torch.zeros(4, 6, 6, dtype=torch.int64)
    with torch.no_grad():
        for y in range(6):
            for x in range(6):
                chances = model(slow, context)[:, :, y, x].softmax(1)
                slow[:, y, x] = torch.multinomial(chances, 1, generator=generator)[:, 0]
    assert torch.equal(drawn, slow)
    assert len(drawn.unique()) > 2


def test_a_condition_is_seen_where_it_is() -> None:
    model = cnn().double()
    numbers, context = torch.zeros(1, 6, 6, dtype=torch.int64), torch.zeros(1, 2, 6, 6, dtype=torch.double)
    context[0, 0, 5, 5] = 1.0
    changed = (model(numbers, context) != model(numbers, torch.zeros_like(context))).any(1)[0]
    assert changed[5, 5]
    assert not changed[0, 0]  # two convolutions reach 3 cells
    with pytest.raises(SettingsError, match="6 a side"):
        model(numbers[:, :3], context)


def test_kl_by_hand() -> None:
    # N(1, 1): 1/2. N(0, e^2) with log std 1: (e^2 - 1) / 2 - 1.
    found = kl_to_standard(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert found.item() == pytest.approx(0.5 + (math.e**2 - 1) / 2 - 1)


@pytest.mark.parametrize("contexts", [0, 1, 2])
def test_losses_of_subgoals_have_the_stated_reductions(contexts: int) -> None:
    model: Any = SubgoalCVAE(SubgoalConfig(latent=3, hidden=8), 2, 4, contexts)
    context, after = torch.randn(5, 2 * contexts, 4, 4), torch.randn(5, 2, 4, 4)
    assert all(torch.isfinite(loss) for loss in model.losses(context, after).values())
    made = torch.full_like(after, 10.0)
    model.forward = lambda context, z: after + made  # off by 10 everywhere: a smooth L1 of 9.5
    model.infer = lambda context, after: (torch.ones(5, 3), torch.zeros(5, 3))  # a KL of 1/2 in each of 3
    losses = model.losses(context, after)
    assert losses["reconstruction"].item() == pytest.approx(9500.0)
    assert losses["kl"].item() == pytest.approx(0.15)


def fit(model: Any, draw: Any, steps: int, lr: float = 3e-3) -> float:
    optimiser = torch.optim.Adam(model.parameters(), lr)
    model.train()
    for _ in range(steps):
        loss = torch.stack([*model.losses(*draw()).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    return float(loss.detach())


def test_a_vq_vae_learns_small_pictures_and_gives_its_codes_a_scale() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shown = tensor(pictures(300, rng)[0])
    vq = VQVAE(replace(SMALL, embedding=3, codes=16, idle=20))
    fit(vq, lambda: (shown[rng.integers(300, size=32)],), 350, 5e-3)
    with torch.no_grad():
        maps = vq.quantise(vq.encode(shown))
        made = vq.decode(maps)
        assert (made - shown).square().mean() < 0.6 * shown.var(0).mean()  # 1 is the mean picture
        numbers = vq.nearest(vq.encode(shown))
        vq.rescale(shown)
        assert torch.equal(vq.nearest(vq.encode(shown)), numbers)
        torch.testing.assert_close(vq.decode(vq.look_up(numbers)), made)
        assert vq.look_up(numbers).std().item() == pytest.approx(1.0)


def test_a_pixelcnn_learns_what_is_in_the_scene() -> None:
    """One thing lies in one of 16 places; which of three it is, the context says."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    def scenes(rows: int) -> tuple[Tensor, Tensor, np.ndarray]:
        kind = rng.integers(3, size=rows)
        maps = np.zeros((2, rows, 16), np.int64)
        for one in maps:
            one[np.arange(rows), rng.integers(16, size=rows)] = 1 + kind
        then, first = torch.from_numpy(maps).view(2, rows, 4, 4)
        return then, torch.nn.functional.one_hot(first, 4).permute(0, 3, 1, 2).float(), kind

    model = PixelCNN(PixelCNNConfig(channels=16, layers=4, head=32), 4, 4, 4)
    fit(model, lambda: scenes(64)[:2], 300)
    _, context, kind = scenes(200)
    drawn = model.sample(context, torch.Generator().manual_seed(0)).flatten(1)
    single = (drawn > 0).sum(1) == 1
    right = drawn.amax(1).numpy() == 1 + kind
    assert single.float().mean() > 0.7
    assert right[single.numpy()].mean() > 0.8  # chance is a third
    assert len(drawn[single].argmax(1).unique()) >= 12  # not one place alone
