"""Which off-screen renderer MuJoCo uses, chosen before `mujoco` is imported, and how fast it is.

MuJoCo reads the environment variable MUJOCO_GL when it is imported, and a missing library makes that import fail in
odd ways. So `choose_renderer` looks for the libraries first; `renderer_info` then renders in a process of its own,
which shows whether a frame really comes out, on what, and at what rate.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from functools import cache

from lotj.errors import RendererError

_LIBRARIES = {
    "egl": (("libEGL.so.1",), ("libOpenGL.so.0", "libGL.so.1")),
    "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6"),),
}
"""What each backend needs, in the order of preference: one library out of each group."""

_OFF, _ON = ("disable", "disabled", "off", "false", "0"), ("enable", "enabled", "on", "true", "1")
_KNOWN = {*_LIBRARIES, "glfw", "glx", *_OFF, *_ON}
"""What MuJoCo takes on Linux."""

_WAY_OUT = (
    "as root, `make renderer` installs one on Debian (libegl1, libopengl0 and libgl1-mesa-dri; libosmesa6 does too); "
    "`lotj doctor` looks again"
)
NO_RENDERER = f"no off-screen renderer: {_WAY_OUT}"
_PROBE = """
import time, mujoco
model = mujoco.MjModel.from_xml_string('''
<mujoco>
  <visual><global offwidth="64" offheight="64"/><quality shadowsize="512" offsamples="4"/></visual>
  <worldbody>
    <light name="lamp" pos="0 0 1"/>
    <geom name="bench" type="plane" size="1 1 .1"/>
    <geom name="box" type="box" size=".1 .1 .1" pos="0 0 .1"/>
  </worldbody>
</mujoco>''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    for frames in (3, 40):
        start = time.perf_counter()
        for _ in range(frames):
            renderer.update_scene(data)
            image = renderer.render()
        rate = frames / (time.perf_counter() - start)
    from OpenGL import GL
    name = (GL.glGetString(GL.GL_RENDERER) or b"unknown").decode()
assert image.std() > 0, "the rendered frame is empty"
software = any(kind in name.lower() for kind in ("llvmpipe", "softpipe", "swrast"))
print(f"on the {'processor' if software else 'GPU'} ({name}), {rate:.0f} frames/s at 64 px")
"""
"""Draws a small scene with a shadow, and says on what and how fast."""


def choose_renderer() -> str:
    """Set MUJOCO_GL unless the user has; call this before `mujoco` is imported. Costs a millisecond.

    Without any renderer the value is ``disable``: physics works, and `renderer_info` says what is missing.

    Returns:
        The value of MUJOCO_GL; "" where the system brings a renderer of its own (not Linux).

    Raises:
        RendererError: a value that MuJoCo does not know (on Linux), with which it cannot even be imported.
    """
    if sys.platform != "linux":
        return os.environ.get("MUJOCO_GL", "")
    if not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = next((name for name in _LIBRARIES if _loads(name)), "disable")
    chosen = os.environ["MUJOCO_GL"]
    if chosen.lower().strip() not in _KNOWN:
        rule = "must be egl, osmesa, glfw or disable; unset it, and lotj chooses"
        raise RendererError(f"the renderer MUJOCO_GL={chosen} does not work: {rule}")
    return chosen


@cache
def renderer_info() -> str:
    """Render some frames in a process of its own and say with what (``egl`` or ``osmesa``, unless the user chose
    another), on what (``llvmpipe`` or a GPU) and how fast. Takes about a second, once.

    If EGL is there but draws nothing (its drivers are missing), OSMesa is tried and, if it works, chosen.

    Raises:
        RendererError: no renderer, or the one that MUJOCO_GL names does not work.
    """
    chosen = choose_renderer()
    if chosen == "disable":
        raise RendererError(NO_RENDERER)
    candidates = [chosen]
    if chosen == "egl" and "mujoco" not in sys.modules and _loads("osmesa"):
        candidates.append("osmesa")
    reasons = []
    for backend in candidates:
        works, words = _probe(backend)
        if works:
            os.environ["MUJOCO_GL"] = backend
            return f"{backend}, {words}"
        reasons.append(f"{backend}: {words}")
    raise RendererError(f"the renderer MUJOCO_GL={chosen} does not work ({'; '.join(reasons)}): {_WAY_OUT}")


def _loads(backend: str) -> bool:
    """Whether the backend's libraries can be loaded."""

    def loadable(library: str) -> bool:
        with contextlib.suppress(OSError):
            return bool(ctypes.CDLL(library))
        return False

    return all(any(map(loadable, group)) for group in _LIBRARIES[backend])


def _probe(backend: str) -> tuple[bool, str]:
    """Render in a new process: whether that worked, and the last line that it wrote."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    environment.pop("PYOPENGL_PLATFORM", None)  # mujoco sets it from MUJOCO_GL and fails if another stands there
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False, "no frame within 120 s"
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return done.returncode == 0, lines[-1][:160] if lines else f"ended with exit code {done.returncode}"
