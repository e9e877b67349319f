"""The Gymnasium environment, its domains, the simulated robot behind its boundary, and the hand-made controllers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lotj.envs  # noqa: F401  (registers lotj/Insertion-v0)
from lotj.controllers.expert import Expert, towards
from lotj.controllers.localize import Localize, LocalizeFirst
from lotj.controllers.search import RandomSearch, SpiralSearch, StraightDown
from lotj.envs.insertion import InsertionEnv, draw_start
from lotj.errors import LostError, LotjError, RobotError, SettingsError
from lotj.robots.robot import PRACTICE, PURPOSES, Setup
from lotj.robots.simulated import SimulatedRobot, simulated_bench
from lotj.sim.bench import TILT_LIMIT
from lotj.sim.connector import connector_text, find_connector
from lotj.sim.randomization import draw_randomization
from lotj.sim.scene import _corners


def rollout(env: gym.Env, seed: int, steps: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = [env.reset(seed=seed)[0]["image"]]
    frames += [env.step(rng.uniform(-1, 1, 3))[0]["image"] for _ in range(steps)]
    return np.stack(frames)


def test_passes_gymnasium_check() -> None:
    env = gym.make("lotj/Insertion-v0", connector="nema-5-15", image_size=64).unwrapped
    check_env(env, skip_render_check=False)
    env.close()


@pytest.mark.parametrize("observation", ["image", "state", ("image",), ("state", "image")])
def test_observation_is_a_dict_of_what_was_asked_for_and_lies_in_its_space(observation: str | tuple) -> None:
    env = InsertionEnv(observation=observation, image_size=32)
    first, _ = env.reset(seed=0)
    assert set(first) == ({observation} if isinstance(observation, str) else set(observation))
    shapes = {name: (values.shape, values.dtype) for name, values in first.items()}
    assert shapes.items() <= {"image": ((2, 16, 32, 3), np.uint8), "state": ((9,), np.float32)}.items()
    assert env.observation_space.contains(first)
    assert env.observation_space.contains(env.step(np.zeros(3))[0])
    env.close()


def test_vectorised_use_gives_each_environment_its_own_start() -> None:
    envs = gym.make_vec("lotj/Insertion-v0", num_envs=2, vectorization_mode="sync", image_size=32)
    observations, _ = envs.reset(seed=[1, 2])  # type: ignore[arg-type]
    images = observations["image"]
    assert images.shape == (2, 2, 16, 32, 3) and (images[0] != images[1]).any()
    _, rewards, *_ = envs.step(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(rewards, [0.0, 0.0])
    envs.close()


def test_same_seed_same_frames_in_two_environments() -> None:
    first, second = InsertionEnv(domain_seed=4), InsertionEnv(domain_seed=4)
    np.testing.assert_array_equal(rollout(first, 7), rollout(second, 7))
    np.testing.assert_array_equal(rollout(first, 7), rollout(first, 7))
    first.close()
    second.close()


def test_domains_look_different_enough_to_be_told_apart() -> None:
    """Mean colour of a frame differs between domains by more than the light does within a domain."""
    means = []
    for seed in range(6):
        env = InsertionEnv(domain_seed=seed, image_size=32)
        means.append([env.reset(seed=s)[0]["image"].mean(axis=(0, 1, 2)) for s in range(4)])
        env.close()
    means = np.array(means)  # (domain, episode, channel)
    within = means.std(axis=1).mean()
    between = means.mean(axis=1).std(axis=0).mean()
    assert between > 3 * within


@pytest.mark.parametrize("robot", ["duo", "trio"])
def test_the_two_views_are_taken_from_directions_a_right_angle_apart(robot: str) -> None:
    env = InsertionEnv(robot=robot, image_size=32)
    image = env.reset(seed=0)[0]["image"]
    backwards = [env.bench.data.camera(name).xmat.reshape(3, 3)[:2, 2] for name in env.bench.arm.cameras]
    a, b = (direction / np.linalg.norm(direction) for direction in backwards)
    # Each camera is mounted up to 1.2 degrees off about every axis, and the hand is not tilted.
    assert abs(np.degrees(np.arccos(a @ b)) - 90.0) < 8.0
    assert image.shape == (2, 16, 32, 3) and np.abs(image[0].astype(int) - image[1]).mean() > 5
    env.close()


def test_mask_of_the_parts_is_where_their_colour_shows() -> None:
    """All that changes when plug and socket glow is plug and socket; other things have materials of their own."""
    env = InsertionEnv("nema-5-15", image_size=64)
    before = env.reset(seed=0)[0]["image"]
    mask, model = env.bench.parts_mask(), env.bench.model
    assert (env.bench.render() == before).all()  # the next picture is one in colour again
    for material in ("plug", "socket", "metal", "dark"):
        model.material(material).rgba[:] = (1.0, 0.0, 1.0, 1.0)
        model.material(material).emission[:] = 1.0
    env.bench.close()  # materials are the drawing's own
    changed = (env.bench.render() != before).any(axis=3)
    np.testing.assert_array_equal(changed, mask)
    assert 0.1 < mask.mean() < 0.9
    env.close()


def test_pieces_are_felt_and_what_is_drawn_of_them_is_a_mesh_for_each_material() -> None:
    """A plug of plastic and metal and a socket with dark floors: at most three meshes each, and none collides."""
    env = InsertionEnv("nema-5-15", observation="state")
    model = env.bench.model
    geoms = [model.geom(number) for number in range(model.ngeom)]
    parts = [geom for geom in geoms if geom.name.startswith(("plug-", "socket-"))]
    seen = [geom for geom in parts if "-seen-" in geom.name]
    assert 2 <= len(seen) <= 6 < len(parts) - len(seen)
    assert all(geom.contype[0] == geom.conaffinity[0] == 0 and geom.group[0] == 0 for geom in seen)
    assert all(geom.group[0] == 3 for geom in parts if geom not in seen)
    # 12 triangles for each box: the outline of the seen corners is that of the pieces.
    for body in ("plug", "socket"):
        found = []
        for these in ([g for g in parts if g not in seen], seen):
            corners = [_corners(model, geom)[0] for geom in these if geom.name.startswith(body)]
            found.append(np.concatenate(corners))
        np.testing.assert_allclose(found[0].min(0), found[1].min(0), atol=1e-6)
        np.testing.assert_allclose(found[0].max(0), found[1].max(0), atol=1e-6)
        assert len(found[0]) == len(found[1])  # as many triangles as before


def test_both_sizes_keep_their_contexts() -> None:
    """The picture for people (256 pixels) beside the observation: no context is made in a step (it took 465 ms)."""
    env = InsertionEnv("usb-b", image_size=32)
    env.reset(seed=0)
    assert env.render().shape == (256, 256, 3)
    buffers = dict(env.bench._drawing._buffers)
    small = env.step(np.zeros(3))[0]["image"]
    env.render()
    np.testing.assert_array_equal(env.bench.render(), small)  # one OpenGL context, a buffer for each size
    assert set(buffers) == {(2, 16, 32), (2, 128, 256)} and buffers == env.bench._drawing._buffers
    env.close()
    assert not env.bench._drawing._buffers


@pytest.mark.parametrize("copy_of", [lambda env: pickle.loads(pickle.dumps(env)), copy.deepcopy])
def test_a_copy_of_an_environment_that_has_drawn_goes_on_like_it(copy_of: Callable[[gym.Env], gym.Env]) -> None:
    env = InsertionEnv("usb-b", image_size=32)
    env.reset(seed=0)
    other = copy_of(env)
    assert len(env.bench._drawing._buffers) == 1  # nothing is taken from the first one
    for action in ([0.5, -0.5, 0.0], [0.0, 0.0, -1.0]):
        np.testing.assert_array_equal(env.step(np.array(action))[0]["image"], other.step(np.array(action))[0]["image"])
    np.testing.assert_array_equal(env.reset(seed=3)[0]["image"], other.reset(seed=3)[0]["image"])
    env.close()
    other.close()


FORK = """
import multiprocessing
from lotj.envs.insertion import InsertionEnv
from lotj.errors import RendererError
env = InsertionEnv("usb-b", image_size=32)
env.reset(seed=0)
def child(new):
    try:
        (InsertionEnv("usb-b", image_size=32) if new else env).reset(seed=0)
    except RendererError as error:
        raise SystemExit(7 if "spawn" in str(error) else 8)
for new in (True, False):
    process = multiprocessing.get_context("fork").Process(target=child, args=(new,))
    process.start()
    process.join(20)
    print(process.exitcode)
    process.kill()
"""


def test_a_process_forked_from_one_that_has_drawn_says_so_at_once() -> None:
    """It hung for ever, in an environment of its own (`AsyncVectorEnv`) as in its parent's."""
    found = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["7", "7"], found.stderr


def test_mujoco_may_be_imported_first() -> None:
    """MuJoCo then has no renderer of its own, for it looks at MUJOCO_GL when it is imported."""
    code = "import mujoco, lotj.envs; print(lotj.envs.InsertionEnv('usb-b', image_size=32).reset(seed=0)[1]['depth'])"
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert found.returncode == 0 and float(found.stdout) < 0, found.stderr


def test_parts_of_one_family_do_not_share_their_randomization() -> None:
    """The first eight letters of these names are the same."""
    drawn = [draw_randomization(find_connector(name), 0) for name in ("deutsch-dt-12", "deutsch-dt-8")]
    assert drawn[0].clamp_colour != drawn[1].clamp_colour and drawn[0].light_direction != drawn[1].light_direction


def test_action_of_one_moves_six_millimetres() -> None:
    env = InsertionEnv(observation="state")
    first, _ = env.reset(seed=0, options={"offset": (0.0, 0.0), "height": 0.02})
    start = env.bench._positions()[0]
    for _ in range(3):
        observation, *_ = env.step(np.array([1.0, -0.5, 0.0]))
    # The socket frame may be turned by up to 1.5 degrees and 1 degree of tilt against the bench: 0.5 mm at 20 mm.
    np.testing.assert_allclose(env.bench._positions()[0] - start, [18e-3, -9e-3, 0.0], atol=1e-3)
    # At the end of a step the hand lags by some tenths of a millimetre, and still moves a little.
    place, velocity, force = np.split(observation["state"], 3)
    moved = place - first["state"][:3]
    np.testing.assert_allclose(moved, [18e-3, -9e-3, 0.0], atol=1e-3)
    assert np.abs(velocity).max() < 0.06 and np.abs(force).max() < 0.1
    env.close()


def test_success_terminates_and_the_time_limit_truncates() -> None:
    env = InsertionEnv(observation="state", max_steps=12)
    _, info = env.reset(seed=0, options={"offset": (0.0, 0.0), "height": 0.004})
    expert = Expert(np.random.default_rng(0), env.action_scale, env.bench.contact_height, noise=0.0)
    done = False
    while not done:
        _, reward, terminated, truncated, info = env.step(expert(None, info))
        done = terminated or truncated
        assert reward == float(info["is_success"]) == float(terminated)
    assert terminated and not truncated
    assert info["depth"] == pytest.approx(env.bench.connector.insertion_depth, abs=1e-3)
    env.reset(seed=0)
    ends = [env.step(np.array([0.0, 0.0, 1.0]))[2:4] for _ in range(12)]
    assert ends[-1] == (False, True) and not any(t or u for t, u in ends[:-1])
    env.close()


def test_a_lost_plug_is_the_end_of_the_task_without_reward() -> None:
    env = InsertionEnv(observation="state", max_steps=40)
    env.bench.model.dof_frictionloss[env.bench.model.joint("slip").dofadr[0]] = 5.0  # a weak grip: 5 N against 30 N
    env.reset(seed=0, options={"offset": (0.008, 0.004), "height": 0.004})
    total = 0.0
    for _ in range(10):
        _, reward, terminated, truncated, info = env.step(np.array([0.0, 0.0, -1.0]))
        total += reward
        if info["dislodged"]:
            break
    assert info["dislodged"] and terminated and not truncated and total == 0
    env.close()


def test_a_success_pays_once_even_where_the_episode_goes_on() -> None:
    """Seated, out by 12 mm, and seated again, over the time limit: 1, and cut off at step 30."""
    env = InsertionEnv(observation="state", max_steps=30, end_on_success=False)
    _, info = env.reset(seed=0, options={"offset": (0.0, 0.0), "height": 0.004})
    expert = Expert(np.random.default_rng(0), env.action_scale, env.bench.contact_height, noise=0.0)
    seated, rewards, ends = [], [], []
    for step in range(30):
        action = np.array([0.0, 0.0, 1.0]) if 14 <= step < 16 else expert(None, info)
        _, reward, terminated, truncated, info = env.step(action)
        seated.append(info["is_success"])
        rewards.append(reward)
        ends.append((terminated, truncated))
    assert seated[13] and not seated[15] and seated[-1]
    assert sum(rewards) == 1 and rewards.index(1) == seated.index(True)
    assert ends == 29 * [(False, False)] + [(False, True)]
    env.close()


def test_the_last_step_allowed_ends_in_success_or_in_a_cut_never_in_both() -> None:
    env = InsertionEnv(observation="state", max_steps=100)
    outcomes = []
    for steps in (100, None):
        _, info = env.reset(seed=0, options={"offset": (0.0, 0.0), "height": 0.004})
        expert = Expert(np.random.default_rng(0), env.action_scale, env.bench.contact_height, noise=0.0)
        env.max_steps, count, over = steps or outcomes[0][0], 0, False
        while not over:
            _, _, terminated, truncated, info = env.step(expert(None, info))
            count, over = count + 1, terminated or truncated
        outcomes.append((count, terminated, truncated))
    assert outcomes[0] == outcomes[1] and outcomes[1][1:] == (True, False)
    env.close()


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("scenario,low,high", [("near", 0.0, 10e-3), ("far", 10e-3, 20e-3)])
def test_start_lies_in_its_scenario(scenario: str, low: float, high: float, once: bool) -> None:
    rng = np.random.default_rng(0)
    draws = [draw_start(rng, scenario, seed if once else None) for seed in range(2000)]
    starts, gaps, errors = (np.array(column) for column in zip(*draws, strict=True))
    largest = np.abs(starts).max(1)
    assert low <= largest.min() and largest.max() <= high
    assert largest.max() - largest.min() > 0.9 * (high - low)
    if not once:  # evenly: in a square, the share within half of its side is a quarter of the area
        area, middle = high**2 - low**2, (low + high) / 2
        assert np.mean(largest < middle) == pytest.approx((middle**2 - low**2) / area, abs=0.03)
    assert np.abs(starts - errors[:, :2]).max() <= 3e-3 + 1e-12
    # Height: wrong by up to 5 mm, 7 to 9 mm above the estimate.
    assert 4.9e-3 < np.abs(errors[:, 2]).max() <= 5e-3 and 2e-3 <= gaps.min() < gaps.max() <= 14e-3


def test_an_estimate_is_drawn_once_or_for_each_episode() -> None:
    """The hand starts within 3 mm of the estimate either way; where the socket truly is then stays or changes."""
    truths = {}
    for estimate_seed in (None, 4):
        env = InsertionEnv(observation="state", estimate_seed=estimate_seed, domain_seed=2)
        starts = []
        for seed in range(20):
            observation, info = env.reset(seed=seed)
            place = observation["state"][:3] - [0.0, 0.0, env.bench.contact_height]
            assert np.abs(place[:2]).max() <= 3.001e-3 and 6.99e-3 <= place[2] <= 9.01e-3
            starts.append(info["position"][:2])
        truths[estimate_seed] = np.ptp(starts, axis=0)
        env.close()
    # The socket frame is turned by up to 1.5 degrees against the bench: half a millimetre at 20 mm.
    assert truths[None].min() > 20e-3 and truths[4].max() < 6.6e-3


@pytest.mark.parametrize("purpose", PURPOSES)
def test_practice_alone_goes_by_one_estimate_of_the_run(purpose: str) -> None:
    """Starts of one bench lie within 3 mm of an estimate that is up to 20 mm off; other runs have another."""
    means = []
    for seed in (1, 2):
        setup = Setup(purpose, connector_text("usb-b").decode(), image_size=16, seed=seed)
        with closing(simulated_bench(setup, "duo")) as env:
            starts = np.array([env.reset(seed=of)[1]["position"][:2] for of in range(12)])
        assert (np.ptp(starts, axis=0) < 6.6e-3).all() == (purpose == PRACTICE)
        means.append(starts.mean(0))
    assert (np.abs(means[1] - means[0]).max() > 5e-3) == (purpose == PRACTICE)


@pytest.mark.parametrize("corner", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_socket_20_mm_off_and_5_mm_lower_than_estimated_is_within_reach(corner: tuple[int, int]) -> None:
    env = InsertionEnv("nema-5-15", observation="state", max_steps=60)
    error = np.array([20e-3 * corner[0], 20e-3 * corner[1], 5e-3])
    reading = env.bench.reset(error[:2], 10e-3, error=error)
    for _ in range(25):
        action = towards(reading.position, np.zeros(2), env.action_scale, env.bench.contact_height)
        reading = env.bench.move(action * env.action_scale)
    assert reading.success
    # 40 mm about the estimate: 20 mm beyond the socket.
    env.bench.reset(error[:2], 10e-3, error=error)
    for _ in range(20):
        reading = env.bench.move(-np.array([*corner, 0]) * env.action_scale)
    np.testing.assert_allclose(reading.hand[:2], -40e-3 * np.array(corner), atol=1e-3)
    np.testing.assert_allclose(reading.position[:2], -20e-3 * np.array(corner), atol=2e-3)
    env.close()


@pytest.mark.parametrize(
    "options,words",
    [
        ({"ofset": (0, 0)}, ("'ofset'", "offset, height")),
        ({"offset": (np.nan, 0)}, ("offset", "nan", "2 numbers")),
        ({"offset": (1.0, 0)}, ("offset", "[1.0, 0.0]", "workspace")),
        ({"offset": (0, 0, 0)}, ("offset", "2 numbers")),
        ({"offset": 0.0}, ("offset", "2 numbers")),
        ({"offset": "left"}, ("offset", "left")),
        ({"height": np.inf}, ("height", "inf")),
        ({"height": -0.02}, ("height", "-0.02", "0 to 0.055")),
        ({"height": 0.3}, ("height", "0.3")),
        ({"regrasp": "no"}, ("regrasp", "'no'", "True or False")),
    ],
)
def test_bad_options_of_a_reset_are_named_in_one_line(options: dict, words: tuple[str, ...]) -> None:
    env = InsertionEnv(observation="state")
    env.reset(seed=0)
    before = env.bench.data.qpos.copy()
    with pytest.raises(SettingsError) as caught:
        env.reset(seed=0, options=options)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words)
    np.testing.assert_array_equal(env.bench.data.qpos, before)
    env.close()


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"scenario": "middle"}, ("middle", "near", "far")),
        ({"connector": "nema-5-16"}, ("nema-5-16", "nema-5-15")),
        ({"robot": "quad"}, ("quad", "duo")),
        ({"image_size": 8}, ("8", "16")),
        ({"image_size": 65}, ("65", "even")),
        ({"observation": "sound"}, ("sound", "image")),
        ({"observation": ()}, ("image", "state")),
        ({"observation": None}, ("None", "image")),
        ({"observation": ("image", ["state"])}, ("['state']", "each once")),
        ({"estimate_seed": -1}, ("estimate_seed", "-1")),
        ({"observation": ("state", "state")}, ("state", "once")),
        ({"image_size": 64.0}, ("image_size", "64.0", "whole")),
        ({"image_size": "64"}, ("image_size", "'64'", "whole")),
        ({"max_steps": 2.5}, ("max_steps", "2.5", "whole")),
        ({"max_steps": None}, ("max_steps", "None", "whole")),
        ({"max_steps": True}, ("max_steps", "True", "whole")),
        ({"connector": None}, ("connector", "None", "text")),
        ({"robot": 3}, ("robot", "3", "text")),
        ({"render_mode": "human"}, ("human", "rgb_array")),
        ({"max_steps": 0}, ("0", "1")),
        ({"domain_seed": -1}, ("-1",)),
    ],
)
def test_bad_settings_are_named_in_one_line(settings: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(LotjError) as caught:
        InsertionEnv(**settings)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words)


def test_non_finite_action_is_refused() -> None:
    env = InsertionEnv(observation="state")
    env.reset(seed=0)
    with pytest.raises(SettingsError, match="finite"):
        env.step(np.array([np.nan, 0, 0]))
    env.close()


def test_expert_step_by_hand() -> None:
    """3 mm beside and above: sideways only, -3/6 = -0.5 along x. Within 1 mm: corrects and goes down at full speed."""
    aside = towards(np.array([3e-3, 0.0, 0.03]), np.zeros(2), 6e-3, contact_height=0.02)
    np.testing.assert_allclose(aside, [-0.5, 0.0, 0.0])
    down = towards(np.array([0.6e-3, 0.0, 0.03]), np.zeros(2), 6e-3, contact_height=0.02)
    np.testing.assert_allclose(down, [-0.1, 0.0, -1.0])
    stuck = towards(np.array([9e-3, 0.0, 0.012]), np.zeros(2), 6e-3, contact_height=0.02)
    np.testing.assert_allclose(stuck, [0.0, 0.0, 1.0])  # 9.5 mm up to clear the rim: clipped to one step


def test_spiral_keeps_its_pitch_and_speed() -> None:
    """An Archimedean spiral: after n turns the radius is n x pitch, and each step's chord is at most one action."""
    spiral = SpiralSearch(pitch=1e-3, action_scale=6e-3)
    spiral.reset(0)
    touching = {"force": np.array([0.0, 0.0, 10.0])}
    moves = np.array([spiral(None, touching) for _ in range(60)])
    path = np.cumsum(moves[:, :2] * 6e-3, axis=0)
    assert spiral._angle is not None
    np.testing.assert_allclose(np.linalg.norm(path[-1]), 1e-3 * spiral._angle / (2 * np.pi), rtol=1e-6)
    assert np.abs(moves).max() <= 1.0
    np.testing.assert_array_equal(StraightDown()(None, {}), [0.0, 0.0, -1.0])


def test_random_search_descends_then_visits_its_positions_and_stays() -> None:
    """Reach 10 mm, 6 mm a step: a position at most 20 mm from the one before takes 4 steps, five take at most 20."""
    search = RandomSearch(reach=10e-3, action_scale=6e-3)
    search.reset(4)
    free, touching = ({"force": np.array([0.0, 0.0, force])} for force in (0.0, 10.0))
    np.testing.assert_array_equal(search(None, free), [0.0, 0.0, -1.0])
    moves = np.array([search(None, touching), *(search(None, free) for _ in range(24))])  # in a hole it goes on
    assert np.abs(moves).max() <= 1.0 + 1e-12 and (moves[:, 2] == -0.7).all()
    path = np.cumsum(moves[:, :2] * 6e-3, axis=0)
    wanted = np.random.default_rng(4).uniform(-10e-3, 10e-3, (5, 2))
    nearest = np.linalg.norm(path[:, None] - wanted, axis=2)
    assert (nearest.min(0) < 1e-9).all() and (np.diff(nearest.argmin(0)) > 0).all()  # all of them, in order
    np.testing.assert_allclose(path[-4:], np.tile(wanted[-1], (4, 1)), atol=1e-9)


def test_localize_goes_where_the_model_says() -> None:
    image = {"image": np.zeros((1, 4, 4, 3), np.uint8)}
    says = {"at": np.array([3e-3, 0.0, 0.03])}
    controller = Localize(lambda images: says["at"][None], 6e-3, contact_height=0.02)
    np.testing.assert_allclose(controller(image, {}), [-0.5, 0.0, 0.0])
    says["at"] = np.array([0.6e-3, 0.0, 0.03])
    np.testing.assert_allclose(controller(image, {}), [-0.1, 0.0, -1.0])


def test_localize_first_leaves_the_rest_to_the_other_for_good() -> None:
    image, says = {"image": np.zeros((1, 4, 4, 3), np.uint8)}, {"x": 15e-3}
    down = [0.0, 0.0, -1.0]
    controller = LocalizeFirst(lambda images: np.array([[says["x"], 0.0, 0.0]]), StraightDown(), 6e-3, most_steps=3)
    controller.reset(0)
    for x, action in ((15e-3, [-1.0, 0.0, 0.0]), (3e-3, [-0.5, 0.0, 0.0]), (0.5e-3, down), (15e-3, down)):
        says["x"] = x
        np.testing.assert_allclose(controller(image, {}), action)
    controller.reset(1)  # never there: three steps, then the other
    assert [controller(image, {}).tolist() == down for _ in range(5)] == [False, False, False, True, True]


def test_robot_shows_what_is_observed_and_writes_the_truth_aside(tmp_path: Path) -> None:
    env = InsertionEnv(end_on_success=False)
    robot = SimulatedRobot(env, truth_file=tmp_path / "truth.jsonl")
    assert robot.reset(seed=3)["image"].shape == (2, 32, 64, 3)
    for _ in range(4):
        seen = robot.move(np.array([0.0, 0.0, -0.5]))
    assert seen.keys() == {"image"} and seen["image"].dtype == np.uint8
    # Before close(): a kill must not cost the truth of what was done.
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in lines] == [1, 2, 3, 4]
    assert {(line["seed"], line["true_success"]) for line in lines} == {(3, False)}
    robot.close()
    public = {name for name in vars(robot) if not name.startswith("_")}
    assert public == {"spec", "action_scale", "estimate_error", "height_error", "name", "truth_file"}
    with pytest.raises(RobotError, match="the truth is for evaluation and collection, not for practice"):
        robot.outcome()


def test_relaxed_the_hand_presses_no_more() -> None:
    """Pressed onto the part beside its socket, the command leads the hand; relaxed, it stands where the hand is."""
    env = InsertionEnv(connector="usb-b", scenario="near", end_on_success=False)
    robot = SimulatedRobot(env)
    with pytest.raises(gym.error.ResetNeeded):
        robot.relax()
    with pytest.raises(gym.error.ResetNeeded):
        env.relax()
    robot.reset(0)
    for _ in range(4):
        robot.move(np.array([0.0, 0.0, -1.0]))
    pressed = env.bench._hand.force()[2], env.bench._positions()[0]
    robot.relax()
    relaxed = env.bench._hand.force()[2], env.bench._positions()[0]
    assert pressed[0] > 20 and abs(relaxed[0]) < 1  # N
    np.testing.assert_allclose(relaxed[1], pressed[1], atol=1e-3)
    robot.close()


def test_a_loss_is_known_from_the_gripper_alone_late_and_grasped_anew(tmp_path: Path) -> None:
    """A slip of 6 mm is past the limit of 3 mm by more than seven deviations of the reading: always noticed."""
    env = InsertionEnv("usb-b", image_size=32, scenario="near", end_on_success=False)
    robot = SimulatedRobot(env, tmp_path / "truth.jsonl")
    slip, plug = env.bench.model.joint("slip").qposadr[0], env.bench._plug
    delays, grasps = [], [env.bench.model.body_pos[plug].copy()]
    for seed in range(8):
        robot.reset(seed)
        env.bench.data.qpos[slip] = -6e-3  # the fingers give way in mid-air
        with pytest.raises(LostError):
            for step in range(4):
                late = step
                robot.move(np.zeros(3))
        delays.append(late)
        robot.reset(100 + seed)
        grasps.append(env.bench.model.body_pos[plug].copy())
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert truth[0]["dislodged"] and not truth[0]["alarm"]  # true at once, felt later
    assert set(delays) == {1, 2}
    grasps = np.array(grasps)
    assert (np.abs(np.diff(grasps, axis=0)).max(1) > 1e-5).all() and np.abs(grasps - grasps[0]).max() <= 0.5e-3
    robot.close()


@pytest.mark.parametrize("lost_before", [False, True])
def test_a_trial_that_is_made_again_holds_the_part_as_its_void_attempt_did(lost_before: bool) -> None:
    """Whatever that has done to the part: a slip of 6 mm (the limit is 3 mm) that nobody was told of any more."""
    env = InsertionEnv("usb-b", image_size=32, scenario="near", end_on_success=False)
    robot = SimulatedRobot(env)
    slip, plug = env.bench.model.joint("slip").qposadr[0], env.bench._plug

    def held() -> list[float]:
        return [*env.bench.model.body_pos[plug], *env.bench.model.body_quat[plug]]

    def slips() -> None:
        env.bench.data.qpos[slip] = -6e-3
        robot.move(np.zeros(3))  # felt one step later at the earliest

    robot.reset(0)
    at_first = held()
    if lost_before:
        slips()
    robot.reset(1)
    begun = held()
    assert (begun != at_first) == lost_before
    for _ in range(2):  # a void attempt after another
        slips()
        robot.reset(1)
        assert held() == begun
    slips()
    robot.reset(2)  # that one counted
    assert held() != begun
    robot.close()


def test_a_tilt_that_springs_back_may_pass_unnoticed_and_a_firm_grip_may_alarm() -> None:
    """At the limit half of the readings are alarms; at half the limit of tilt, 4.5 deviations below, none is."""
    robot = SimulatedRobot(InsertionEnv("usb-b", image_size=32, end_on_success=False))
    rng = np.random.default_rng(0)
    at = {
        share: np.mean([robot._reads_a_loss(np.array([0.0, share * TILT_LIMIT]), rng) for _ in range(4000)])
        for share in (0.5, 1.0)
    }
    assert at[0.5] < 1e-3 and at[1.0] == pytest.approx(0.5, abs=0.04)


def test_robot_refuses_an_environment_that_ends_on_truth() -> None:
    env = InsertionEnv(observation="image")
    with pytest.raises(RobotError, match="end_on_success"):
        SimulatedRobot(env)
