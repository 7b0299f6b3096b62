"""Environment variables and directories that are wrong: everything works, or one line says why."""

import os
import pwd
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from hyperpolicy import cli, devices, interrupts, opengl
from hyperpolicy.envs import rendering
from hyperpolicy.errors import NoRendering
from hyperpolicy.generate import loop

linux = pytest.mark.skipif(sys.platform != "linux", reason="names of Linux's libraries")


def python(code: str, **environment: str | None) -> subprocess.CompletedProcess:
    env = {k: v for k, v in (os.environ | environment).items() if v is not None}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


# --- OpenGL -------------------------------------------------------------------------------
WITHOUT_PICTURES = """
import hyperpolicy as hp
import mujoco
hp.family("cheetah-vel").worlds([[1.0]], 0, 1).reset()
hp.envs.family("metaworld").worlds([[0]], 0, 1).reset()
from hyperpolicy import doctor
print(doctor._rendering())
"""


@pytest.fixture
def no_libraries(tmp_path):
    """A directory that hides this machine's OpenGL."""
    for name in ("EGL.so", "EGL.so.1", "OSMesa.so", "OSMesa.so.6", "OSMesa.so.8"):
        (tmp_path / f"lib{name}").write_text("no library")
    return str(tmp_path)


@linux
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("egl", "egl: libEGL is missing"),
        ("osmesa", "osmesa: libOSMesa is missing"),
        ("bogus", "bogus: no such back end; MUJOCO_GL takes egl, osmesa, glfw, glx"),
    ],
)
def test_nothing_needs_opengl_that_draws_nothing(asked, says, no_libraries):
    done = python(WITHOUT_PICTURES, MUJOCO_GL=asked, LD_LIBRARY_PATH=no_libraries)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert "apt-get install libegl1" in done.stdout


@linux
@pytest.mark.parametrize("first", ["", "import mujoco"])
def test_the_back_end_of_mujoco_wins_over_pyopengls(first):
    """With both set to different ones, MuJoCo has no Renderer."""
    if rendering.probe("egl") is not None:
        pytest.skip("no EGL here")
    code = f"""{first}
import gymnasium, hyperpolicy
env = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=1.0, render_mode="rgb_array")
env.reset(seed=0)
assert env.render().max() > 0
"""  # and it is never closed
    done = python(code, MUJOCO_GL="egl", PYOPENGL_PLATFORM="glx")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_works_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "mujoco")
    monkeypatch.setattr(opengl, "_opens", lambda library: True)
    for name in ("egl", "glfw", "off", ""):
        monkeypatch.setenv("MUJOCO_GL", name)
        opengl.prepare()
        assert os.environ["MUJOCO_GL"] == name
        assert opengl.asked() == ("" if name == "off" else name)


def test_a_broken_back_end_is_switched_off_and_remembered(monkeypatch):
    monkeypatch.delitem(sys.modules, "mujoco")
    monkeypatch.setenv("MUJOCO_GL", " Bogus")
    monkeypatch.setenv(opengl.REMEMBERED, "")
    opengl.prepare()
    opengl.prepare()  # as a process does that is started from here
    assert os.environ["MUJOCO_GL"] == "off"
    assert opengl.asked() == "bogus"


def test_a_renderer_that_fails_in_this_process_is_one_line(monkeypatch):
    def fail(name):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setattr(rendering, "back_end", lambda: "egl")
    monkeypatch.setattr(rendering, "_choose", fail)
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    with pytest.raises(NoRendering, match="set MUJOCO_GL=egl"):
        rendering.renderer(model, 32, 32)


# --- JAX ----------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", ["cuda", "cdua"])
def test_platforms_that_are_not_here_are_one_line(asked, tmp_path):
    if asked == "cuda" and any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    code = "import sys; from hyperpolicy.cli import main; raise SystemExit(main(sys.argv[1:]))"
    out = str(tmp_path / "policies.safetensors")
    arguments = ["generate", "cheetah-vel", "--context", "1", "--out", out]
    env = os.environ | {"JAX_PLATFORMS": asked}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"NoDevice: JAX_PLATFORMS={asked}: jax finds no such devices; here it has cpu. Unset "
        "JAX_PLATFORMS, or set JAX_PLATFORMS=cpu\n"
    )


def precision_of_a_fit(width: int) -> str:
    """What a fit's products are asked to be computed in, as XLA is told."""
    seen = []

    def step(state, own, shared, i):
        seen.append(str(jax.make_jaxpr(lambda x: x @ x)(jnp.ones((2, 2)))))
        return state, {"loss": jnp.sum(state[:1])}

    run = loop.FitJob("fit", (0,), 1, None, {})
    loop.train(run, step, jnp.ones((1, width)), jnp.ones(1), jnp.ones(1))
    return seen[-1]


def test_small_fits_compute_in_full_precision(monkeypatch):
    assert "HIGHEST" in precision_of_a_fit(10)
    monkeypatch.setattr(devices, "LARGE", 10)
    assert "HIGHEST" not in precision_of_a_fit(10)
    with jax.default_matmul_precision("tensorfloat32"):
        assert "HIGHEST" not in precision_of_a_fit(3), "what the user asks for wins"


def test_the_sums_that_end_a_process_are_left_to_xla(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    devices.prepare()
    known = version("jaxlib").startswith("0.10.")
    assert ("xla_cpu_experimental_ynn_fusion_type=" in os.environ["XLA_FLAGS"]) == known
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=X")
    devices.prepare()
    assert os.environ["XLA_FLAGS"].count("ynn_fusion") == 1, "what the user asks for wins"


# --- Directories --------------------------------------------------------------------------
def nobody(uid):
    raise KeyError(uid)


@pytest.mark.parametrize("given", ["", "relative/cache"])
def test_a_cache_without_a_whole_path_is_at_home(monkeypatch, tmp_path, given):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert devices.cache_directory() == tmp_path / ".cache/hyperpolicy/jax"


def test_a_user_without_a_home_has_no_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert devices.cache_directory() is None
    devices.prepare()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert devices.cache_directory() == tmp_path / "hyperpolicy/jax"


def test_a_cache_that_cannot_be_written_is_left_out(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert devices.cache_directory() is None


@linux
def test_commands_work_where_the_directory_is_gone(monkeypatch, tmp_path, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["families"]) == 0
    out = tmp_path / "policies.safetensors"
    assert cli.main(["generate", "cheetah-vel", "--context", "1", "--out", str(out)]) == 0
    assert out.exists()
    assert cli.main(["generate", "cheetah-vel", "--context", "1", "--out", "here"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    from hyperpolicy import doctor

    assert "work in a directory" in doctor._disk("disk here", Path(".")).advice


# --- Ctrl-C -------------------------------------------------------------------------------
def test_ctrl_c_while_modules_load_says_interrupted():
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "gymnasium":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv[0] = "/usr/bin/hyperpolicy"
import hyperpolicy
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_importing_the_package_elsewhere_leaves_ctrl_c_alone(monkeypatch):
    import signal

    before = signal.getsignal(signal.SIGINT)
    interrupts.prepare()
    assert signal.getsignal(signal.SIGINT) is before
