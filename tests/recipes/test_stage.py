"""Minutes of stages add up, of those that failed too, and only of those that were computed."""

import pytest

from hyperpolicy.recipes import stage


def test_a_stage_that_failed_and_went_on_took_both_times(tmp_path):
    path = tmp_path / "minutes.json"
    with pytest.raises(KeyboardInterrupt), stage.timed(path, "experts"):
        raise KeyboardInterrupt
    first = stage.read(path)["experts"]
    with stage.timed(path, "experts"):
        pass
    assert stage.read(path)["experts"] > first > 0.0


def test_a_kill_hides_little(tmp_path, monkeypatch):
    path = tmp_path / "minutes.json"
    monkeypatch.setattr(stage, "EVERY_S", 0.01)
    with stage.timed(path, "experts"):
        seen = [_changed(path, None)]
        seen.append(_changed(path, seen[0]))
    assert seen[0] < seen[1] <= stage.read(path)["experts"]


def _changed(path, last):
    while (now := stage.read(path).get("experts")) == last:
        pass
    return now


def test_a_note_that_cannot_be_written_loses_no_work(tmp_path):
    """It is told when the stage is done; a file that holds something else is left alone."""
    path = tmp_path / "minutes.json"
    done = []
    for text in ("[1]", '{"experts": "long"}', "{"):
        path.write_text(text)
        with pytest.warns(UserWarning, match="minutes of 'experts' are not noted: "):  # noqa: SIM117
            with stage.timed(path, "experts"):
                done.append(text)
        assert path.read_text() == text
    assert len(done) == 3


def test_reading_a_result_takes_no_time(tmp_path):
    path, result = tmp_path / "minutes.json", tmp_path / "zoo"
    result.touch()

    def run():
        clock = stage.timed(path, "experts")
        return stage.make_once(result, lambda: result.touch(exist_ok=False), clock)

    assert run() == result
    assert stage.read(path) == {}
    result.unlink()
    assert run() == result and result.exists()
    assert list(stage.read(path)) == ["experts"]


def test_a_record_is_computed_once(tmp_path):
    numbers = iter([{"return": 1.5}])
    for _ in range(2):
        found = stage.record_once(tmp_path / "levels.json", lambda: next(numbers))
        assert found == {"return": 1.5}


def test_parts_behind_a_colon_are_one_line(tmp_path):
    path = tmp_path / "minutes.json"
    for name in ("base", "cells, seen tasks: HypFormer", "cells, seen tasks: HypLatent"):
        with stage.timed(path, name):
            pass
    table = stage.table(path)
    assert table.count("cells, seen tasks") == 1 and "HypFormer" not in table
    assert len(table.splitlines()) == 2 + 3 and "| **all**" in table
    assert len(stage.table(tmp_path / "none.json").splitlines()) == 2 + 1
