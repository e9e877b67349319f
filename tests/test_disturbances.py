"""Each disturbance does what it says, and only that."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lotj.controllers.expert import Expert
from lotj.envs.disturbances import DISTURBANCES, Disturbed
from lotj.envs.fetch import FetchEnv
from lotj.envs.insertion import InsertionEnv
from lotj.envs.registry import make_task
from lotj.errors import SettingsError
from lotj.robots.simulated import SimulatedRobot
from lotj.sim.arm import ARMS
from lotj.sim.bench import Bench
from lotj.sim.connector import catalogue
from lotj.sim.randomization import draw_randomization

ACTIONS = [np.array(action) for action in ([0.5, 0, 0], [0, -0.5, 0], [0.3, 0.3, -0.5], [0, 0, 0.4], [-0.6, 0, 0])]
PICTURES = {name for name, disturbance in DISTURBANCES.items() if disturbance.picture is not None}
SEEN = PICTURES | {"changed-light", "second-socket"}


def lived(name: str | None, seed: int = 5, episodes: int = 1, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (T+1, V, H, W, 3) float and true positions (T+1, 3) of the last of some episodes, in free motion."""
    env: Any = InsertionEnv("usb-b", image_size=32, max_steps=60, end_on_success=False)
    env = env if name is None else Disturbed(env, name, **settings)
    images, places = [], []
    for episode in range(episodes):
        options = {"offset": (2e-3, -1e-3), "height": 15e-3}
        observation, info = env.reset(seed=seed + episode, options=options)
        images, places = [observation["image"]], [info["position"]]
        for action in ACTIONS:
            observation, *_, info = env.step(action)
            images.append(observation["image"])
            places.append(info["position"])
    env.close()
    return np.stack(images).astype(float), np.stack(places)


@pytest.fixture(scope="module")
def calm() -> tuple[np.ndarray, np.ndarray]:
    return lived(None)


@pytest.mark.parametrize("name", sorted(SEEN))
def test_what_is_only_seen_moves_nothing(name: str, calm: tuple[np.ndarray, np.ndarray]) -> None:
    images, places = lived(name)
    np.testing.assert_array_equal(places, calm[1])
    # One picture in ten is too few to show in six; its own test is below.
    assert (images != calm[0]).any() or name == "dropped-frame"


def test_any_task_has_one_behind_its_name() -> None:
    """With actions a step late the first motion of a hand at rest does nothing, the second one does what the first
    should."""
    calm: Any = make_task("fetch/reach")
    late: Any = make_task("fetch/reach,disturbance=action-latency,max_steps=9")
    up = np.array([0.0, 0.0, 1.0, 0.0])
    before, soon = ([env.reset(seed=1)[0], env.step(up)[0], env.step(0 * up)[0]] for env in (calm, late))
    rise = [[float((now["achieved_goal"] - came[0]["achieved_goal"])[2]) for now in came] for came in (before, soon)]
    assert rise[0][1] > 5e-3 and abs(rise[1][1]) < 1e-3 and rise[1][2] > 5e-3 and late.unwrapped.max_steps == 9
    with pytest.raises(SettingsError, match="unknown disturbance 'latency'"):
        make_task("fetch/reach,disturbance=latency")


@pytest.mark.parametrize("name", sorted(DISTURBANCES))
def test_the_seed_determines_all(name: str) -> None:
    first, second = lived(name, seed=3, episodes=2), lived(name, seed=3, episodes=2)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_noise_of_the_camera_has_its_size_and_no_bias(calm: tuple[np.ndarray, np.ndarray]) -> None:
    noise = lived("camera-noise")[0] - calm[0]
    inside = noise[(calm[0] > 40) & (calm[0] < 215)]  # five deviations from where it would be cut off
    assert inside.std() == pytest.approx(8.0, rel=0.05) and abs(inside.mean()) < 0.3


def test_blur_is_one_pixel_in_64() -> None:
    """A white column in black, 64 wide: a normal curve of deviation 1 has 0.3989, 0.2420, 0.0540 of it beside it."""
    picture = np.zeros((1, 32, 64, 3), np.uint8)
    picture[:, :, 30] = 250
    blur = DISTURBANCES["blur"].picture
    assert blur is not None
    row = blur([picture], np.random.default_rng(0))[0, 16, :, 1]
    np.testing.assert_allclose(row[30:33], 250 * np.array([0.3989, 0.2420, 0.0540]), atol=1.0)
    np.testing.assert_array_equal(row[30:36], row[30:24:-1])


def test_exposure_falls_by_two_per_cent_a_step_to_sixty(calm: tuple[np.ndarray, np.ndarray]) -> None:
    images = lived("exposure-drift")[0]
    gains = 1 - 0.02 * np.arange(6)
    np.testing.assert_allclose(images, calm[0] * gains[:, None, None, None, None], atol=0.5 + 1e-9)
    drift = DISTURBANCES["exposure-drift"].picture
    assert drift is not None
    late = drift([np.full((1, 2, 2, 3), 100, np.uint8)] * 50, np.random.default_rng(0))
    assert (late == 60).all()


def test_a_late_picture_is_that_of_the_step_before(calm: tuple[np.ndarray, np.ndarray]) -> None:
    images = lived("late-frame")[0]
    np.testing.assert_array_equal(images, calm[0][[0, 0, 1, 2, 3, 4]])


def test_one_picture_in_ten_is_dropped() -> None:
    drop, rng = DISTURBANCES["dropped-frame"].picture, np.random.default_rng(0)
    assert drop is not None
    numbered = [np.full((1, 1, 1, 3), number, np.uint8) for number in range(2)]
    shown = np.array([drop(numbered, rng)[0, 0, 0, 0] for _ in range(4000)])
    assert set(shown) == {0, 1} and np.mean(shown == 0) == pytest.approx(0.1, abs=0.02)
    assert drop(numbered[:1], rng)[0, 0, 0, 0] == 0


def test_an_action_comes_one_step_later(calm: tuple[np.ndarray, np.ndarray]) -> None:
    env = Disturbed(InsertionEnv("usb-b", image_size=32), "action-latency")
    options = {"offset": (2e-3, -1e-3), "height": 15e-3}
    first, info = env.reset(seed=5, options=options)
    np.testing.assert_array_equal(first["image"], calm[0][0])
    start, places = info["position"], []
    for action in [*ACTIONS, np.zeros(3)]:
        places.append(env.step(action)[-1]["position"])
    np.testing.assert_allclose(places[0], start, atol=0.1e-3)
    np.testing.assert_allclose(np.array(places[1:]), calm[1][1:], atol=0.2e-3)
    env.close()


def pressed(name: str | None) -> float:
    """Upward force on a plug pressed onto the rim, well below the arm's limit of 30 N [N]."""
    bare = InsertionEnv("usb-b", observation="state", end_on_success=False, max_steps=60)
    env: gym.Env = bare if name is None else Disturbed(bare, name)
    env.reset(seed=0, options={"offset": (6e-3, 0.0), "height": 0.5e-3})
    for _ in range(6):
        env.step(np.zeros(3))
    # The commanded point leads the blocked hand by at most the leash of 4 mm and a step of 1.2 mm.
    for _ in range(8):
        *_, info = env.step(np.array([0.0, 0.0, -0.2]))
    return float(info["force"][2])


def test_a_soft_arm_presses_with_six_tenths() -> None:
    assert pressed("soft-arm") == pytest.approx(0.6 * pressed(None), rel=0.05)


def test_worn_parts_have_a_tenth_of_a_millimetre_more_play_and_all_can_be_built() -> None:
    env = InsertionEnv("usb-b", observation="state")
    before = env.bench.connector
    Disturbed(env, "worn-clearance").reset(seed=0)
    assert env.bench.connector.clearance == pytest.approx(before.clearance + 0.1e-3)
    wear = DISTURBANCES["worn-clearance"].change
    assert wear is not None
    for part in list(catalogue().values())[::8]:
        bench = wear(Bench(part, ARMS["duo"], draw_randomization(part, 0), 32), np.random.default_rng(0))
        bench.reset(np.zeros(2), 5e-3)
        assert bench.data.ncon == 0


def test_the_light_changes_in_mid_practice_and_not_before(calm: tuple[np.ndarray, np.ndarray]) -> None:
    options = {"offset": (2e-3, -1e-3), "height": 15e-3}
    calm_env = InsertionEnv("usb-b", image_size=32)
    env = Disturbed(InsertionEnv("usb-b", image_size=32), "changed-light", after=2)
    same = [
        (env.reset(seed=s, options=options)[0]["image"] == calm_env.reset(seed=s, options=options)[0]["image"]).all()
        for s in range(4)
    ]
    assert same == [True, True, False, False]
    env.close()
    calm_env.close()


def test_a_loose_grasp_differs_from_episode_to_episode_within_its_bounds() -> None:
    bare = InsertionEnv("usb-b", observation="state")
    env, held = Disturbed(bare, "loose-grasp"), []
    for seed in range(30):
        env.reset(seed=seed)
        plug, drawn = bare.bench.model.body("plug"), bare.bench.drawn
        turn = Rotation.from_quat(np.roll(plug.quat, -1)).as_rotvec() - drawn.grasp_tilt
        held.append([1e3 * (plug.pos - drawn.grasp_shift), np.degrees(turn)])
    for off in np.moveaxis(np.array(held), 1, 0):  # [mm], then [degrees]
        assert np.abs(off).max() <= 1.0 + 1e-9 and np.std(off) == pytest.approx(1 / np.sqrt(3), rel=0.2)


def test_a_moved_socket_stands_20_mm_elsewhere_and_is_started_from_as_before(
    calm: tuple[np.ndarray, np.ndarray],
) -> None:
    bare = InsertionEnv("usb-b", image_size=32)
    env = Disturbed(bare, "moved-socket", after=1)
    places, socket = [], []
    for _ in range(3):
        places.append(env.reset(seed=5)[1]["position"])
        socket.append(bare.bench.data.site("socket").xpos.copy())
    np.testing.assert_allclose(np.linalg.norm(np.diff(socket, axis=0), axis=1), [20e-3, 0.0], atol=1e-9)
    np.testing.assert_allclose(places, [places[0]] * 3, atol=1e-9)
    env.close()


@pytest.mark.parametrize("connector", ["usb-b", "d-sub-da-15", "duplo-2x2"])
@pytest.mark.parametrize("aim", [0, 1])
def test_a_plug_goes_into_either_socket_and_in_the_second_it_is_no_success(
    connector: str, aim: int, tmp_path: Path
) -> None:
    env = Disturbed(bare := InsertionEnv(connector, image_size=32, end_on_success=False), "second-socket")
    robot = SimulatedRobot(env, tmp_path / "truth.jsonl")
    robot.reset(0)
    model, bench = bare.bench.model, bare.bench
    gap = model.body("second").pos[1] - model.body("socket").pos[1] - bench.connector.housing_size[1]
    assert gap == pytest.approx(12e-3)
    expert = Expert(np.random.default_rng(0), bare.action_scale, bench.contact_height, noise=0.0)
    expert.reset(0)
    for _ in range(25):
        robot.move(expert(None, {"position": bench._positions()[aim]}))
    last = json.loads((tmp_path / "truth.jsonl").read_text().splitlines()[-1])
    assert (last["true_success"], last["wrong_socket"]) == (aim == 0, aim == 1)
    assert last["lateral_mm"] < 1.5 if aim == 0 else last["lateral_mm"] > 20
    robot.close()


def test_the_friction_of_the_seat_holds_in_the_second_socket_too() -> None:
    bare = InsertionEnv("usb-b", observation="state")
    Disturbed(bare, "second-socket").reset(seed=0)
    bench, held = bare.bench, []
    for place in (np.zeros(2), np.asarray(bench.drawn.second_socket), np.array([0.0, 20e-3])):
        bench.reset(place, 5e-3, error=[*place, 0.0])
        # Above it nothing holds; pressed in, the seat does; 20 mm along, between both, the plug stays outside.
        before = bench.model.tendon_frictionloss[bench._retention]
        for _ in range(8):
            bench.move(np.array([0.0, 0.0, -6e-3]))
        held.append((before, bench.model.tendon_frictionloss[bench._retention]))
    force = bench.connector.seating_force
    assert held == [(0.0, force), (0.0, force), (0.0, 0.0)]


@pytest.mark.parametrize("name", ["worn-clearance", "second-socket"])
def test_a_bench_that_changes_holds_the_plug_as_before(name: str) -> None:
    """Both make the scene anew. A robot that goes on after a kill has first taken its part as it last held it."""
    env: Any = InsertionEnv("usb-b", image_size=32, end_on_success=False)
    disturbed = Disturbed(env, name)

    def held() -> list[float]:
        plug = env.bench.model.body("plug").id
        return [*env.bench.model.body_pos[plug], *env.bench.model.body_quat[plug]]

    before = held()
    env.reset(seed=3, options={"regrasp": True})
    regrasped, scene = held(), env.bench
    disturbed.reset(seed=4)
    assert before != regrasped == held() and env.bench is not scene
    env.close()


def test_a_robot_takes_a_disturbed_bench() -> None:
    env = Disturbed(InsertionEnv("usb-b", image_size=32, end_on_success=False), "late-frame")
    robot = SimulatedRobot(env)
    first = robot.reset(0)["image"]
    np.testing.assert_array_equal(robot.move(np.array([1.0, 0.0, 0.0]))["image"], first)
    assert (robot.relax()["image"] != first).any()
    robot.close()


def test_a_disturbed_environment_can_be_copied() -> None:
    env = Disturbed(InsertionEnv("usb-b", image_size=32), "late-frame")
    env.reset(seed=0)
    other = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(env.step(ACTIONS[0])[0]["image"], other.step(ACTIONS[0])[0]["image"])
    env.close()
    other.close()


def test_the_page_lists_them_all() -> None:
    page = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {one.what} |" in page for name, one in DISTURBANCES.items())


def test_an_unknown_disturbance_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="'fog': known are camera-noise, blur"):
        Disturbed(InsertionEnv(observation="state"), "fog")


@pytest.mark.parametrize("name", sorted(DISTURBANCES))
@pytest.mark.parametrize("observation", ["state", "image"])
def test_a_task_that_lacks_what_is_disturbed_is_refused_in_one_line(name: str, observation: str) -> None:
    """A Fetch arm has no bench; a picture is disturbed where there is one."""
    env, of = FetchEnv("reach", observation, image_size=16), DISTURBANCES[name]
    if of.change or of.episode:
        with pytest.raises(SettingsError, match=f"^disturbance '{name}': is of the bench, .*$"):
            Disturbed(env, name)
    elif of.picture and observation == "state":
        with pytest.raises(SettingsError, match=f"^disturbance '{name}': is of pictures; .*$"):
            Disturbed(env, name)
    else:
        disturbed = Disturbed(env, name)
        disturbed.reset(seed=0)
        assert disturbed.step(np.zeros(4, np.float32))[0].keys() == env.observation_space.sample().keys()
    env.close()


@pytest.mark.parametrize("name", sorted(DISTURBANCES))
def test_what_is_observed_does_not_name_it(name: str) -> None:
    """Same arrays, same spaces: nothing but the numbers in them may change."""
    bare = InsertionEnv("usb-b", image_size=32, observation=("image", "state"), end_on_success=False)
    env = Disturbed(bare, name)
    robot = SimulatedRobot(env)
    assert env.observation_space == bare.observation_space and robot.spec == SimulatedRobot(bare).spec
    assert robot.reset(0).keys() == {"image", "state"} == robot.move(ACTIONS[0]).keys()
    robot.close()
