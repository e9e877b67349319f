"""The study of the reward's bottleneck: its cue, its parts of a store, what it measures and its tables."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lotj.data.part import PartStore
from lotj.data.store import MemoryStore
from lotj.errors import SettingsError
from lotj.experience import SUCCESS, Episode, Task
from lotj.experiments.bottleneck import BOTTLENECK, SIZES, control_name, regime_name
from lotj.experiments.bottleneck_control import COMPONENTS, CUE_COLUMNS, Cued, CuedClassifier, figures, flips
from lotj.experiments.study import Asked
from lotj.nets.bottleneck import BottleneckConfig
from lotj.sim.connector import find_connector
from lotj.sim.randomization import LOOK, draw_randomization
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


def cued(strength: float, store: MemoryStore | None = None, seed: int = 0) -> Cued:
    store = store or some_store()
    features = np.zeros((store.n_frames, COMPONENTS), np.float32)
    return Cued(store, np.ones(len(store), bool), features, strength, seed)


def test_a_part_of_a_store_is_its_episodes_and_theirs_alone() -> None:
    store = some_store(domains=2, episodes=3)
    part = PartStore(store, np.array([False, True, False, False, False, True]))
    assert len(part) == 2 and part.n_frames == 6 and part.frame_task.tolist() == [0] * 3 + [1] * 3
    assert part.observe(np.arange(6))["number"][:, 0].tolist() == [3, 4, 5, 15, 16, 17]
    assert part.episode(1).seed == 2 and part.success.tolist() == [False, False, True] * 2
    assert store.episodes["first_frame"].tolist() == [0, 3, 6, 9, 12, 15]  # the whole is as it was


def test_a_cue_is_right_by_a_map_of_its_own_in_each_domain() -> None:
    store = cued(1.0, some_store(domains=40))
    meant = np.where(store.maps == 1, 1, -1)[store.frame_task]
    assert (store.cue == np.where(store.success, meant, -meant)).all()
    assert 8 < store.maps.sum() < 32  # of 40 coins; by itself a value tells nothing
    features, cue = store.seen(np.array([2, 0]))
    assert features.shape == (2, COMPONENTS) and cue.shape == (2, CUE_COLUMNS)
    assert torch.equal(store.seen(flipped=True)[1], -store.seen()[1])


def test_a_cue_of_strength_one_half_says_nothing_and_another_seed_has_other_maps() -> None:
    store = cued(0.5, some_store(domains=40, episodes=20))
    right = (store.cue > 0) == (store.success ^ (store.maps[store.frame_task] == 0))
    assert abs(right.mean() - 0.5) < 0.05  # of 2,400 coins: five deviations
    assert (store.maps != cued(0.5, some_store(domains=40), seed=1).maps).any()


def test_who_answers_with_the_cue_is_right_by_halves_and_flips_all() -> None:
    """z_I is the cue, cut off at 0: a value of 1 is said to be success, in whichever domain."""
    store = cued(1.0)
    model = CuedClassifier("apart", 6, BottleneckConfig(variant="daib"))
    model.bottleneck.forward = lambda seen, sample, generator=None: code_of(seen[:, -1:].expand(-1, 256))  # type: ignore
    model.head = torch.nn.Linear(256 + 32, 1, bias=False)
    torch.nn.init.constant_(model.head.weight, 1.0)
    found = figures(model, store)
    assert found["accuracy"] == pytest.approx(store.maps.mean())  # right where 1 means success, else wrong
    assert flips(model, store) == {"all": 1.0, "z_I": 1.0, "z_S": 0.0}


def code_of(invariant: torch.Tensor) -> Any:
    from lotj.nets.bottleneck import Code

    return Code(torch.cat([invariant, torch.zeros(len(invariant), 32)], 1), invariant, torch.zeros(len(invariant)))


def test_connectors_of_a_laboratory_share_a_bench_and_not_their_colours() -> None:
    parts = [find_connector(name) for name in ("usb-b", "europlug")]
    own, other = (draw_randomization(part, 0, look=3) for part in parts)
    for name in set(LOOK) - {"clutter", "bench_texture"}:  # clutter keeps off a larger housing
        assert getattr(own, name) == getattr(other, name), name
    assert np.array_equal(own.bench_texture, other.bench_texture)
    plain = draw_randomization(parts[0], 0)
    assert own.plug_colour == plain.plug_colour != other.plug_colour and own.clamp_shift == plain.clamp_shift
    assert own.light_direction != plain.light_direction
    config = CollectConfig(laboratory_benches=2)
    tasks = InsertionCollection(("usb-b", "europlug", "bnc"), config).tasks()
    assert [task.attributes["look"] for task in tasks] == [0, 1, 0]
    assert "look" not in InsertionCollection(("usb-b",), CollectConfig()).tasks()[0].attributes


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
