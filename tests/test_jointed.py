"""An arm with joints as a body of the bench: it goes where it is told, holds its orientation, keeps its limits."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys

import mujoco
import numpy as np
import pytest

from lotj.controllers.expert import Expert
from lotj.envs.bench_check import OVERLAP, insert
from lotj.envs.insertion import InsertionEnv
from lotj.errors import LostError, RobotError, SettingsError
from lotj.robots.safe import Limits, Safe
from lotj.robots.simulated import SimulatedRobot
from lotj.sim.arm import ARMS
from lotj.sim.bench import FLOOR, STEP_LIMIT, WORKSPACE, Bench
from lotj.sim.connector import find_connector
from lotj.sim.jointed import links_xml
from lotj.sim.kinematics import Kinematics
from lotj.sim.randomization import draw_randomization

pytest.importorskip("mink", reason="a jointed arm needs mink (extra robot)")

PANDA = ARMS["panda"]
DOWN = np.diag([1.0, -1.0, -1.0])


def bench_of(connector: str = "usb-b", robot: str = "panda", seed: int = 3) -> Bench:
    part = find_connector(connector)
    return Bench(part, ARMS[robot], draw_randomization(part, seed), image_size=64)


def arm() -> tuple[mujoco.MjModel, Kinematics]:
    model = mujoco.MjModel.from_xml_string(links_xml(PANDA))
    speeds = np.array(PANDA.joint_speeds)
    return model, Kinematics(model, "flange", DOWN, np.array(PANDA.posture), speeds)


def turned(bench: Bench) -> float:
    """Of the hand from upright [degrees]."""
    turn = bench.data.site("hand").xmat.reshape(3, 3)
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0))))


def test_the_arm_is_as_long_as_its_data_sheet_says() -> None:
    """Stretched out its flange is 0.333 + 0.316 + 0.384 - 0.107 = 0.926 m above the base, 0.088 m before it."""
    model = mujoco.MjModel.from_xml_string(links_xml(PANDA))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site("flange").xpos - model.body("base").pos, [0.088, 0.0, 0.926], atol=1e-6)
    assert model.nq == 7 and model.ngeom == (model.geom_contype == 0).sum()  # what is seen of it touches nothing
    # Masses of Gaz et al.: 4.970684 + 0.646926 + 3.228604 + 3.587895 + 1.225946 + 1.666555 + 0.735522.
    assert model.body_subtreemass[model.body("link1").id] == pytest.approx(16.062132)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_displacement_of_5_mm_is_5_mm_at_the_tool_and_turns_it_by_less_than_a_degree(axis: int, sign: float) -> None:
    bench = bench_of()
    before = bench.reset(np.array([10e-3, 10e-3]), 20e-3).hand
    wanted = sign * 5e-3 * np.eye(3)[axis]
    first = bench.move(wanted)
    assert 4e-3 < sign * (first.hand - before)[axis] < 5.1e-3  # seen at once: the arm is not late by a step
    after = bench.move(np.zeros(3))
    np.testing.assert_allclose(after.hand - before, wanted, atol=1e-4)
    assert np.abs(after.velocity).max() < 1e-3
    assert max(turned(bench), 0.0) < 1.0
    # Nothing touches: the force that the joints' torques tell is none, however the arm moves.
    assert np.linalg.norm(first.force) == pytest.approx(0.0, abs=1e-9)


def test_a_way_of_many_steps_ends_where_their_sum_is() -> None:
    """30 random steps of up to 3 mm within the box; the error does not add up."""
    bench, rng = bench_of(), np.random.default_rng(0)
    reading, least = bench.reset(np.zeros(2), 25e-3), 0.0
    goal = reading.hand.copy()
    for _ in range(30):
        step = rng.uniform(-3e-3, 3e-3, 3)
        goal, reading = goal + step, bench.move(step)
        least = max(least, turned(bench))
    reading = bench.move(np.zeros(3))
    np.testing.assert_allclose(reading.hand, goal, atol=1e-4)
    assert least < 1.0


def test_a_pressing_arm_feels_what_the_socket_and_the_clamp_bear() -> None:
    """The force that the joints' torques tell is what MuJoCo's contacts add up to; 30 N is the controller's limit."""
    bench = bench_of()
    bench.reset(np.array([15e-3, 10e-3]), 5e-3)
    for _ in range(8):
        reading = bench.move(np.array([0.0, 0.0, -STEP_LIMIT]))
    total, wrench = np.zeros(3), np.zeros(6)
    for number, contact in enumerate(bench.data.contact[: bench.data.ncon]):
        mujoco.mj_contactForce(bench.model, bench.data, number, wrench)
        on_hand = (
            bench.model.geom_contype[contact.geom[1]] == 1
        )  # the frame's x points from the first geom to the second
        total += (1.0 if on_hand else -1.0) * contact.frame.reshape(3, 3).T @ wrench[:3]
    np.testing.assert_allclose(reading.force, total, atol=0.3)
    assert 20.0 < reading.force[2] < PANDA.force_limit + 3.0  # the drives', and a little of the joints' own springs
    assert turned(bench) < 1.0


@pytest.mark.parametrize("connector", ["usb-b", "as-3112"])
def test_the_expert_inserts_and_nothing_overlaps(connector: str) -> None:
    bench = bench_of(connector)
    outcomes = [insert(bench, seed) for seed in range(6)]
    assert all(free and success for free, success, _ in outcomes)
    assert max(depth for *_, depth in outcomes) < OVERLAP


def test_a_seated_plug_is_held_by_its_seat_and_comes_out_under_a_pull() -> None:
    """The friction of the seat is that of the other robots: an arm that pulls feels it, up to the part's force."""
    bench = bench_of()
    assert insert(bench, 0)[1]
    bench.relax()
    pulls = [bench.move(np.array([0.0, 0.0, STEP_LIMIT])) for _ in range(4)]
    seat = bench.connector.seating_force
    assert 0.6 * seat < max(-reading.force[2] for reading in pulls) < 1.5 * seat + 5.0
    assert pulls[-1].hand[2] > 5e-3  # it is out


@pytest.mark.parametrize("times", [250, pytest.param(1000, marks=pytest.mark.slow)])
def test_nonsense_keeps_box_force_torque_and_joints_within_their_limits(times: int) -> None:
    """Whatever is asked, to the bench's own controller; drives and turns at their limits, contacts below what a served
    robot lets go at (120 N, 8 N m)."""
    bench, rng, limits = bench_of(), np.random.default_rng(1), Limits()
    low, high = -np.array([*WORKSPACE[:2], FLOOR]), np.array(WORKSPACE) + [0, 0, bench.contact_height]
    drives = np.array([PANDA.force_limit] * 3 + [PANDA.torque_limit] * 3)
    joints = bench.model.jnt_range[[bench.model.joint(f"joint{number}").id for number in range(1, 8)]]
    at = [bench.model.joint(f"joint{number}").qposadr[0] for number in range(1, 8)]
    direction = np.zeros(3)
    for step in range(times):
        if step % 25 == 0:
            bench.reset(rng.uniform(-15e-3, 15e-3, 2), 5e-3)
            direction = rng.choice([-1.0, 1.0], 3)  # into a corner of the box for a while, then anywhere
        asked = direction if step % 25 < 12 else rng.uniform(-100.0, 100.0, 3)
        reading = bench.move(asked)
        assert (np.abs(bench.data.actuator_force[:6]) <= drives + 1e-6).all()
        assert (reading.hand >= low - 2e-3).all() and (reading.hand <= high + 2e-3).all()
        assert reading.peak_force <= limits.force_n and np.linalg.norm(bench.torque()) <= limits.torque_nm
        assert (bench.data.qpos[at] > joints[:, 0]).all() and (bench.data.qpos[at] < joints[:, 1]).all()
        assert np.linalg.norm(reading.velocity) < 0.15 and turned(bench) < 3.0


def test_behind_limits_of_its_own_it_never_exceeds_them_either() -> None:
    """`Safe` in front, as `lotj robot serve --arm panda` has it: nonsense ends trials, and leaves nothing exceeded."""
    env = InsertionEnv("usb-b", "panda", 1, "near", 32, "state", max_steps=10**6, end_on_success=False, estimate_seed=0)
    robot, rng, lost = SimulatedRobot(env), np.random.default_rng(2), 0
    safe, limits = Safe(robot, Limits(watchdog_s=600.0)), Limits()
    safe.reset(0)
    for step in range(200):
        try:
            safe.move(np.clip(rng.uniform(-1, 1, 3) - [0, 0, 0.5], -1, 1))
        except LostError:
            lost += 1
            safe.reset(step)
        sensed = robot.sensors()
        assert np.linalg.norm(sensed["force"]) <= limits.force_n
        assert ((sensed["position"] >= limits.low) & (sensed["position"] <= limits.high)).all()
    assert lost < 60
    safe.close()


def test_what_a_learner_sees_has_the_shape_it_has_of_the_other_robots_and_no_truth() -> None:
    env = InsertionEnv("usb-b", "panda", observation=("image", "state"), image_size=64, estimate_seed=0)
    other = InsertionEnv("usb-b", "duo", observation=("image", "state"), image_size=64, estimate_seed=0)
    assert env.observation_space == other.observation_space and env.action_space == other.action_space
    seen, info = env.reset(seed=0)
    # The state is of the hand from the estimate, not from the socket: the two differ by the estimate's error.
    truth = info["position"] - [0, 0, 0]
    assert np.linalg.norm(seen["state"][:2] - truth[:2]) > 5e-3
    assert env.task.attributes["robot"] == "panda" and env.task.name == "usb-b.panda.0"
    env.close()
    other.close()


@pytest.mark.parametrize("connector", ["usb-b", "as-3112", "rj45"])
def test_both_wrist_cameras_see_plug_and_socket_from_directions_a_right_angle_apart(connector: str) -> None:
    env = InsertionEnv(connector, "panda", 2, "near", 64)
    env.reset(seed=1, options={"offset": (4e-3, 3e-3), "height": 6e-3})
    bench, model = env.bench, env.bench.model
    for name in ("plug", "socket"):  # what changes in the picture when it glows is it
        before = bench.render()
        parts = [number for number in range(model.ngeom) if model.geom(number).name.startswith(f"{name}-seen")]
        for number in parts:
            model.geom_matid[number], model.geom_rgba[number] = -1, (1.0, 0.0, 1.0, 1.0)
        shown = (bench.render() != before).any(axis=3).mean(axis=(1, 2))
        assert (shown > 0.01).all()
    a, b = (bench.data.camera(f"wrist-{number}").xmat.reshape(3, 3)[:2, 2] for number in (0, 1))
    assert abs(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))) - 90.0) < 8.0
    beside = bench.view("beside", 64)
    assert beside.shape == (64, 64, 3) and beside.std() > 10
    env.close()


def test_a_copy_goes_on_alike_and_alone() -> None:
    bench = bench_of()
    bench.reset(np.zeros(2), 10e-3)
    bench.move(np.array([3e-3, 0.0, 0.0]))
    for other in (copy.deepcopy(bench), pickle.loads(pickle.dumps(bench))):
        np.testing.assert_array_equal(
            other.move(np.full(3, 2e-3)).hand, copy.deepcopy(bench).move(np.full(3, 2e-3)).hand
        )


def test_the_expert_policy_plugs_in_from_what_the_environment_tells() -> None:
    env = InsertionEnv("usb-b", "panda", observation="state")
    expert = Expert(np.random.default_rng(0), env.action_scale, env.part.contact_height, noise=0.0)
    seen, info = env.reset(seed=4)
    ended = over = False
    while not (ended or over):
        seen, reward, ended, over, info = env.step(expert(seen, info))
    assert info["is_success"] and reward == 1.0
    env.close()


def test_inverse_kinematics_holds_pose_ranges_and_speeds() -> None:
    model, kinematics = arm()
    data = mujoco.MjData(model)
    for place in ([0.0, 0.0, 0.15], [0.06, -0.06, 0.10], [-0.06, 0.06, 0.25]):
        data.qpos[:] = kinematics.reach(np.array(place))
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.site("flange").xpos, place, atol=1.1e-4)
        np.testing.assert_allclose(data.site("flange").xmat.reshape(3, 3), DOWN, atol=2e-3)
    # From there 300 mm in 0.1 s are too much: 2.175 or 2.61 rad/s allow a part of it.
    before = kinematics.joints
    moved = np.abs(kinematics.follow(np.array([-0.06, 0.36, 0.25]), 0.1) - before)
    assert (moved <= 0.1 * np.array(PANDA.joint_speeds) + 1e-9).all() and moved.max() > 0.2
    with pytest.raises(RobotError, match="the arm does not reach \\[2.0, 0.0, 0.2\\] m"):
        kinematics.reach(np.array([2.0, 0.0, 0.2]))


def test_a_bench_out_of_reach_is_one_clear_line() -> None:
    part = find_connector("usb-b")
    drawn = dataclasses.replace(draw_randomization(part, 0), clamp_shift=(0.9, 0.0, 0.0))
    with pytest.raises(RobotError, match="does not reach"):
        Bench(part, PANDA, drawn, 32).reset(np.zeros(2), 5e-3)


def test_without_mink_one_line_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mink", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"^this needs the package mink .*: pip install 'lotj\[robot\]'$"):
        InsertionEnv("usb-b", "panda")
