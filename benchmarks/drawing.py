"""Pictures of both views and control steps with pictures, before and after drawing was made faster (processor time).

    python benchmarks/drawing.py --out results/benchmarks/drawing.json

*Before*: a bench plane without end, every piece of plug and socket drawn by itself, one `mujoco.Renderer` pass a
view. *After*: a plane of 2 m, the pieces of one body and material as one mesh, both views in one buffer that is read
once. The model, its motion and its numbers are the same. The ways are timed in turns. The pictures of both are
compared, pixel by pixel, for every connector on both robots, above the socket and after some steps down.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report

from lotj.envs.insertion import InsertionEnv
from lotj.sim.arm import ARMS
from lotj.sim.bench import Bench
from lotj.sim.connector import catalogue, find_connector
from lotj.sim.look import draw_look
from lotj.sim.renderer import renderer_info
from lotj.sim.scene import CAMERAS

import mujoco  # after lotj.sim, which chooses the renderer  # isort: skip

CONNECTORS = ("usb-b", "nema-5-15", "rj45", "as-3112", "deutsch-dt-12", "duplo-2x2")

VISIBLE = 8
"""Levels of 255 by which a pixel must differ to count as changed."""


def as_before(bench: Bench) -> Callable[[], np.ndarray]:
    """Draws a bench's views as before, (2, S/2, S, 3) uint8. Its physics stays as it is."""
    model = bench.model.__copy__()
    for number in range(model.ngeom):
        geom = model.geom(number)
        side, _, rest = geom.name.partition("-")
        if side in ("plug", "socket"):
            geom.group[:] = 3 if rest.startswith("seen-") else 0
    model.geom("bench").size[:] = (0, 0, 0.05)
    renderer = mujoco.Renderer(model, bench.image_size // 2, bench.image_size)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
        renderer.scene.flags[flag] = 0

    def draw() -> np.ndarray:
        for name in ("light_diffuse", "light_ambient", "light_dir"):  # they vary from episode to episode
            getattr(model, name)[:] = getattr(bench.model, name)
        views = np.empty((len(CAMERAS), bench.image_size // 2, bench.image_size, 3), np.uint8)
        for camera, view in zip(CAMERAS, views, strict=True):
            renderer.update_scene(bench.data, camera)
            renderer.render(out=view)
        return views

    return draw


def milliseconds(ways: dict[str, Callable[[], object]], calls: int, repeats: int) -> dict[str, float]:
    """Least processor time of a call of each way [ms], in turn, so that a busy machine hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            way()  # its context becomes the current one
            started = time.process_time()
            for _ in range(calls):
                way()
            found[name].append(1e3 * (time.process_time() - started) / calls)
    return {name: min(times) for name, times in found.items()}


def measure(connector: str, image_size: int, calls: int, repeats: int) -> dict[str, float]:
    """Processor time of pictures and control steps of one connector [ms]."""
    env = InsertionEnv(connector, image_size=image_size, end_on_success=False, max_steps=10**9)
    env.reset(seed=0)
    before, after, rng = as_before(env.bench), env.bench.render, np.random.default_rng(0)

    def step(render: Callable[[], np.ndarray]) -> Callable[[], object]:
        def call() -> None:
            env.bench.render = render  # pyright: ignore[reportAttributeAccessIssue]
            env.step(rng.uniform(-1, 1, 3) * [1, 1, 0.5] - [0, 0, 0.2])

        return call

    ways = {"picture before": before, "picture after": after, "step before": step(before), "step after": step(after)}
    found = milliseconds(ways, calls, repeats)
    env.close()
    return found


def compare(image_size: int) -> dict[str, Any]:
    """Differences of the pictures over the catalogue, both robots, above the socket and after steps down."""
    largest, counts, means = [], [], []
    for name in sorted(catalogue()):
        for robot in sorted(ARMS):
            part = find_connector(name)
            bench = Bench(part, ARMS[robot], draw_look(part, 1), image_size)
            bench.reset(np.array([4e-3, -6e-3]), 5e-3)
            draw = as_before(bench)
            for _ in range(2):
                change = np.abs(bench.render().astype(int) - draw())
                largest.append(int(change.max()))
                counts.append(int((change.max(-1) > VISIBLE).sum()))
                means.append(float(change.mean()))
                for _ in range(6):
                    bench.move(np.array([-0.7e-3, 1e-3, -4e-3]))
            bench.close()
    return {
        "pictures": len(largest),
        "largest_change_of_a_picture": {"median": float(np.median(largest)), "largest": max(largest)},
        f"pixels_changed_by_more_than_{VISIBLE}": {"mean": round(float(np.mean(counts)), 3), "largest": max(counts)},
        "mean_change": {"mean": round(float(np.mean(means)), 4), "largest": round(max(means), 4)},
    }


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = {name: measure(name, options.image_size, options.calls, options.repeats) for name in CONNECTORS}
    times = [{name: row[name] / row[name.replace("after", "before")] for name in row} for row in rows.values()]
    faster = {name.split()[0]: [round(1 / row[name], 2) for row in times] for name in times[0] if "after" in name}
    result = {
        "command": f"python benchmarks/drawing.py --image-size {options.image_size} --calls {options.calls} "
        f"--repeats {options.repeats} --out {options.out}",
        "renderer": str(renderer_info()),
        "cores": os.cpu_count(),
        "processor_ms": {name: {way: round(ms, 3) for way, ms in row.items()} for name, row in rows.items()},
        "times_as_fast": {name: {"mean": round(float(np.mean(all_)), 2), "all": all_} for name, all_ in faster.items()},
        "pictures": compare(options.image_size),
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
