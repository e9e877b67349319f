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
    and textures are copied when a size is drawn first. All drawings of a thread share its OpenGL context, whose shaders
    are compiled once (150 ms). A copy makes its buffers anew when they are needed.

    Args:
        model: what is drawn; geoms of group 3 and above are not.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._buffers: dict[tuple[int, int, int], tuple[Any, Any]] = {}  # (V, H, W) -> OpenGL's and MuJoCo's context
        self._model = model
        self._scene, self._option = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 100), mujoco.MjvOption()
        self._scene.flags[_OFF] = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Drawing, (self._model,)

    def _make_buffer(self, shape: tuple[int, int, int]) -> tuple[Any, Any]:
        size, quality = self._model.vis.global_, self._model.vis.quality
        before = size.offwidth, size.offheight, quality.shadowsize
        size.offwidth, size.offheight, quality.shadowsize = shape[2], shape[0] * shape[1], 0
        try:
            gl = _thread_context()
            gl.make_current()
            buffer = gl, mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        except Exception as error:  # EGL and OSMesa bindings raise whatever they like when a driver is missing
            raise RendererError(f"{NO_RENDERER} (MUJOCO_GL={choose_renderer()}: {error})") from None
        finally:
            size.offwidth, size.offheight, quality.shadowsize = before
        _drew["process"] = os.getpid()
        return buffer

    def __call__(
        self, data: mujoco.MjData, cameras: Sequence[str | mujoco.MjvCamera], width: int, height: int
    ) -> np.ndarray:
        """What the V cameras see, (V, H, W, 3) uint8.

        Raises:
            RendererError: there is no renderer, or this process was forked from one that has drawn.
        """
        if _forked():
            raise RendererError(
                "this process was forked from one that has drawn pictures, and OpenGL would hang in it: start it with "
                "context='spawn' (gymnasium.vector.AsyncVectorEnv, multiprocessing), or fork before the first picture"
            )
        shape = len(cameras), height, width
        if shape not in self._buffers:
            self._buffers[shape] = self._make_buffer(shape)
        gl, context = self._buffers[shape]
        gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
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
            place = mujoco.MjrRect(0, (len(cameras) - 1 - number) * height, width, height)
            mujoco.mjr_render(place, self._scene, context)
        pixels = np.empty((len(cameras) * height, width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, mujoco.MjrRect(0, 0, *pixels.shape[1::-1]), context)
        return np.ascontiguousarray(pixels[::-1]).reshape(*shape, 3)

    def geoms(
        self, data: mujoco.MjData, cameras: Sequence[str | mujoco.MjvCamera], width: int, height: int
    ) -> np.ndarray:
        """Which geom each pixel shows, (V, H, W) int; -1 for none."""
        self._scene.flags[_NUMBERED] = 1
        try:
            colour = self(data, cameras, width, height) @ np.array([1, 2**8, 2**16])
        finally:
            self._scene.flags[_NUMBERED] = 0
        found = np.full(self._scene.ngeom + 1, -1)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                found[geom.segid + 1] = geom.objid
        return found[colour]

    def close(self) -> None:
        """Free the buffers. Their context must be current, or what another one has would be freed."""
        while self._buffers:
            gl, context = self._buffers.popitem()[1]
            if not (_forked() or sys.is_finalizing()):
                gl.make_current()
                context.free()

    __del__ = close


def free_camera(lookat: tuple[float, float, float], distance: float, azimuth: float, elevation: float) -> Any:
    """A camera that looks at a point [m] from a distance [m]; angles in degrees, as MuJoCo has them."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = lookat
    camera.distance, camera.azimuth, camera.elevation = distance, azimuth, elevation
    return camera


def _forked() -> bool:
    """Whether this process was forked from one that has drawn."""
    return _drew.get("process", os.getpid()) != os.getpid()


def _thread_context() -> Any:
    """This thread's OpenGL context; of the renderer that was chosen even where `mujoco` was imported before."""
    if not hasattr(_own, "gl"):
        backend = choose_renderer()
        if backend == "disable":
            raise RendererError("MUJOCO_GL=disable")
        module: Any = importlib.import_module(f"mujoco.{backend}") if backend in ("egl", "osmesa") else mujoco
        _own.gl = module.GLContext(64, 64)  # drawings have buffers of their own, of any size
    return _own.gl
