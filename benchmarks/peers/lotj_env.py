"""Control steps with images of lotj's environment, in rounds; run by `benchmarks/peer_env.py`."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from rounds import Round, episodes, seconds, serve

from lotj.envs.insertion import InsertionEnv
from lotj.sim.bench import RATE_HZ
from lotj.sim.renderer import renderer_info
from lotj.sim.scene import TIMESTEP

import mujoco  # after lotj.sim, which chooses the renderer  # isort: skip

SUBSTEPS = round(1 / RATE_HZ / TIMESTEP)


def player(env: InsertionEnv) -> Round:
    """What does a round: `steps` control steps in episodes of `episode`, then `parts` of each part of a step alone."""
    rng = np.random.default_rng(0)
    bench = env.bench

    def draw() -> np.ndarray:
        return rng.uniform(-1, 1, 3) * [1, 1, 0.5] - [0, 0, 0.5]  # downwards, where the contacts are

    def play(request: dict[str, Any]) -> dict[str, Any]:
        told, parts = episodes(lambda: env.step(draw()), env.reset, request), request["parts"]
        found = {
            "render": seconds(bench.render, parts),
            "without_images": seconds(lambda: bench.move(draw() * env.action_scale), parts),
            "physics": seconds(lambda: mujoco.mj_step(bench.model, bench.data, SUBSTEPS), parts),
        }
        return {**told, "parts_s": found}

    return play


def begin() -> tuple[dict[str, Any], Round]:
    """Make the environment; what it is, and what does rounds."""
    settings = json.loads(sys.argv[1])
    env = InsertionEnv(settings["connector"], image_size=settings["image_size"], end_on_success=False, max_steps=10**9)
    env.reset(seed=0)
    model = env.bench.model
    about = {
        "mujoco": mujoco.__version__,
        "renderer": renderer_info(),
        "cameras": list(env.bench.arm.cameras),
        "control_hz": RATE_HZ,
        "physics_steps_per_control_step": SUBSTEPS,
        "multisampling": int(model.vis.quality.offsamples),
        "degrees_of_freedom": model.nv,
        "geoms": model.ngeom,
        "mesh_faces": int(model.nmeshface),
    }
    return about, player(env)


if __name__ == "__main__":
    serve(begin)
