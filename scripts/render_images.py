"""Render the pictures of README and docs: `python scripts/render_images.py docs/images`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lotj.envs.insertion import InsertionEnv
from lotj.geometry import mosaic
from lotj.sim.arm import ARMS
from lotj.sim.bench import Bench
from lotj.sim.connector import catalogue, find_connector
from lotj.sim.drawing import Drawing, free_camera
from lotj.sim.gallery import contact_sheet
from lotj.sim.randomization import draw_randomization

import mujoco  # after lotj.sim, which chooses the renderer  # isort: skip
from PIL import Image, ImageDraw, ImageFont  # isort: skip

BENCH = ("nema-5-15", 5)
"""Connector and seed of the bench that is shown from outside and through its own cameras."""

OTHERS = (("usb-a", "duo", 4), ("peg-round-12", "duo", 7), ("rj45", "trio", 8), ("m12-a-5", "duo", 9))


def from_outside(connector: str, seed: int, pixels: int) -> np.ndarray:
    """The whole bench, seen from the side, (pixels, pixels, 3) uint8."""
    part = find_connector(connector)
    drawn = replace(draw_randomization(part, seed), light_level=1.0, ambient=0.45, light_direction=(0.4, 0.6, -1.0))
    bench = Bench(part, ARMS["duo"], drawn, image_size=64)
    bench.reset(np.array([0.012, -0.008]), 0.008)
    bench.model.vis.quality.offsamples = 8
    camera = mujoco.MjvCamera()
    camera.lookat[:] = bench.data.site("socket").xpos + [0, 0, 0.012]
    camera.distance, camera.azimuth, camera.elevation = 0.25, 48.0, -38.0
    return Drawing(bench.model)(bench.data, [camera], pixels, pixels)[0]


def wrist(connector: str, robot: str, seed: int, pixels: int) -> np.ndarray:
    """What the learner sees, enlarged without smoothing, (pixels, pixels, 3) uint8."""
    env = InsertionEnv(connector, robot, seed, "near", image_size=64)
    observation, _ = env.reset(seed=seed)
    env.close()
    return np.asarray(Image.fromarray(mosaic(observation["image"])).resize((pixels, pixels), Image.Resampling.NEAREST))


def arm_picture(connector: str, seed: int, side: int) -> np.ndarray:
    """The jointed arm from outside, by the camera beside the bench, and what its policy sees, (side, 3 side, 3)."""
    part = find_connector(connector)
    bench = Bench(part, ARMS["panda"], draw_randomization(part, seed), image_size=64)
    bench.reset(np.array([0.012, -0.008]), 0.008)
    outside = bench.view(free_camera((-0.2, 0.0, 0.2), 1.5, azimuth=130.0, elevation=-15.0), side)
    return np.concatenate([outside, bench.view("beside", side), wrist(connector, "panda", seed, side)], axis=1)


def main() -> None:
    """Write bench.png, panda.png and connectors.png."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    side = 384
    others = [wrist(*domain, side // 2) for domain in OTHERS]
    columns = {
        "the bench, from outside": from_outside(*BENCH, side),
        "what its policy sees: two wrist views of 64 x 32": wrist(BENCH[0], "duo", BENCH[1], side),
        "four other domains": np.concatenate([np.concatenate(others[i : i + 2], axis=1) for i in (0, 2)]),
    }
    sheet = Image.new("RGB", (len(columns) * (side + 8) - 8, side + 26), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, (caption, picture) in enumerate(columns.items()):
        sheet.paste(Image.fromarray(picture), (number * (side + 8), 0))
        draw.text((number * (side + 8) + 4, side + 4), caption, fill=(40, 40, 40), font=font)
    sheet.save(folder / "bench.png", optimize=True)
    Image.fromarray(arm_picture(*BENCH, 288)).save(folder / "panda.png", optimize=True)
    contact_sheet(catalogue().values(), cell=120, columns=12).save(folder / "connectors.png", optimize=True)


if __name__ == "__main__":
    main()
