"""Control steps with images of a robosuite task, in rounds; run by `benchmarks/peer_env.py` in robosuite's own Python.

One task a process: robosuite never makes its OpenGL context current again once another was made.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from typing import Any

import mujoco
import numpy as np
import robosuite
from rounds import Round, episodes, seconds, serve

CAMERAS = ["agentview", "robot0_eye_in_hand"]
"""The pair that robosuite's own data sets of images have."""


def make(task: str, control_freq: float, width: int, height: int, lean: bool) -> Any:
    """The environment, its cameras of that many pixels each.

    Args:
        lean: draw as lotj does, without shadows, reflections, sky and multisampling, into a buffer no larger than the
            picture; otherwise as robosuite comes.
    """
    env = robosuite.make(
        task,
        robots=["Panda", "Panda"] if task.startswith("TwoArm") else "Panda",
        has_renderer=False,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        use_object_obs=False,
        reward_shaping=False,
        control_freq=control_freq,
        camera_names=CAMERAS,
        camera_widths=width,
        camera_heights=height,
        hard_reset=False,
        ignore_done=True,
        seed=0,
    )
    env.reset()
    if lean:
        context = env.sim._render_context_offscreen
        for name in ("SHADOW", "REFLECTION", "SKYBOX"):
            context.scn.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{name}")] = 0
        env.sim.model.vis.quality.offsamples = 0
        context.update_offscreen_size(width, height)
    return env


def player(env: Any) -> Round:
    """What does a round: `steps` control steps in episodes of `episode`, then `parts` of each part of a step alone."""
    rng = np.random.default_rng(0)
    model, data = env.sim.model._model, env.sim.data._data
    substeps = int(env.control_timestep / env.model_timestep)

    def step() -> None:
        env.step(rng.uniform(-1, 1, env.action_dim))

    def render() -> None:
        for camera in CAMERAS:
            env.sim.render(camera_name=camera, width=env.camera_widths[0], height=env.camera_heights[0])

    def show(images: bool) -> None:
        for camera in CAMERAS:
            env.modify_observable(f"{camera}_image", "enabled", images)

    def play(request: dict[str, Any]) -> dict[str, Any]:
        told, parts = episodes(step, env.reset, request), request["parts"]
        found = {"render": seconds(render, parts)}
        show(False)
        found["without_images"] = seconds(step, parts)
        show(True)
        found["physics"] = seconds(lambda: mujoco.mj_step(model, data, substeps), parts)
        return {**told, "parts_s": found}

    return play


def begin() -> tuple[dict[str, Any], Round]:
    """Make the environment; what it is, and what does rounds."""
    from OpenGL import GL

    settings = json.loads(sys.argv[1])
    env = make(**settings)
    model = env.sim.model._model
    image, *_ = env.step(np.zeros(env.action_dim))
    shape = image[f"{CAMERAS[0]}_image"].shape
    assert shape == (settings["height"], settings["width"], 3) and image[f"{CAMERAS[0]}_image"].std() > 0
    about = {
        "robosuite": robosuite.__version__,
        "mujoco": mujoco.__version__,
        "renderer": (GL.glGetString(GL.GL_RENDERER) or b"unknown").decode(),
        "cameras": CAMERAS,
        "control_hz": env.control_freq,
        "physics_steps_per_control_step": int(env.control_timestep / env.model_timestep),
        "multisampling": int(model.vis.quality.offsamples),
        "degrees_of_freedom": model.nv,
        "geoms": model.ngeom,
        "mesh_faces": int(model.nmeshface),
    }
    return about, player(env)


if __name__ == "__main__":
    serve(begin)
