"""A robot that is late finds that out, and waits."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from lotj.envs.disturbances import DISTURBANCES, disturbed
from lotj.envs.insertion import InsertionEnv
from lotj.envs.settled import Settled, measured_delay

LATE = {"late-frame", "action-latency"}


def bench(name: str = "") -> gym.Env:
    return disturbed(InsertionEnv("usb-b", "trio", 2, "far", 64, ("image", "state")), name, seed=0)


@pytest.mark.parametrize("name", ["", *DISTURBANCES])
def test_a_delay_is_measured_whatever_else_goes_wrong(name: str) -> None:
    env = bench(name)
    assert measured_delay(env) == (1 if name in LATE else 0)
    env.close()


@pytest.mark.parametrize("name", sorted(LATE))
def test_a_step_shows_what_its_motion_has_done(name: str) -> None:
    """An arm that is on time has made 80 % of 6 mm when its step is over. What is seen then is nearer to that than what
    is seen without waiting."""
    on_time, waited, late = bench(), Settled(lambda: bench(name), 1), bench(name)
    for env in (on_time, waited, late):
        env.reset(seed=4)
    for action in ((0.0, 0.0, 1.0), (0.5, 0.0, 0.5), (0.0, -1.0, 1.0)):
        there, soon, behind = (env.step(np.array(action))[0] for env in (on_time, waited, late))
        np.testing.assert_allclose(soon["state"][:3], there["state"][:3], atol=1.6e-3)
        far = [np.abs(one["image"].astype(float) - there["image"]).mean() for one in (soon, behind)]
        assert far[0] < 0.6 * far[1]
    for env in (on_time, waited, late):
        env.close()


def test_a_success_is_paid_once_and_nothing_is_done_after_it() -> None:
    env = Settled(bench, 2)
    env.reset(seed=0, options={"offset": (0.0, 0.0), "height": 0.004})
    came = [env.step(np.array([0.0, 0.0, -1.0])) for _ in range(2)]
    while not came[-1][2]:
        came.append(env.step(np.array([0.0, 0.0, -1.0])))
    assert sum(one[1] for one in came) == 1.0 and came[-1][4]["is_success"]
    env.close()
