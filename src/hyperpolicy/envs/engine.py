"""MuJoCo's own habits, tamed: compiling without notices, stepping without a log file."""

import ctypes
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mujoco

from hyperpolicy.errors import BadFile


@cache
def compile_model(mjcf: Path | str) -> mujoco.MjModel:
    """The compiled model of an XML file, or of XML text; MuJoCo 3.17's notice that `settotalmass`
    will go is kept quiet.

    Raises:
        BadFile: MuJoCo cannot read it.
    """
    make = mujoco.MjModel
    with warnings.catch_warnings(), quiet_engine():
        warnings.simplefilter("ignore")
        try:
            if isinstance(mjcf, Path):
                return make.from_xml_path(str(mjcf))
            return make.from_xml_string(mjcf)
        except ValueError as error:
            name = mjcf if isinstance(mjcf, Path) else "this model's XML"
            raise BadFile(f"MuJoCo cannot read {name}: {error}") from None


class _LogConfig(ctypes.Structure):
    """mjLogConfig of mujoco/mjtype.h."""

    _fields_ = [
        ("logto_console", ctypes.c_bool),
        ("logto_file", ctypes.c_bool),
        ("logfile", ctypes.c_char * 1024),
        ("topics", ctypes.c_int),
    ]


@cache
def _library() -> ctypes.CDLL | None:
    """The engine this process already runs on; None where its file has another name."""
    for path in sorted(Path(mujoco.__file__).parent.glob("libmujoco*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "mju_setLogConfig"):
            library.mju_getLogConfig.restype = _LogConfig
            library.mju_setLogConfig.argtypes = [_LogConfig]
            library.mju_setLogConfig.restype = None
            return library
    return None


@contextmanager
def quiet_engine():
    """Within it, MuJoCo neither prints warnings nor writes MUJOCO_LOG.TXT where the user stands.

    Worlds read the warning counters instead.
    """
    library = _library()
    if library is None:
        yield
        return
    config = library.mju_getLogConfig()
    library.mju_setLogConfig(_LogConfig(False, False, config.logfile, config.topics))
    try:
        yield
    finally:
        library.mju_setLogConfig(config)
