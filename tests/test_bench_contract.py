"""What every connector of the catalogue must do on the bench. A new connector is tested with no line written here.

The fast tests hold each connector against one of the checks, in turn; the slow ones all against all.
"""

from __future__ import annotations

import numpy as np
import pytest

from lotj.controllers.expert import Expert
from lotj.envs.insertion import draw_start
from lotj.sim.arm import ARMS
from lotj.sim.bench import STEP_LIMIT, Bench
from lotj.sim.connector import catalogue
from lotj.sim.randomization import draw_randomization

NAMES = sorted(catalogue())
ROBOTS = sorted(ARMS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each connector for each check; `slow` where it is not the connector's turn."""
    checks = [name for name, thing in vars(metafunc.module).items() if name.startswith("test_") and callable(thing)]
    turn = checks.index(metafunc.function.__name__)
    cases = [
        pytest.param(name, marks=[] if number % len(checks) == turn else pytest.mark.slow)
        for number, name in enumerate(NAMES)
    ]
    metafunc.parametrize("bench", cases, indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each connector on one robot (they alternate) with one randomization; physics only, nothing is rendered."""
    part = catalogue()[request.param]
    arm = ARMS[ROBOTS[NAMES.index(request.param) % len(ROBOTS)]]
    return Bench(part, arm, draw_randomization(part, seed=3), image_size=64)


def penetration(bench: Bench) -> float:
    """Deepest overlap of any contact [m]."""
    return float(max((-c.dist for c in bench.data.contact[: bench.data.ncon]), default=0.0))


def drive(bench: Bench, controller: Expert, seed: int, steps: int = 20) -> tuple[bool, float]:
    """One episode from `far`: (success, deepest penetration [m])."""
    rng = np.random.default_rng(seed)
    controller.reset(seed)
    offset, height, error = draw_start(rng, "far")
    reading = bench.reset(offset, height, error=error)
    assert bench.data.ncon == 0  # never starts inside
    deepest = 0.0
    for _ in range(steps):
        action = controller(None, {"position": reading.position})
        reading = bench.move(action * STEP_LIMIT)
        deepest = max(deepest, penetration(bench))
        if reading.success or reading.dislodged:
            break
    return reading.success, deepest


def test_expert_inserts_from_far_without_penetration(bench: Bench) -> None:
    expert = Expert(np.random.default_rng(0), STEP_LIMIT, bench.contact_height, noise=0.0)
    outcomes = [drive(bench, expert, seed) for seed in range(20)]
    assert sum(success for success, _ in outcomes) >= 19
    assert max(depth for _, depth in outcomes) < 0.2e-3


def test_straight_down_three_millimetres_beside_never_enters(bench: Bench) -> None:
    for angle in np.arange(8) * np.pi / 4:
        reading = bench.reset(3e-3 * np.array([np.cos(angle), np.sin(angle)]), 5e-3)
        deepest = 0.0
        for _ in range(12):  # the last steps press with the full force of the controller
            reading = bench.move(np.array([0.0, 0.0, -STEP_LIMIT]))
            deepest = max(deepest, penetration(bench))
            assert not reading.success
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
