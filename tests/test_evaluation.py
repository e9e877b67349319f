"""Counting, intervals and trials, against numbers worked out by hand or printed in the paper."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from lotj.errors import DataError, NumericsError, SettingsError
from lotj.evaluation.filmstrip import FilmStrip, load_filmstrips, save_filmstrips
from lotj.evaluation.results import add_evaluation, read_evaluations
from lotj.evaluation.rollout import evaluate
from lotj.evaluation.statistics import barnard, moving_rate, reliable_units, sign_flip, unit_interval, wilson


class Corridor(gymnasium.Env):
    """A start position given or drawn from the seed; action[0] moves it; success below 0.5; 10 N a unit moved."""

    def __init__(self, start: int | None = None) -> None:
        self.start = start
        self.observation_space = gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 255, (1, 2, 2, 3), np.uint8)})
        self.action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
        self.buffer = np.zeros((1, 2, 2, 3), np.uint8)
        self.starts: list[float] = []

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        self.buffer[:] = int(self.position)  # reused, as renderers do
        info = {"is_success": self.position < 0.5, "peak_force": self.force, "lost": self.position > 8.5}
        return {"image": self.buffer}, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = float(self.np_random.integers(2, 6) if self.start is None else self.start)
        self.force, self.steps = 0.0, 0
        self.starts.append(self.position)
        return self._seen()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        self.force, self.steps = 10.0 * abs(float(action[0])), self.steps + 1
        observation, info = self._seen()
        done = bool(info["is_success"] or info["lost"])
        return observation, 0.0, done, self.steps >= 20, info


class Constant:
    """Always the same action; remembers the seeds it was reset with."""

    def __init__(self, action: float) -> None:
        self.action, self.seeds = action, []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        return np.array([self.action, 0.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("successes", "low", "high"),
    [(0, 0.0, 0.161), (5, 0.112, 0.469), (10, 0.299, 0.701), (15, 0.531, 0.888), (18, 0.699, 0.972), (20, 0.839, 1.0)],
)
def test_wilson_of_twenty(successes, low, high):
    assert wilson(successes, 20) == pytest.approx((low, high), abs=5e-4)


def test_wilson_by_its_formula():
    # k = 3, n = 10, z = 1.959964: centre (.3 + z²/20) / (1 + z²/10) = .3555, half width z sqrt(.021 + z²/400) / 1.3841.
    assert wilson(3, 10) == pytest.approx((0.10779, 0.60322), abs=1e-4)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 5), (0, -1)])
def test_impossible_counts(successes, n):
    with pytest.raises(SettingsError, match=str(successes)):
        wilson(successes, n)


@pytest.mark.parametrize(
    ("a", "b", "significant"),
    [(15, 8, True), (15, 9, False), (16, 9, True), (20, 16, True), (4, 0, True), (3, 0, False)],
)
def test_barnard_of_twenty_against_twenty(a, b, significant):
    assert (barnard(a, 20, b, 20) < 0.05) is significant
    assert barnard(a, 20, b, 20) == pytest.approx(barnard(b, 20, a, 20), rel=1e-6)


def test_barnard_of_the_papers_first_table():
    assert barnard(15, 20, 11, 20) == pytest.approx(0.23, abs=0.005)  # NEMA 5-15: not significant
    assert barnard(19, 20, 7, 20) < 1e-4  # Deutsch DT 12-way


def test_barnard_of_equals_and_of_nothing():
    assert barnard(0, 20, 0, 20) == 1.0
    assert barnard(20, 20, 5, 5) == 1.0
    with pytest.raises(SettingsError, match="at least 1"):
        barnard(0, 0, 5, 20)


BAD_COUNTS = [([], []), ([1], [2, 3]), ([0], [0]), ([5], [4])]


@pytest.mark.parametrize(("successes", "n"), BAD_COUNTS)
@pytest.mark.parametrize("of", [unit_interval, reliable_units])
def test_impossible_counts_of_units(of, successes, n):
    with pytest.raises(SettingsError):
        of(successes, n)


def test_interval_over_units_by_hand():
    # Units of one trial tell nothing of correlation: the mean's density is 2 m after one success, so that the highest
    # 95 % begin at sqrt(0.05); after one success and one failure it is 6 m (1 - m), whose middle 95 % are .094 to .906.
    assert unit_interval([1], [1]) == pytest.approx((0.05**0.5, 1.0), abs=2e-3)
    assert unit_interval([1, 0], [1, 1]) == pytest.approx((0.0943, 0.9057), abs=2e-3)
    assert unit_interval([0], [1]) == pytest.approx((0.0, 1 - 0.05**0.5), abs=2e-3)


def test_interval_over_units_is_that_of_few_policies_not_of_many_trials():
    # 15 of 20 with one training, none with the other: 15 of 40 trials are 23 to 53 % by Wilson, and two policies say
    # next to nothing.
    low, high = unit_interval([15, 0], [20, 20])
    assert low < 0.1 and high > 0.7
    # All of 8 policies: by Wilson of 160 trials at least 97.7 %; a method of which one policy in six fails does it too.
    assert wilson(160, 160)[0] > 0.97 and unit_interval([20] * 8, [20] * 8) == pytest.approx((0.81, 1.0), abs=0.01)


def test_interval_over_units_covers_what_trials_do_not():
    """100 studies of 6 units of 20 trials, whose rates are beta(1, 1): the mean is 0.5, the correlation 1/3."""
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for successes in rng.binomial(20, rng.random((100, 6))):
        for k, (low, high) in enumerate((unit_interval(successes, [20] * 6), wilson(successes.sum(), 120))):
            covered[k] += low <= 0.5 <= high
    assert covered[0] >= 90 and covered[1] <= 60


def test_one_policy_against_one_other_tells_nothing_of_methods():
    assert barnard(20, 20, 0, 20) < 1e-9  # these two policies differ
    assert sign_flip([20 / 20 - 0 / 20]) == 1.0  # their methods need not
    assert sign_flip([]) == 1.0


def test_sign_flips_by_hand():
    # All of 256 flips: 96 sums are at least as far from 0 as 18. By trial it was "p = 0.04" (107 and 89 of 160).
    assert sign_flip([1, -2, 6, -3, 2, 14, 0, 0]) == 96 / 256
    assert barnard(107, 160, 89, 160) < 0.05
    assert sign_flip([1, 1, 1, 1, 1]) == 2 / 32 and sign_flip([1, 1, 1, 1, 1, 1]) == 2 / 64
    assert sign_flip([1, 2, 4]) == 2 / 8 and sign_flip([-1, 2, 4]) == 4 / 8 and sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([0.1, 0.2, -0.3]) == 1.0  # a sum that is 0 but for rounding


def test_of_more_than_twelve_units_some_flips_are_drawn_always_the_same():
    assert sign_flip([1.0] * 13) < 0.005  # exactly 2 / 8192
    drawn = sign_flip([1, -2, 6, -3, 2, 14, 0, 0, *[0] * 6])
    assert drawn == pytest.approx(0.375, abs=0.03)  # differences of 0 change nothing
    assert drawn == sign_flip([1, -2, 6, -3, 2, 14, 0, 0, *[0] * 6])


def test_reliable_units():
    # 2 of 3, by Clopper and Pearson 1934; 59 of 59 leave 5 % of failing units (one-sided), 0.95^59 = 0.0485.
    assert reliable_units([19, 18, 20], [20, 20, 20]) == pytest.approx((2, 0.0943, 0.9916), abs=1e-4)
    assert reliable_units([20] * 59, [20] * 59)[:2] == pytest.approx((59, 0.025 ** (1 / 59)))
    assert reliable_units([9], [10], least=0.9)[0] == 1


def test_moving_rate():
    outcomes = np.array([1.0, 0.0, 0.0, 1.0, np.nan, 1.0])
    assert moving_rate(outcomes, 2) == pytest.approx([1, 0.5, 0, 0.5, 1, 1])
    assert moving_rate(np.array([np.nan, 1.0]), 1) == pytest.approx([np.nan, 1], nan_ok=True)
    assert moving_rate(np.array([]), 3).shape == (0,)


def run(env: Corridor, action: float, **settings: Any):
    return evaluate(env, Constant(action), range(100, 110), name="practice", **settings)


def test_trials_are_counted_with_time_and_force():
    found = run(Corridor(4), -1.0)
    assert found.success.all() and found.steps.tolist() == [4] * 10
    assert found.seconds == pytest.approx([0.4] * 10)
    assert found.peak_force_n == pytest.approx([10.0] * 10)
    assert (found.successes, len(found), found.success_seconds) == (10, 10, pytest.approx(0.4))


def test_failures_take_the_whole_time_and_have_no_mean_success():
    found = run(Corridor(4), 0.0)
    assert (found.successes, found.seconds.mean(), found.success_seconds) == (0, 2.0, None)
    assert run(Corridor(), 0.0, max_steps=7).steps.tolist() == [7] * 10


def test_a_lost_plug_ends_the_trial_as_a_failure():
    found = run(Corridor(5), 1.0)
    assert found.dislodged.all() and not found.success.any() and found.steps.tolist() == [4] * 10


def test_the_same_seeds_give_every_controller_the_same_start_poses():
    env, first, second = Corridor(), Constant(-1.0), Constant(0.5)
    evaluate(env, first, [5, 9, 2], name="a")
    evaluate(env, second, [5, 9, 2], name="b")
    assert env.starts[:3] == env.starts[3:] and len(set(env.starts)) > 1
    assert first.seeds == second.seeds == [5, 9, 2]


def test_the_film_of_the_first_trial_holds_copies_from_start_to_end():
    seen: list[tuple[int, bool]] = []
    found = run(Corridor(4), -1.0, film=True, on_trial=lambda *a: seen.append(a))
    assert found.film is not None and found.film[:, 0, 0, 0, 0].tolist() == [4, 3, 2, 1, 0]
    assert seen == [(trial, True) for trial in range(10)]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_no_seeds_or_the_same_twice(seeds):
    with pytest.raises(SettingsError, match="seeds"):
        evaluate(Corridor(), Constant(0.0), seeds, name="a")


def test_an_action_that_is_not_finite():
    with pytest.raises(NumericsError, match="seed 100, step 0"):
        run(Corridor(), float("nan"))


def test_evaluations_are_kept_by_name(tmp_path):
    path = tmp_path / "evaluation.json"
    failed, solved = run(Corridor(4), 0.0), run(Corridor(), -1.0, context={"scenario": "far"})
    add_evaluation(path, failed)
    add_evaluation(path, evaluate(Corridor(), Constant(0.0), [1], name="straight-down"))
    add_evaluation(path, solved)
    first, second = read_evaluations(path)
    assert (first.name, second.name) == ("practice", "straight-down")
    assert first.success.all() and first.context == {"scenario": "far"}
    assert first.interval == solved.interval == wilson(10, 10)
    entry = json.loads(path.read_text())[0]
    assert solved.reward is not None
    assert entry["successes"] == 10 and entry["n"] == 10
    assert entry["results"][0] == {
        "seed": 100, "success": True, "steps": int(solved.steps[0]), "seconds": solved.steps[0] / 10,
        "peak_force_n": 10.0, "dislodged": False, "reward": solved.reward[0],
    }  # fmt: skip
    old = {**entry, "label": "After practice", "summary": {"successes": 3, "n": 10}}  # as an earlier lotj wrote it
    old["results"] = [{name: value for name, value in row.items() if name != "reward"} for row in entry["results"]]
    path.write_text(json.dumps([old]))
    (again,) = read_evaluations(path)
    assert again.successes == 10 and again.context == {"scenario": "far"} and again.reward is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("{}", "list of evaluations"),
        ('[{"name": "a", "results": []}]', "no trials"),
        ('[{"name": "a", "results": [{"seed": 1}]}]', "success"),
        ('[{"results": 3}]', "name"),
    ],
)
def test_damaged_evaluations(tmp_path, text, words):
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"^{path}: .*{words}.*: delete it and run `lotj evaluate` again$"):
        read_evaluations(path)


def test_film_strips_come_back_as_they_went(tmp_path):
    path = tmp_path / "filmstrips.npz"
    frames = np.arange(3 * 2 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 4, 3)
    heat = np.full((3, 2, 4, 4), 0.5)
    save_filmstrips(path, {"before": FilmStrip(frames, np.array([0.0, 0.25, 1.0]), heat, None, True, 1003),
                           "after": FilmStrip(frames[:2], np.zeros(2), heat[:2], heat[:2], False, 7)})  # fmt: skip
    strips = load_filmstrips(path)
    before, after = strips["before"], strips["after"]
    assert before.scores is not None and (before.frames == frames).all() and before.scores.tolist() == [0, 0.25, 1]
    assert (before.reward_heat == 0.5).all() and before.policy_heat is None
    assert before.success is True and before.seed == 1003 and after.success is False and len(after.frames) == 2
    assert after.policy_heat is not None and (after.policy_heat == 0.5).all()
    assert before.step(-1) == 2
    save_filmstrips(path, {"after": FilmStrip(frames, None, None, None, True, 3, np.array([0, 4, 9]))})
    strip = load_filmstrips(path)["after"]
    assert strip.scores is None and strip.reward_heat is None and [strip.step(k) for k in (1, -1)] == [4, 9]


def test_bad_film_strips(tmp_path):
    frames, scores, heat = np.zeros((3, 1, 4, 4, 3), np.uint8), np.zeros(3), np.zeros((3, 1, 4, 4))
    with pytest.raises(DataError, match="uint8"):
        FilmStrip(frames.astype(np.float32), scores, heat, heat, True, 0)
    with pytest.raises(DataError, match="scores"):
        FilmStrip(frames, np.zeros(2), heat, heat, True, 0)
    with pytest.raises(DataError, match="reward_heat"):
        FilmStrip(frames, scores, np.zeros((3, 1, 2, 2)), heat, True, 0)
    with pytest.raises(DataError, match="policy_heat"):
        FilmStrip(frames, scores, heat, heat[:2], True, 0)
    with pytest.raises(DataError, match="steps"):
        FilmStrip(frames, None, None, None, True, 0, np.arange(2))
    path = tmp_path / "filmstrips.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match="not a film strip file"):
        load_filmstrips(path)
    with pytest.raises(DataError, match="not a film strip file.*: delete it and run `lotj evaluate` again"):
        load_filmstrips(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", before_frames=frames)
    with pytest.raises(DataError, match="not a film strip file"):
        load_filmstrips(tmp_path / "other.npz")
