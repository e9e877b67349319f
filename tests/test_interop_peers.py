"""Data sets as their own software reads and writes them, and from another arm's recordings to practice.

Minari comes with the extra `export`. robomimic's loader and LeRobot do not: robomimic is tried where it is installed,
LeRobot where `LOTJ_LEROBOT` names the Python that `scripts/setup_lerobot.sh` has made.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.cli import main
from lotj.data.store import DiskStore
from lotj.envs.registry import make_task
from lotj.interop.exchange import export, import_
from test_interop import contents, record

LEROBOT = os.environ.get("LOTJ_LEROBOT", "")
needs_lerobot = pytest.mark.skipif(not LEROBOT, reason="LOTJ_LEROBOT names no Python with LeRobot")
PEER = Path(__file__).parents[1] / "scripts" / "lerobot_peer.py"


def lerobot(*words: object) -> None:
    home = {**os.environ, "HF_HOME": str(Path(str(words[-1])).parent / "hf"), "PYTHONPATH": ""}
    done = subprocess.run([LEROBOT, str(PEER), *map(str, words)], env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_minari_reads_what_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    root = record(tmp_path / "data", 3)
    monkeypatch.chdir(tmp_path)  # their size of a data set wants a whole path
    export(root, "minari", Path("peg-v0"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data, store = minari.load_dataset("peg-v0"), DiskStore.open(root)
    assert (data.total_episodes, data.total_steps) == (6, 2 * (3 + 4 + 5))
    for number, read in enumerate(data.iterate_episodes()):
        ours = store.episode(number)
        assert read.id == number and set(read.observations) == {place.replace("/", "-") for place in ours.observation}
        for name, values in ours.observation.items():
            np.testing.assert_array_equal(read.observations[name.replace("/", "-")], values)
        np.testing.assert_array_equal(read.actions, ours.action)
        np.testing.assert_array_equal(read.rewards, ours.reward)
        np.testing.assert_array_equal(read.infos["success"], ours.notes["success"])
        assert read.terminations.tolist() == [False] * (len(ours) - 1) + [ours.terminated]
        assert read.truncations.tolist() == [False] * (len(ours) - 1) + [ours.truncated]
    about = next(iter(data.storage.get_episode_metadata([4])))
    assert (about["task"], about["kind"], about["seed"]) == ("usb.1", "expert", 1)
    assert data.sample_episodes(2)[0].observations["image"].dtype == np.uint8


def test_robomimic_reads_what_is_exported(tmp_path: Path) -> None:
    dataset = pytest.importorskip("robomimic.utils.dataset")
    obs_utils = pytest.importorskip("robomimic.utils.obs_utils")

    root = record(tmp_path / "data", 3)
    export(root, "robomimic", tmp_path / "demo.hdf5")
    cameras = ["image_0_image", "image_1_image", "wrist-rgb_image"]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["state"], "rgb": cameras}})
    read = dataset.SequenceDataset(
        str(tmp_path / "demo.hdf5"),
        obs_keys=("state", *cameras),
        dataset_keys=("actions", "rewards", "dones"),
        seq_length=1,
        hdf5_use_swmr=False,
        filter_by_attribute="valid",
    )
    assert len(read) == 3 + 4 + 5  # of the task whose split is validation
    store, row = DiskStore.open(root, split="validation"), 0
    for number in range(3):
        ours = store.episode(number)
        for step in range(len(ours)):
            theirs, row = read[row], row + 1
            np.testing.assert_array_equal(theirs["actions"][0], ours.action[step])
            np.testing.assert_array_equal(theirs["obs"]["image_1_image"][0], ours.observation["image"][step, 1])
            np.testing.assert_array_equal(theirs["next_obs"]["state"][0], ours.observation["state"][step + 1])
            last = step == len(ours) - 1
            assert theirs["dones"][0] == (last and (ours.terminated or ours.truncated))


@needs_lerobot
@pytest.mark.slow
def test_lerobot_reads_what_is_exported(tmp_path: Path) -> None:
    root = record(tmp_path / "data", 3)
    export(root, "lerobot", tmp_path / "set")
    lerobot("read", tmp_path / "set", tmp_path / "read.npz")
    read, store = dict(np.load(tmp_path / "read.npz")), DiskStore.open(root)
    assert (read["episodes"], read["fps"]) == (6, 10)
    ours = [store.episode(number) for number in range(6)]
    pictures = np.concatenate([one.observation["image"][:-1, 1] for one in ours])
    theirs = np.moveaxis(read["observation.images.image_1"], 1, -1)
    np.testing.assert_array_equal(np.rint(theirs * 255).astype(np.uint8), pictures)
    for key, values in (
        ("observation.state", [one.observation["state"][:-1] for one in ours]),
        ("observation.depth", [one.observation["depth"][:-1].astype(np.float32) for one in ours]),
        ("action", [one.action for one in ours]),
        ("next.reward", [one.reward for one in ours]),
        ("next.success", [one.notes["success"][1:] for one in ours]),
    ):
        np.testing.assert_array_equal(read[key], np.concatenate(values))
    assert read["task"].tolist() == ["peg.0"] * 12 + ["usb.1"] * 12
    np.testing.assert_allclose(
        read["stats/action/mean"], np.concatenate([one.action for one in ours]).mean(0), rtol=1e-6
    )


# From foreign data to practice

MAP = """
task = "fetch/reach"
[observation]
state = "{prefix}{state}"
goal = "{prefix}{goal}"
achieved_goal = "{prefix}{achieved}"
[success]
from = "{success}"
axes = [0]
"""

CHAIN = ["--pretrain.steps", "4", "--pretrain.batch", "8"]


def reaches(episodes: int) -> list[dict[str, np.ndarray]]:
    """What an arm of Gymnasium-Robotics, driven by a proportional controller, has gone through; lotj has no part in
    it."""
    import gymnasium as gym
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    make_task("fetch/reach").close()  # mends their arm for MuJoCo 4
    env = gym.make("FetchReach-v4", max_episode_steps=12)
    recorded = []
    for seed in range(episodes):
        seen, _ = env.reset(seed=seed)
        rows: dict[str, list[Any]] = {"seen": [seen], "action": [], "reward": [], "success": []}
        over = False
        while not over:
            action = np.zeros(4, np.float32)
            action[:3] = np.clip(10 * (seen["desired_goal"] - seen["achieved_goal"]), -1, 1)
            seen, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            for name, value in (
                ("seen", seen),
                ("action", action),
                ("reward", reward),
                ("success", info["is_success"]),
            ):
                rows[name].append(value)
        columns = {name: np.stack([frame[name] for frame in rows["seen"]]) for name in seen}
        columns |= {name: np.array(rows[name], np.float32) for name in ("action", "reward")}
        recorded.append(columns | {"success": np.array(rows["success"], bool)})
    env.close()
    return recorded


def practises(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, source: Path, **keys: str) -> DiskStore:
    """Imports, pretrains and practises through the command line."""
    data, runs = tmp_path / "data", ["--runs", str(tmp_path / "runs")]
    (tmp_path / "map.toml").write_text(MAP.format(**keys))
    assert main(["data", "import", "--from", form, str(source), str(data), "--map", str(tmp_path / "map.toml")]) == 0
    assert main(["data", "info", str(data)]) == 0 and main(["data", "check", str(data)]) == 0
    assert main(["pretrain", "--preset", "state", "--agent", "td3", "--data", str(data), *CHAIN, *runs]) == 0
    [run] = (tmp_path / "runs").glob("pretrain-*")
    trials = ["--trials", "3", "--warmup-trials", "1"]
    assert main(["practice", "--task", "fetch/reach", "--pretrained", str(run), *trials, *runs]) == 0
    assert "3 trials" in capsys.readouterr().out
    [practised] = (tmp_path / "runs").glob("practice-*")
    assert json.loads((practised / "config.json").read_text())["pretrain_run"] == str(run)
    return DiskStore.open(data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is None|.*is set to None:UserWarning")
def test_from_recordings_in_minari_to_practice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    import gymnasium as gym

    recorded, buffers = reaches(4), []
    for number, one in enumerate(recorded):
        steps = len(one["action"])
        seen = {name: one[name] for name in ("observation", "achieved_goal", "desired_goal")}
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=number,
                observations=seen,
                actions=one["action"],
                rewards=list(one["reward"]),
                terminations=[False] * steps,
                truncations=[False] * (steps - 1) + [True],
                infos={"is_success": np.append(False, one["success"])},
            )
        )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    box = gym.spaces.Box(-np.inf, np.inf, (3,))
    spaces: dict[str, gym.Space] = {
        "observation": gym.spaces.Box(-np.inf, np.inf, (10,)),
        "achieved_goal": box,
        "desired_goal": box,
    }
    minari.create_dataset_from_buffers(
        "arm/reach-v0", buffers, observation_space=gym.spaces.Dict(spaces), action_space=gym.spaces.Box(-1, 1, (4,))
    )
    keys = {"state": "observation", "goal": "desired_goal", "achieved": "achieved_goal", "success": "infos/is_success"}
    store = practises(tmp_path, capsys, "minari", tmp_path / "arm/reach-v0", prefix="observations/", **keys)
    assert len(store) == 4 and store.tasks[0].env == "fetch/reach" and store.success[store.last_frames].all()
    np.testing.assert_array_equal(store.column("goal")[0], recorded[0]["desired_goal"][0].astype(np.float32))
    assert store.episodes["truncated"].all() and store.kinds == ("expert",)


@needs_lerobot
@pytest.mark.slow
def test_from_recordings_of_lerobot_to_practice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same arm, written by LeRobot's own writer, with a picture to each frame."""
    recorded = reaches(4)
    names = {"observation": "state", "desired_goal": "goal", "achieved_goal": "achieved"}
    arrays: dict[str, Any] = {
        f"observation.{new}": [one[old][:-1].astype(np.float32) for one in recorded] for old, new in names.items()
    }
    arrays["action"] = [one["action"] for one in recorded]
    arrays["success"] = [np.repeat(one["success"][:, None], 2, 1).astype(np.float32) for one in recorded]
    arrays["observation.images.wrist"] = [
        np.full((len(one["action"]), 16, 16, 3), 30 * number, np.uint8) for number, one in enumerate(recorded)
    ]
    stacked = {key: np.concatenate(values) for key, values in arrays.items()}
    stacked["length"] = np.array([len(one["action"]) for one in recorded])
    np.savez(tmp_path / "recorded.npz", **stacked)  # type: ignore[arg-type]
    lerobot("write", tmp_path / "set", tmp_path / "recorded.npz")
    keys = {"state": "state", "goal": "goal", "achieved": "achieved", "success": "success"}
    store = practises(tmp_path, capsys, "lerobot", tmp_path / "set", prefix="observation.", **keys)
    assert len(store) == 4 and store.settings["rate"] == 10 and store.success[store.last_frames].all()
    np.testing.assert_array_equal(store.column("action")[:12], recorded[0]["action"])
    import_(tmp_path / "set", "lerobot", tmp_path / "guessed")  # all that is there, without a map
    guessed = DiskStore.open(tmp_path / "guessed")
    assert set(guessed.schema.observation) == {"state", "goal", "achieved", "image"}
    assert guessed.observe(guessed.last_frames, ["image"])["image"][:, 0, 0, 0, 0].tolist() == [0, 30, 60, 90]
    assert guessed.tasks[0].attributes == {"foreign": "reach the ball"}
    assert "meta.json" in contents(tmp_path / "guessed")
