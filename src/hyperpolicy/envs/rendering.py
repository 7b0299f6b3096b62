"""Rendering: which OpenGL back end works on this machine, and a renderer on it.

A back end is probed in a process of its own: OSMesa without its library brings down `import
mujoco`, and a driver may crash outright.
"""

import importlib
import os
import subprocess
import sys
from functools import cache

import mujoco
import numpy as np
from jaxtyping import UInt8

from hyperpolicy.errors import BadSetting, NoRendering

BACK_ENDS = ("egl", "osmesa")
"""In this order; a back end named by MUJOCO_GL comes before both."""

SELECTABLE = ("egl", "osmesa", "glfw", "glx", "cgl", "wgl")

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


@cache
def back_end() -> str:
    """The first OpenGL back end that draws a picture; probed once a process.

    Raises:
        NoRendering: none does; the message names the Debian packages to install.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    names = [name for name in (asked, *BACK_ENDS) if name in SELECTABLE]
    faults = {}
    for name in dict.fromkeys(names):
        faults[name] = probe(name)
        if faults[name] is None:
            return name
    tried = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    raise NoRendering(
        f"no OpenGL back end works here ({tried}). Install one: "
        "`apt-get install libegl1 libgl1-mesa-dri`, or `apt-get install libosmesa6`"
    )


def probe(name: str) -> str | None:
    """What is wrong with a back end, in one line; None where it draws."""
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


def renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """A renderer on the back end that works, `height` × `width` pixels; close it after use.

    MuJoCo reads MUJOCO_GL when it is imported, long before anybody asks for a picture, so its
    module that chose the back end is loaded once more.

    Raises:
        NoRendering: no back end works.
        BadSetting: a picture larger than the model's off-screen buffer.
    """
    most = model.vis.global_.offheight, model.vis.global_.offwidth
    if height > most[0] or width > most[1]:
        raise BadSetting(
            f"{height} × {width} pixels asked for; this model draws {most[0]} × {most[1]} at most"
        )
    name = back_end()
    if os.environ.get("MUJOCO_GL") != name:
        os.environ["MUJOCO_GL"] = name
        os.environ.pop("PYOPENGL_PLATFORM", None)
        importlib.reload(importlib.import_module("mujoco.rendering.classic.gl_context"))
    return mujoco.Renderer(model, height, width)


class Pictures:
    """Pictures of worlds, `height` × `width` pixels, from one camera; close it after use. `turned`
    is for cameras that hang upside down."""

    def __init__(self, height: int, width: int, camera: str, turned: bool = False):
        self.size, self.camera, self.turned = (height, width), camera, turned
        self._renderers: dict[int, mujoco.Renderer] = {}  # of each model, by its identity

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData) -> UInt8[np.ndarray, "h w 3"]:
        """A picture of `data`.

        Raises:
            NoRendering, BadSetting: as `renderer`.
        """
        if id(model) not in self._renderers:
            self._renderers[id(model)] = renderer(model, *self.size)
        mine = self._renderers[id(model)]
        mine.update_scene(data, camera=self.camera)
        picture = mine.render()
        return picture[::-1, ::-1] if self.turned else picture

    def close(self) -> None:
        for one in self._renderers.values():
            one.close()
        self._renderers.clear()
