"""Tiny runs of the whole chain, compared with recorded numbers: what a change does to any of them is seen at once.

A change that is meant to leave everything as it is leaves these numbers. One that is not writes them anew, with
``python tests/test_fingerprint.py``, and its commit message says what has changed and why.
"""

import csv
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import lotj.sim  # noqa: F401  # isort: skip
import numpy as np
import pytest
import torch

from lotj.agents.iql import IQLConfig
from lotj.data.replay import Source
from lotj.data.store import DiskStore
from lotj.envs.insertion import InsertionEnv
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.features import FeatureConfig, imitated, prepare_features
from lotj.training.practice import practice
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain import pretrain_agent, pretrain_reward
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.self_judged import SelfJudged

RECORDED = Path(__file__).parent / "fingerprints" / "chain.csv"
TOLERANCE = 0.02
"""Relative. Processors and renderers differ in last bits, which a few updates do not make much of."""
LATE = 0.5
"""From the third trial on, which learns from what earlier policies did: there two processors (Intel Xeon, AMD EPYC)
differ by up to 0.4. Whole numbers, as steps and verdicts, must be the same in all trials."""


def tolerance(name: str, value: float) -> float:
    """Relative, of a recorded number."""
    late = name.startswith(("trial 3", "trial 4")) and not value.is_integer()
    return LATE if late else TOLERANCE


def fingerprint(folder: Path) -> dict[str, float]:
    """Numbers of a tiny collection, pretraining and practice on the bench, all in single precision."""
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.5, recover_episodes=1)
    collect(folder / "data", InsertionCollection(("usb-a", "peg-round-8", "duplo-2x2"), settings), workers=1)
    train, validation = (DiskStore.open(folder / "data", split=split) for split in ("train", "validation"))
    for name, data in (("train", train), ("validation", validation)):
        found[f"{name} episodes"], found[f"{name} frames"] = len(data), data.n_frames
        found[f"{name} successes"] = int(data.success.sum())
        found[f"{name} actions"] = float(np.nanmean(np.abs(data.column("action"))))
        found[f"{name} rewards"] = float(np.nansum(data.column("reward")))
        found[f"{name} states"] = float(np.abs(data.column("state")).mean())
        found[f"{name} positions"] = float(np.abs(data.truth("position")).mean())
        found[f"{name} pixels"] = float(data.observe(np.arange(data.n_frames), ["image"])["image"].mean())
    encoder = EncoderConfig(width=8, stages=1)
    bottleneck = BottleneckConfig(invariant_dim=16, specific_dim=4, domain_hidden=(8,))
    reward = RewardConfig(encoder=encoder, bottleneck=bottleneck, steps=6, batch=16, warmup=2)
    front, iql = Pixels(encoder, half_precision=False), IQLConfig(bottleneck=bottleneck)
    run = Run.create(folder / "runs", "pretrain", {}, seed=0)
    config = PretrainConfig(steps=6, batch=16, warmup=2, log_every=6)
    model = pretrain_reward(train, validation, reward, config, run, live=False)
    agent = pretrain_agent("iql", train, validation, front, iql, config, run, live=False, observation=["image"])
    found |= {f"reward {name}": value for name, value in run.metrics("reward")[-1].items()}
    found |= {f"agent {name}": value for name, value in run.metrics("iql")[-1].items()}
    run = Run.create(folder / "runs", "practice", {}, seed=0)
    env = InsertionEnv("usb-b", image_size=32, observation=("image", "state"), end_on_success=False, estimate_seed=0)
    practising = SelfJudgedConfig(trials=4, max_steps=6, batch_size=16, warmup_trials=1, threads=1)
    prior = prepare_features(train, agent, FeatureConfig(transitions=64), live=False)
    learner = agent.on_features(advantage_scale=100.0, q_gradient_weight=100.0)
    robot = SimulatedRobot(env)
    model.threshold = 0.1  # so low that the untrained model takes frames for successes, which are then verified
    judged = SelfJudged(robot, agent, learner, model, practising, run.seed)
    offline = Source(prior, 1 - practising.online_fraction, columns={"imitate": imitated(prior)})
    practice(judged, learner, [offline], practising, run, live=False)
    robot.close()
    for row in run.metrics():
        found |= {f"trial {row['trial']} {name}": value for name, value in row.items() if value is not None}
    timed = ("second", "time")
    return {name: float(value) for name, value in found.items() if not any(word in name for word in timed)}


def test_the_chain_gives_the_recorded_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lotj.nets.precision.fast_dtype", lambda kind: None)
    with RECORDED.open(newline="") as file:
        recorded = {row["name"]: float(row["value"]) for row in csv.DictReader(file)}
    found = fingerprint(tmp_path)
    assert found.keys() == recorded.keys()
    wrong = {
        k: (found[k], v) for k, v in recorded.items() if found[k] != pytest.approx(v, rel=tolerance(k, v), abs=1e-3)
    }
    assert not wrong


if __name__ == "__main__":
    import tempfile

    import lotj.nets.precision

    lotj.nets.precision.fast_dtype = lambda device_type: None
    with tempfile.TemporaryDirectory() as name:
        rows = fingerprint(Path(name))
    with RECORDED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "value"))
        writer.writerows((key, f"{value:.6g}") for key, value in rows.items())
    sys.stdout.write(f"{len(rows)} numbers in {RECORDED}\n")
