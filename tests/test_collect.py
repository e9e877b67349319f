"""Collection: what is recorded, that it resumes, and that a kill or Ctrl-C costs nothing that was finished."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.data.layout import META, read_meta
from lotj.data.store import DiskStore
from lotj.distributed import actors
from lotj.envs.registry import make_task
from lotj.errors import DataError, RobotError, SettingsError
from lotj.experience import SUCCESS, Episode, Task
from lotj.experiments.parts import choose_training, of_split
from lotj.sim.connector import catalogue, training_connectors
from lotj.training.collect import Progress, Recording, TaskCollection, collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection

SMALL = CollectConfig(image_size=32, expert_episodes=6, near_miss_share=0.4)


def record(root: Path, config: CollectConfig = SMALL, connectors: tuple[str, ...] = ("nema-5-15",)) -> list[Progress]:
    seen: list[Progress] = []
    collect(root, InsertionCollection(connectors, config), workers=1, report=seen.append)
    return seen


def episodes(root: Path, *kinds: str) -> list[Episode]:
    """Those of these kinds, all by default."""
    store = DiskStore.open(root)
    return [store.episode(n) for n in range(len(store)) if not kinds or store.kinds[store.episodes[n]["kind"]] in kinds]


def lost(root: Path) -> int:
    return sum(reasons.total() for reasons in DiskStore.open(root).discarded.values())


def force(episode: Episode) -> np.ndarray:
    """(T+1,) along z [N]."""
    return episode.truth["force"][:, 2]


def test_counts_by_hand() -> None:
    """60 expert episodes are 60 % of 100: 40 near misses, of which 20 press, 10 half insert and 10 withdraw."""
    config = CollectConfig(expert_episodes=60, near_miss_share=0.4)
    assert config.counts() == {"expert": 60, "press": 20, "half": 10, "withdraw": 10, "recover": 0}
    assert sum(CollectConfig(near_miss_share=0.0).counts().values()) == 120


def test_the_record_is_what_happened(tmp_path: Path) -> None:
    seen = record(tmp_path / "data")
    made = episodes(tmp_path / "data")
    assert len(seen) == 10 == len(made) + lost(tmp_path / "data")
    assert sum(done.discarded == "lost" for done in seen) == lost(tmp_path / "data")
    for episode in made:
        success, position = episode.notes[SUCCESS], episode.truth["position"]
        goes_on = episode.kind in ("withdraw", "half")
        if goes_on:
            assert episode.truncated and len(episode) == 20
        else:  # they end at the first success, and only there
            assert not success[:-1].any() and success[-1] == episode.terminated != episode.truncated
        np.testing.assert_array_equal(episode.reward > 0, success[1:] & ~success[:-1])  # paid on reaching it
        # Seated means within a millimetre of the end of the travel and beside the axis by no more than the guard.
        assert (np.abs(position[success, 2]) < 1e-3).all()
        assert episode.observation["image"].shape == (len(episode) + 1, 2, 16, 32, 3)
        assert (episode.notes["far"] == episode.seed % 2).all()  # scenarios take turns
    assert np.mean([e.terminated for e in episodes(tmp_path / "data", "expert")]) > 0.5
    depth = min(e.truth["position"][:, 2].min() for e in episodes(tmp_path / "data", "half"))
    assert depth < 0.5 * catalogue()["nema-5-15"].insertion_depth


def test_presses_lie_near_and_far_beside_and_try_several_places(tmp_path: Path) -> None:
    record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=4, near_miss_share=6 / 7))
    lateral, spread = [], []
    for episode in episodes(tmp_path / "data", "press"):
        place = episode.truth["position"][:, :2]
        aside, touching = np.linalg.norm(place, axis=1), np.linalg.norm(episode.truth["force"], axis=1) > 3.0
        lateral += list(aside[touching & ~episode.notes[SUCCESS]])
        where = place[touching & (aside > 1e-3)]
        spread.append(np.ptp(where, axis=0).max() if len(where) else 0.0)
    assert len(lateral) > 20 and min(lateral) < 6e-3 and max(lateral) > 20e-3
    assert np.median(spread) > 4e-3  # a hop is 2-12 mm long, a drag without one rarely more than 2 mm


def test_no_two_episodes_share_a_start(tmp_path: Path) -> None:
    """Neither in a domain nor in two: were starts drawn from the episode's number alone, all domains held the same."""
    record(tmp_path / "data", replace(SMALL, domains_per_connector=2))
    made = episodes(tmp_path / "data")
    assert len({episode.task for episode in made}) == 2
    start = np.round([episode.truth["position"][0] for episode in made], 7)
    assert len(np.unique(start, axis=0)) == len(start)


def test_the_expert_takes_over_from_a_plug_pressed_beside_and_brings_it_in(tmp_path: Path) -> None:
    record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=1, near_miss_share=0.0, recover_episodes=24))
    recover = episodes(tmp_path / "data", "recover")
    assert len(recover) >= 20
    start = np.array([episode.truth["position"][0] for episode in recover])
    # The expert starts 4-10 mm above the rim; most of these stand on it, or on the clamp, up to 15 mm beside the axis.
    assert np.median(start[:, 2] - catalogue()["nema-5-15"].insertion_depth) < 2e-3
    assert np.linalg.norm(start[:, :2], axis=1).max() < 21e-3
    assert np.mean([episode.terminated for episode in recover]) > 0.6


class Closed(InsertionCollection):
    def open(self, task: Task) -> Any:
        raise AssertionError(task)


def test_resuming_does_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    record(tmp_path / "whole")
    record(tmp_path / "parts", CollectConfig(image_size=32, expert_episodes=3, near_miss_share=0.4))
    more = record(tmp_path / "parts")
    assert 0 < len(more) < 10
    collect(tmp_path / "parts", Closed(("nema-5-15",), SMALL), workers=1)  # what is there needs no environment
    whole, parts = ({(e.kind, e.seed): e for e in episodes(tmp_path / name)} for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, episode in whole.items():
        np.testing.assert_equal(vars(episode), vars(parts[name]))


@pytest.mark.parametrize(
    ("connectors", "settings", "names"),
    [
        (("usb-a", "rj45"), {}, ["usb-a.duo.0", "rj45.trio.0"]),
        (
            ("usb-a",),
            {"robots_per_connector": 2, "domains_per_connector": 2, "seed": 3},
            ["usb-a.duo.3000", "usb-a.duo.3001", "usb-a.trio.3000", "usb-a.trio.3001"],
        ),
    ],
)
def test_domains_alternate_or_cover_the_robots(
    connectors: tuple[str, ...], settings: dict[str, Any], names: list[str]
) -> None:
    tasks = InsertionCollection(connectors, CollectConfig(**settings)).tasks()
    assert [task.name for task in tasks] == names and {task.split for task in tasks} == {"train"}


def test_registered_tasks_are_recorded_with_their_experts(tmp_path: Path) -> None:
    collection = TaskCollection(("fetch/reach",), count=4, noise=0.3, seed=2)
    seen: list[Progress] = []
    collect(tmp_path, replace(collection, count=2), 1, seen.append)
    collect(tmp_path, collection, 1, seen.append)
    made, env = episodes(tmp_path), make_task("fetch/reach")
    assert [(e.kind, e.seed) for e in made] == [("expert", 2_000_000 + n) for n in range(4)]
    assert len(seen) == 4 and all(done.success for done in seen)
    for episode in made:
        observation, _ = env.reset(seed=episode.seed)
        np.testing.assert_array_equal(episode.observation["state"][0], observation["state"])
        assert episode.terminated and episode.notes[SUCCESS].tolist() == [False] * len(episode) + [True]
        assert episode.reward.tolist() == [0.0] * (len(episode) - 1) + [1.0]
    env.close()
    with pytest.raises(DataError, match="was collected with noise 0.3, not 0.1"):
        collect(tmp_path, replace(collection, noise=0.1), 1)
    assert read_meta(tmp_path).settings == {"noise": 0.3} and (tmp_path / META).exists()


def test_tasks_that_look_different_do_not_share_a_data_set_and_nothing_is_lost(tmp_path: Path) -> None:
    there = f"{tmp_path} holds actions of 2 axes and achieved_goal (2,) float32, goal (2,) float32, state (2,) float32"
    with pytest.raises(SettingsError) as told:
        collect(tmp_path, TaskCollection(("maze/umaze-toy", "drawer/open"), count=1), 1)
    assert str(told.value).startswith("drawer/open has actions of 3 axes and state (4,) float32, success () bool, ")
    assert there in str(told.value) and len(episodes(tmp_path)) == 1


@pytest.mark.parametrize(
    "settings,word",
    [({"near_miss_share": 1.0}, "near_miss_share"), ({"image_size": 8}, "image_size 8: must be between 16 and 1024"),
     ({"noise": float("nan")}, "noise nan: must be a finite number"), ({"seed": 2**32}, "seed 4294967296: must be"),
     ({"expert_episodes": 0}, "expert_episodes"),
     ({"recover_episodes": -1}, "recover_episodes"),
     ({"robots_per_connector": 3}, "robots_per_connector 3: must be at most 2, the number of robots"),
     ({"robots": ("uno",), "robots_per_connector": 2}, "unknown robot 'uno': did you mean 'duo'.*known are duo, trio"),
     ({"robots": ("duo", "duo")}, r"robots \('duo', 'duo'\): each must be named once")],
)  # fmt: skip
def test_impossible_settings_are_named(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        CollectConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "word"), [({"count": 0}, "count 0"), ({"noise": 1.5}, "noise 1.5"), ({"seed": -1}, "seed -1")]
)
def test_impossible_tasks_are_named(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        TaskCollection(("fetch/reach",), **settings)


def test_training_connectors_are_spread_over_families_and_hold_no_variant_of_a_held_out_one() -> None:
    chosen = choose_training(50)
    assert len(set(chosen)) == 50
    families = {catalogue()[name].family for name in chosen}
    assert families == {part.family for part in training_connectors()}
    held = {part.variant_of or part.name for part in catalogue().values() if part.split != "train"}
    assert not any((catalogue()[name].variant_of or name) in held for name in chosen)
    assert {"nema-5-15", "deutsch-dt-12", "mega-brick-1x1", "europlug"} == set(of_split("test"))


def alive(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_recorded_elsewhere_it_is_the_same_data_set_whoever_records_and_dies(tmp_path: Path) -> None:
    """Two recorders, of which one dies in its third episode; the other goes on with that one's task."""
    config = CollectConfig(image_size=32, expert_episodes=3, near_miss_share=0.4)
    collection = InsertionCollection(("nema-5-15", "usb-a", "rj45"), config)
    record(tmp_path / "here", config, collection.connectors)
    recorders, calls = [Recording(collection), Recording(collection)], [0, 0]

    def start(number: int, *what: Any) -> Future[Any]:
        future: Future[Any] = Future()
        calls[number] += 1
        if number == 0 and calls[0] >= 3:
            future.set_exception(RobotError("its process has died"))
        else:
            future.set_result(recorders[number](*what))
        return future

    seen: list[Progress] = []
    collect(tmp_path / "there", collection, 1, seen.append, [partial(start, 0), partial(start, 1)])
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len(seen) == 15 and calls == [3, 13]
    collect(tmp_path / "there", collection, 1, seen.append, [partial(start, 0), partial(start, 1)])
    assert len(seen) == 15  # nothing was missing
    with pytest.raises(RobotError, match="its process has died"):
        collect(tmp_path / "alone", collection, 1, seen.append, [partial(start, 0)])


@pytest.mark.slow
def test_recorded_on_ray_it_is_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="pip install 'lotj[cluster]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = CollectConfig(image_size=32, expert_episodes=3, near_miss_share=0.4)
    collection = InsertionCollection(("nema-5-15", "usb-a", "rj45"), config)
    record(tmp_path / "here", config, collection.connectors)
    with actors([partial(Recording, collection)] * 3, "ray", all_of_them=False) as elsewhere:
        collect(tmp_path / "there", collection, elsewhere=elsewhere)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_collector_ends_its_workers_and_keeps_every_finished_episode(
    tmp_path: Path, stop: signal.Signals
) -> None:
    """Two worker processes; only the parent is stopped. What was reported is there, and a second call does the rest."""
    program = (
        "from pathlib import Path\nfrom lotj.training.collect import collect\n"
        "from lotj.training.collect_insertion import CollectConfig, InsertionCollection\n"
        "if __name__ == '__main__':\n"
        "    config = CollectConfig(image_size=32, expert_episodes=30)\n"
        f"    collect(Path({str(tmp_path / 'data')!r}), InsertionCollection(('usb-a', 'rj45'), config), 2,"
        " lambda progress: print(progress.task, flush=True))\n"
    )
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    reported = [process.stdout.readline() for _ in range(6)]
    assert len(alive(process.pid)) >= 3
    process.send_signal(stop)
    process.wait(timeout=60)
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:  # a moment later
        time.sleep(0.1)
    assert alive(process.pid) == []
    assert len(episodes(tmp_path / "data")) + lost(tmp_path / "data") >= len(reported)
    rest = record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=2), ("usb-a",))
    assert all(done.task == "usb-a.duo.0" for done in rest)


@pytest.mark.slow
def test_an_error_of_a_worker_is_raised_and_nothing_is_printed(tmp_path: Path) -> None:
    """Workers of five calls, each refused as the data set was made with other settings, beside jobs that wait."""
    (tmp_path / "program.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom lotj.errors import DataError\n"
        "from lotj.training.collect import collect\n"
        "from lotj.training.collect_insertion import CollectConfig, InsertionCollection\n"
        "def usb(**settings):\n"
        "    return InsertionCollection(('usb-a',), CollectConfig(image_size=32, **settings))\n"
        "if __name__ == '__main__':\n"
        "    root = Path(sys.argv[1])\n"
        "    collect(root, usb(expert_episodes=1), 1)\n"
        "    for _ in range(5):\n"
        "        try:\n"
        "            collect(root, usb(noise=0.5, domains_per_connector=8), 2)\n"
        "        except DataError as error:\n"
        "            print(error)\n"
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 5 and "was collected with noise 0.2, not 0.5" in done.stdout
