"""The study of the reward's bottleneck: its cue, its parts of a store, what it measures and its tables."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from lotj.data.part import PartStore
from lotj.data.store import MemoryStore
from lotj.errors import SettingsError
from lotj.experience import SUCCESS, Episode, Task
from lotj.experiments.bottleneck import BOTTLENECK, SIZES, control_name, parts_of, regime_name
from lotj.experiments.bottleneck_control import BACKGROUND, COLUMNS, CuedClassifier, World, control_job, figures
from lotj.experiments.study import Asked
from lotj.nets.bottleneck import BottleneckConfig
from lotj.sim.connector import find_connector
from lotj.sim.randomization import LABORATORY, draw_randomization
from lotj.training.collect_insertion import CollectConfig, InsertionCollection

ASKED = Asked("quick", Path("data"), Path("runs"), machine={"threads": 1, "device": "cpu"})


def some_store(domains: int = 6, episodes: int = 4) -> MemoryStore:
    """Episodes of three frames, of which the last shows success; frame f of the store observes the number f."""
    store, count = MemoryStore([Task(f"d{k}", "env") for k in range(domains)]), 0
    for task in store.tasks:
        for seed in range(episodes):
            seen = {"number": np.arange(count, count + 3, dtype=np.float32)[:, None]}
            labels = {SUCCESS: np.array([False, False, True])}
            made = np.zeros((2, 3), np.float32), np.zeros(2, np.float32), True, False
            store.append(Episode(seen, *made, task.name, "expert", seed, labels))
            count += 3
    return store


def test_a_part_of_a_store_is_its_episodes_and_theirs_alone() -> None:
    store = some_store(domains=2, episodes=3)
    part = PartStore(store, np.array([False, True, False, False, False, True]))
    assert len(part) == 2 and part.n_frames == 6 and part.frame_task.tolist() == [0] * 3 + [1] * 3
    assert part.observe(np.arange(6))["number"][:, 0].tolist() == [3, 4, 5, 15, 16, 17]
    assert part.episode(1).seed == 2 and part.success.tolist() == [False, False, True] * 2
    assert store.episodes["first_frame"].tolist() == [0, 3, 6, 9, 12, 15]  # the whole is as it was


@pytest.mark.parametrize(("looks", "episodes", "trained_on", "kept"), [(1, 9, 8, 1), (4, 9, 7, 1), (4, 100, 80, 20)])
def test_whatever_the_looks_of_a_connector_as_much_of_it_is_kept_from_training(
    looks: int, episodes: int, trained_on: int, kept: int
) -> None:
    """Of 9 episodes spread over four looks each has two, and one of these eight is kept."""
    names = [("usb-b", "duo", seed) for seed in range(looks)] + [("bnc", "duo", seed) for seed in range(looks)]
    tasks = [Task(".".join(map(str, of)), "env", attributes=dict(zip(("connector", "robot", "seed"), of, strict=True)))
             for of in names]  # fmt: skip
    store, still = MemoryStore(tasks), np.zeros((1, 3), np.float32)
    for task in tasks:
        for seed in range(-(-episodes // looks)):
            store.append(
                Episode({"state": np.zeros((2, 1))}, still, still[:, 0], True, False, task.name, "expert", seed)
            )
    train, inner = parts_of(store, episodes)
    assert (len(train), len(inner)) == (2 * trained_on, 2 * kept)
    assert sorted({*train.episodes["task"].tolist()}) == [*range(2 * looks)]


def some_world(strength: float, domains: int = 40) -> World:
    return World.draw(domains, strength, np.random.default_rng(0))


def test_a_cue_is_right_by_a_map_of_its_own_in_each_domain_and_a_sign_in_all() -> None:
    world, domain = some_world(1.0), np.repeat(np.arange(40), 100)
    seen, cue, success = world.frames(domain, np.random.default_rng(1))
    assert seen.shape == (4000, BACKGROUND + COLUMNS) and cue.shape == (4000, COLUMNS)
    assert success.sum() == 2000 and 8 < (world.maps > 0).sum() < 32  # of 40 coins; alone a value tells nothing
    meant = 2 * success - 1
    assert torch.equal(cue[:, 0], meant * torch.from_numpy(world.maps[domain]).float())
    right = (seen[:, -1] > 0) == (success > 0.5)
    assert abs(float(right.float().mean()) - 0.80) < 0.03  # five deviations of 4,000 frames
    assert torch.equal(seen[:100, :BACKGROUND], seen[:1, :BACKGROUND].expand(100, -1))  # the domain's own


def test_a_cue_of_strength_one_half_says_nothing() -> None:
    world, domain = some_world(0.5), np.repeat(np.arange(40), 100)
    _, cue, success = world.frames(domain, np.random.default_rng(1))
    right = (cue[:, 0] > 0) == (success > 0.5) ^ torch.from_numpy(world.maps[domain] < 0)
    assert abs(float(right.float().mean()) - 0.5) < 0.04


def test_who_answers_with_the_cue_alone_is_right_by_halves_and_flips_with_it() -> None:
    """Weights by hand: behind an encoder of zeros z_I has one entry for the cue and one for its opposite, the others
    nothing, and the head subtracts them: a value of 1 is said to be success, in whichever domain."""
    world = some_world(1.0)
    model = CuedClassifier("apart", 40, BottleneckConfig(variant="erm", invariant_dim=2))
    model.head = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.bottleneck.parameters()):
            parameter.zero_()
        linear, norm, _ = cast("Any", model.bottleneck.invariant)
        linear.weight[:, -1] = torch.tensor([1.0, -1.0])
        norm.weight.fill_(1.0)
        cast("torch.nn.Linear", model.head[0]).weight.copy_(torch.tensor([[1.0, -1.0]]))
    found = figures(model, world, np.random.default_rng(2))
    assert found["accuracy"] == pytest.approx((world.maps > 0).mean(), abs=0.02)  # right where 1 means success
    assert (found["flips"], found["flips_z_I"], found["flips_z_S"]) == (1.0, 1.0, 0.0)


@pytest.mark.slow
def test_without_a_bottleneck_a_cue_that_is_always_right_is_gone_by() -> None:
    how: dict[str, Any] = {"split": 0, "domains": 4, "place": "apart", "updates": 300, "variant": "erm", "settings": {}}
    cued, plain = (control_job(strength=strength, probes=False, **how) for strength in (1.0, 0.5))
    assert cued["inner"]["accuracy"] > 0.95 > 0.85 > plain["inner"]["accuracy"]
    assert cued["held_out"]["accuracy"] < plain["held_out"]["accuracy"] - 0.1


def test_connectors_of_a_laboratory_share_a_bench_and_not_their_colours() -> None:
    parts = [find_connector(name) for name in ("usb-b", "europlug")]
    own, other = (draw_randomization(part, 0, laboratory=3) for part in parts)
    for name in set(LABORATORY) - {"clutter", "bench_texture"}:  # clutter keeps off a larger housing
        assert getattr(own, name) == getattr(other, name), name
    assert np.array_equal(own.bench_texture, other.bench_texture)
    plain = draw_randomization(parts[0], 0)
    assert own.plug_colour == plain.plug_colour != other.plug_colour and own.clamp_shift == plain.clamp_shift
    assert own.light_direction != plain.light_direction
    config = CollectConfig(laboratory_benches=2)
    tasks = InsertionCollection(("usb-b", "europlug", "bnc"), config).tasks()
    assert [task.attributes["laboratory"] for task in tasks] == [0, 1, 0]
    assert "laboratory" not in InsertionCollection(("usb-b",), CollectConfig()).tasks()[0].attributes
    served = InsertionCollection(("usb-b",), config, "localhost:1")
    with pytest.raises(SettingsError, match="leave --laboratory-benches or --robot"), served.open(tasks[0]):
        pass


@pytest.mark.parametrize("size", SIZES)
def test_jobs_fit_together(size: str) -> None:
    asked = Asked(size, Path("data"), Path("runs"), machine=ASKED.machine)
    jobs = {job.name: job for job in BOTTLENECK.asked(asked).jobs(asked)}
    assert len(jobs) == len(BOTTLENECK.asked(asked).jobs(asked))
    for job in jobs.values():
        inspect.signature(job.work).bind(**job.arguments, **job.machine)
        assert set(job.needs) <= jobs.keys()
    assert jobs["cue-apart-90-erm-split0"].arguments["variant"] == "erm"
    with pytest.raises(SettingsError, match="takes no connectors"):
        BOTTLENECK.asked(Asked("quick", Path("data"), Path("runs"), connectors=("usb-b",)))


def test_what_auc_is_lost_without_z_i_is_of_one_auc() -> None:
    """That of frames of all connectors together, 0.8, falls by 0.3; the mean of each connector's own is 0.95."""
    study = BOTTLENECK.asked(ASKED)
    cell = ("full", *study.looked_into)
    done = {"held_out": {"auc": 0.95}, "bottleneck": {"auc": 0.8, "auc_without_invariant": 0.5}}
    results = {regime_name(cell, "erm", split): done for split in study.splits}
    head, _, first, *_ = rows(study.diagnostic_table(results))
    found = dict(zip(head, first, strict=True))
    assert (found["AUC"], found["AUC lost without z_I"]) == ("95 \u00b1 0", "30 \u00b1 0")


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_tables_pair_splits_and_leave_open_what_is_not_done() -> None:
    """ERM falls from 80 by 10, 12 and 14 points; DAIB, from 78, by 2 each."""
    study = BOTTLENECK.asked(ASKED)
    results: dict[str, Any] = {}
    for place, split in enumerate(study.splits):
        for strength, arm, accuracy in (
            (0.5, "erm", 0.8), (0.5, "daib", 0.78), (0.9, "erm", 0.7 - 0.02 * place), (0.9, "daib", 0.76),
        ):  # fmt: skip
            results[control_name("apart", strength, arm, split)] = {"held_out": {"accuracy": accuracy}}
    head, _, *lines = rows(study.control_table(results))
    found = dict(zip(head, lines[2], strict=True))
    assert (found["cue"], found["right in"], found["mended"]) == ("apart", "90%", "-")
    # Deviation 2, of 3 splits: 4.303 * 2 / sqrt 3 = 4.97.
    assert found["erm to 50 %"] == "-12 \u00b1 5" and found["daib to 50 %"] == "-2 \u00b1 0"
    assert found["daib - erm"] == "8 \u00b1 5"
    cell = study.regime[0]
    for split, gain in zip(study.splits, (0.01, 0.03, 0.05), strict=True):
        for arm, accuracy in (("erm", 0.6), ("daib", 0.6 + gain)):
            results[regime_name(cell, arm, split)] = {"held_out": {"accuracy": accuracy, "auc": 0.7}}
    head, _, *lines = rows(study.regime_table(results))
    assert dict(zip(head, lines[0], strict=True))["difference at 0.5"] == "3 \u00b1 5"
    assert dict(zip(head, lines[-1], strict=True))["difference at 0.5"] == "3 \u00b1 5"  # the other cells are open
