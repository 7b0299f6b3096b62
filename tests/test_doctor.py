"""The doctor finds faults, and says what to do about each."""

import json

import pytest
from packaging.requirements import Requirement

from hyperpolicy import doctor
from hyperpolicy.envs import rendering
from hyperpolicy.errors import NoRendering


@pytest.fixture(scope="module")
def findings():
    return {finding.name: finding for finding in doctor.examine()}


def test_this_machine_is_usable(findings):
    assert doctor.usable(list(findings.values()))
    assert findings["devices"].value == "2 × cpu: cpu"  # as the tests set it
    assert {"python", "jax", "mujoco", "gymnasium", "rendering", "disk here"} <= findings.keys()
    assert findings["extra [dev]"].value == "installed"


def test_report_is_json(findings):
    record = json.loads(json.dumps(doctor.to_json(list(findings.values()))))
    assert record["usable"]
    assert len(record["findings"]) == len(findings)


def test_a_missing_or_old_library_is_fatal():
    missing = doctor._core(Requirement("hyperpolicy-never-published>=1"))
    assert missing.fatal
    assert "pip install 'hyperpolicy-never-published>=1'" in missing.advice
    assert doctor._core(Requirement("mujoco>=99")).fatal
    assert not doctor._core(Requirement("mujoco>=3")).fatal
    assert not doctor.usable([missing])


def test_what_only_videos_need_is_not_fatal(monkeypatch):
    """`gymnasium[mujoco]` asks for imageio, which is missing on a machine that draws nothing."""
    known = doctor.version

    def absent(name):
        if name.startswith("imageio"):
            raise doctor.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(doctor, "version", absent)
    findings = {finding.name: finding for finding in doctor._versions()}
    assert findings["imageio"].value == "missing"
    assert findings["imageio"].advice.startswith("for videos and Meta-World: `pip install")
    assert findings["gymnasium"].value != "missing"
    assert doctor.usable(list(findings.values()))


def test_a_back_end_that_does_not_draw_is_said(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(rendering, "back_end", lambda: "egl")
    monkeypatch.setattr(rendering, "probe", lambda name: "libOSMesa is missing")
    finding = doctor._rendering()
    assert finding.value == "egl"
    assert finding.advice == "MUJOCO_GL=osmesa does not draw here: libOSMesa is missing; unset it"


def test_no_rendering_is_said_and_not_fatal(monkeypatch):
    def fail():
        raise NoRendering("install libegl1")

    monkeypatch.setattr(rendering, "back_end", fail)
    finding = doctor._rendering()
    assert (finding.advice, finding.fatal) == ("install libegl1", False)


def test_a_broken_jax_is_fatal(monkeypatch):
    monkeypatch.setattr(doctor, "DEVICES", "raise RuntimeError('no driver')")
    finding = doctor._devices()
    assert finding.fatal
    assert "no driver" in finding.value


def test_platforms_that_are_not_here_are_named(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cdua")
    monkeypatch.setattr(doctor, "DEVICES", "raise RuntimeError('no such backend')")
    finding = doctor._devices()
    assert finding.value.startswith("none for JAX_PLATFORMS=cdua")
    assert finding.advice.startswith("unset JAX_PLATFORMS")


def test_a_cache_is_found_missing_or_wrong(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert doctor._cache().value == "none"
    for path, well in ((tmp_path / "new", True), (tmp_path / "file/below", False)):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(path))
        assert (doctor._cache().advice == "") == well


def test_a_disk_that_cannot_be_written(tmp_path):
    finding = doctor._disk("disk here", tmp_path / "nowhere")
    assert "can write" in finding.advice
    assert not doctor._disk("disk here", tmp_path).advice.startswith("work in")


def test_little_disk_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "FREE_BYTES", 1e18)
    assert "free some" in doctor._disk("disk here", tmp_path).advice
