"""Rendering: which OpenGL back end works on this machine, and a renderer on it.

A back end is probed in a process of its own: OSMesa without its library brings down `import
mujoco`, and a driver may crash outright.
"""

import atexit
import importlib
import os
import subprocess
import sys
import weakref
from functools import cache

import mujoco
import numpy as np
from jaxtyping import UInt8

from hyperpolicy import opengl
from hyperpolicy.errors import BadSetting, NoRendering

BACK_ENDS = ("egl", "osmesa")
"""In this order; a back end named by MUJOCO_GL comes before both."""

PROBE = """
import mujoco
scene = '<mujoco><worldbody><light pos="0 0 3"/><geom size="1"/></worldbody></mujoco>'
model = mujoco.MjModel.from_xml_string(scene)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0, "the picture is black"
"""
INSTALL = "Install one: `apt-get install libegl1 libgl1-mesa-dri`, or `apt-get install libosmesa6`"


@cache
def back_end() -> str:
    """The first OpenGL back end that draws a picture; probed once a process. Raises NoRendering:
    none does; the message names the Debian packages to install."""
    asked = opengl.asked()
    faults = {}
    for name in dict.fromkeys((asked, *BACK_ENDS) if asked else BACK_ENDS):
        faults[name] = probe(name)
        if faults[name] is None:
            return name
    tried = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    raise NoRendering(f"no OpenGL back end works here ({tried}). {INSTALL}")


@cache
def probe(name: str) -> str | None:
    """What is wrong with a back end, in one line; None where it draws. Asked once a process."""
    known = opengl.fault(name)
    if known is not None:
        return known
    env = os.environ | {"MUJOCO_GL": name}
    env.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-c", PROBE]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "no answer in 120 s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended with code {done.returncode}"


def renderer(model: mujoco.MjModel, height: int, width: int) -> "mujoco.Renderer":
    """A renderer on the back end that works, `height` × `width` pixels; close it after use.

    MuJoCo reads MUJOCO_GL when it is imported, long before anybody asks for a picture, so its
    module that chose the back end is loaded once more. Raises NoRendering: no back end works;
    BadSetting: a picture larger than the model's off-screen buffer.
    """
    most = model.vis.global_.offheight, model.vis.global_.offwidth
    if height > most[0] or width > most[1]:
        raise BadSetting(
            f"{height} × {width} pixels asked for; this model draws {most[0]} × {most[1]} at most"
        )
    name = back_end()
    try:
        _choose(name)
        from mujoco.rendering.classic.renderer import Renderer

        return Renderer(model, height, width)
    except Exception as error:  # of a library that was loaded for another back end, for instance
        raise NoRendering(
            f"{name} draws on this machine, but not in this process ({error}); set "
            f"MUJOCO_GL={name} and unset PYOPENGL_PLATFORM before Python starts"
        ) from error


def _choose(name: str) -> None:
    """Have MuJoCo draw on a back end."""
    if os.environ.get("PYOPENGL_PLATFORM", name).lower() != name:
        del os.environ["PYOPENGL_PLATFORM"]
    chosen = os.environ.get("MUJOCO_GL") == name
    os.environ["MUJOCO_GL"] = name
    module = importlib.import_module("mujoco.rendering.classic.gl_context")
    if not (chosen and hasattr(module, "GLContext")):
        importlib.reload(module)


_open: weakref.WeakSet["Pictures"] = weakref.WeakSet()


@cache
def _close_at_exit() -> None:
    """To be called when a renderer is there: OpenGL's own end then comes after ours."""

    @atexit.register
    def close_all() -> None:
        for pictures in list(_open):
            pictures.close()


def _following(model: mujoco.MjModel) -> mujoco.MjvCamera:
    """A camera beside the model that follows its first body."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    if model.nbody > 1:
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
    return camera


class Pictures:
    """Pictures of worlds, `height` × `width` pixels, from one camera; close it after use, or the
    program's end does. Without a camera's name, from one that follows the first body. `turned` is
    for cameras that hang upside down."""

    def __init__(self, height: int, width: int, camera: str, turned: bool = False):
        self.size, self.camera, self.turned = (height, width), camera, turned
        self._renderers: dict[int, mujoco.Renderer] = {}  # of each model, by its identity

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData) -> UInt8[np.ndarray, "h w 3"]:
        """A picture of `data`. Raises NoRendering, BadSetting: as `renderer`."""
        if id(model) not in self._renderers:
            self._renderers[id(model)] = renderer(model, *self.size)
            _open.add(self)
            _close_at_exit()
        mine = self._renderers[id(model)]
        mine.update_scene(data, camera=self.camera or _following(model))
        picture = mine.render()
        return picture[::-1, ::-1] if self.turned else picture

    def close(self) -> None:
        for one in self._renderers.values():
            one.close()
        self._renderers.clear()
