"""Insertion by state and force about a nominal goal: what is hidden stays hidden, and rewards and limits by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import mujoco
import numpy as np
import pytest

from lotj.controllers.expert import Clumsy
from lotj.controllers.proportional import Proportional
from lotj.envs.force_insertion import ForceInsertionEnv, dense_reward, goal_error_of
from lotj.envs.registry import expert_of, make_task
from lotj.errors import SettingsError
from lotj.sim.bench import Bench, Reading
from lotj.sim.connector import catalogue
from lotj.sim.hand import Sliding

DOWN = np.array([0.0, 0.0, -0.5])


@pytest.fixture(scope="module")
def env() -> Iterator[ForceInsertionEnv]:
    made = ForceInsertionEnv("usb-a", end_on_success=False)
    yield made
    made.close()


def descend(env: ForceInsertionEnv, steps: int, **options: Any) -> tuple[np.ndarray, list[float], dict[str, Any]]:
    """Straight down from a start: (T+1, 12) states, rewards, the last info."""
    observation, info = env.reset(seed=3, options=options)
    states, rewards = [observation["state"]], []
    for _ in range(steps):
        observation, reward, _, _, info = env.step(DOWN)
        states.append(observation["state"])
        rewards.append(reward)
    return np.array(states), rewards, info


def play(env: ForceInsertionEnv, controller: Any, **options: Any) -> tuple[bool, np.ndarray]:
    """Whether it succeeds, and the last state."""
    (observation, info), over = env.reset(seed=0, options=options), False
    controller.reset(0)
    while not (over or info["is_success"]):
        observation, _, terminated, over, info = env.step(controller(observation, info))
        over = over or terminated
    return info["is_success"], observation["state"]


# ---- what is hidden -------------------------------------------------------------------------------------------------


def test_a_goal_that_is_off_shows_in_nothing_before_contact(env: ForceInsertionEnv) -> None:
    """From 9 mm over the socket, 3 mm a step: contact comes in the third step at the earliest."""
    states = [descend(env, 5, height=9e-3, goal_error=error)[0] for error in ((0.0, 0.0), (2e-3, -2e-3))]
    assert np.array_equal(states[0][:3], states[1][:3])
    assert not states[0][:3, 6:].any() and np.ptp(states[0][:3, 2]) > 3e-3  # nothing touches, but the hand moves
    assert np.abs(states[0][5] - states[1][5]).max() > 1.0  # on the rim one presses with newtons more than the other


def test_a_drawn_error_does_not_show_in_the_start_and_stays_within_its_limit() -> None:
    """Seeds fix both; U[-2, 2] mm has a mean of 0 and a deviation of 1.15 mm: of 100 numbers within 0.4 and 0.2 mm."""
    perfect, off = (ForceInsertionEnv("usb-a", goal_error=e) for e in (0.0, 2.0))
    errors = []
    for seed in range(50):
        (exact, told), (same, info) = (env.reset(seed=seed) for env in (perfect, off))
        assert np.array_equal(exact["state"], same["state"]) and not told["goal_error"].any()
        np.testing.assert_allclose(told["position"] - info["position"], [*info["goal_error"], 0.0], atol=1e-4)
        errors.append(info["goal_error"])
    assert np.abs(errors).max() <= 2e-3 and abs(np.mean(errors)) < 0.4e-3
    assert np.std(errors) == pytest.approx(2e-3 / 3**0.5, abs=0.2e-3)


def test_the_state_is_the_same_whatever_the_simulator_claims_to_be_true(
    env: ForceInsertionEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, _, _ = descend(env, 6, height=5e-3, goal_error=(1e-3, 1e-3))
    read, rng = Bench._read, np.random.default_rng(0)

    def lie(bench: Bench, peak: float) -> Reading:
        return dataclasses.replace(read(bench, peak), position=rng.normal(0, 1, 3), peak_force=99.0, success=True)

    monkeypatch.setattr(Bench, "_read", lie)
    told, _, info = descend(env, 6, height=5e-3, goal_error=(1e-3, 1e-3))
    assert np.array_equal(honest, told) and info["is_success"] and honest[-1, 8] > 5.0


def test_the_goal_is_where_the_hand_stands_when_the_plug_sits() -> None:
    """Taught once, for each way in which a plug is held: the P-controller ends within 0.3 mm of it."""
    for seed in range(3):
        env = ForceInsertionEnv("d-sub-de-9", domain_seed=seed)
        success, state = play(env, Proportional(env.action_scale))
        assert success and np.abs(state[:2]).max() < 0.3e-3 and abs(state[2]) < 1e-3


# ---- what is felt ---------------------------------------------------------------------------------------------------


def test_torque_is_stiffness_times_angle_and_damping_times_rate(env: ForceInsertionEnv) -> None:
    """duo: 3 N m/rad and 0.03 N m s/rad; 20 mrad about x are 0.06, 1 rad/s about y 0.03 N m."""
    env.reset(seed=0)
    data, model = env.bench.data, env.bench.model
    data.qpos[model.joint("tilt-x").qposadr[0]] = 0.02
    data.qvel[model.joint("tilt-y").dofadr[0]] = 1.0
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(env.bench.torque(), [0.06, 0.03, 0.0], atol=1e-9)


def test_a_sensor_that_does_not_read_zero_is_tared(env: ForceInsertionEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    true, _, _ = descend(env, 4, height=2e-3, offset=(8e-3, 0.0))
    force = Sliding.force
    monkeypatch.setattr(Sliding, "force", lambda hand: force(hand) + [1.0, -2.0, 4.0])
    drifted, _, _ = descend(env, 4, height=2e-3, offset=(8e-3, 0.0))
    np.testing.assert_allclose(drifted, true, atol=1e-5)
    assert true[-1, 8] > 10.0


# ---- contact is real ------------------------------------------------------------------------------------------------


def test_a_plug_beside_its_socket_stays_outside_however_it_is_pressed(env: ForceInsertionEnv) -> None:
    """A leash of 4 mm and 3 mm more are 21 N at 3000 N/m, below the 38 N of the grip: it neither enters nor slips."""
    states, _, info = descend(env, 20, height=2e-3, offset=(5e-3, 0.0))
    assert not info["is_success"] and not info["lost"] and info["position"][2] > env.bench.connector.insertion_depth
    assert 10.0 < states[-1, 8] < 22.0


@pytest.mark.parametrize("error,inserts", [((0.0, 0.0), True), ((2e-3, 2e-3), False)])
def test_straight_down_fails_where_the_goal_is_off_and_a_person_who_sees_does_not(
    env: ForceInsertionEnv, error: tuple[float, float], inserts: bool
) -> None:
    assert play(env, expert_of("force-insertion/usb-a", env), goal_error=error)[0] is inserts
    assert play(env, Clumsy(np.random.default_rng(0), env.action_scale, env.bench.contact_height), goal_error=error)[0]


def test_a_person_is_not_perfect(env: ForceInsertionEnv) -> None:
    """Of 20 demonstrations all insert; at least one goes more than 1 mm past the centre-line, the paces differ by half,
    and about one step in ten is a pause (0.05 a step, 2 steps each)."""
    clumsy = Clumsy(np.random.default_rng(0), env.action_scale, env.bench.contact_height)
    lengths, still, past = [], 0, 0
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        clumsy.reset(seed)
        start, steps, beyond = info["position"][:2], 0, 0.0
        while not info["is_success"]:
            action = clumsy(observation, info)
            observation, *_, info = env.step(action)
            still, steps = still + (not action.any()), steps + 1
            assert steps < 50
            beyond = max(beyond, float(-info["position"][:2] @ start / np.linalg.norm(start)))
        lengths.append(steps)
        past += beyond > 1e-3
    assert past >= 5 and max(lengths) > 1.5 * min(lengths) and 0.03 < still / sum(lengths) < 0.2


# ---- rewards --------------------------------------------------------------------------------------------------------


def test_a_dense_reward_by_hand() -> None:
    """3 and 4 mm: -100 x 0.007 = -0.7, a bonus of 0.002 / 0.0051 = 0.392157, 5 N cost 0.5, or pay that once
    inserted; at the goal the bonus ends at 0.002 / 0.0001 = 20, and nearer is better."""
    beside = np.array([3e-3, 0.0, -4e-3])
    assert dense_reward(beside, 5.0, False) == pytest.approx(-0.807843)
    assert dense_reward(beside, 5.0, True) == pytest.approx(0.192157)
    assert dense_reward(np.zeros(3), 0.0, True) == pytest.approx(20.0)
    assert dense_reward(beside / 2, 0.0, False) > dense_reward(beside, 0.0, False)


def test_a_dense_reward_is_about_the_nominal_goal_and_turns_when_the_plug_is_in() -> None:
    """Pressed beside the socket the force costs, in the seat it pays."""
    env = ForceInsertionEnv("usb-a", reward="dense", end_on_success=False)
    for offset, sign in (((5e-3, 0.0), -1), ((0.0, 0.0), 1)):
        states, rewards, _ = descend(env, 12, height=2e-3, offset=offset, goal_error=(0.2e-3, 0.0))
        state = states[-1].astype(float)
        assert state[8] > 5.0
        assert rewards[-1] == pytest.approx(dense_reward(state[:3], sign * state[8], True), rel=1e-4)


def test_sparse_pays_while_connected_and_success_pays_once() -> None:
    def paid(reward: str) -> list[float]:
        env = ForceInsertionEnv("usb-a", reward=reward, end_on_success=False)
        return descend(env, 12, height=2e-3, offset=(0.0, 0.0))[1]

    once, connected = paid("success"), paid("sparse")
    first = once.index(1.0)
    assert sum(once) == 1.0 and 2 < first < 10 and connected == [0.0] * first + [1.0] * (12 - first)


@pytest.mark.parametrize(("reward", "ends"), [("success", True), ("dense", False), ("sparse", False)])
def test_losing_the_plug_is_no_way_out_of_what_is_paid_each_step(reward: str, ends: bool) -> None:
    """It costs no less than to stay: of two steps with a lost plug the second alone is the last, by its limit."""
    env = ForceInsertionEnv("usb-a", reward=reward, max_steps=2)
    env.reset(seed=3)
    lost = dataclasses.replace(env.bench.relax(), dislodged=True)
    assert [env._after(lost)[2:4] for _ in range(2)] == (
        [(True, False)] * 2 if ends else [(False, False), (False, True)]
    )
    env.close()


def test_a_picture_is_grey_and_its_reward_can_be_hacked() -> None:
    """8 mm beside the axis the plug goes down past the socket, which is 10 mm deep along the camera's view. Less than a
    third of the distance from the start is left there; 4 mm beside, where it stands on the socket, far more. The camera
    stands still, so the floor at the picture's edge does not change."""
    env = ForceInsertionEnv("usb-a", reward="image", observation=("image", "state"), end_on_success=False)
    above = env.reset(seed=3)[0]["image"]
    assert above.shape == (1, 32, 32, 3) and np.ptp(above, -1).max() == 0
    assert np.array_equal(above[0, 20:, 0], env.goal_image[0, 20:, 0])
    start = env.step(np.zeros(3))[1]
    expected = -np.abs(env.picture[0, ..., 0].astype(float) - env.goal_image[0, ..., 0]).sum() / 255.0
    assert start == pytest.approx(expected)
    ends = {y: descend(env, 12, height=2e-3, offset=(0.0, y)) for y in (0.0, 4e-3, 8e-3)}
    assert [info["is_success"] for *_, info in ends.values()] == [True, False, False]
    seated, standing, past = (rewards[-1] for _, rewards, _ in ends.values())
    assert start < standing < 0.5 * start and start / 3 < past < seated and seated > 0.1 * start
    env.close()


def test_pictures_change_nothing(env: ForceInsertionEnv) -> None:
    seeing = ForceInsertionEnv("usb-a", reward="image", observation=("state", "image"), end_on_success=False)
    assert np.array_equal(descend(env, 5, height=5e-3)[0], descend(seeing, 5, height=5e-3)[0])
    seeing.close()


# ---- settings -------------------------------------------------------------------------------------------------------


def test_the_p_controller_by_hand() -> None:
    """k_p = (1, 1, 0.3): 3 mm are half of a step of 6 mm, -12 mm two, 50 x 0.3 = 15 mm more than one; of 2 mm a step
    1.5 mm are 0.75, 4 x 0.3 = 1.2 mm are 0.6."""
    state = np.array([3e-3, -12e-3, 50e-3, *np.full(9, 7.0)])
    assert Proportional(6e-3)({"state": state}, {}).tolist() == pytest.approx([-0.5, 1.0, -1.0])
    assert Proportional(2e-3)({"state": state * [0.5, 0, 0.08, *np.zeros(9)]}, {}).tolist() == pytest.approx(
        [-0.75, 0.0, -0.6]
    )


def test_a_smaller_step_goes_less_far() -> None:
    """2 mm down and a step to come to rest."""
    env = ForceInsertionEnv("usb-a", step_mm=2.0)
    before = env.reset(seed=0)[0]["state"]
    env.step(np.array([0.0, 1.0, -1.0]))
    after = env.step(np.zeros(3))[0]["state"]
    np.testing.assert_allclose((after - before)[:3], [0.0, 2e-3, -2e-3], atol=2e-4)


def test_starts_by_hand() -> None:
    """Above: the plug's tip 50 mm over the rim, thus the hand that much and the length of the plug over the goal."""
    above, far = (ForceInsertionEnv("usb-a", start=start) for start in ("above", "far"))
    starts = {env: np.array([env.reset(seed=seed)[0]["state"][:3] for seed in range(60)]) for env in (above, far)}
    assert np.abs(starts[above][:, :2]).max() <= 3e-3
    np.testing.assert_allclose(starts[above][:, 2], 50e-3 + above.bench.contact_height, atol=0.3e-3)
    ring, gap = np.abs(starts[far][:, :2]).max(1), starts[far][:, 2] - far.bench.contact_height
    assert ring.min() >= 10e-3 and 17e-3 < ring.max() <= 20e-3 and gap.min() > 1.5e-3 and 12e-3 < gap.max() < 14.5e-3


def test_the_capture_range_by_hand() -> None:
    """usb-a: its insulator has 0.25 mm and a chamfer of 0.2; m12-a-5: its insert 0.2 mm and 0.5; pins that are only
    seen do not count. A goal error is in mm, or as '1.5x' of that."""
    parts = catalogue()
    found = [1e3 * parts[name].capture_range for name in ("usb-a", "m12-a-5", "d-sub-de-9")]
    assert found == pytest.approx([0.45, 0.7, 1.13])
    assert goal_error_of(parts["usb-a"], 2) == 2e-3 and goal_error_of(parts["usb-a"], "1") == 1e-3
    assert goal_error_of(parts["m12-a-5"], "1.5x") == pytest.approx(1.05e-3)


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: ForceInsertionEnv(goal_error=-1.0), ("-1.0", "0 to 10", "0.45 mm here")),
        (lambda: ForceInsertionEnv(goal_error="x"), ("'x'",)),
        (lambda: ForceInsertionEnv(goal_error="nan"), ("'nan'",)),
        (lambda: ForceInsertionEnv(goal_error=True), ("True",)),
        (lambda: ForceInsertionEnv(goal_error=None), ("None",)),  # type: ignore[arg-type]
        (lambda: ForceInsertionEnv(reward="danse"), ("'danse'", "did you mean 'dense'?")),
        (lambda: ForceInsertionEnv(start="abov"), ("'abov'", "above")),
        (lambda: ForceInsertionEnv(step_mm=7), ("7", "up to 6 mm")),
        (lambda: ForceInsertionEnv(step_mm=float("nan")), ("nan",)),
        (lambda: ForceInsertionEnv("usb-aa"), ("'usb-aa'", "usb-a")),
        (lambda: make_task("force-insertion/usb-a", estimate_seed=1), ("'estimate_seed'", "goal_error")),
        (lambda: ForceInsertionEnv().reset(options={"goal_error": (0.02, 0.0)}), ("0.02", "each up to 0.01")),
        (lambda: ForceInsertionEnv().reset(options={"goal_error": "near"}), ("'near'", "2 numbers")),
        (lambda: ForceInsertionEnv().reset(options={"offset": (0.05, 0.0)}), ("0.05", "within the workspace")),
    ],
)
def test_bad_settings_are_named_in_one_line(make: Callable[[], Any], words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


def test_any_connector_may_be_taken_and_says_its_split() -> None:
    env: Any = make_task("force-insertion/lego-2x4", domain_seed=2)
    assert env.task.env == "force-insertion/lego-2x4" and env.task.attributes["seed"] == 2
    assert env.task.split == "train" and isinstance(expert_of("force-insertion/lego-2x4", env), Proportional)
