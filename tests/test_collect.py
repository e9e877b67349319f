"""Collection: what is recorded, that it resumes, and that a kill or Ctrl-C costs nothing that was finished."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lotj.data.dataset import Dataset
from lotj.errors import SettingsError
from lotj.experience import KINDS
from lotj.experiments.parts import choose_training, of_split
from lotj.sim.connector import catalogue, training_connectors
from lotj.training.collect import CollectConfig, Progress, collect, plan_domains

SMALL = CollectConfig(image_size=32, expert_episodes=6, near_miss_share=0.4)


def record(root: Path, config: CollectConfig = SMALL, connectors: tuple[str, ...] = ("nema-5-15",)) -> list[Progress]:
    seen: list[Progress] = []
    collect(root, connectors, config, workers=1, report=seen.append)
    return seen


def test_counts_by_hand() -> None:
    """60 expert episodes are 60 % of 100: 40 near misses, of which 20 press, 10 half insert and 10 withdraw."""
    config = CollectConfig(expert_episodes=60, near_miss_share=0.4)
    assert config.counts() == {"expert": 60, "press": 20, "half": 10, "withdraw": 10, "recover": 0}
    assert sum(CollectConfig(near_miss_share=0.0).counts().values()) == 120


def test_the_record_is_what_happened(tmp_path: Path) -> None:
    seen = record(tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert len(seen) == 10 and len(data) + sum(sum(c.values()) for c in data.discarded.values()) == 10
    for episode in data.episodes:
        frames = slice(episode["first_frame"], episode["first_frame"] + episode["n_frames"])
        success, state = data.frame_success[frames], data.frame_state[frames]
        kind = KINDS[episode["kind"]]
        if kind in ("expert", "press"):  # they end at the first success, and only there
            assert not success[:-1].any() and success[-1] == episode["terminated"]
        else:
            assert episode["truncated"] and episode["n_frames"] == 21
        # Seated means within a millimetre of the end of the travel and beside the axis by no more than the guard.
        assert (np.abs(state[success, 2]) < 1e-3).all()
    expert = data.episodes[data.episodes["kind"] == KINDS.index("expert")]
    assert expert["success"].mean() > 0.5
    half = data.frame_kind == KINDS.index("half")
    assert data.frame_state[half, 2].min() < 0.5 * catalogue()["nema-5-15"].insertion_depth


def test_presses_lie_near_and_far_beside(tmp_path: Path) -> None:
    record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=24, near_miss_share=0.5))
    data = Dataset.open(tmp_path / "data")
    press = data.frame_kind == KINDS.index("press")
    touching = press & (data.frame_state[:, 5] > 3.0) & ~data.frame_success
    lateral = np.linalg.norm(data.frame_state[touching, :2], axis=1)
    assert touching.sum() > 20 and lateral.min() < 6e-3 and lateral.max() > 20e-3


def test_a_press_tries_several_places(tmp_path: Path) -> None:
    record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=12, near_miss_share=0.5))
    data = Dataset.open(tmp_path / "data")
    spread = []
    for episode in data.episodes[data.episodes["kind"] == KINDS.index("press")]:
        frames = slice(episode["first_frame"], episode["first_frame"] + episode["n_frames"])
        state = data.frame_state[frames]
        touching = state[(state[:, 5] > 3.0) & (np.linalg.norm(state[:, :2], axis=1) > 1e-3), :2]
        spread.append(np.ptp(touching, axis=0).max() if len(touching) else 0.0)
    assert np.median(spread) > 4e-3  # a hop is 2-12 mm long, a drag without one rarely more than 2 mm


def test_no_two_episodes_share_a_start(tmp_path: Path) -> None:
    """Neither in a domain nor in two: were starts drawn from the episode's number alone, all domains held the same."""
    record(tmp_path / "data", replace(SMALL, looks_per_connector=2))
    data = Dataset.open(tmp_path / "data")
    assert len(set(data.episodes["domain"])) == 2
    start = np.round(data.frame_state[data.episodes["first_frame"], :3], 7)
    assert len(np.unique(start, axis=0)) == len(start)


def test_the_expert_takes_over_from_a_plug_pressed_beside_and_brings_it_in(tmp_path: Path) -> None:
    record(tmp_path / "data", CollectConfig(image_size=32, expert_episodes=1, near_miss_share=0.0, recover_episodes=24))
    data = Dataset.open(tmp_path / "data")
    recover = data.episodes[data.episodes["kind"] == KINDS.index("recover")]
    assert len(recover) >= 20
    start = data.frame_state[recover["first_frame"]]
    depth = catalogue()["nema-5-15"].insertion_depth
    # The expert starts 4-10 mm above the rim; most of these stand on it, or on the clamp, up to 15 mm beside the axis.
    assert np.median(start[:, 2] - depth) < 2e-3
    assert np.linalg.norm(start[:, :2], axis=1).max() < 21e-3
    assert recover["success"].mean() > 0.6


def test_resuming_does_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    record(tmp_path / "whole")
    record(tmp_path / "parts", CollectConfig(image_size=32, expert_episodes=3, near_miss_share=0.4))
    more = record(tmp_path / "parts")
    assert 0 < len(more) < 10
    assert record(tmp_path / "parts") == []
    whole, parts = Dataset.open(tmp_path / "whole"), Dataset.open(tmp_path / "parts")
    assert len(whole) == len(parts)
    for a in whole.episodes:
        (b,) = (e for e in parts.episodes if e["kind"] == a["kind"] and e["seed"] == a["seed"])
        index_a, index_b = (e["first_frame"] + np.arange(e["n_frames"]) for e in (a, b))
        np.testing.assert_array_equal(whole.images(index_a), parts.images(index_b))
        np.testing.assert_array_equal(whole.frame_action[index_a], parts.frame_action[index_b])


def test_domains_alternate_or_cover_the_robots() -> None:
    names = [d.name for d in plan_domains(["usb-a", "rj45"], CollectConfig())]
    assert names == ["usb-a.duo.0", "rj45.trio.0"]
    names = [d.name for d in plan_domains(["usb-a"], CollectConfig(robots_per_connector=2, looks_per_connector=2))]
    assert names == ["usb-a.duo.0", "usb-a.duo.1", "usb-a.trio.0", "usb-a.trio.1"]


@pytest.mark.parametrize(
    "settings,word",
    [({"near_miss_share": 1.0}, "near_miss_share"), ({"image_size": 8}, "image_size 8: must be between 16 and 1024"),
     ({"noise": float("nan")}, "noise nan: must be between 0 and 1"), ({"seed": 2**32}, "seed 4294967296: must be"),
     ({"expert_episodes": 0}, "expert_episodes"),
     ({"recover_episodes": -1}, "recover_episodes"),
     ({"robots_per_connector": 3}, "robots_per_connector = 3: must be 1 to 2, since robots = duo trio"),
     ({"robots": ("uno",), "robots_per_connector": 2}, "unknown robot 'uno'; known are duo, trio"),
     ({"robots": ("duo", "duo")}, "robots = duo duo: each must be named once")],
)  # fmt: skip
def test_impossible_settings_are_named(settings: dict, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        CollectConfig(**settings)


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


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_collector_ends_its_workers_and_keeps_every_finished_episode(
    tmp_path: Path, stop: signal.Signals
) -> None:
    """Two worker processes; only the parent is stopped. What was reported is there, and a second call does the rest."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom lotj.training.collect import CollectConfig, collect\n"
        "if __name__ == '__main__':\n"
        "    config = CollectConfig(image_size=32, expert_episodes=30)\n"
        f"    collect(Path({str(tmp_path / 'data')!r}), ['usb-a', 'rj45'], config, 2,"
        " lambda progress: print(progress.domain, flush=True))\n"
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
    data = Dataset.open(tmp_path / "data")
    assert len(data) + sum(sum(c.values()) for c in data.discarded.values()) >= len(reported)
    rest: list[Progress] = []
    collect(tmp_path / "data", ["usb-a"], CollectConfig(image_size=32, expert_episodes=2), 1, rest.append)
    assert all(p.domain == "usb-a.duo.0" for p in rest)


def test_an_error_of_a_worker_is_raised_and_nothing_is_printed(tmp_path: Path) -> None:
    """Workers of five calls, each refused as the data set was made with other settings, beside jobs that wait."""
    (tmp_path / "program.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom lotj.errors import DataError\n"
        "from lotj.training.collect import CollectConfig, collect\n"
        "if __name__ == '__main__':\n"
        "    root = Path(sys.argv[1])\n"
        "    collect(root, ['usb-a'], CollectConfig(image_size=32, expert_episodes=1), 1)\n"
        "    for _ in range(5):\n"
        "        try:\n"
        "            collect(root, ['usb-a'], CollectConfig(image_size=32, noise=0.5, looks_per_connector=8), 2)\n"
        "        except DataError as error:\n"
        "            print(error)\n"
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 5 and "was collected with noise = 0.2, not 0.5" in done.stdout
