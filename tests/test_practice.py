"""Practice in a toy world: it learns, only from images, and neither a kill nor a bad number costs a finished trial."""

import copy
import dataclasses
import io
import math
import multiprocessing as mp
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lotj.agents.iql import IQL
from lotj.data.dataset import Dataset
from lotj.errors import CheckpointError, DataError, NumericsError, RobotError, SettingsError, StorageError
from lotj.nets.augment import AugmentConfig
from lotj.runs import Run
from lotj.training.live_view import LiveView, clock
from lotj.training.practice import finished_trials, practice, trial_seed
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_features import FeatureConfig, prepare_features
from lotj.training.practice_threshold import Threshold
from lotj.training.practice_trials import UpdateMeans, load_trial, trial_path
from toy_world import SIZE, ColourReward, ToyRobot, collect, make_agent, make_config, practise_in_a_child, true_success


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return collect(tmp_path_factory.mktemp("prior") / "data")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def new_run(path: Path, seed: int = 0) -> Run:
    return Run.create(path, "practice", {}, seed)


def outcome(run: Run) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What a run ends with and must not depend on when it was stopped: its lines but for times, and its agent."""
    timed = {"time", "seconds", "updates_per_second"}
    rows = [{name: value for name, value in row.items() if name not in timed} for row in run.metrics()]
    return rows, run.load("practice")


def assert_same(one: Any, other: Any) -> None:
    """Equal bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_the_mean_of_a_loss_is_over_the_updates_that_name_it() -> None:
    """A batch without an imitated row has no loss of the policy: of 1, nothing and 3 the mean is 2."""
    means = UpdateMeans()
    for numbers in ({"loss_policy": 1.0, "v_mean": 3.0}, {"v_mean": 0.0}, {"loss_policy": 3.0, "v_mean": 0.0}):
        means.add(numbers)
    means.seconds = 1.5
    assert means.row() == {"updates": 3, "updates_per_second": 2.0, "loss/policy": 2.0, "agent/v_mean": 1.0}


def test_practice_improves_true_success_on_a_correct_reward(prior: Dataset, cache: Path, tmp_path: Path):
    # Not calibrated, and one frame is enough: this reward is right at its own threshold, in every part. A blind policy
    # seldom stays at home for two.
    settings = {"trials": 70, "max_steps": 8, "batch_size": 64, "updates_per_step": 3}
    config = make_config(cache, **settings, calibrate=False, hold_frames=1)
    gains = []
    for seed in (1, 2, 3):
        agent = make_agent(seed, variant="erm")
        before = true_success(agent)
        run = new_run(tmp_path / str(seed))
        result = practice(ToyRobot(), agent, ColourReward(), prior, config, run, live=False)
        assert result.trials == 70 and result.discarded == 0
        gains.append(true_success(agent) - before)
    # The median, for how soon a blind policy first comes home by chance depends on the machine's last bits.
    assert sorted(gains)[1] > 0.3, gains  # six seeds: 0.63, 0.70, 0.70, 0.70, 0.73, 0.97


def test_stopped_after_a_trial_it_goes_on_as_if_never_stopped(prior: Dataset, cache: Path, tmp_path: Path):
    whole, halves, config = new_run(tmp_path / "whole"), new_run(tmp_path / "halves"), make_config(cache)
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, whole, live=False)
    first = practice(ToyRobot(), make_agent(), ColourReward(), prior, config, halves, live=False, until=2)
    assert first.trials == finished_trials(halves) == 2
    rest = practice(ToyRobot(), make_agent(), ColourReward(), prior, config, halves, live=False, resume=True)
    assert rest.trials == finished_trials(halves) == 5
    assert_same(outcome(whole), outcome(halves))


class SealedRobot:
    """A robot of which nothing can be had but what `Robot` promises."""

    def __init__(self, robot: ToyRobot) -> None:
        self.__robot = robot

    def __getattr__(self, name: str) -> Any:
        assert name in {"image_size", "action_scale", "rate_hz", "reset", "observe", "move", "relax", "close"}, name
        return getattr(self.__robot, name)


@pytest.mark.parametrize("confirm", ["look", "touch"])
def test_corrupting_the_truth_changes_nothing(prior: Dataset, cache: Path, tmp_path: Path, confirm: str):
    ends, truths = [], []
    for lie in (False, True):
        run, robot = new_run(tmp_path / str(lie)), ToyRobot(lie=lie, latches=confirm == "touch")
        (run.path / "truth.jsonl").mkdir()  # whoever opens it fails
        config = make_config(cache, trials=12, confirm=confirm)
        practice(SealedRobot(robot), make_agent(), ColourReward(), prior, config, run, live=False)  # type: ignore[arg-type]
        ends.append(outcome(run))
        truths.append(robot.truth)
    assert truths[0] == [not truth for truth in truths[1]] and any(truths[0])
    assert sum(row["updates"] for row in ends[0][0]) > 10
    assert_same(*ends)


def test_the_seed_matters(prior: Dataset, cache: Path, tmp_path: Path):
    runs = [new_run(tmp_path / str(seed), seed) for seed in (0, 1)]
    for run in runs:
        practice(ToyRobot(), make_agent(), ColourReward(), prior, make_config(cache, trials=2), run, live=False)
    one, other = (load_trial(run.path, 1) for run in runs)
    assert not np.array_equal(one.frames[0], other.frames[0])


def test_policy_stays_while_it_may_imitate_nothing(prior: Dataset, cache: Path, tmp_path: Path):
    """No trial counts as a success, so that there is no pull of Q either, and no prior data are drawn: values move, the
    policy does not."""
    run, agent = new_run(tmp_path), make_agent()
    agent.freeze_convolutions()
    policy, value = (copy.deepcopy(agent.state_dict()["modules"][name]) for name in ("actor", "critic"))
    settings = {"reward_threshold": 0.999999, "calibrate": False, "online_fraction": 1.0, "imitate": "successes"}
    settings |= {"max_steps": 3, "hold_frames": 4, "q_gradient_weight": 100.0}
    config = make_config(cache, trials=3, warmup_trials=1, **settings)
    practice(ToyRobot(), agent, ColourReward(), prior, config, run, live=False)
    assert_same(agent.state_dict()["modules"]["actor"], policy)
    assert not torch.equal(agent.state_dict()["modules"]["critic"]["v.last.weight"], value["v.last.weight"])


def test_pull_of_q_grows_with_the_successes(prior: Dataset, cache: Path, tmp_path: Path):
    """One success of four is a quarter of the weight: 8 then pulls as 2 does that needs no more."""
    ends = []
    for weight, successes in ((8.0, 4), (2.0, 1), (8.0, 1)):
        run = new_run(tmp_path / f"{weight} {successes}")
        pull = {"q_gradient_weight": weight, "q_gradient_successes": successes}
        config = make_config(cache, trials=1, hold_frames=1, **pull)
        practice(ToyRobot(), make_agent(), ListedReward([0.0, 0.9]), prior, config, run, live=False)
        ends.append(outcome(run))
    assert_same(ends[0], ends[1])
    rows = [rows[-1] for rows, _ in ends]
    assert rows[0]["updates"] == 2 and rows[2]["loss/q_of_mean"] != rows[0]["loss/q_of_mean"]


def test_advantage_scale_of_practice_replaces_the_agents(prior: Dataset, cache: Path, tmp_path: Path):
    """The toy agent's is 50: asking for 50 changes nothing, and a scale of almost nothing weighs all rows alike."""
    ends = []
    for scale in (None, 50.0, 1e-6):
        run = new_run(tmp_path / str(scale))
        config = make_config(cache, trials=3, warmup_trials=1, advantage_scale=scale)
        practice(ToyRobot(), make_agent(), ColourReward(), prior, config, run, live=False)
        ends.append(outcome(run))
    assert_same(ends[0], ends[1])
    assert ends[0][0][-1]["agent/weight_effective"] < 0.99
    assert ends[2][0][-1]["agent/weight_effective"] == pytest.approx(1.0, abs=1e-3)


def test_one_line_a_trial_as_the_report_reads_it(prior: Dataset, cache: Path, tmp_path: Path):
    run = new_run(tmp_path)
    config = make_config(cache, trials=4, warmup_trials=2, hold_frames=1, calibrate=False)
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, run, live=False)
    rows = run.metrics()
    assert [row["trial"] for row in rows] == [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        trial = load_trial(run.path, row["trial"])
        assert row["predicted_success"] in (0, 1) and row["steps"] == len(trial) <= 6
        assert row["score"] == pytest.approx(float(trial.scores[-1]))
        assert trial.rewards.sum() == trial.terminated == row["predicted_success"] == 1 - trial.truncated
        assert (ColourReward().score(trial.frames[1:]) >= 0.5).tolist() == (trial.rewards > 0).tolist()
        assert 0 < row["seconds"] < 60 and np.isfinite(row["value"])
    assert rows[0]["updates"] == 0 and not any(name.startswith("loss/") for name in rows[0])  # warm-up
    assert rows[1]["updates"] == rows[1]["steps"] > 0
    assert {"loss/q", "loss/v", "loss/policy"} <= rows[1].keys()


class ListedReward:
    """Says the listed scores one after another, then 0."""

    image_size, threshold = SIZE, 0.5

    def __init__(self, scores: list[float]) -> None:
        self.scores = iter(scores)

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.array([next(self.scores, 0.0) for _ in images], np.float32)


@pytest.mark.parametrize(
    ("settings", "steps", "success"),
    [({"hold_frames": 1}, 2, 1), ({}, 5, 1), ({"hold_frames": 3}, 6, 0), ({"reward_threshold": 0.95}, 6, 0)],
)
def test_when_a_trial_ends(
    prior: Dataset, cache: Path, tmp_path: Path, settings: dict[str, Any], steps: int, success: int
):
    run = new_run(tmp_path)
    config = make_config(cache, trials=1, updates_per_step=0, calibrate=False, **settings)
    reward = ListedReward([0.4, 0.6, 0.4, 0.9, 0.9, 0.4])
    practice(ToyRobot(), make_agent(), reward, prior, config, run, live=False)
    trial = load_trial(run.path, 1)
    assert (len(trial), trial.terminated, trial.truncated) == (steps, bool(success), not success)
    assert trial.rewards.tolist() == [0.0] * (steps - 1) + [float(success)]


def test_noise_falls_linearly_from_first_to_last_trial(prior: Dataset, cache: Path, tmp_path: Path):
    run, agent = new_run(tmp_path), make_agent()
    config = make_config(cache, trials=21, max_steps=20, updates_per_step=0, sample_policy=False, exploration_noise=0.2)
    practice(ToyRobot(), agent, ListedReward([]), prior, config, run, live=False)
    spread = [
        float((t.actions - agent.act(t.frames[:-1])).std()) for t in (load_trial(run.path, n) for n in range(1, 22))
    ]
    assert spread[0] == pytest.approx(0.2, abs=0.05)  # 60 draws: standard error 0.018
    assert spread[10] == pytest.approx(0.1, abs=0.03)
    assert spread[20] < 1e-3  # features are kept in half precision


def test_bold_after_failures_in_a_row(prior: Dataset, cache: Path, tmp_path: Path):
    run, agent = new_run(tmp_path), make_agent()
    quiet = {"sample_policy": False, "exploration_noise": 0.0, "bold_noise": 0.0}
    config = make_config(cache, trials=6, updates_per_step=0, bold_failures=4, calibrate=False, hold_frames=1, **quiet)
    reward = ListedReward([0.0] * 24 + [1.0])  # trials 1 to 4 fail, the first step of the fifth succeeds
    practice(ToyRobot(), agent, reward, prior, config, run, live=False)
    for number, bold in ((1, 0.0), (2, 0.25), (5, 1.0), (6, 0.0)):
        trial = load_trial(run.path, number)
        mean = agent.act(trial.frames[:-1])
        assert run.metrics()[number - 1]["bold"] == pytest.approx(bold)
        wanted = np.clip(mean * [1 + 2 * bold, 1 + 2 * bold, 1] - [0, 0, 0.3 * bold], -1, 1)
        assert trial.actions == pytest.approx(wanted, abs=5e-3)  # features are kept in half precision


class Crash(BaseException):
    """As sudden as a kill, for the code that is running."""


class CrashingRobot(ToyRobot):
    """Does `action` instead of giving its n-th image."""

    def __init__(self, action: Callable[[], Any], at_image: int) -> None:
        super().__init__()
        self.action, self.at_image, self.images = action, at_image, 0

    def observe(self) -> np.ndarray:
        self.images += 1
        if self.images == self.at_image:
            self.action()
        return super().observe()


def crash() -> None:
    raise Crash


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"update_when": "step"},
        {"freeze_convolutions": False, "batch_size": 8},
        {"confirm": "touch", "hold_frames": 1, "imitate": "successes"},
        {"bold_failures": 2},
    ],
    ids=["frozen", "updates in the trial", "convolutions learn", "confirmed by touch", "bold"],
)
def test_resumed_is_identical_to_uninterrupted(prior: Dataset, cache: Path, tmp_path: Path, settings: dict[str, Any]):
    config = make_config(cache, **({"trials": 6} | settings))
    whole, broken = new_run(tmp_path / "whole"), new_run(tmp_path / "broken")
    counting = CrashingRobot(crash, at_image=0)
    practice(counting, make_agent(), ColourReward(), prior, config, whole, live=False)
    for share in (0.6, 0.1, 0.3):  # 0.1: in the first trial after the resume
        robot = CrashingRobot(crash, round(share * counting.images))
        with pytest.raises(Crash):
            practice(robot, make_agent(), ColourReward(), prior, config, broken, live=False, resume=True)
    assert 0 < finished_trials(broken) < config.trials
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, broken, live=False, resume=True)
    assert_same(outcome(whole), outcome(broken))


def test_kill_at_random_moments_loses_the_running_trial_at_most(prior: Dataset, cache: Path, tmp_path: Path):
    config = make_config(cache, trials=8, updates_per_step=3)
    whole, killed = new_run(tmp_path / "whole"), new_run(tmp_path / "killed")
    started = time.process_time()
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, whole, live=False)
    duration = time.process_time() - started
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["lotj.training.practice", "lotj.agents.iql", "torch.utils.tensorboard"])
    number = {trial_seed(0, trial): trial for trial in range(1, 9)}
    rng, kills = np.random.default_rng(), 0
    for share in (*rng.uniform(0.1, 0.5, 3), None):
        seconds = None if share is None else share * duration
        child = context.Process(target=practise_in_a_child, args=(prior.root, killed.path, config, seconds))
        child.start()
        child.join()
        assert child.exitcode in (0, -signal.SIGPROF)
        if child.exitcode:
            kills += 1
            starts = (killed.path / "starts").read_text().split() if (killed.path / "starts").exists() else []
            assert finished_trials(killed) >= (number[int(starts[-1])] - 1 if starts else 0)
    assert kills >= 1 and finished_trials(killed) == 8
    assert_same(outcome(whole), outcome(killed))


def test_ctrl_c_keeps_every_finished_trial(prior: Dataset, cache: Path, tmp_path: Path):
    config = make_config(cache, trials=3)  # without success: 1 + 6 images a trial
    whole, stopped = new_run(tmp_path / "whole"), new_run(tmp_path / "stopped")
    practice(ToyRobot(), make_agent(), ListedReward([]), prior, config, whole, live=False)
    robot = CrashingRobot(lambda: signal.raise_signal(signal.SIGINT), at_image=10)
    with pytest.raises(KeyboardInterrupt):
        practice(robot, make_agent(), ListedReward([]), prior, config, stopped, live=False)
    assert finished_trials(stopped) == 1
    practice(ToyRobot(), make_agent(), ListedReward([]), prior, config, stopped, live=False, resume=True)
    assert_same(outcome(whole), outcome(stopped))


def test_a_score_that_is_no_number_stops_and_loses_nothing(prior: Dataset, cache: Path, tmp_path: Path):
    config = make_config(cache, trials=3)
    whole, stopped = new_run(tmp_path / "whole"), new_run(tmp_path / "stopped")
    practice(ToyRobot(), make_agent(), ListedReward([]), prior, config, whole, live=False)
    broken = ListedReward([0.0] * 8 + [np.nan])
    with pytest.raises(NumericsError, match="reward score nan in trial 2, step 3: .*trials 1 to 1 are saved"):
        practice(ToyRobot(), make_agent(), broken, prior, config, stopped, live=False)
    assert finished_trials(stopped) == 1
    practice(ToyRobot(), make_agent(), ListedReward([]), prior, config, stopped, live=False, resume=True)
    assert_same(outcome(whole), outcome(stopped))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The operating system refuses files beyond `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_and_loses_nothing(prior: Dataset, cache: Path, tmp_path: Path):
    config = make_config(cache, trials=2)
    whole, full = new_run(tmp_path / "whole"), new_run(tmp_path / "full")
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, whole, live=False)
    with largest_file(60_000), pytest.raises(StorageError, match="disk full at .*practice.pt.*--resume"):
        practice(ToyRobot(), make_agent(), ColourReward(), prior, config, full, live=False)
    assert finished_trials(full) == 0
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, full, live=False, resume=True)
    assert_same(outcome(whole), outcome(full))


@pytest.mark.parametrize(
    ("dislodged", "steps", "updates", "kept"),
    [("discard", [6, 2, 2, 6], [6, 0, 0, 6], [1, 4]), ("failure", [6, 3, 3, 6], [6, 3, 3, 6], [1, 2, 3, 4])],
)
def test_a_dislodged_trial_is_counted_and_nothing_or_a_failure(
    prior: Dataset, cache: Path, tmp_path: Path, dislodged: str, steps: list[int], updates: list[int], kept: list[int]
):
    """The third step of the second and third trial dislodges."""
    run = new_run(tmp_path)
    config = make_config(cache, trials=4, dislodged=dislodged)
    robot, reward = ToyRobot(dislodges=frozenset({2, 3})), ListedReward([])
    result = practice(robot, make_agent(), reward, prior, config, run, live=False)
    assert (result.trials, result.discarded) == (4, 2)
    rows = run.metrics()
    assert [row["discarded"] for row in rows] == [0, 1, 1, 0]
    assert [row["steps"] for row in rows] == steps
    assert [row["updates"] for row in rows] == updates
    assert [n for n in (1, 2, 3, 4) if trial_path(run.path, n).exists()] == kept
    if dislodged == "failure":
        trial = load_trial(run.path, 2)
        assert trial.lost and len(trial) == 3 and not trial.scores.any()
        np.testing.assert_array_equal(trial.frames[3], trial.frames[2])  # nobody saw what came after


def test_a_trial_lost_in_a_touch_teaches_nothing(prior: Dataset, cache: Path, tmp_path: Path):
    """Two steps, the second frame counts as success, and the press, the third motion, dislodges: no step's fault."""
    run = new_run(tmp_path)
    config = make_config(cache, trials=2, confirm="touch", hold_frames=1, reward_threshold=0.5, calibrate=False)
    trial_path(run.path, 2).parent.mkdir()
    trial_path(run.path, 2).write_bytes(b"left by a killed sitting")
    scores = [0.0] * 6 + [0.0, 0.9]
    result = practice(
        ToyRobot(dislodges=frozenset({2})), make_agent(), ListedReward(scores), prior, config, run, live=False
    )
    assert result.discarded == 1 and run.metrics()[1]["steps"] == 2
    assert not trial_path(run.path, 2).exists()


def test_resumed_after_a_lost_plug_is_identical(prior: Dataset, cache: Path, tmp_path: Path):
    """Practice stops after the loss in trial 2 where one may be lost in a row, and goes on with trial 3."""
    runs = [new_run(tmp_path / name) for name in ("whole", "stopped")]
    config = make_config(cache, trials=4, imitate="successes", bold_failures=3)
    practice(ToyRobot(dislodges=frozenset({2})), make_agent(), ColourReward(), prior, config, runs[0], live=False)
    careful = dataclasses.replace(config, max_dislodged=1)
    with pytest.raises(RobotError, match="1 trials in a row"):
        practice(ToyRobot(dislodges=frozenset({2})), make_agent(), ColourReward(), prior, careful, runs[1], live=False)
    practice(ToyRobot(), make_agent(), ColourReward(), prior, careful, runs[1], live=False, resume=True)
    assert [row["discarded"] for row in runs[1].metrics()] == [0, 1, 0, 0]
    assert runs[1].metrics()[2]["bold"] > 0
    assert_same(outcome(runs[0]), outcome(runs[1]))


def test_dislodged_again_and_again_stops_and_can_go_on(prior: Dataset, cache: Path, tmp_path: Path):
    run = new_run(tmp_path)
    config = make_config(cache, trials=5, max_dislodged=3)
    broken = ToyRobot(dislodges=frozenset(range(100)))
    with pytest.raises(RobotError, match=r"3 trials in a row were void \(dislodged.*--resume"):
        practice(broken, make_agent(), ListedReward([]), prior, config, run, live=False)
    assert finished_trials(run) == 3
    mended = ToyRobot(dislodges=frozenset({1}))
    result = practice(mended, make_agent(), ListedReward([]), prior, config, run, live=False, resume=True)
    assert (result.trials, result.discarded) == (5, 4)


def test_any_other_refusal_of_the_robot_stops_at_once(prior: Dataset, cache: Path, tmp_path: Path):
    def refuse() -> None:
        raise RobotError("protective stop: release it at the panel")

    run = new_run(tmp_path)
    with pytest.raises(RobotError, match="protective stop"):
        practice(CrashingRobot(refuse, 3), make_agent(), ColourReward(), prior, make_config(cache), run, live=False)


def test_a_run_is_not_overwritten(prior: Dataset, cache: Path, tmp_path: Path):
    run = new_run(tmp_path)
    config = make_config(cache, trials=1)
    practice(ToyRobot(), make_agent(), ColourReward(), prior, config, run, live=False)
    with pytest.raises(CheckpointError, match="holds 1 trials: give --resume or start a new run"):
        practice(ToyRobot(), make_agent(), ColourReward(), prior, config, run, live=False)


@pytest.mark.parametrize("content", [b"PK", b""])
def test_a_damaged_trial_is_named(prior: Dataset, cache: Path, tmp_path: Path, content: bytes):
    run = new_run(tmp_path)
    practice(ToyRobot(), make_agent(), ColourReward(), prior, make_config(cache, trials=1), run, live=False)
    trial_path(run.path, 1).write_bytes(content)
    with pytest.raises(CheckpointError, match="trial 1 cannot be read"):
        practice(ToyRobot(), make_agent(), ColourReward(), prior, make_config(cache, trials=2), run, False, resume=True)


def test_a_camera_of_another_size_is_refused_before_anything_moves(prior: Dataset, cache: Path, tmp_path: Path):
    robot = ToyRobot(image_size=96)
    with pytest.raises(CheckpointError, match="camera gives 96 px images, the agent was made for 16 px"):
        practice(robot, make_agent(), ColourReward(), prior, make_config(cache), new_run(tmp_path), live=False)
    assert robot.resets == 0


def test_frozen_convolutions_stay_and_others_learn(prior: Dataset, cache: Path, tmp_path: Path):
    for freeze in (True, False):
        agent = make_agent()
        before = [p.clone() for p in agent.actor.encoder.parameters()]
        head = [p.clone() for p in agent.actor.head.parameters()]
        config = make_config(cache, trials=2, batch_size=8, freeze_convolutions=freeze)
        practice(ToyRobot(), agent, ColourReward(), prior, config, new_run(tmp_path / str(freeze)), live=False)
        same = [torch.equal(a, b) for a, b in zip(before, agent.actor.encoder.parameters(), strict=True)]
        assert all(same) if freeze else not any(same)
        assert not any(torch.equal(a, b) for a, b in zip(head, agent.actor.head.parameters(), strict=True))


def test_only_the_chosen_kinds_of_prior_episodes_count(prior: Dataset, tmp_path: Path):
    config = make_config(None, offline_kinds=("withdraw",))
    with pytest.raises(DataError, match="none of 80 episodes"):
        practice(ToyRobot(), make_agent(), ColourReward(), prior, config, new_run(tmp_path), live=False)


class CountingAgent:
    """Counts the images that an agent encodes."""

    def __init__(self, agent: IQL) -> None:
        self.agent, self.device, self.encoded = agent, agent.device, 0

    def encode(self, images: np.ndarray, *args: Any, **settings: Any) -> dict[str, torch.Tensor]:
        self.encoded += len(images)
        return self.agent.encode(images, *args, **settings)


def test_offline_features_are_made_once_per_agent_data_and_settings(prior: Dataset, tmp_path: Path):
    config = FeatureConfig(transitions=60, views=2, cache=tmp_path / "cache")
    first, second, other = (CountingAgent(make_agent(seed)) for seed in (0, 0, 1))
    made = prepare_features(prior, first, config, live=False)
    found = prepare_features(prior, second, config, live=False)
    assert second.encoded == 32 < first.encoded  # two probes of 16 frames tell that it is the same agent
    np.testing.assert_array_equal(found.features["policy"], made.features["policy"])
    np.testing.assert_array_equal(found.action, made.action)
    prepare_features(prior, other, config, live=False)
    assert other.encoded > 32
    (tmp_path / "cache").joinpath(sorted(os.listdir(tmp_path / "cache"))[0]).write_bytes(b"torn")
    again = [CountingAgent(make_agent(seed)) for seed in (0, 1)]
    for agent in again:
        prepare_features(prior, agent, config, live=False)
    assert sorted(agent.encoded > 32 for agent in again) == [False, True]  # only the torn one is made again


def test_offline_features_are_those_of_their_frames(prior: Dataset):
    agent = IQL(dataclasses.replace(make_agent().config, augment=AugmentConfig(enabled=False)), domains=2)
    features = prepare_features(prior, agent, FeatureConfig(transitions=50, views=1, cache=None), live=False)
    held = prior.transitions()
    assert len(features) == 50 and np.bincount(features.domain).tolist() == [25, 25]
    for i in (0, 17, 49):
        (frame,) = held.frame[(held.action == features.action[i]).all(1)]
        now, after = agent.encode(prior.images(np.array([frame, frame + 1])))["critic"].numpy()
        np.testing.assert_allclose(features.features["critic"][features.frame[i], 0], now, atol=2e-3)
        np.testing.assert_allclose(features.features["critic"][features.next_frame[i], 0], after, atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trials": 0}, "trials 0: must be at least 1"),
        ({"online_fraction": 1.5}, r"online_fraction 1.5: must be in \[0, 1\]"),
        ({"reward_threshold": 1.0}, "reward_threshold 1.0: must be between 0 and 1"),
        ({"calibration_least": 0.0}, "calibration_least 0.0: must be between 0 and 1"),
        ({"updates_per_step": -1}, "updates_per_step -1"),
        ({"withdrawals": -1}, "withdrawals -1: must be 0"),
        ({"ways": 0}, "ways 0: must be at least 1"),
        ({"advantage_scale": 0.0}, "advantage_scale 0.0: must be above 0"),
        ({"q_gradient_weight": -1.0}, "q_gradient_weight -1.0: must not be negative"),
        ({"q_gradient_successes": 0}, "q_gradient_successes 0: must be at least 1"),
        ({"calibration_quantile": 0.0}, "calibration_quantile 0.0"),
        ({"calibration_margin": -1.0}, "calibration_margin -1.0"),
        ({"exploration_noise": -0.1}, "exploration_noise"),
        ({"offline_kinds": ("expert", "dance")}, "offline_kinds .*must be some of expert, press"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=words):
        PracticeConfig(**settings)


def some_rows(count: int) -> list[dict[str, float]]:
    return [
        {"trial": n, "predicted_success": int(n % 2 == 0), "score": n / count, "value": 0.5, "discarded": int(n == 1)}
        | {"loss/q": 0.0123, "updates_per_second": 210.0, "threshold": 0.3 + n / 100}
        for n in range(1, count + 1)
    ]


def test_plain_lines_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    with LiveView("run", 40, console=console) as view:
        for row in some_rows(30):
            view.trial(row)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 30
    start = "trial 30/40  predicted success 52% of the last 25  score 1.000 (success from 0.600)  value 0.50"
    assert lines[-1].startswith(start)  # 13 of 25
    assert "q 0.0123" in lines[-1] and "lost 1 (plug dislodged)" in lines[-1]


def test_live_table_in_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    with LiveView("my run", 8, past=some_rows(2), console=console) as view:
        view.trial(some_rows(4)[2])
        view.status("step 7, score 0.10")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "my run" in shown and "3/8" in shown and "▅▇" not in shown and "█" in shown
    assert "210" in shown and "0.750 (success from 0.330)" in shown


def test_nothing_is_shown_when_not_wanted(capsys: pytest.CaptureFixture[str]):
    with LiveView("run", 3, shown=False) as view:
        view.trial(some_rows(1)[0])
        view.note("something")
    assert capsys.readouterr().out == ""


def test_clock():
    assert [clock(s) for s in (0, 59.9, 61, 3599, 3600 + 62)] == ["0:00", "0:59", "1:01", "59:59", "1:01:02"]


# --- the threshold


def logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def test_threshold_rises_with_the_best_scores_and_never_falls_below_the_least():
    threshold = Threshold(0.1, quantile=1.0, margin=2.0)
    assert threshold.value == 0.1
    threshold.see(np.array([0.01, 0.02]))  # logit(.02) - 2 is far below logit(.1)
    assert threshold.value == 0.1
    threshold.see(np.array([0.3, logistic(4.0), 0.5]))
    assert threshold.value == pytest.approx(logistic(2.0))
    threshold.see(np.array([1.0]))  # logit(1 - 1e-6) = 13.8
    assert threshold.value == pytest.approx(logistic(13.8155 - 2.0), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"calibrate": True}, 0.1),  # the model's 0.5 must do for all parts; here the part's own scores raise it
        ({"calibrate": True, "calibration_least": 0.7}, 0.5),
        ({"calibrate": True, "reward_threshold": 0.3}, 0.3),
        ({"calibrate": False}, 0.5),
        ({"calibrate": False, "reward_threshold": 0.3}, 0.3),
    ],
)
def test_threshold_before_any_trial(
    prior: Dataset, cache: Path, tmp_path: Path, settings: dict[str, Any], least: float
) -> None:
    run = new_run(tmp_path)
    reward = ListedReward([])  # its own threshold is 0.5
    practice(ToyRobot(), make_agent(), reward, prior, make_config(cache, trials=1, **settings), run, live=False)
    assert run.metrics()[0]["threshold"] == least


def test_threshold_is_a_quantile_of_the_trials_and_can_be_left_alone():
    threshold, fixed = Threshold(0.01, quantile=0.5, margin=1.0), Threshold(0.01, quantile=0.5, margin=None)
    for best in (-1.0, 3.0, 5.0):
        threshold.see(np.array([logistic(best)]))
        fixed.see(np.array([logistic(best)]))
    assert threshold.value == pytest.approx(logistic(3.0 - 1.0))  # the median
    assert fixed.value == 0.01
