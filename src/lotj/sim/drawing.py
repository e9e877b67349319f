"""Pictures of a MuJoCo model without a window, by MuJoCo's own drawing calls."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from lotj.errors import RendererError
from lotj.sim.renderer import NO_RENDERER, choose_renderer

_FLAG = mujoco.mjtRndFlag
_OFF = [int(flag) for flag in (_FLAG.mjRND_SHADOW, _FLAG.mjRND_REFLECTION, _FLAG.mjRND_SKYBOX)]
_NUMBERED = [int(flag) for flag in (_FLAG.mjRND_SEGMENT, _FLAG.mjRND_IDCOLOR)]
_process = {"has drawn": False, "forked from one that has": False}


def _after_fork() -> None:
    _process["forked from one that has"] = _process["has drawn"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Drawing:
    """Draws V views of one size, one below the other, into one buffer that is read back once.

    A context of its own for each size: changing the size of one costs more than drawing. The model's materials, meshes
    and textures are copied on construction.

    Args:
        model: what is drawn; geoms of group 3 and above are not.
        width, height: of one view [pixels].
        views: V.

    Raises:
        RendererError: there is no renderer, or this process was forked from one that has drawn.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, views: int = 1) -> None:
        self._gl: Any = None
        self._context: Any = None
        _refuse_after_fork()
        self._model, self._shape = model, (views, height, width)
        self._scene, self._option = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 100), mujoco.MjvOption()
        self._scene.flags[_OFF] = 0
        buffer = model.vis.global_
        before = buffer.offwidth, buffer.offheight
        buffer.offwidth, buffer.offheight = width, views * height
        try:
            self._gl = _context(width, views * height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        except Exception as error:  # EGL and OSMesa bindings raise whatever they like when a driver is missing
            raise RendererError(f"{NO_RENDERER} (MUJOCO_GL={choose_renderer()}: {error})") from None
        finally:
            buffer.offwidth, buffer.offheight = before
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        _process["has drawn"] = True

    def __call__(self, data: mujoco.MjData, cameras: Sequence[str | mujoco.MjvCamera]) -> np.ndarray:
        """What the V cameras see, (V, H, W, 3) uint8.

        Raises:
            RendererError: see the constructor.
        """
        _refuse_after_fork()
        views, height, width = self._shape
        self._gl.make_current()
        for number, camera in enumerate(cameras):
            if isinstance(camera, str):
                fixed = mujoco.MjvCamera()
                fixed.type, fixed.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
                camera = fixed
            if number == 0:
                every = mujoco.mjtCatBit.mjCAT_ALL.value
                mujoco.mjv_updateScene(self._model, data, self._option, None, camera, every, self._scene)
            else:
                mujoco.mjv_updateCamera(self._model, data, camera, self._scene)
            # OpenGL counts rows from below: the first view lies on top.
            place = mujoco.MjrRect(0, (views - 1 - number) * height, width, height)
            mujoco.mjr_render(place, self._scene, self._context)
        pixels = np.empty((views * height, width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, mujoco.MjrRect(0, 0, width, views * height), self._context)
        return np.ascontiguousarray(pixels[::-1]).reshape(views, height, width, 3)

    def geoms(self, data: mujoco.MjData, cameras: Sequence[str | mujoco.MjvCamera]) -> np.ndarray:
        """Which geom each pixel shows, (V, H, W) int; -1 for none."""
        self._scene.flags[_NUMBERED] = 1
        try:
            colour = self(data, cameras) @ np.array([1, 2**8, 2**16])
        finally:
            self._scene.flags[_NUMBERED] = 0
        found = np.full(self._scene.ngeom + 1, -1)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                found[geom.segid + 1] = geom.objid
        return found[colour]

    def close(self) -> None:
        """Free the context. It must be the current one, or what another one has would be freed."""
        context, self._gl = self._gl, None
        if context is not None and not (_process["forked from one that has"] or sys.is_finalizing()):
            context.make_current()
            if self._context is not None:  # stopped while it was made
                self._context.free()
            context.free()

    __del__ = close


def _refuse_after_fork() -> None:
    if _process["forked from one that has"]:
        raise RendererError(
            "this process was forked from one that has drawn pictures, and OpenGL would hang in it: start it with "
            "context='spawn' (gymnasium.vector.AsyncVectorEnv, multiprocessing), or fork before the first picture"
        )


def _context(width: int, height: int) -> Any:
    """An OpenGL context; of the renderer that was chosen even where `mujoco` was imported before the choice."""
    backend = choose_renderer()
    if backend == "disable":
        raise RendererError("MUJOCO_GL=disable")
    if backend in ("egl", "osmesa"):
        return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    return mujoco.GLContext(width, height)
