"""The OpenGL back end that MUJOCO_GL asks for, kept from harm: MuJoCo loads it as it is imported,
and without its library, or under a wrong name, that import fails for everybody who draws nothing.
"""

import ctypes
import os
import sys

REMEMBERED = "HYPERPOLICY_MUJOCO_GL"
"""Holds what MUJOCO_GL asked for where that cannot work; processes started from here see it too."""

OFF = ("disable", "disabled", "off", "false", "0")
ON = ("", "enable", "enabled", "on", "true", "1")
BACK_ENDS = {"linux": ("egl", "osmesa", "glfw", "glx"), "darwin": ("cgl", "glfw")}
"""What MuJoCo takes on a system; "wgl" and "glfw" elsewhere."""

LIBRARIES = {
    "egl": (("EGL", 1), ("OpenGL", 0), ("GL", 1)),
    "osmesa": (("OSMesa", 8), ("OSMesa", 6)),
}
"""Names and versions of what PyOpenGL loads: for egl the first and one of the others, for osmesa
one of them."""


def prepare() -> None:
    """See to it that `import mujoco` works, if MuJoCo is not imported yet.

    A back end that cannot work is switched off, one that contradicts PYOPENGL_PLATFORM wins over
    it, and everything else stays as the user has set it. Imports nothing, starts nothing.
    """
    name = _named()
    if "mujoco" in sys.modules or name in OFF:
        return
    if fault(name) is not None:
        os.environ[REMEMBERED] = name
        os.environ["MUJOCO_GL"] = "off"
    elif os.environ.get("PYOPENGL_PLATFORM", name).lower() != name:
        os.environ.pop("PYOPENGL_PLATFORM")


def asked() -> str:
    """The back end the user asked for by MUJOCO_GL; "" for none."""
    name = _named()
    name = os.environ.get(REMEMBERED, "") if name in OFF else name
    return "" if name in ON else name


def fault(name: str) -> str | None:
    """What keeps MuJoCo from importing a back end, in a few words; None where nothing is known."""
    known = BACK_ENDS.get(sys.platform, ("wgl", "glfw"))
    if name not in ON + known:
        return f"no such back end; MUJOCO_GL takes {', '.join(known)}"
    if sys.platform != "linux" or name not in LIBRARIES:
        return None
    first, *others = LIBRARIES[name]
    if name == "osmesa":
        return None if any(map(_opens, LIBRARIES[name])) else "libOSMesa is missing"
    if not _opens(first):
        return "libEGL is missing"
    return None if any(map(_opens, others)) else "libOpenGL is missing"


def _named() -> str:
    return os.environ.get("MUJOCO_GL", "").lower().strip()


def _opens(library: tuple[str, int]) -> bool:
    name, number = library
    for file in (f"lib{name}.so", f"lib{name}.so.{number}"):
        try:
            ctypes.CDLL(file)
            return True
        except OSError:
            continue
    return False
