"""MuJoCo's own habits, tamed: compiling without notices, stepping without a log file."""

import ctypes
import warnings
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


_QUIET = _LogConfig(False, False, b"", 0)


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


class quiet_engine:
    """Within it, MuJoCo neither prints warnings nor writes MUJOCO_LOG.TXT where the user stands.

    Worlds read the warning counters instead. A class, as it is entered at every step.
    """

    def __enter__(self) -> None:
        library = _library()
        self.theirs = None if library is None else library.mju_getLogConfig()
        if library is not None:
            library.mju_setLogConfig(_QUIET)

    def __exit__(self, *_) -> None:
        library = _library()
        if library is not None:
            library.mju_setLogConfig(self.theirs)
