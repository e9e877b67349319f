"""The simulated bench. Importing this package chooses the off-screen renderer, which must happen before `mujoco` loads."""

from lotj.sim.renderer import choose_renderer

choose_renderer()
