"""Environment steps with images against bare MuJoCo stepping and rendering of the same scene, side by side in one run.

python benchmarks/env_speed.py --out results/benchmarks/env_speed.json
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from side_by_side import rates, report

from lotj.envs.insertion import InsertionEnv
from lotj.sim.bench import RATE_HZ
from lotj.sim.renderer import renderer_info
from lotj.sim.scene import TIMESTEP

import mujoco  # after lotj.sim, which chooses the renderer  # isort: skip


def measure(connector: str, image_size: int, steps: int, repeats: int) -> dict[str, list[float]]:
    """Rates [1/s] of each way, `repeats` times in turn, so that a busy machine hits all alike."""
    env = InsertionEnv(connector, image_size=image_size, end_on_success=False, max_steps=10**9)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    actions = rng.uniform(-1, 1, (steps, 3)) * [1, 1, 0.5] - [0, 0, 0.5]
    substeps = round(1 / RATE_HZ / TIMESTEP)
    renderer = mujoco.Renderer(env.bench.model, image_size // 2, image_size)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
        renderer.scene.flags[flag] = 0
    number = iter(range(10**9))

    def env_step() -> None:
        i = next(number)
        if i % 20 == 0:
            env.reset(seed=i)
        env.step(actions[i % steps])

    def physics_step() -> None:
        mujoco.mj_step(env.bench.model, env.bench.data, substeps)

    def render_only() -> None:
        for camera in env.bench.arm.cameras:
            renderer.update_scene(env.bench.data, camera)
            renderer.render()

    def bare_step() -> None:
        physics_step()
        render_only()

    ways = {"env": env_step, "bare": bare_step, "physics": physics_step, "render": render_only}
    found = rates(ways, steps, repeats)
    renderer.close()
    env.close()
    return found


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connector", default="nema-5-15")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.connector, options.image_size, options.steps, options.repeats)
    ratio = np.array(found["env"]) / np.array(found["bare"])
    result = {
        "renderer": renderer_info(),
        "cores": os.cpu_count(),
        "steps_per_s_median": {name: round(float(np.median(values)), 1) for name, values in found.items()},
        "env_over_bare": {"median": round(float(np.median(ratio)), 3), "all": [round(float(r), 3) for r in ratio]},
        "repeats": options.repeats,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
