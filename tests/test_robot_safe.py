"""Limits hold whatever a learner asks for; what fails costs the running trial and no more."""

from __future__ import annotations

import ast
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj import patience
from lotj.envs.insertion import InsertionEnv
from lotj.errors import FaultError, LostError, RobotError, SettingsError
from lotj.robots.cameras import FROZEN
from lotj.robots.safe import EmergencyStop, Limits, Safe
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.spaces import Array, Spec
from lotj.training import practice as practising
from test_practice import assert_same
from toy_world import ColourReward, ToyRobot, collect, make_config, practise

SOURCES = sorted((Path(__file__).parents[1] / "src" / "lotj").rglob("*.py"))


def nonsense(rng: np.random.Generator) -> Any:
    """What no learner should ask for, three times in four; else a motion at full speed, often straight down."""
    odd = [np.nan, np.inf, -np.inf, 1e300, -1e9, 1.5]
    full = rng.choice([-1.0, 1.0], 3) if rng.random() < 0.5 else np.array([*rng.uniform(-1, 1, 2), -1.0])
    return [
        lambda: full,
        lambda: np.where(rng.random(3) < 0.5, rng.choice(odd, 3), full) + [0, 0, 1e3],
        lambda: rng.uniform(-1, 1, rng.choice([0, 1, 2, 4, 9])),
        lambda: [None, "up", [[0.1], [0.2, 0.3]], [0.1, "x", 0.2], full > 0, full * 1j, {"a": 1}][rng.integers(7)],
    ][rng.integers(4)]()


@pytest.mark.parametrize("times", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_learner_that_sends_nonsense_stays_in_the_box_and_under_the_force_limit(times: int) -> None:
    """Smaller limits than the bench has itself: it would go 40 mm far and press with up to 42 N."""
    env = InsertionEnv("usb-b", "duo", 0, "near", 16, "state", 20, end_on_success=False, estimate_seed=0)
    robot, rng, said = SimulatedRobot(env), np.random.default_rng(0), Counter[str]()
    limits = Limits(low=(-0.02, -0.02, -0.012), high=(0.02, 0.02, 0.045), force_n=35.0, watchdog_s=60.0)
    safe = Safe(robot, limits)
    safe.reset(0)
    logging.getLogger("lotj.robots.safe").setLevel(logging.ERROR)
    for step in range(times):
        try:
            safe.move(nonsense(rng))
            said["moved"] += 1
        except LostError:
            safe.reset(step)
        except RobotError as error:
            assert type(error) is RobotError and "the robot has not moved" in str(error)
            said["refused"] += 1
        sensed = robot.sensors()
        assert (sensed["position"] >= limits.low).all() and (sensed["position"] <= limits.high).all()
        assert max(sensed["peak_force"], np.linalg.norm(sensed["force"])) <= limits.force_n
    logging.getLogger("lotj.robots.safe").setLevel(logging.NOTSET)
    assert said["refused"] > 0.6 * times and said["moved"] > 0.2 * times and safe.limited > 0.1 * times
    env.close()


class Felt(ToyRobot):
    """Says of its sensors what it is told to."""

    def __init__(self, **says: Any) -> None:
        super().__init__()
        self.says, self.relaxed, self.done = says, 0, list[np.ndarray]()

    def sensors(self) -> dict[str, Any]:
        return {"position": self.observe()["state"][:3], "force": np.zeros(3), **self.says}

    def move(self, action: np.ndarray) -> Any:
        self.done.append(action)
        return super().move(action)

    def relax(self) -> Any:
        self.relaxed += 1
        return super().relax()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(limits: Limits | None = None, **says: Any) -> tuple[Safe, Felt, Clock]:
    robot, clock = Felt(**says), Clock()
    safe = Safe(robot, limits or Limits(), clock)
    safe.reset(0)
    return safe, robot, clock


ASIDE = np.array([0.5, 0.0, 0.0])


def test_the_watchdog_stops_a_trial_and_sleeps_between_trials() -> None:
    safe, robot, clock = begun()
    for pause in (60.0, 0.29):  # before the first motion the hand stands at its start
        clock.now += pause
        safe.check_time()
        safe.move(ASIDE)
    clock.now += 0.31
    safe.check_time()
    assert robot.relaxed == 1
    with pytest.raises(FaultError, match="watchdog: no command for 300 ms in a trial; reset first"):
        safe.move(ASIDE)
    safe.reset(1)
    safe.move(ASIDE)
    clock.now += 0.31  # nobody has looked at the clock meanwhile: the motion that comes too late is not made
    with pytest.raises(FaultError, match="watchdog"):
        safe.move(ASIDE)
    safe.reset(2)
    safe.move(ASIDE)
    safe.park()
    clock.now += 3600.0  # the learner learns
    safe.check_time()
    assert robot.relaxed == 2 and len(robot.done) == 4
    safe.reset(3)
    safe.move(ASIDE)


@pytest.mark.parametrize("error", [FaultError("no power"), RobotError("a joint is at its end"), OSError("no bus")])
def test_a_driver_that_fails_in_a_motion_ends_the_trial_and_lets_go(error: Exception) -> None:
    safe, robot, _ = begun()
    good, robot.move = robot.move, lambda action: _raise(error)
    with pytest.raises(type(error), match=str(error)):
        safe.move(ASIDE)
    robot.move = good
    assert robot.relaxed == 1
    with pytest.raises(FaultError, match=f"the driver has failed: {error}; reset first"):
        safe.move(ASIDE)
    safe.reset(1)
    safe.move(ASIDE)


def test_a_driver_that_fails_on_the_way_to_a_start_lets_go() -> None:
    safe, robot, _ = begun()
    robot.reset = lambda seed, start=None: _raise(FaultError("no power"))
    with pytest.raises(FaultError, match="^no power"):
        safe.reset(1)
    assert robot.relaxed == 1
    with pytest.raises(FaultError, match="the robot has not reached its start: no power; reset first"):
        safe.move(ASIDE)


@pytest.mark.parametrize(
    "sensors",
    [
        lambda: _raise(FaultError("no force is measured")),
        lambda: _raise(OSError("no bus")),
        lambda: {"position": np.zeros(3)},
        lambda: {"position": np.zeros(2), "force": np.zeros(3)},
        lambda: {"position": np.zeros(3), "force": np.zeros(3), "peak_force": np.nan},
        lambda: {"position": np.zeros(3), "force": np.zeros(3), "torque": np.full(3, np.nan)},
    ],
)
def test_sensors_that_fail_end_the_trial_and_let_go(sensors: Any) -> None:
    """Limits that are measured by what was felt before would hold nothing."""
    safe, robot, _ = begun()
    robot.sensors = sensors
    with pytest.raises(FaultError, match="no force is measured|the robot's sensors"):
        safe.move(ASIDE)
    assert robot.relaxed == 1
    with pytest.raises(FaultError, match="reset first"):
        safe.move(ASIDE)
    assert len(robot.done) == 1


def test_a_driver_that_shows_neither_position_nor_force_is_refused() -> None:
    """Its limits would measure nothing."""
    robot = ToyRobot()
    for shown in (None, 3):
        spec = {name: array for name, array in ToyRobot.spec.observation.items() if name != "state"}
        spec |= {} if shown is None else {"state": Array((shown,), "float32", -np.inf, np.inf)}
        robot.spec = Spec(spec, (3,), 10.0, 20)
        with pytest.raises(RobotError, match=r"has no sensors\(\), and no state of 9 numbers"):
            Safe(robot, Limits())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("action_scale", "6 mm", "action_scale is '6 mm', must be a finite number above 0"),
        ("action_scale", 0.0, "action_scale is 0.0, must be a finite number above 0"),
        ("action_scale", -5e-3, "action_scale is -0.005, must be"),  # a box turned inside out
        ("estimate_error", float("nan"), "estimate_error is nan, must be a finite number of at least 0"),
        ("height_error", -1, "height_error is -1, must be"),
        ("spec", None, "spec is a NoneType, must be a lotj.spaces.Spec"),
        ("spec", Spec(ToyRobot.spec.observation, (3,), 0.0, 20), "spec.rate_hz is 0.0, must be"),
        ("spec", Spec(ToyRobot.spec.observation, (3,), 10.0, 0), "spec.max_steps is 0, must be"),
    ],
)
def test_what_a_driver_says_of_itself_is_checked_before_it_moves(name: str, value: Any, words: str) -> None:
    robot = ToyRobot()
    setattr(robot, name, value)
    with pytest.raises(RobotError, match=words.replace("(", r"\(")):
        Safe(robot, Limits())


def test_after_a_part_is_lost_in_letting_go_nothing_moves() -> None:
    safe, robot, _ = begun()
    robot.relax = lambda: _raise(LostError("it has slipped"))
    with pytest.raises(LostError):
        safe.relax()
    with pytest.raises(FaultError, match="it has slipped; reset first"):
        safe.move(ASIDE)
    assert not robot.done


def _raise(error: Exception) -> Any:
    raise error


def test_an_emergency_stop_holds_until_it_is_released() -> None:
    stop, robot = EmergencyStop(), Felt()
    safe = Safe(robot, Limits(), Clock(), stop)
    safe.reset(0)
    stop.press("a hand in the cell")
    for do in (lambda: safe.move(ASIDE), lambda: safe.reset(1)):
        with pytest.raises(FaultError, match="emergency stop: a hand in the cell; release it where the robot is"):
            do()
    assert robot.relaxed == 1 and robot.resets == 1
    stop.release()
    with pytest.raises(FaultError, match="reset first"):
        safe.move(ASIDE)
    safe.reset(1)
    safe.move(ASIDE)
    stop.press("")  # and released before anybody has looked
    stop.release()
    with pytest.raises(FaultError, match="pressed and released"):
        safe.move(ASIDE)
    assert len(robot.done) == 1


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"force": np.array([0.0, 90.0, 90.0])}, "force 127 N: above 120 N, the robot has let go"),
        ({"peak_force": 121.0}, "force 121 N"),
        ({"torque": np.array([0.0, 0.0, 9.0])}, "torque 9 N m: above 8 N m"),
        ({"slip": 6e-3}, "slip 0.006 m: above 0.005 m"),
    ],
)
def test_too_much_force_torque_or_slip_ends_the_trial(says: dict[str, Any], text: str) -> None:
    safe, robot, _ = begun()
    robot.says = says
    with pytest.raises(LostError, match=text):
        safe.move(ASIDE)
    assert robot.relaxed == 1
    with pytest.raises(FaultError, match="reset first"):
        safe.move(ASIDE)
    robot.says = {}
    safe.reset(1)
    safe.move(ASIDE)


@pytest.mark.parametrize(
    ("limits", "force", "action", "done"),
    [
        ({"speed_m_s": 0.1}, 0.0, [0, 1, 0], [0, 0.5, 0]),
        ({"high": (0.01, 0.05, 0.2)}, 0.0, [1, 0.5, 0], [0.1, 0.5, 0]),
        ({"force_n": 60.0}, 30.0, [0, 0, -1], [0, 0, -0.1]),
        ({"force_n": 60.0}, 30.0, [0, 0, 0.7], [0, 0, 0.7]),
        ({"force_n": 35.0}, 30.0, [0.2, 0, -1], [0, 0, 0]),
    ],
)
def test_speed_box_and_force_shorten_a_motion(
    limits: dict[str, Any], force: float, action: list[float], done: list[float]
) -> None:
    """20 mm an action at 10 Hz: 0.1 m/s are half of one. A border 10 mm ahead, of which the last 8 are kept, leaves a
    tenth. So does a contact with 30 of 60 N: 30 / 3000 m less 8 mm; away from it all is free."""
    says = {"position": np.zeros(3), "force": np.array([0.0, 0.0, force])}
    kept: dict[str, Any] = {"speed_m_s": 9.0, **limits}
    safe, robot, _ = begun(Limits(**kept), **says)
    safe.move(np.array(action, float))
    np.testing.assert_allclose(robot.done[-1], done, atol=1e-6)
    assert robot.done[-1].dtype == np.float32 and safe.limited == (action != done)


@pytest.mark.parametrize("start", [[0.05, 0.0], [np.nan, 0.0], [0.0], "x", [0.0, 0.0, 0.0]])
def test_a_start_outside_the_box_is_refused(start: Any) -> None:
    safe, robot, _ = begun()
    with pytest.raises(RobotError, match="the robot has not moved"):
        safe.reset(1, start)
    assert robot.resets == 1


def test_limits_that_leave_no_room_are_refused() -> None:
    with pytest.raises(SettingsError, match="must lie below high"):
        Limits(low=(0.05, 0.0, 0.0))
    for wrong in (-np.inf, np.nan):
        with pytest.raises(SettingsError, match="low .*: must be a finite number"):
            Limits(low=(-0.05, wrong, 0.0))
    with pytest.raises(SettingsError, match="high .*: must be a finite number"):
        Limits(high=(np.inf, 0.05, 0.2))
    with pytest.raises(SettingsError, match="force_n -1"):
        Limits(force_n=-1.0)


# Faults


def test_a_camera_that_freezes_while_sensors_fail_is_noticed() -> None:
    robot = Faulty()
    safe = Safe(robot, Limits(), Clock())
    safe.reset(0)
    good, bad = robot.observe, robot.observe()
    robot.fault, robot.observe = lambda image: bad["image"], lambda: {**bad, "state": np.full(9, np.nan, np.float32)}
    with pytest.raises(FaultError, match="not finite"):
        safe.move(ASIDE)
    robot.observe = good
    with pytest.raises(FaultError, match="frozen"):
        for seed in range(1, 4):
            safe.reset(seed)
            for _ in range(4):
                safe.move(ASIDE)


class Faulty(ToyRobot):
    """Two views; what is seen goes through `fault`."""

    fault: Any = None

    def __init__(self) -> None:
        super().__init__()
        views = self.spec.observation["image"]
        double = type(views)((2, *views.shape[1:]), views.dtype, views.low, views.high)
        self.spec = type(self.spec)({**self.spec.observation, "image": double}, (3,), 10.0, 20)

    def observe(self) -> dict[str, np.ndarray]:
        seen = super().observe()
        image = np.concatenate([seen["image"], seen["image"][..., ::-1]])
        return {**seen, "image": image if self.fault is None else self.fault(image)}


def held(number: int) -> Any:
    first: list[np.ndarray] = []

    def fault(image: np.ndarray) -> np.ndarray:
        first.append(image.copy())
        image = image.copy()
        image[number:] = first[0][number:]
        return image

    return fault


@pytest.mark.parametrize(
    ("fault", "text", "within"),
    [
        (held(0), "camera 0 of image is frozen", 5),
        (held(1), "camera 1 of image is frozen", 5),
        (lambda image: image * 0, "camera 0 of image is black", 1),
        (lambda image: image * np.array([1, 0], np.uint8)[:, None, None, None], "camera 1 of image is black", 1),
        (lambda image: image[:1], r"image is \(1, 16, 16, 3\) uint8, it must be \(2, 16, 16, 3\) uint8", 1),
        (lambda image: image[:, ::2], "it must be", 1),
        (lambda image: image.astype(np.float32), "it must be", 1),
    ],
)
def test_a_camera_that_fails_is_noticed(fault: Any, text: str, within: int) -> None:
    """A frozen one once the hand has gone 4 mm: two motions, where one is 3 mm."""
    robot = Faulty()
    safe = Safe(robot, Limits(), Clock())
    safe.reset(0)
    for step in range(6):
        safe.move(np.array([0.5 if step % 2 else -0.5, 0.0, 0.0]))
    robot.fault = fault
    for moves in range(1, within + 1):
        try:
            safe.move(np.array([0.5 if moves % 2 else -0.5, 0.5, 0.0]))
        except FaultError as error:
            assert moves <= max(1, np.ceil(FROZEN / 2e-3)) + 1
            with pytest.raises(FaultError, match=text):
                raise error
            break
    else:
        pytest.fail("not noticed")
    with pytest.raises(FaultError, match="reset first"):
        safe.move(ASIDE)
    robot.fault = None
    safe.reset(3)
    safe.move(ASIDE)


def test_practice_pauses_discards_the_trial_and_comes_out_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(ToyRobot):
        """In its second trial's third motion, and then once more at the start."""

        def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
            if self.resets == 2 and self.steps == 2:
                raise FaultError("the arm has lost its power")
            return super().move(action)

        def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
            seen = super().reset(seed, start)
            if self.resets == 3:
                raise FaultError("it has none yet")
            return seen

    monkeypatch.setattr(patience, "RETRY_S", 0.01)
    prior, config = collect(tmp_path / "data", episodes=6), make_config(trials=4)
    runs = [Run.create(tmp_path / name, "practice", {}, 0) for name in ("whole", "failing")]
    notes: list[str] = []
    monkeypatch.setattr(practising.LiveView, "note", lambda self, text: notes.append(text))
    for run, robot in zip(runs, (ToyRobot(), Failing()), strict=True):
        practise(robot, ColourReward(), prior, config, run)
    assert_same(*runs)
    assert notes[0] == (
        "trial 2: paused, its trial is discarded: the arm has lost its power; goes on when the robot is back"
    )
    assert re.match(r"trial 2: the robot is back after \d+ s, at attempt 3", notes[1]) and len(notes) == 2


def test_a_robot_that_does_not_come_back_ends_practice_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(ToyRobot):
        gone = True

        def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
            if self.gone and self.resets == 2:
                raise FaultError("the arm has lost its power")
            return super().reset(seed, start)

    monkeypatch.setattr(patience, "RETRY_S", 0.01)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.05)
    prior, config = collect(tmp_path / "data", episodes=6), make_config(trials=4)
    run, whole, robot = *(Run.create(tmp_path / name, "practice", {}, 0) for name in ("a", "b")), Gone()
    with pytest.raises(RobotError, match="lost its power; for 0 minutes: mend it, then --resume"):
        practise(robot, ColourReward(), prior, config, run)
    assert practising.finished_trials(run) == 2
    robot.gone = False
    practise(robot, ColourReward(), prior, config, run, resume=True)
    practise(ToyRobot(), ColourReward(), prior, config, whole)
    assert_same(run, whole)


# Nothing that comes in is executed

BANNED = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle", "msgpack_numpy"}
CALLS = {"eval", "exec", "compile", "__import__"}


def executing(text: str) -> list[str]:
    """Lines of a source that unpickle or evaluate."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED:
                found.append(f"{node.lineno}: from {node.module}")
            elif isinstance(node, ast.Import) and {a.name.split(".")[0] for a in node.names} & (BANNED - {"pickle"}):
                found.append(f"{node.lineno}: import")
            elif isinstance(node, ast.Attribute) and ast.unparse(node) != "pickle.UnpicklingError":
                found += [f"{node.lineno}: pickle"] * (ast.unparse(node.value) == "pickle")
            continue
        name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        unsafe = {
            "torch.load": given.get("weights_only") != "True",
            "np.load": given.get("allow_pickle", "False") != "False",
            "numpy.load": True,
            "yaml.load": True,
            "os.system": True,
        }
        shell = name.startswith("subprocess.") and given.get("shell", "False") != "False"
        if (isinstance(node.func, ast.Name) and name in CALLS) or unsafe.get(name) or shell:
            found.append(f"{node.lineno}: {name}")
    return found


def test_nothing_is_unpickled_or_evaluated() -> None:
    found = {path.name: lines for path in SOURCES if (lines := executing(path.read_text(encoding="utf-8")))}
    assert found == {} and len(SOURCES) > 100


def test_what_executes_is_found() -> None:
    for line in (
        "import dill",
        "from pickle import loads",
        "pickle.loads(b'')",
        "load = pickle.load",
        "eval('1')",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "subprocess.run(text, shell=True)",
    ):
        assert len(executing(line)) == 1, line
    fine = "torch.load(p, weights_only=True); np.load(p, allow_pickle=False); model.eval(); pickle.UnpicklingError"
    assert executing(fine) == []


def test_a_motion_within_all_limits_is_carried_out_to_the_last_bit() -> None:
    """20 mm an action, in a box and with forces that leave room for them: a contact's share is not split off."""
    rng = np.random.default_rng(0)
    says = {"position": np.zeros(3), "force": np.array([3.0, -2.0, 7.0])}
    safe, robot, _ = begun(Limits(force_n=500.0, speed_m_s=9.0), **says)
    for _ in range(200):
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        safe.move(action)
        np.testing.assert_array_equal(robot.done[-1], action)
    assert safe.limited == 0
