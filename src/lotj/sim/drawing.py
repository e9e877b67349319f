"""Pictures of a MuJoCo model without a window, by MuJoCo's own drawing calls."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from lotj.errors import RendererError
from lotj.sim.renderer import NO_RENDERER, choose_renderer

_FLAG = mujoco.mjtRndFlag
_OFF = [int(flag) for flag in (_FLAG.mjRND_SHADOW, _FLAG.mjRND_REFLECTION, _FLAG.mjRND_SKYBOX)]
_NUMBERED = [int(flag) for flag in (_FLAG.mjRND_SEGMENT, _FLAG.mjRND_IDCOLOR)]
_drew: dict[str, int] = {}  # "process": its number, once it has drawn; a fork of it has another
_own = threading.local()  # "gl": the thread's OpenGL context


class Drawing:
    """Draws V views of one size, one below the other, into one buffer that is read back once.

    A buffer of its own for each size: changing the size of one costs more than drawing. The model's materials, meshes
    and textures are copied on construction. All drawings of a thread share its OpenGL context, whose shaders are
    compiled once (150 ms).

    Args:
        model: what is drawn; geoms of group 3 and above are not.
        width, height: of one view [pixels].
        views: V.

    Raises:
        RendererError: there is no renderer, or this process was forked from one that has drawn.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, views: int = 1) -> None:
        self._context: Any = None
        _refuse_after_fork()
        self._model, self._shape = model, (views, height, width)
        self._scene, self._option = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 100), mujoco.MjvOption()
        self._scene.flags[_OFF] = 0
        size, quality = model.vis.global_, model.vis.quality
        before = size.offwidth, size.offheight, quality.shadowsize
        size.offwidth, size.offheight, quality.shadowsize = width, views * height, 0
        try:
            self._gl = _thread_context()
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        except Exception as error:  # EGL and OSMesa bindings raise whatever they like when a driver is missing
            raise RendererError(f"{NO_RENDERER} (MUJOCO_GL={choose_renderer()}: {error})") from None
        finally:
            size.offwidth, size.offheight, quality.shadowsize = before
        _drew["process"] = os.getpid()

    def __call__(self, data: mujoco.MjData, cameras: Sequence[str | mujoco.MjvCamera]) -> np.ndarray:
        """What the V cameras see, (V, H, W, 3) uint8.

        Raises:
            RendererError: see the constructor.
        """
        _refuse_after_fork()
        views, height, width = self._shape
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
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
        """Free the buffer. The context must be current, or what another one has would be freed."""
        context, self._context = self._context, None
        if context is not None and not (_forked() or sys.is_finalizing()):
            self._gl.make_current()
            context.free()

    __del__ = close


def _forked() -> bool:
    """Whether this process was forked from one that has drawn."""
    return _drew.get("process", os.getpid()) != os.getpid()


def _refuse_after_fork() -> None:
    if _forked():
        raise RendererError(
            "this process was forked from one that has drawn pictures, and OpenGL would hang in it: start it with "
            "context='spawn' (gymnasium.vector.AsyncVectorEnv, multiprocessing), or fork before the first picture"
        )


def _thread_context() -> Any:
    """This thread's OpenGL context; of the renderer that was chosen even where `mujoco` was imported before."""
    if not hasattr(_own, "gl"):
        backend = choose_renderer()
        if backend == "disable":
            raise RendererError("MUJOCO_GL=disable")
        module: Any = importlib.import_module(f"mujoco.{backend}") if backend in ("egl", "osmesa") else mujoco
        _own.gl = module.GLContext(64, 64)  # drawings have buffers of their own, of any size
    return _own.gl
