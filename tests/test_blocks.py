"""The assembly of blocks: what the physics allows, what is observed and paid, and what its controllers can do."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from lotj.controllers.blocks import SideEntry, StraightDown
from lotj.envs.blocks import CLEARANCE, LEAN_WEIGHT, BlocksEnv
from lotj.envs.registry import expert_of, make_task
from lotj.errors import SettingsError


def played(env: BlocksEnv, controller: Any, seeds: range, yaws: tuple[float, float] | None = None) -> list[bool]:
    """Which episodes end in success, with the standing blocks turned to given yaws [rad], if any."""
    ended = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        if yaws is not None:
            for name, yaw in zip(("left", "right"), yaws, strict=True):
                env.data.joint(name).qpos[3:] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
            mujoco.mj_forward(env.model, env.data)
            observation["state"] = env.measure()["state"]
        controller.reset(seed)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(controller(observation, info))
            over = terminated or truncated
        ended.append(info["is_success"])
    return ended


def test_a_corner_protrudes_beyond_the_clearance_from_015_rad_on() -> None:
    """Half width 15 mm, half depth 30 mm: at 0.15 rad the corner is at 15 cos + 30 sin = 19.31 mm, 4.3 beyond; without
    its chamfer of 0.5 mm 3.8, still beyond the 3 mm; at 0.1 rad 17.42 mm without it, 2.4 beyond, which leaves 0.6."""

    def beyond(yaw: float) -> float:
        return (15.0 - 0.5) * np.cos(yaw) + 30.0 * np.sin(yaw) - 15.0

    assert (beyond(0.1), beyond(0.15)) == pytest.approx((2.42, 3.82), abs=0.01) and CLEARANCE == 3e-3
    model = BlocksEnv().model
    assert model.geom("left-body").size[:2] == pytest.approx([0.015, 0.03])
    assert model.geom("left-top").size[0] + model.geom("left-top").pos[0] == pytest.approx(0.0145)


def test_straight_down_goes_in_between_straight_blocks_only() -> None:
    assert np.mean(played(BlocksEnv(), StraightDown(), range(20))) >= 0.95
    assert np.mean(played(BlocksEnv(yaw=0.3), StraightDown(), range(20))) <= 0.3


@pytest.mark.parametrize("yaw", [0.15, 0.2, 0.3])
@pytest.mark.parametrize("left,right", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_from_015_rad_on_only_from_the_side(yaw: float, left: float, right: float) -> None:
    env, yaws = BlocksEnv(tags=True), (left * yaw, right * yaw)
    assert played(env, StraightDown(), range(2), yaws) == [False, False]
    assert played(env, SideEntry(), range(2), yaws) == [True, True]


def test_a_bias_of_02_keeps_the_controller_from_its_goal() -> None:
    """Its gain in height is 0.3, so a bias of 0.2 x 10 mm is balanced 6.7 mm above the goal; 5 are allowed. A bias of
    0.1 is balanced at 3.3 mm."""
    assert played(BlocksEnv(bias=0.1), StraightDown(), range(4)) == [True] * 4
    assert played(BlocksEnv(bias=0.2), StraightDown(), range(4)) == [False] * 4


@pytest.mark.parametrize("push,upright,lost", [(0.5, True, False), (-4.0, False, True)])
def test_blocks_stand_rock_and_topple(push: float, upright: bool, lost: bool) -> None:
    env = BlocksEnv()
    env.reset(seed=0)
    env.data.joint("left").qvel[4] = push  # about y [rad/s]
    for _ in range(10):
        _, reward, terminated, truncated, info = env.step(np.zeros(3))
        if terminated:
            break
    assert (abs(env.poses()[1, 3]) < np.radians(5)) == upright
    assert (info["lost"], terminated, truncated, reward) == (lost, lost, False, 0.0)


def test_a_standing_block_slides_and_turns_when_it_is_pushed() -> None:
    """Pushed at its foot along y by the held block: it moves, turned, and does not lean."""
    env = BlocksEnv(end_on_success=False)
    env.reset(seed=3)
    before = env.poses()[1]
    for target in ([0.0, -0.075, 0.125], [0.0, -0.075, 0.01], [-0.02, -0.075, 0.01], [-0.02, -0.05, 0.01]):
        for _ in range(14):
            env.step(np.clip((np.array(target) - env.hand) / 0.01, -1, 1))
    after = env.poses()[1]
    assert after[1] - before[1] > 3e-3 and abs(after[3]) < np.radians(3) and abs(after[4]) > 0.02
    assert not env.judge({})[0]


def test_contact_is_felt() -> None:
    env = BlocksEnv(yaw=0.3)
    seed = next(s for s in range(99) if env.reset(seed=s) and np.abs(env.poses()[1:, 4]).min() > 0.2)
    observation, info = env.reset(seed=seed)
    assert np.abs(observation["state"][3:9]).max() < 1e-6
    controller = StraightDown()
    for _ in range(25):
        observation, _, _, _, info = env.step(controller(observation, info))
    assert 5.0 < observation["state"][5] < 22.0  # from below; the hand presses with 20 N at most


def test_the_state_is_laid_out_as_documented() -> None:
    env = BlocksEnv(yaw=0.3)
    state = env.reset(seed=5)[0]["state"]
    held, left, right = state[9:24].reshape(3, 5)
    assert held[:3] == pytest.approx(state[:3], abs=1e-6) and held[3:] == pytest.approx([0, 0], abs=1e-6)
    assert right[0] - left[0] == pytest.approx(2 * (0.03 + CLEARANCE), abs=1e-6) and left[2] == right[2] == 0.0
    middle = (left[:2] + right[:2]) / 2
    assert state[24:] == pytest.approx([*middle, 0.01], abs=1e-6)
    assert 0 < abs(left[4]) <= 0.3 and 0 < abs(right[4]) <= 0.3 and left[4] != right[4]


def test_tags_err_by_a_millimetre_and_a_degree_and_change_nothing_else() -> None:
    env, exact = BlocksEnv(tags=True), BlocksEnv()
    env.reset(seed=7)
    read = np.array([env.measure()["state"][9:24] for _ in range(400)])
    error = (read - exact.reset(seed=7)[0]["state"][9:24]).reshape(-1, 3, 5)
    assert error[..., :3].std() == pytest.approx(1e-3, rel=0.1)
    assert error[..., 3:].std() == pytest.approx(np.radians(1.0), rel=0.1)
    first, second = (one.reset(seed=7)[0]["state"] for one in (env, exact))
    assert np.array_equal(first[:9], second[:9]) and np.array_equal(first[24:], second[24:])


def test_noise_and_bias_enter_after_the_clip() -> None:
    """The commanded point moves by 10 mm x (1 + 0.2 + noise) where 3 is asked for."""
    env, moved = BlocksEnv(noise=0.05, bias=0.2), []
    for seed in range(100):
        env.reset(seed=seed)
        before = env._command
        env.step(np.full(3, 3.0))
        moved.append(env._command - before)
    assert np.mean(moved) == pytest.approx(12e-3, abs=1e-4) and np.std(moved) == pytest.approx(0.5e-3, rel=0.1)


def test_the_dense_reward_by_hand_and_that_toppling_is_no_way_out() -> None:
    env = BlocksEnv(reward="dense", max_steps=30)
    env.reset(seed=0)
    held = env.poses()[0, :3]
    goal = env.measure()["state"][24:]
    _, reward, *_ = env.step(np.zeros(3))
    assert reward == pytest.approx(-np.linalg.norm(held - goal), abs=1e-3)  # nothing leans
    env.data.joint("left").qvel[4] = -4.0
    terminated, steps = False, 1
    while not terminated:
        _, reward, terminated, _, info = env.step(np.zeros(3))
        steps += 1
    lean, far = abs(env.poses()[1, 3]), np.linalg.norm(env.poses()[0, :3] - goal)
    assert info["lost"] and lean > np.radians(30) and steps < 15
    assert reward == pytest.approx(-(far + LEAN_WEIGHT * (lean + abs(env.poses()[2, 3]))) * (31 - steps), rel=1e-6)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"yaw": -0.1}, "yaw = -0.1: must be a number from 0 to 0.5"),
        ({"yaw": "wide"}, "yaw = 'wide': must be a number"),
        ({"noise": float("nan")}, "noise = nan"),
        ({"bias": 2}, "bias = 2: must be a number from -1 to 1"),
        ({"tags": "no"}, "tags = 'no': must be True or False"),
        ({"reward": "shaped"}, "reward = 'shaped': must be one of sparse, dense"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_task("blocks/assembly", **options)


def test_straight_down_is_the_scripted_controller() -> None:
    assert type(expert_of("blocks/assembly", make_task("blocks/assembly"))) is StraightDown


def test_another_simulation_is_slippery_heavy_soft_and_late() -> None:
    """The same start: 0.6 of the friction, 1.6 of the masses, half the stiffness; half of a motion comes late."""
    first, other = BlocksEnv(yaw=0.3), BlocksEnv(yaw=0.3, other=True)
    starts = [env.reset(seed=4)[0]["state"] for env in (first, other)]
    np.testing.assert_allclose(*starts, atol=1e-9)
    model, changed = first.model, other.model
    np.testing.assert_allclose(changed.geom_friction[:, 0], 0.6 * model.geom_friction[:, 0])
    for name in ("left", "right"):
        assert changed.body(name).mass[0] == pytest.approx(1.6 * model.body(name).mass[0])
    np.testing.assert_allclose(changed.actuator_gainprm[:, 0], 1500.0)
    np.testing.assert_allclose(changed.actuator_biasprm[:, 1:3], [[-1500.0, -55.0]] * 3)
    moved = []
    for env in (first, other):
        before = env.hand
        for _ in range(2):
            env.step(np.array([0.0, 0.0, 1.0]))
            moved.append(env.hand[2] - before[2])
    assert moved[0] > 5e-3 and 0.3 < moved[2] / moved[0] < 0.7  # 5 mm of 10, then 15 of 20
    assert moved[2] + 5e-3 < moved[3] < moved[1]
    with pytest.raises(SettingsError, match="other = 1: must be True or False"):
        BlocksEnv(other=1)  # type: ignore[arg-type]
