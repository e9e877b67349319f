"""What every connector of the catalogue must do on the bench. A new connector is tested with no line written here.

The fast tests hold each connector against one of the checks, in turn, the two long ones half as often as the others;
the slow ones all against all.
"""

from __future__ import annotations

import numpy as np
import pytest

from lotj.envs.bench_check import insert, press_beside
from lotj.sim.arm import ARMS
from lotj.sim.bench import STEP_LIMIT, Bench
from lotj.sim.connector import catalogue
from lotj.sim.randomization import draw_randomization

NAMES = sorted(catalogue())
ROBOTS = sorted(name for name, arm in ARMS.items() if not arm.links and len(arm.cameras) == 2)
"""A jointed arm: tests/test_jointed.py."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each connector for each check; `slow` where it is not the connector's turn."""
    checks = [name for name, thing in vars(metafunc.module).items() if name.startswith("test_") and callable(thing)]
    turns = [*checks, *checks[2:], *checks[2:]]
    cases = [
        pytest.param(name, marks=[] if turns[number % len(turns)] == metafunc.function.__name__ else pytest.mark.slow)
        for number, name in enumerate(NAMES)
    ]
    metafunc.parametrize("bench", cases, indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each connector on one robot (they alternate) with one randomization; physics only, nothing is rendered."""
    part = catalogue()[request.param]
    arm = ARMS[ROBOTS[NAMES.index(request.param) % len(ROBOTS)]]
    return Bench(part, arm, draw_randomization(part, seed=3), image_size=64)


def test_expert_inserts_from_far_without_penetration(bench: Bench) -> None:
    outcomes = [insert(bench, seed) for seed in range(20)]
    assert all(free for free, *_ in outcomes)  # never starts inside
    assert sum(success for _, success, _ in outcomes) >= 19
    assert max(depth for *_, depth in outcomes) < 0.2e-3


def test_straight_down_three_millimetres_beside_never_enters(bench: Bench) -> None:
    for angle in np.arange(8) * np.pi / 4:
        success, deepest = press_beside(bench, angle)
        assert not success
        assert deepest < 0.2e-3


def test_random_actions_stay_finite_and_within_the_robot_limits(bench: Bench) -> None:
    rng = np.random.default_rng(1)
    reading = bench.reset(np.array([2e-3, -2e-3]), 5e-3)
    for _ in range(30):
        reading = bench.move(rng.uniform(-2, 2, 3) * STEP_LIMIT)
        assert np.isfinite(reading.position).all()
        assert np.isfinite(bench.data.qpos).all()
        assert np.all(np.abs(bench.data.actuator_force) <= bench.arm.force_limit + 1e-6)


def test_same_seed_same_motion(bench: Bench) -> None:
    def run() -> np.ndarray:
        rng = np.random.default_rng(5)
        bench.reset(np.array([1e-3, 0.0]), 5e-3, rng)
        return np.stack([bench.move(rng.uniform(-1, 1, 3) * STEP_LIMIT).position for _ in range(10)])

    np.testing.assert_array_equal(run(), run())


def test_everything_is_named(bench: Bench) -> None:
    model = bench.model
    for kind, count in (("geom", model.ngeom), ("joint", model.njnt), ("camera", model.ncam), ("actuator", model.nu)):
        assert count > 0
        names = [getattr(model, kind)(i).name for i in range(count)]
        assert all(names) and len(set(names)) == count
