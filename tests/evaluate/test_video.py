"""Videos and the back end that draws them; without OpenGL, an error that says what to install."""

import mujoco
import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs

from hyperpolicy import rollout
from hyperpolicy.envs import family, rendering
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, MissingExtra, NoRendering
from hyperpolicy.evaluate import video
from hyperpolicy.evaluate.video import Film

CHEETAH = family("cheetah-vel")
CONTEXTS = np.array([[0.5], [2.0]])


@pytest.fixture
def opengl():
    try:
        return rendering.back_end()
    except NoRendering as error:
        pytest.skip(str(error))


def test_no_back_end_names_the_packages(monkeypatch):
    monkeypatch.setattr(rendering, "probe", lambda name: f"no lib{name}")
    with pytest.raises(NoRendering, match=r"libegl1 libgl1-mesa-dri.*libosmesa6") as caught:
        rendering.back_end.__wrapped__()
    assert "egl: no libegl" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "works", "expected"),
    [("", {"egl", "osmesa"}, "egl"), ("", {"osmesa"}, "osmesa"),
     ("osmesa", {"egl", "osmesa"}, "osmesa"), ("glfw", {"glfw", "egl"}, "glfw"),
     ("disabled", {"egl"}, "egl")],
)  # fmt: skip
def test_the_back_end_asked_for_comes_first(monkeypatch, asked, works, expected):
    monkeypatch.setenv("MUJOCO_GL", asked)
    monkeypatch.setattr(rendering, "probe", lambda name: None if name in works else "missing")
    assert rendering.back_end.__wrapped__() == expected


def test_a_probe_that_crashes_is_one_line():
    fault = rendering.probe("no-such-back-end")
    assert "MUJOCO_GL" in fault
    assert "\n" not in fault


def test_frames_show_policies_that_move_and_their_captions(opengl):
    random = rollout.uniform(CHEETAH)
    film = Film(steps=9, every=4, height=96, width=128)
    shots = list(video.frames(random, CHEETAH, CONTEXTS, ["one", "two"], film))
    assert len(shots) == 3
    assert all(shot.shape == (96, 256, 3) for shot in shots)
    assert (shots[0] != shots[2]).any()
    assert (shots[0][:, :128] != shots[0][:, 128:]).any(), "targets differ, so do captions"
    assert (shots[0][:30] > 200).all(axis=-1).any(), "bright letters"


def test_a_video_is_written_once_in_real_time(opengl, tmp_path):
    film = Film(steps=12, height=95, width=127)
    path = video.record(rollout.zero(CHEETAH), CHEETAH, CONTEXTS, tmp_path / "v.mp4", film=film)
    frames, seconds = count_frames_and_secs(str(path))
    assert (frames, seconds) == (12, pytest.approx(12 * 0.05, abs=0.05)), "20 frames a second"
    with pytest.raises(AlreadyExists):
        video.record(rollout.zero(CHEETAH), CHEETAH, CONTEXTS, path)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_an_ants_compass_points_to_its_target_and_where_it_goes():
    black = np.zeros((160, 200, 3), np.uint8)
    east = video._compass(black, 0.0, np.array([0.0, 3.0]))  # and goes north
    rows, columns = np.nonzero((east == video.TARGET).all(axis=-1))
    assert np.ptp(columns) > 15 and np.ptp(rows) < 5
    rows, columns = np.nonzero((east == video.ACTUAL).all(axis=-1))
    assert np.ptp(rows) > 15 and np.ptp(columns) < 5
    assert columns.mean() > 150 and rows.mean() > 100, "in the lower right corner"
    still = video._compass(black, 0.0, np.zeros(2))
    assert np.ptp(np.nonzero((still == video.ACTUAL).all(axis=-1))[0]) < 5


def test_an_ants_video_has_a_compass(opengl):
    ant, contexts = family("ant-dir"), np.array([[1.0]])
    film = Film(steps=1, every=1, height=96, width=128)
    shots = list(video.frames(rollout.zero(ant), ant, contexts, ["one"], film))
    assert (shots[0][60:, 90:] == video.TARGET).all(axis=-1).any()


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="imageio_ffmpeg; pip install"):
        video.check(tmp_path / "v.mp4")


def test_unclosed_pictures_are_closed(monkeypatch):
    closed = []

    class Renderer:
        def __init__(self, *_):
            pass

        def update_scene(self, *_, **__):
            pass

        def render(self):
            return np.zeros((2, 2, 3), np.uint8)

        def close(self):
            closed.append(self)

    monkeypatch.setattr(rendering, "renderer", Renderer)
    ended = []
    monkeypatch.setattr(rendering.atexit, "register", ended.append)
    rendering._close_at_exit.cache_clear()
    pictures = rendering.Pictures(2, 2, "track")
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    pictures.draw(model, mujoco.MjData(model))
    ended[0]()
    assert len(closed) == 1


def test_bad_settings_are_explained(tmp_path):
    actor = rollout.zero(CHEETAH)
    with pytest.raises(BadFile, match=r"ends in \.mp4"):
        video.record(actor, CHEETAH, CONTEXTS, tmp_path / "v.gif")
    with pytest.raises(BadSetting, match="16 × 16 pixels"):
        video.record(actor, CHEETAH, CONTEXTS, tmp_path / "v.mp4", film=Film(width=8))
    with pytest.raises(BadSetting, match="480 × 640 at most"):
        video.record(actor, CHEETAH, CONTEXTS, tmp_path / "v.mp4", film=Film(width=1920))
    with pytest.raises(BadSetting, match="every 1 or more"):
        video.record(actor, CHEETAH, CONTEXTS, tmp_path / "v.mp4", film=Film(every=0))
    with pytest.raises(BadSetting, match="one title a policy"):
        video.record(actor, CHEETAH, CONTEXTS, tmp_path / "v.mp4", titles=["only one"])
