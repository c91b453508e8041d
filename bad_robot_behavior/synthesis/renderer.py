"""Pictures of the simulated scene on a machine without a display: EGL, else OSMesa, both on the CPU where need be.

A library that cannot draw may leave a process in which no other can. So the libraries are tried in a process of their
own, and the answer is put into MUJOCO_GL, which workers inherit.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import subprocess
import sys
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError, require
from bad_robot_behavior.schema import ROLES, Role
from bad_robot_behavior.synthesis.tasks import View

if TYPE_CHECKING:
    from bad_robot_behavior.synthesis.world import World


LIBRARIES = ("egl", "osmesa")
NEITHER = "neither EGL nor OSMesa can draw here;"
APT = "apt-get install -y libegl1 libgl1-mesa-dri libosmesa6"
_TRIAL = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100.value).free()
context.free()
"""
_MAX_GEOMS = 2000
_open: weakref.WeakSet[Renderer] = weakref.WeakSet()


class RendererError(BadRobotError):
    """No OpenGL library here can draw without a display."""


@functools.cache
def _asked() -> str:
    """What MUJOCO_GL said before anything here changed it."""
    return os.environ.get("MUJOCO_GL", "").strip().lower()


@functools.cache
def choose() -> str | None:
    """`egl` or `osmesa`, whichever can draw here; None where neither can. What MUJOCO_GL says is tried alone.

    Takes half a second once; the answer stays in the environment, so workers do not try again.
    """
    asked = _asked()
    if asked and os.environ.get("BAD_ROBOT_GL") == asked:  # a parent process has tried it
        return asked
    for library in (asked,) if asked else LIBRARIES:
        environment = os.environ | {"MUJOCO_GL": library}
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL], env=environment, capture_output=True, check=False, timeout=60
        )
        if done.returncode == 0:
            os.environ["MUJOCO_GL"] = os.environ["BAD_ROBOT_GL"] = library
            return library
    return None


def chosen_library() -> str:
    """As `choose`. Raises RendererError where nothing can draw."""
    chosen = choose()
    if chosen is None:
        asked = f"MUJOCO_GL={_asked()} cannot draw here; unset it, or" if _asked() else NEITHER
        raise RendererError(f"{asked} install what it needs with: {APT}")
    return chosen


def mujoco() -> ModuleType:
    """The simulator, imported so that it can draw where that is possible; without a renderer it still computes."""
    # One thread of the software renderer is as fast as many, and leaves the other cores to other workers.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    if "mujoco" not in sys.modules and importlib.util.find_spec("mujoco") is not None and choose() is None:
        os.environ["MUJOCO_GL"] = "disabled"  # or the import itself would fail
    return require("mujoco", "sim")


def available() -> bool:
    """Whether frames can be drawn here."""
    mujoco()
    return choose() is not None


class Renderer:
    """Draws one model from the cameras of a task. `close` frees it; what is left open is freed at exit.

    No multisampling, shadows or reflections: a frame takes a tenth of the time that the models' own settings take.
    """

    _gl: Any = None

    def __init__(self, model: Any, width: int, height: int, view: View) -> None:
        """`model` is an MjModel; copies of it that differ in places and colours are drawn by the same renderer."""
        library, chosen = mujoco(), chosen_library()
        self.width, self.height = width, height
        self._mujoco = library
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0  # else 64 MB of buffer for shadows that are not drawn
        # Not library.GLContext: that is another one where mujoco was imported before MUJOCO_GL was set.
        context = importlib.import_module(f"mujoco.{chosen}").GLContext(width, height)
        context.make_current()
        self._context = library.MjrContext(model, library.mjtFontScale.mjFONTSCALE_100.value)
        self._gl = context
        library.mjr_setBuffer(library.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = library.MjvScene(model, maxgeom=_MAX_GEOMS)
        for flag in ("mjRND_SHADOW", "mjRND_REFLECTION"):
            self._scene.flags[getattr(library.mjtRndFlag, flag)] = False
        self._option = library.MjvOption()
        self._rect = library.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)
        self._cameras = {name: self._camera(name, model, view) for name in ROLES}
        _open.add(self)
        _close_at_exit()

    def __del__(self) -> None:
        self.close()

    def _camera(self, name: Role, model: Any, view: View) -> Any:
        camera = self._mujoco.MjvCamera()
        if name == "wrist":
            camera.type = self._mujoco.mjtCamera.mjCAMERA_FIXED
            camera.fixedcamid = model.camera("wrist").id
            return camera
        camera.type = self._mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = view.lookat
        camera.distance, camera.elevation = view.distance, view.elevation
        camera.azimuth = view.azimuth[ROLES.index(name)]
        return camera

    def draw(self, model: Any, data: Any, camera: Role) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB of the state in `data`; a new array each time."""
        library = self._mujoco
        self._gl.make_current()
        category = library.mjtCatBit.mjCAT_ALL.value
        library.mjv_updateScene(model, data, self._option, None, self._cameras[camera], category, self._scene)
        library.mjr_render(self._rect, self._scene, self._context)
        library.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Free what OpenGL holds. Closing twice does nothing."""
        if self._gl is not None:
            self._gl.make_current()  # else the buffers of the renderer that drew last are freed in place of its own
            self._context.free()
            self._gl.free()
            self._gl = None
            _open.discard(self)


class Studio:
    """Draws any world at one size. It keeps the renderer of the task that was drawn last, since scenes come by task."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._key: tuple[str, View] | None = None
        self._renderer: Renderer | None = None

    def draw(self, world: World, camera: Role) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB of the world as it is now; a new array each time."""
        # What OpenGL keeps are meshes and textures, which are the same in all variants of a model.
        key = (world.variant.xml, world.task.view)
        if self._renderer is None or key != self._key:
            self.close()
            self._key, self._renderer = key, Renderer(world.model, self.width, self.height, world.task.view)
        return self._renderer.draw(world.model, world.data, camera)

    def close(self) -> None:
        """Free all that OpenGL holds."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


@functools.cache
def _close_at_exit() -> None:
    """Close what is open before the interpreter ends: EGL is shut down first otherwise, and each context complains.

    What is registered last runs first, so this waits until MuJoCo has registered the end of EGL.
    """

    def close_all() -> None:
        for renderer in list(_open):
            renderer.close()

    atexit.register(close_all)
