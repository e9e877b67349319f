"""The scene of the towers: their Fetch table with more blocks, each free, held by nothing but friction."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from lotj.envs.base import robotics_module

BLOCK = 0.05  # side of a block [m]
APART = 0.12  # middles of blocks at the start, at least [m]: the open fingers fit between them
COLOURS = ((0.15, 0.35, 0.75, 1.0), (0.9, 0.65, 0.1, 1.0), (0.2, 0.6, 0.3, 1.0))


def stack_of(theirs: Any, blocks: int) -> type:
    """A class like their pick and place with that many blocks, alike in size, mass and friction; `FetchEnv` says what
    it observes. They start upright, `APART`, within 15 cm of the gripper along x and y."""

    class Stack(theirs):
        def _initialize_simulation(self) -> None:
            spec = mujoco.MjSpec.from_file(self.fullpath)
            first = spec.body("object0")
            for number, colour in enumerate(COLOURS[:blocks]):
                name, body = f"object{number}", first
                if number:
                    body = spec.worldbody.add_body(name=name, pos=(1.25, 0.53 + APART * number, 0.425))
                    body.add_joint(
                        name=f"{name}:joint", type=mujoco.mjtJoint.mjJNT_FREE, damping=first.joints[0].damping
                    )
                    like = first.geoms[0]
                    body.add_geom(name=name, type=like.type, size=like.size, mass=like.mass, condim=like.condim)
                    body.add_site(name=name, size=(0.02, 0.02, 0.02), group=4)  # not drawn
                body.geoms[0].material, body.geoms[0].rgba = "", colour
            self.model = spec.compile()
            self.data = mujoco.MjData(self.model)
            self._model_names = self._utils.MujocoModelNames(self.model)
            self._env_setup(initial_qpos=self.initial_qpos)
            self.initial_time = self.data.time
            self.initial_qpos, self.initial_qvel = self.data.qpos.copy(), self.data.qvel.copy()

        def _reset_sim(self) -> bool:
            super()._reset_sim()
            places = np.zeros((blocks, 2))
            while min(np.linalg.norm(a - b) for n, a in enumerate(places) for b in places[:n]) < APART:
                places = self.initial_gripper_xpos[:2] + self.np_random.uniform(-0.15, 0.15, (blocks, 2))
            for number, place in enumerate(places):
                self.data.joint(f"object{number}:joint").qpos[:] = (*place, self.height_offset, 1.0, 0.0, 0.0, 0.0)
            mujoco.mj_forward(self.model, self.data)
            return True

        def _sample_goal(self) -> np.ndarray:
            lowest = self.data.site("object0").xpos
            return np.concatenate([lowest + (0.0, 0.0, BLOCK * number) for number in range(blocks)])

        def _get_obs(self) -> dict[str, np.ndarray]:
            dt, tools, euler = self.dt, self._utils, robotics_module("utils.rotations").mat2euler
            grip = tools.get_site_xpos(self.model, self.data, "robot0:grip")
            speed = tools.get_site_xvelp(self.model, self.data, "robot0:grip") * dt
            joints, rates = tools.robot_get_obs(self.model, self.data, self._model_names.joint_names)
            state, places = [grip, joints[-2:], speed, rates[-2:] * dt], []
            for name in (f"object{number}" for number in range(blocks)):
                place = tools.get_site_xpos(self.model, self.data, name)
                turn = euler(tools.get_site_xmat(self.model, self.data, name))
                moves = tools.get_site_xvelp(self.model, self.data, name) * dt - speed
                state += [place, place - grip, turn, moves, tools.get_site_xvelr(self.model, self.data, name) * dt]
                places.append(place)
            achieved = np.concatenate(places)
            return {"observation": np.concatenate(state), "achieved_goal": achieved, "desired_goal": self.goal.copy()}

    return Stack
