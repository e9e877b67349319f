"""Render the pictures of README and docs: `python scripts/render_images.py docs/images`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lotj.envs.insertion import InsertionEnv
from lotj.sim.arm import ARMS
from lotj.sim.bench import Bench, open_renderer
from lotj.sim.connector import catalogue, find_connector
from lotj.sim.gallery import contact_sheet
from lotj.sim.look import draw_look

import mujoco  # after lotj.sim, which chooses the renderer  # isort: skip
from PIL import Image  # isort: skip

SHOWN = ("deutsch-dt-12", "usb-a", "mega-brick-1x1", "europlug", "peg-round-12", "rj45", "m12-a-5", "bs-1363")


def from_outside(connector: str, seed: int, pixels: int) -> np.ndarray:
    """The whole bench, seen from the side, (pixels, pixels, 3) uint8."""
    part = find_connector(connector)
    look = replace(draw_look(part, seed), light_level=1.0, ambient=0.45, light_direction=(0.4, 0.6, -1.0))
    bench = Bench(part, ARMS["duo"], look, image_size=64)
    bench.reset(np.array([0.012, -0.008]), 0.008)
    bench.model.vis.global_.offwidth = bench.model.vis.global_.offheight = pixels
    bench.model.vis.quality.offsamples = 8
    camera = mujoco.MjvCamera()
    camera.lookat[:] = bench.data.site("socket").xpos + [0, 0, 0.012]
    camera.distance, camera.azimuth, camera.elevation = 0.26, 48.0, -22.0
    renderer = open_renderer(bench.model, pixels, pixels)
    renderer.update_scene(bench.data, camera)
    picture = renderer.render()
    renderer.close()
    return picture


def wrist(connector: str, robot: str, seed: int, pixels: int) -> np.ndarray:
    """What the learner sees, enlarged without smoothing, (pixels, pixels, 3) uint8."""
    env = InsertionEnv(connector, robot, seed, "near", image_size=64)
    image, _ = env.reset(seed=seed)
    env.close()
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.NEAREST))


def main() -> None:
    """Write bench.png and connectors.png."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    cell = 192
    eyes = [wrist(name, ("duo", "trio")[i % 2], 3 + i, cell) for i, name in enumerate(SHOWN)]
    rows = [np.concatenate(eyes[i : i + 4], axis=1) for i in (0, 4)]
    picture = np.concatenate([from_outside("nema-5-15", 3, 2 * cell), np.concatenate(rows)], axis=1)
    Image.fromarray(picture).save(folder / "bench.png", optimize=True)
    contact_sheet(catalogue().values(), cell=120, columns=12).save(folder / "connectors.png", optimize=True)


if __name__ == "__main__":
    main()
