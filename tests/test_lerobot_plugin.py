"""lotj seen by LeRobot, and LeRobot's arms seen by lotj (integrations/lerobot_robot_lotj), where LeRobot is installed:
an environment of `scripts/setup_lerobot.sh` with lotj in it."""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
lerobot = pytest.importorskip("lerobot.robots", reason="LeRobot is not installed: see scripts/setup_lerobot.sh")
FOLDER = Path(__file__).parents[1] / "integrations" / "lerobot_robot_lotj"


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The distribution, as pip leaves it: a module that can be imported, and metadata with its name."""
    about = tmp_path / "lerobot_robot_lotj-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_robot_lotj\nVersion: 0.1.0\n")
    monkeypatch.setattr(sys, "path", [str(FOLDER), str(tmp_path), *sys.path])
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    return sys.modules["lerobot_robot_lotj"]


def bench(tmp_path: Path, **settings: Any) -> Any:
    from lerobot.robots.utils import make_robot_from_config

    config = lerobot.RobotConfig.get_choice_class("lotj_bench")(calibration_dir=tmp_path / "calibration", **settings)
    return make_robot_from_config(config)


def test_lerobot_finds_robot_policy_and_environment(plugin: Any) -> None:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.envs.configs import EnvConfig
    from lerobot.policies.factory import get_policy_class

    assert lerobot.RobotConfig.get_choice_class("lotj_bench") is plugin.LotjBenchConfig
    assert PreTrainedConfig.get_choice_class("lotj") is plugin.LotjConfig
    assert EnvConfig.get_choice_class("lotj") is plugin.LotjEnvConfig
    assert get_policy_class("lotj").__name__ == "LotjPolicy"


def test_the_bench_shows_what_it_promises_and_returns_what_was_sent(tmp_path: Path) -> None:
    robot = bench(tmp_path, connector="usb-b", max_steps=3)
    promised = robot.observation_features
    with pytest.raises(Exception, match="not connected"):
        robot.get_observation()
    robot.connect()
    seen = robot.get_observation()
    assert seen.keys() == promised.keys() and seen["wrist_0"].shape == promised["wrist_0"] == (32, 64, 3)
    # 0.5 of 6 mm upwards, 7 is beyond the limits: 1, and so much the hand goes in two steps, up to 0.1 mm.
    assert robot.send_action({"dx": 0.0, "dy": 0.0, "dz": 0.5}) == {"dx": 0.0, "dy": 0.0, "dz": 0.5}
    assert robot.send_action({"dx": 7.0, "dy": 0.0, "dz": 0.0})["dx"] == 1.0
    robot.send_action(dict.fromkeys(robot.action_features, 0.0))
    moved = [robot.get_observation()[name] - seen[name] for name in "xyz"]
    np.testing.assert_allclose(moved, [6e-3, 0.0, 3e-3], atol=1e-4)
    robot.send_action(dict.fromkeys(robot.action_features, 0.0))  # the fourth: a new trial has begun
    assert abs(robot.get_observation()["z"] - seen["z"]) < 3e-3 < np.hypot(*(np.array(moved)[[0, 2]]))
    with pytest.raises(ValueError, match="must have finite dx, dy, dz"):
        robot.send_action({"dx": 0.0, "dy": float("nan"), "dz": 0.0})
    robot.disconnect()
    assert not robot.is_connected


def test_the_policy_acts_as_lotj_has_it_act(tmp_path: Path) -> None:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import make_policy, make_pre_post_processors

    from lotj.experiments.evaluation import PolicyController
    from lotj.runs import base_run
    from lotj.training.pretrain import load_agent

    env_config = sys.modules["lerobot_robot_lotj"].LotjEnvConfig()
    config = PreTrainedConfig.get_choice_class("lotj")(device="cpu")
    policy = make_policy(config, env_cfg=env_config)
    before, behind = make_pre_post_processors(config, None)
    env = sys.modules["lerobot_robot_lotj"].LotjEnv("usb-b")
    ours = PolicyController(load_agent(base_run()))
    seen, info = env.reset(seed=3)
    ours.reset(0)
    policy.reset()
    for _ in range(3):
        images = {f"observation.images.{name}": np.array(view) for name, view in seen["pixels"].items()}
        import torch

        batch = {name: torch.from_numpy(view).permute(2, 0, 1).float() / 255 for name, view in images.items()}
        action = behind(policy.select_action(before(batch)))
        wanted = ours({"image": np.stack(list(seen["pixels"].values()))}, info)
        np.testing.assert_allclose(action.numpy(), wanted[None], atol=1e-6)
        seen, _, _, _, info = env.step(wanted)
    policy.save_pretrained(tmp_path / "saved")
    assert type(policy).from_pretrained(tmp_path / "saved").config.type == "lotj"
    with pytest.raises(NotImplementedError, match="lotj practice"):
        policy.forward({})


def test_lerobots_own_rollout_plays_an_episode(tmp_path: Path) -> None:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.envs.factory import make_env, make_env_pre_post_processors
    from lerobot.policies.factory import make_policy, make_pre_post_processors
    from lerobot.scripts.lerobot_eval import eval_policy

    env_config = sys.modules["lerobot_robot_lotj"].LotjEnvConfig(max_steps=4, scenario="near")
    config = PreTrainedConfig.get_choice_class("lotj")(device="cpu")
    env = make_env(env_config, n_envs=1)["lotj"][0]
    pipes = (*make_env_pre_post_processors(env_config, config), *make_pre_post_processors(config, None))
    told = eval_policy(env, make_policy(config, env_cfg=env_config), *pipes, n_episodes=2, start_seed=5)
    assert len(told["per_episode"]) == 2 and {row["success"] for row in told["per_episode"]} <= {True, False}
    env.close()
