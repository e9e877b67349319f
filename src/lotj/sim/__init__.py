"""The simulated bench. Importing it chooses the off-screen renderer, which must happen before `mujoco` loads."""

from lotj.sim.renderer import choose_renderer

choose_renderer()
