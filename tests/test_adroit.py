"""The Adroit hand follows the contract of tasks; its experts come from others' pickles, of which nothing is run."""

from __future__ import annotations

import pickle
import runpy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from lotj.controllers.tanh_policy import TanhPolicy
from lotj.envs.adroit import MEMBERS, AdroitEnv
from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, make_task
from lotj.errors import DataError, SettingsError

SCRIPT: Any = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "convert_dapg.py"))
SIZES = {"door": (39, 28), "pen": (45, 24), "relocate": (39, 30)}


@pytest.mark.filterwarnings("ignore:.*(Box observation space|alternative render modes).*:UserWarning")
@pytest.mark.parametrize("task", MEMBERS)
def test_a_hand_follows_the_contract(task: str, capfd: pytest.CaptureFixture[str]) -> None:
    env: Any = make_task(f"adroit/{task}", max_steps=3)
    check_env(env, skip_render_check=True)
    spec = spec_of(env)
    assert (spec.observation["state"].shape[0], *spec.action) == SIZES[task] and spec.rate_hz == pytest.approx(100)
    episodes = []
    for seed in (5, 6, 5):
        seen, action = [env.reset(seed=seed)[0]["state"]], np.full(spec.action, 0.3, np.float32)
        for _ in range(3):
            observation, reward, terminated, truncated, info = env.step(action)
            seen.append(observation["state"])
            assert reward == 0.0 and not terminated and not info["is_success"] and not info["lost"]
        assert truncated
        episodes.append(np.array(seen))
    np.testing.assert_array_equal(episodes[0], episodes[2])
    assert not np.array_equal(episodes[0], episodes[1])
    env.close()
    assert "WARNING" not in capfd.readouterr().err


def test_a_door_is_open_beyond_1_4_rad_and_pays_once() -> None:
    """The spring of the latch does not matter to a door that stands open."""
    env = AdroitEnv("door", end_on_success=False)
    env.reset(seed=0)
    paid = []
    for angle in (1.3, 1.37, 1.45, 1.45):  # of 1.37 theirs says success
        env.inner.data.joint("door_hinge").qpos = angle
        env.inner.data.qvel[:] = 0.0
        _, reward, terminated, _, info = env.step(np.zeros(28))
        paid.append((reward, info["is_success"]))
        assert not terminated
    assert paid == [(0.0, False), (0.0, False), (1.0, True), (0.0, True)]
    env.close()


def test_a_task_without_its_experts_says_so() -> None:
    env = make_task("adroit/door")
    with pytest.raises(SettingsError, match="no scripted expert"):
        expert_of("adroit/door", env)
    env.close()


def arrays() -> dict[str, np.ndarray]:
    """One hidden unit: tanh(2 (s0 - 1) / 0.5 + 0.1), twice and minus once, less 0.2."""
    return {
        "w0": np.array([[2.0, 0.0]]), "b0": np.array([0.1]), "w1": np.array([[2.0], [-1.0]]), 
        "b1": np.array([-0.2, 0.0]),
        "in_shift": np.array([1.0, 0.0]), "in_scale": np.array([0.5, 1.0]),
        "out_shift": np.zeros(2), "out_scale": np.array([1.0, 0.5]),
    }  # fmt: skip


def test_a_network_by_hand(tmp_path: Path) -> None:
    """s0 = 1.1: tanh(0.5) = 0.462, so 0.724 and half of -0.462; s0 = 3: 1.8, clipped to 1."""
    np.savez(tmp_path / "p.npz", **arrays())  # type: ignore[arg-type]
    policy = TanhPolicy(tmp_path / "p.npz")
    assert policy({"state": np.array([1.1, 9.0])}, {}) == pytest.approx([0.7242, -0.2311], abs=1e-4)
    assert policy({"state": np.array([3.0, 9.0])}, {}) == pytest.approx([1.0, -0.5], abs=1e-3)
    for content in (b"", b"PK nonsense"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"bad.npz: not a policy .*convert_dapg"):
            TanhPolicy(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **{**arrays(), "w1": np.zeros((2, 5))})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="not a policy"):
        TanhPolicy(tmp_path / "bad.npz")


class FCNetwork:
    """Laid out as `mjrl.utils.fc_network.FCNetwork`, whose name the pickle gets."""


class Evil:
    """Would leave a file behind when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_a_pickle_gives_its_arrays_and_runs_nothing(tmp_path: Path) -> None:
    given, network = arrays(), FCNetwork()
    layers = OrderedDict()
    for number in range(2):
        layer, parts = FCNetwork(), OrderedDict()
        for short, long in (("w", "weight"), ("b", "bias")):
            parts[long] = torch.nn.Parameter(torch.from_numpy(given[f"{short}{number}"]))
        vars(layer)["_parameters"] = parts
        layers[str(number)] = layer
    held = FCNetwork()
    vars(held)["_modules"] = layers
    vars(network)["_modules"] = {"fc_layers": held}
    vars(network).update({name: values for name, values in given.items() if name.startswith(("in_", "out_"))})
    whole = FCNetwork()
    vars(whole).update(model=network, evil=Evil(tmp_path / "left-behind"))
    found = SCRIPT["policy"](pickle.dumps(whole))
    assert found.keys() == given.keys() and not (tmp_path / "left-behind").exists()
    for name, values in given.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
    for data in (b"", pickle.dumps({"model": 3}), pickle.dumps(whole)[:-9]):
        with pytest.raises(SystemExit, match="no policy of mjrl"):
            SCRIPT["policy"](data)
