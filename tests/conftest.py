"""Set-up that every test shares."""

import os
from pathlib import Path

import lotj.sim  # noqa: F401  chooses the renderer, which must happen before any test imports mujoco

# Processes that tests start find this lotj, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
