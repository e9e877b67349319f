"""Memory of `lotj data export` and `import` at 70,000 episodes: what does an episode more cost?

    python benchmarks/exchange_memory.py --out results/benchmarks/exchange_memory.json

Episodes are as small as can be (2 steps of one state), for it is their number that is asked about; that their frames
cost nothing the tests show (`test_memory_stays_flat_however_many_episodes`: 7 and 44 MB of frames). Each export and
import has a process of its own, whose peak is read where it ends. Flat, as said before the first run: at most 1,000
bytes more for an episode more, from the smallest to the largest number of episodes, so 63 MB from 7,000 to 70,000.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import as_command, record

from lotj.data.layout import Schema
from lotj.data.writer import EpisodeWriter
from lotj.experience import Episode, Task
from lotj.interop.exchange import export, import_

TASKS, LIMIT = 10, 1000.0  # tasks of a data set; bytes an episode more may cost


def make(root: Path, episodes: int) -> None:
    """A data set of so many episodes."""
    seen, action, reward = np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    for number in range(TASKS):
        task, writer = Task(f"small.{number}", "foreign/small"), None
        for seed in range(episodes // TASKS):
            episode = Episode({"state": seen}, action, reward, True, False, task.name, "expert", seed)
            writer = writer or EpisodeWriter(root, task, Schema.of(episode))
            writer.append(episode)
        if writer is not None:
            writer.close()


def peak(work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """(bytes, processor seconds) that a process has needed at most to do this, and in all."""
    work(*arguments)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0, time.process_time()


def main() -> None:
    """Measure, and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", default=["lerobot", "robomimic", "minari"])
    parser.add_argument("--episodes", type=int, nargs=2, default=[7_000, 70_000])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for form in options.formats:
        for episodes in options.episodes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                root, out = folder / "data", folder / ("set-v0.hdf5" if form == "robomimic" else "set-v0")
                make(root, episodes)
                row: dict[str, Any] = {"format": form, "episodes": episodes}
                for what, how in (
                    ("export", (export, root, form, out)),
                    ("import", (import_, out, form, folder / "b")),
                ):
                    most, seconds = as_command(peak, *how)
                    row |= {f"{what}_peak_mb": round(most / 1e6, 1), f"{what}_processor_s": round(seconds, 1)}
                    print(row, flush=True)
            rows.append(row)
        few, many = rows[-2:]
        for what in ("export", "import"):
            more = (many[f"{what}_peak_mb"] - few[f"{what}_peak_mb"]) * 1e6 / (many["episodes"] - few["episodes"])
            many |= {f"{what}_bytes_an_episode": round(more), f"{what}_flat": more <= LIMIT}
        record({"limit_bytes_an_episode": LIMIT, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
