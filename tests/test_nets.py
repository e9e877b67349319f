"""Encoder, normalisation, augmentation and bottleneck: shapes, invariances and hand-worked numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.nets import norm as norm_module
from lotj.nets.adam import adam_step
from lotj.nets.augment import AugmentConfig, augment
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, adversarial_ramp, gaussian_kl, reverse_gradient
from lotj.nets.compiled import group_norm_library
from lotj.nets.encoder import EncoderConfig, ResNetEncoder
from lotj.nets.front import Maps, Pixels, Vector
from lotj.nets.heads import Ensemble, Follower, GaussianHead, mlp
from lotj.nets.norm import GroupNorm, standardise
from lotj.nets.precision import autocast, check_finite, fast_dtype
from lotj.nets.schedule import warmup_cosine
from lotj.ranges import COUNT, INSIDE, POSITIVE, SHARE
from lotj.spaces import Array, Spec
from lotj.training.practice_config import SelfJudgedConfig
from small_agents import same

PLAIN = AugmentConfig(shift=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0, gradient=0, noise=0)


def brought(pixels: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 as what an encoder reads, (B, 3, H, W)."""
    return Pixels().bring({"image": pixels[:, None]}, "cpu")["image"][:, 0]


def random_images(count: int, height: int, width: int | None = None, seed: int = 0) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width or height, 3), np.uint8)
    return brought(pixels)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_pixel_keeps_its_place() -> None:
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    pixels[0, 1, 2, 0], pixels[0, 3, 0, 2] = 255, 51
    image = brought(pixels)
    assert image.shape == (1, 3, 4, 4)
    assert image[0, 0, 1, 2] == 1.0
    assert image[0, 2, 3, 0] == pytest.approx(0.2)
    assert image.sum() == pytest.approx(1.2)


@pytest.mark.parametrize("bad", [np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 3, 4, 4), np.uint8)])
def test_images_of_other_layouts_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(SettingsError, match=r"must be uint8 \(B, V, H, W, 3\)"):
        brought(bad)


@pytest.mark.parametrize(
    ("config", "size", "shape"),
    [
        (EncoderConfig(), (64, 64), (128, 4, 4)),  # laptop: 64 px / 16
        (EncoderConfig(), (32, 64), (128, 2, 4)),  # a view of half the height
        (EncoderConfig(width=64, stages=4), (96, 96), (512, 3, 3)),  # paper: 96 px / 32
        (EncoderConfig(width=8, stages=1, norm="batch"), (30, 17), (8, 8, 5)),  # what is left over counts
    ],
)
def test_encoder_shapes(config: EncoderConfig, size: tuple[int, int], shape: tuple[int, int, int]) -> None:
    encoder = ResNetEncoder(config, size)
    assert encoder.feature_shape == shape
    with torch.no_grad():
        assert encoder(random_images(2, *size)).shape == (2, *shape)


def test_paper_encoder_is_resnet_18_without_its_classifier() -> None:
    # torchvision's resnet18 has 11,689,512 parameters, 513,000 of them in the last linear layer.
    encoder = ResNetEncoder(EncoderConfig(width=64, stages=4, norm="batch"), (96, 96))
    assert sum(p.numel() for p in encoder.parameters()) == 11_689_512 - 513_000


def test_encoder_refuses_another_image_size() -> None:
    with pytest.raises(CheckpointError, match="64, 64"):
        ResNetEncoder(EncoderConfig(width=8, stages=1), (64, 64))(random_images(1, 96))


@pytest.mark.parametrize("bad", [{"stages": 5}, {"width": 12}, {"width": 0}, {"norm": "layer"}])
def test_encoder_refuses_impossible_settings(bad: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"encoder {next(iter(bad))} .*: must be"):
        EncoderConfig(**bad)  # type: ignore[arg-type]


def test_encoder_refuses_images_that_are_too_small_for_its_stages() -> None:
    with pytest.raises(SettingsError, match="images of 64 x 8 pixels: 3 stages need at least 16 a side"):
        ResNetEncoder(EncoderConfig(), (64, 8))


def test_standardised_encoder_does_not_see_the_lamp() -> None:
    encoder = ResNetEncoder(EncoderConfig(width=8, stages=2), (32, 32)).eval()
    images = random_images(4, 32)
    with torch.no_grad():
        bright, dim = encoder(images), encoder(0.5 * images + 0.1)
    assert torch.allclose(bright, dim, atol=0.15 * float(bright.max()))
    assert torch.nn.functional.cosine_similarity(bright.flatten(), dim.flatten(), dim=0) > 0.995


def test_pictures_that_cannot_be_written_are_read_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """As Gymnasium's wrappers, a file mapped into memory or another process hand them over."""
    images = np.full((1, 2, 4, 8, 3), 51, np.uint8)
    images.flags.writeable = False
    torch.set_warn_always(True)  # else only the first one of a process
    brought = Pixels().bring({"image": images}, "cpu")["image"]
    torch.set_warn_always(False)
    assert brought.shape == (1, 2, 3, 4, 8) and torch.allclose(brought, torch.tensor(0.2)) and not list(recwarn)


def test_standardise_by_hand() -> None:
    # Half the pixels 0.2, half 0.6: mean 0.4, deviation 0.2, so +-0.2 / (0.2 + 0.02).
    image = torch.full((1, 3, 2, 2), 0.2)
    image[:, :, 0] = 0.6
    out = standardise(image)
    assert torch.allclose(out[:, :, 0], torch.tensor(0.2 / 0.22), atol=1e-5)
    assert torch.allclose(out[:, :, 1], torch.tensor(-0.2 / 0.22), atol=1e-5)


@pytest.mark.parametrize(("compiled", "relu"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize(("mean", "std"), [(1.0, 2.0), (10.0, 1.0), (30.0, 1.0)])
def test_bf16_group_norm_equals_torchs_forward_and_backward(
    compiled: bool, relu: bool, mean: float, std: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and group_norm_library() is None:
        pytest.skip("no C compiler here")
    if not compiled:
        monkeypatch.setattr(norm_module, "group_norm_library", lambda: None)
    torch.manual_seed(0)
    norm = GroupNorm(32)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
    x = (std * torch.randn(4, 32, 9, 7) + mean).bfloat16()
    weights = torch.randn(4, 32, 9, 7)
    got: dict[str, list[torch.Tensor]] = {}
    for name, kind in (("exact", torch.float32), ("fast", torch.bfloat16)):
        norm.zero_grad()
        leaf = x.to(kind).requires_grad_()
        if name == "fast":
            out = norm(leaf, relu=relu)
        else:
            out = F.group_norm(leaf, 4, norm.weight, norm.bias)
            out = out.relu() if relu else out
        (out.float() * weights).sum().backward()
        assert leaf.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
        got[name] = [out.float(), leaf.grad.float(), norm.weight.grad.clone(), norm.bias.grad.clone()]
    for fast, exact in zip(got["fast"], got["exact"], strict=True):
        assert (fast - exact).norm() < 0.01 * exact.norm()  # bf16 has 8 bits: 0.4 % a rounding


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_that_works_there_is_no_library(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)  # not there, or it fails
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert group_norm_library.__wrapped__() is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing half built


def test_a_library_is_built_once_and_not_where_it_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if group_norm_library() is None:
        pytest.skip("no C compiler here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert group_norm_library.__wrapped__() is not None
    (built,) = (tmp_path / "lotj").iterdir()
    before = built.stat().st_mtime_ns
    assert group_norm_library.__wrapped__() is not None
    assert [path.stat().st_mtime_ns for path in (tmp_path / "lotj").iterdir()] == [before]
    monkeypatch.setenv("LOTJ_COMPILE", "0")
    assert group_norm_library.__wrapped__() is None


def test_group_norm_of_an_image_does_not_depend_on_its_batch() -> None:
    encoder = ResNetEncoder(EncoderConfig(width=8, stages=2), (32, 32)).train()
    images = random_images(8, 32)
    with torch.no_grad():
        assert torch.allclose(encoder(images)[:2], encoder(images[:2]), atol=1e-5)


def test_autocast_is_single_precision_when_switched_off() -> None:
    with autocast("cpu", enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_few_images_pass_in_single_precision_on_a_cpu() -> None:
    def dtype(images: int | None) -> torch.dtype:
        with autocast("cpu", images=images):
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert dtype(1) == dtype(7) == torch.float32
    assert dtype(8) == dtype(None) == (fast_dtype("cpu") or torch.float32)


def test_check_finite_names_what_is_wrong() -> None:
    check_finite("loss", torch.ones(3))
    with pytest.raises(NumericsError, match=r"critic loss: 2 of 3 values"):
        check_finite("critic loss", torch.tensor([1.0, math.nan, math.inf]))
    with pytest.raises(NumericsError, match="2 of 2 values"):
        check_finite("critic loss", torch.tensor([-math.inf, math.inf]))
    large = torch.full((4,), 3e38)  # their sum is beyond what a float holds, they are not
    assert check_finite("large", large) is large


def test_mlp_sizes() -> None:
    assert [tuple(p.shape) for p in mlp(4, [8, 6], 2).parameters()] == [(8, 4), (8,), (6, 8), (6,), (2, 6), (2,)]
    assert len(mlp(4, [], 2)) == 1


# --- heads and slow copies


def test_an_ensemble_is_as_many_functions_side_by_side() -> None:
    for projection in (0, 6):
        torch.manual_seed(0)
        head = Ensemble(5, 2, members=3, projection=projection, hidden=4, layer_norm=True)
        features, action = torch.randn(7, 5), torch.randn(7, 2)
        values = head(features, action)
        assert values.shape == (3, 7)
        with torch.no_grad():
            head.last.bias[1] += 1.0
        change = head(features, action) - values
        assert torch.allclose(change, torch.tensor([0.0, 1.0, 0.0])[:, None].expand(3, 7), atol=1e-6)
        assert torch.equal(head.judge(head.read(features), action), head(features, action))


def test_an_ensemble_by_hand() -> None:
    head = Ensemble(1, 1, members=1, projection=0, hidden=1, layer_norm=False)
    for parameter in head.parameters():
        torch.nn.init.ones_(parameter)
    # first: 2 + 1, action: 3 + 1, so 7; second: 7 + 1; last: 8 + 1
    assert head(torch.tensor([[2.0]]), torch.tensor([[3.0]])).item() == 9.0


def test_spread_of_a_gaussian_head_starts_where_it_is_told_and_keeps_its_limits() -> None:
    head = GaussianHead(3, (4,), 24, 0.4, (0.05, 1.0))
    mean, log_std = head(torch.randn(5, 3))
    assert mean.shape == (5, 24) and (mean.abs() < 1).all()
    assert torch.allclose(log_std.exp(), torch.full((24,), 0.4))
    with torch.no_grad():
        head.spread[:12], head.spread[12:] = -50.0, 50.0
    std = head(torch.randn(5, 3))[1].exp()
    assert std.min().item() == pytest.approx(0.05) and std.max().item() == pytest.approx(1.0)


def test_a_slow_copy_follows_at_its_rate() -> None:
    slow, fast = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        slow.weight.fill_(0.0)
        fast.weight.fill_(1.0)
        fast.running_mean.fill_(4.0)  # type: ignore[union-attr]
        fast.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    follower = Follower(slow, fast)
    follower.follow(0.25)
    assert (slow.weight.item(), slow.running_mean.item()) == (0.25, 4.0)  # type: ignore[union-attr]
    follower.follow(0.25)
    assert slow.weight.item() == 0.4375  # .25 + .25 * .75
    assert slow.num_batches_tracked.item() == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_is_that_of_torchs_own_adam_bit_for_bit(decay: float) -> None:
    """Three steps at three rates; the second weight has no gradient in the first, and the third has never one."""
    torch.manual_seed(0)
    mine = {name: torch.randn(4, 3) for name in "abc"}
    theirs = {name: value.clone().requires_grad_() for name, value in mine.items()}
    optimiser, moments = torch.optim.AdamW(theirs.values(), weight_decay=decay, fused=True), {}
    for lr, names in ((1e-2, "a"), (1e-3, "ab"), (3e-3, "ab")):
        gradients = {name: torch.randn(4, 3) for name in names}
        adam_step(mine, gradients, moments, lr, decay)
        for name, parameter in theirs.items():
            parameter.grad = gradients.get(name)
        optimiser.param_groups[0]["lr"] = lr
        optimiser.step()
    assert all(torch.equal(mine[name], parameter) for name, parameter in theirs.items())
    assert same(moments, {name: dict(optimiser.state[theirs[name]]) for name in "ab"})


# --- fronts


SPEC = Spec(
    {
        "image": Array((2, 8, 16, 3), "uint8", 0, 255),
        "state": Array((3,), "float32", -math.inf, math.inf),
        "goal": Array((2,), "float32", 0.0, 4.0),
    },
    (2,),
    10.0,
    20,
)
SMALL = Pixels(EncoderConfig(width=8, stages=1), feature_channels=4, half_precision=False)


def two_views(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).integers(0, 256, (rows, 2, 8, 16, 3), np.uint8)}


def test_views_share_their_weights_and_their_features_lie_side_by_side() -> None:
    encoder = SMALL.encoder(SPEC, "policy")
    seen = SMALL.bring(two_views(3), "cpu")
    assert seen["image"].shape == (3, 2, 3, 8, 16) and encoder.size == 2 * 4 * 2 * 4
    features = encoder(seen)
    assert features.shape == (3, 64) and features.dtype == torch.float32
    swapped = encoder({"image": seen["image"].flip(1)})
    assert torch.allclose(swapped, torch.cat([features[:, 32:], features[:, :32]], 1), atol=1e-5)


def test_pixels_come_to_their_places() -> None:
    images = two_views(2)
    seen = SMALL.bring(images, "cpu")["image"]
    assert seen[1, 0, 2, 5, 7].item() == pytest.approx(images["image"][1, 0, 5, 7, 2] / 255)
    assert seen.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_no_view_holds_pixels_of_another_after_augmentation() -> None:
    """A white view and a black one: whatever is shifted, turned or zoomed, none becomes mixed (review A5)."""
    images = np.zeros((64, 2, 8, 16, 3), np.uint8)
    images[:, 0] = 255
    geometry = AugmentConfig(**{**PLAIN.__dict__, "shift": 16, "rotation": 30.0, "zoom": 0.3, "flip": 0.5})
    front = Pixels(augment=geometry)
    out = front.change(front.bring({"image": images}, "cpu"), None, generator())["image"]
    assert out[:, 0].min() > 0.999 and out[:, 1].max() < 0.001


def test_views_are_augmented_each_by_itself_and_only_rows_of_prior_data() -> None:
    images = two_views(6)
    images["image"][:, 1] = images["image"][:, 0]
    seen = SMALL.bring(images, "cpu")
    prior = torch.tensor([True, False, True, False, True, False])
    out = SMALL.change(seen, prior, generator())["image"]
    assert torch.equal(out[~prior], seen["image"][~prior])
    assert all(not torch.allclose(out[row, 0], out[row, 1], atol=0.02) for row in range(0, 6, 2))


def test_vectors_lie_side_by_side_scaled_by_their_bounds() -> None:
    front = Vector(("goal", "state"))
    encoder = front.encoder(SPEC, "policy").eval()
    seen = front.bring({"state": np.array([[5.0, 6.0, 70.0]]), "goal": np.array([[0.0, 3.0]])}, "cpu")
    assert encoder.size == 5 and encoder(seen).tolist() == [[-1.0, 0.5, 5.0, 6.0, 10.0]]  # cut off at 10


def test_vectors_without_bounds_lose_the_mean_and_deviation_they_had_in_training() -> None:
    front = Vector(("goal", "state"))
    encoder = front.encoder(SPEC, "policy")
    batches = [np.array([[0.0, 1.0, 7.0], [4.0, 1.0, 7.0]]), np.array([[0.0, 1.0, 7.0], [4.0, 3.0, 7.0]])]
    for state in batches:
        encoder(front.bring({"state": state, "goal": np.zeros((2, 2))}, "cpu"))
    seen = front.bring({"state": np.array([[4.0, 1.5, 7.0]]), "goal": np.array([[0.0, 3.0]])}, "cpu")
    # Means 2, 1.5 and 7, the first deviation 2; the goal has bounds, which stay.
    assert encoder.eval()(seen)[0].tolist() == pytest.approx([-1.0, 0.5, 1.0, 0.0, 0.0])
    assert encoder(seen)[0, 2].item() == pytest.approx(1.0)  # what is only acted on is not counted


def test_fronts_refuse_what_they_cannot_see() -> None:
    with pytest.raises(SettingsError, match="goal, image, state: it must have 'depth'"):
        Vector(("depth",)).encoder(SPEC, "policy")
    with pytest.raises(SettingsError, match=r"must be uint8 \(B, V, H, W, 3\)"):
        SMALL.bring({"image": np.zeros((2, 8, 8, 3), np.uint8)}, "cpu")
    flat = Spec({"image": Array((8, 8, 3), "uint8", 0, 255)}, (2,), 10.0, 20)
    with pytest.raises(SettingsError, match=r"uint8 \(V, H, W, 3\)"):
        SMALL.encoder(flat, "policy")
    with pytest.raises(SettingsError, match="pixels feature_channels -1: must be at least 0"):
        Pixels(feature_channels=-1)


# --- ranges of settings


def test_an_interval_says_what_it_holds() -> None:
    assert 0 in SHARE and 1 in SHARE and 1.5 not in SHARE and math.nan not in SHARE
    assert 0 not in POSITIVE and 1e9 in POSITIVE
    assert [str(interval) for interval in (SHARE, POSITIVE, COUNT, INSIDE)] == [
        "between 0 and 1", "above 0", "at least 1", "strictly between 0 and 1"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_setting_with_a_range_is_a_finite_number(value: float) -> None:
    with pytest.raises(SettingsError, match=r"practice q_gradient_weight (inf|-inf|nan): must be a finite number"):
        SelfJudgedConfig(q_gradient_weight=value)


# --- augmentation


def test_augmentation_with_nothing_switched_on_changes_nothing() -> None:
    images = random_images(4, 16)
    assert torch.allclose(augment(PLAIN, images, generator()), images, atol=1e-5)


def test_augmentation_is_repeatable_stays_in_range_and_leaves_its_input() -> None:
    images = random_images(8, 32)
    before = images.clone()
    config = AugmentConfig()
    first, again = augment(config, images, generator(3)), augment(config, images, generator(3))
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert not torch.equal(first, augment(config, images, generator(4)))
    assert first.min() >= 0.0 and first.max() <= 1.0
    assert (first - images).abs().mean() > 0.02


def test_shift_moves_a_point_by_at_most_its_reach_and_differently_for_each_image() -> None:
    images = torch.zeros(64, 3, 64, 64)
    images[:, :, 32, 32] = 1.0
    config = AugmentConfig(**{**PLAIN.__dict__, "shift": 4})
    out = augment(config, images, generator())
    places = out[:, 0].nonzero()
    assert len(places) == 64  # one white point an image still
    offset = places[:, 1:] - 32
    assert offset.abs().max() == 4
    assert len(offset.unique(dim=0)) > 20  # of 81


def test_shift_repeats_the_border() -> None:
    images = torch.full((16, 3, 64, 64), 0.7)
    out = augment(AugmentConfig(**{**PLAIN.__dict__, "shift": 8}), images, generator())
    assert torch.allclose(out, images)


def test_grey_takes_colour_and_keeps_brightness() -> None:
    images = torch.zeros(2, 3, 8, 8)
    images[:, 0] = 1.0  # red: luma 0.299
    out = augment(AugmentConfig(**{**PLAIN.__dict__, "grey": 1.0}), images, generator())
    assert torch.allclose(out, torch.tensor(0.299), atol=1e-5)


def test_a_mirror_image_is_the_mirror_image() -> None:
    images = torch.rand(2, 3, 8, 8)
    only = dict.fromkeys(("shift", "brightness", "contrast", "saturation", "hue", "grey", "gradient", "noise"), 0)
    torch.testing.assert_close(augment(AugmentConfig(**only, flip=1.0), images, generator()), images.flip(3))


def test_turned_by_up_to_180_degrees_the_middle_stays_and_resized_it_grows() -> None:
    spot = torch.zeros(64, 1, 32, 32)
    spot[:, :, 14:18, 14:18] = 1.0  # 4 x 4 in the middle
    images = spot.expand(-1, 3, -1, -1)
    only = dict.fromkeys(("shift", "brightness", "contrast", "saturation", "hue", "grey", "gradient", "noise"), 0)
    turned = augment(AugmentConfig(**only, rotation=180.0), images, torch.Generator().manual_seed(0))
    assert (turned[:, :, 15:17, 15:17] > 0.99).all() and not turned[:, :, :12].any()
    area = augment(AugmentConfig(**only, zoom=0.5), images, torch.Generator().manual_seed(0))[:, 0].sum((1, 2))
    # Sizes 0.5 to 1.5 times: areas of 16 are multiplied by 0.25 to 2.25.
    assert area.min() < 8 and area.max() > 30 and (area > 3).all() and (area < 37).all()


def test_hue_keeps_grey_and_turns_colour() -> None:
    config = AugmentConfig(**{**PLAIN.__dict__, "hue": 0.5})
    grey = torch.full((8, 3, 4, 4), 0.5)
    assert torch.allclose(augment(config, grey, generator()), grey, atol=1e-4)
    red = torch.zeros(8, 3, 4, 4)
    red[:, 0] = 0.5
    assert (augment(config, red, generator()) - red).abs().max() > 0.1


def test_brightness_multiplies() -> None:
    images = torch.full((256, 3, 2, 2), 0.4)
    out = augment(AugmentConfig(**{**PLAIN.__dict__, "brightness": 0.5}), images, generator())
    assert out.min() > 0.4 * 0.5 - 1e-4 and out.max() < 0.4 * 1.5 + 1e-4
    assert out.max() - out.min() > 0.3


def test_augmentation_refuses_impossible_settings() -> None:
    with pytest.raises(SettingsError, match="hue 2"):
        AugmentConfig(hue=2.0)
    with pytest.raises(SettingsError, match="shift"):
        AugmentConfig(shift=40)


# --- bottleneck


def test_gradient_reversal_is_exact() -> None:
    x = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    out = reverse_gradient(x, 0.25)
    assert torch.equal(out, x)
    (out * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-0.25, -0.5, -1.0]  # -strength times (1, 2, 4)


def test_adversarial_ramp_by_hand() -> None:
    assert adversarial_ramp(0.0) == 0.0
    assert adversarial_ramp(0.1) == pytest.approx((math.e - 1) / (math.e + 1))  # 2 / (1 + 1/e) - 1
    assert adversarial_ramp(1.0) == pytest.approx(0.99990920, abs=1e-8)


def test_kl_by_hand() -> None:
    # N(1, 1) against N(0, 1) is 1/2 nat a dimension.
    assert gaussian_kl(torch.ones(1, 2), torch.ones(1, 2)).item() == pytest.approx(1.0)
    assert gaussian_kl(torch.zeros(1, 5), torch.ones(1, 5)).item() == 0.0
    # N(0, 1/2): (1/4 - 1 + 2 ln 2) / 2 = 0.318147
    assert gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), 0.5)).item() == pytest.approx(0.318147, abs=1e-6)


SIZES = {"none": 10, "erm": 6, "dann": 6, "vib": 3, "daib-lambda0": 9, "daib": 9}


def small(variant: str, **changes: float) -> Bottleneck:
    torch.manual_seed(0)
    config = BottleneckConfig(variant, 6, 3, domain_hidden=(8,), **changes)  # type: ignore[arg-type]
    return Bottleneck(10, 4, config)


@pytest.mark.parametrize("variant", SIZES)
def test_each_variant_has_the_parts_its_name_says(variant: str) -> None:
    bottleneck = small(variant)
    features, domain = torch.randn(5, 10), torch.tensor([0, 1, 2, 3, 0])
    code = bottleneck(features, sample=True)
    assert code.z.shape == (5, SIZES[variant]) and bottleneck.code_size == SIZES[variant]
    assert code.kl.shape == (5,)
    has_specific = variant in ("vib", "daib-lambda0", "daib")
    has_adversary = variant in ("dann", "daib-lambda0", "daib")
    assert bool((code.kl > 0).all()) == has_specific
    assert (bottleneck.adversary is not None) == has_adversary
    loss, terms = bottleneck.penalty(code, domain, 1.0)
    assert (float(terms["domain_loss"]) > 0) == has_adversary
    weight = 0.01 if variant in ("vib", "daib") else 0.0
    assert loss.item() == pytest.approx(terms["domain_loss"].item() + weight * code.kl.mean().item(), rel=1e-5)


def test_erm_has_no_penalty_at_all() -> None:
    bottleneck = small("erm")
    loss, terms = bottleneck.penalty(bottleneck(torch.randn(4, 10), sample=True), torch.zeros(4, dtype=torch.int64), 1)
    assert loss.item() == 0.0
    assert {name: float(value) for name, value in terms.items()} == {"kl": 0, "domain_loss": 0, "domain_accuracy": 0}


def test_mean_code_is_deterministic_and_samples_scatter_around_it() -> None:
    bottleneck = small("vib")
    features = torch.randn(1, 10)
    mean = bottleneck(features, sample=False).z
    assert bottleneck.specific is not None
    specific, raw_std = bottleneck.specific(features).chunk(2, 1)
    std = F.softplus(raw_std) + 1e-3
    assert torch.equal(mean, specific)
    draws = bottleneck(features.expand(20_000, 10), sample=True, generator=generator()).z
    assert torch.allclose(draws.mean(0), mean[0], atol=0.03)
    assert torch.allclose(draws.std(0), std[0], atol=0.03)
    assert torch.equal(draws, bottleneck(features.expand(20_000, 10), sample=True, generator=generator()).z)


def test_adversary_learns_while_its_gradient_into_the_features_is_reversed() -> None:
    bottleneck = small("dann", adversarial_weight=0.5)
    assert bottleneck.adversary is not None
    domain = torch.tensor([0, 1, 2, 3])
    features = torch.randn(4, 10, requires_grad=True)
    loss, _ = bottleneck.penalty(bottleneck(features, sample=False), domain, 1.0)  # without z_S the adversary's alone
    loss.backward()
    reversed_gradient, head_gradient = features.grad, next(bottleneck.adversary.parameters()).grad
    bottleneck.zero_grad()
    plain = torch.tensor(features.detach().numpy(), requires_grad=True)
    F.cross_entropy(bottleneck.adversary(bottleneck(plain, sample=False).invariant), domain).backward()
    assert plain.grad is not None and reversed_gradient is not None and head_gradient is not None
    strength = 0.5 * adversarial_ramp(1.0)
    assert torch.allclose(reversed_gradient, -strength * plain.grad, rtol=1e-4, atol=1e-8)
    other = next(bottleneck.adversary.parameters()).grad
    assert other is not None and torch.allclose(head_gradient, other)  # the classifier itself trains at full strength


def test_unknown_domains_are_left_out_of_the_adversary() -> None:
    bottleneck = small("daib")
    features = torch.randn(4, 10)
    code = bottleneck(features, sample=False)
    _, some = bottleneck.penalty(code, torch.tensor([2, -1, 1, -1]), 1.0)
    _, same = bottleneck.penalty(bottleneck(features[[0, 2]], sample=False), torch.tensor([2, 1]), 1.0)
    assert some["domain_loss"].item() == pytest.approx(same["domain_loss"].item(), rel=1e-5)
    loss, none = bottleneck.penalty(code, torch.full((4,), -1), 1.0)
    assert none["domain_loss"].item() == 0.0 and none["domain_accuracy"].item() == 0.0
    assert loss.item() == pytest.approx(0.01 * code.kl.mean().item())


@pytest.mark.parametrize("bad", [{"variant": "irm"}, {"invariant_dim": 0}, {"kl_weight": -1.0}])
def test_bottleneck_refuses_impossible_settings(bad: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        BottleneckConfig(**bad)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_everything_runs_on_cuda_as_on_the_cpu() -> None:
    torch.manual_seed(0)
    encoder, bottleneck = ResNetEncoder(EncoderConfig(width=8), (64, 64)), Bottleneck(32 * 16, 4, BottleneckConfig())
    images = random_images(4, 64)
    with torch.no_grad():
        here = bottleneck(encoder(images).flatten(1), sample=False).z
        encoder, bottleneck = encoder.cuda(), bottleneck.cuda()
        there = bottleneck(encoder(images.cuda()).flatten(1), sample=False).z.cpu()
        augmented = augment(AugmentConfig(), images.cuda(), torch.Generator("cuda").manual_seed(0))
        with autocast("cuda"):
            fast = encoder(images.cuda()).float()
    assert torch.allclose(here, there, atol=2e-2)
    assert augmented.is_cuda and augmented.shape == images.shape
    assert torch.isfinite(fast).all()


def test_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [warmup_cosine(step, steps=102, lr=1.0, warmup=2) for step in range(102)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[52] == pytest.approx(0.5)
    assert rates[101] == pytest.approx(0.0, abs=1e-3)


def test_codes_as_maps_pass_through_convolutions_and_values_do_not_see_the_hand() -> None:
    """Codes and goals of 2 x 4 x 6 beside 3 of the robot's own: 4 channels of 2 x 3 cells, and the 3; of a value
    of states the 24 alone. A cell moved from one corner of the code to another changes the features it is moved
    from and to; another hand those of who acts alone."""
    code = Array((48,), "float32", -np.inf, np.inf)
    spec = Spec({"code": code, "goal": code, "state": Array((3,), "float32", -np.inf, np.inf)}, (2,))
    front = Maps(("code", "goal", "state"), shape=(2, 4, 6), channels=4, own=("state",))
    acts, values = front.encoder(spec, "policy").eval(), front.encoder(spec, "v").eval()
    assert (acts.size, values.size) == (27, 24)
    seen = {"code": torch.zeros(1, 48), "goal": torch.zeros(1, 48), "state": torch.ones(1, 3)}
    moved = {**seen, "code": torch.zeros(1, 2, 4, 6).index_fill(3, torch.tensor([0]), 1.0).flatten(1)}
    change = (acts(moved) - acts(seen))[0, :24].unflatten(0, (4, 2, 3)).abs().sum((0, 1))
    assert change[0] > 0 and change[2] == 0  # a column to the left is beyond the reach of the cells to the right
    assert acts(seen)[0, 24:].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(values({**seen, "state": torch.zeros(1, 3)}), values(seen))
    assert front.reads(["code", "goal"]) == ("code", "goal") and front.reads([*seen]) == ("code", "goal", "state")
    with pytest.raises(SettingsError, match=r"state of \[3\] numbers: none is a map of \(2, 4, 6\)"):
        Maps(("state",), shape=(2, 4, 6)).encoder(spec, "policy")
