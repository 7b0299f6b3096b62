"""Files of results side by side: one protocol a table, and the reason in words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperpolicy.errors import BadFile, BadSetting, HyperpolicyError
from hyperpolicy.evaluate import Protocol, Score, compare, side_by_side

CARD = Protocol(
    "cheetah-vel", "macaw", "r1", 200, "none", "the task's own", "deterministic", "shared"
)
RESULTS = Path(__file__).parents[2] / "results"


def made_up(mean: float = -10.0, card: Protocol | None = CARD, given="true context", **more):
    noise = np.random.default_rng(3).normal(0, 1, (3, 1, 2, 4))
    contexts = np.array([[0.6], [1.2]])
    tasks = ("0.6 m/s", "1.2 m/s")
    numbers = (0, 1, 2)
    row = Score("cheetah-vel", contexts, tasks, mean + noise, given, pipelines=numbers)
    return replace(row, protocol=card, **more)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"grid": "authors"}, "grid authors, not macaw"),
        ({"reward": "r2"}, "reward version r2, not r1"),
        ({"horizon_steps": 1000}, "horizon in steps 1000, not 200"),
        ({"success": "at the last step"}, "success at the last step, not none"),
        ({"termination": "never"}, "end of an episode: never, not the task's own"),
        ({"action": "sampled"}, "actions sampled, not deterministic"),
        ({"starts": "own"}, "starts own, not shared"),
        ({"reward": None}, "reward version not recorded, not r1"),
    ],
)
def test_rows_of_unlike_protocol_are_kept_apart(change, why):
    rows = {"mine": made_up(), "theirs": made_up(card=replace(CARD, **change))}
    first, second = side_by_side.groups(rows)
    assert list(first.rows) == ["mine"] and list(second.rows) == ["theirs"]
    assert second.why == [why] and not first.why
    assert f"Apart from table 1: {why}." in side_by_side.markdown([first, second])


def test_what_is_given_and_other_tasks_keep_rows_apart():
    rows = {
        "mine": made_up(),
        "told more": made_up(given="a demonstration"),
        "one task": made_up().task(0),
        "zero action": made_up(given="nothing", card=replace(CARD, action="sampled")),
    }
    found = side_by_side.groups(rows)
    assert [list(group.rows) for group in found] == [
        ["mine", "zero action"],
        ["told more", "zero action"],
        ["one task"],
    ], "references stand in every table of their tasks"
    assert found[1].why == ["given at test time: a demonstration, not true context"]
    assert found[2].why == ["test tasks 0.6 m/s, not 0.6 m/s, 1.2 m/s"]


def test_like_rows_of_several_files_share_a_table(tmp_path):
    mine, theirs = made_up(), made_up(-12.0)
    compare({"a": mine, "b": theirs}).save(tmp_path / "first.json")
    made_up(-11.0).save(tmp_path / "c.json")
    compare({"a": made_up(-9.0)}).save(tmp_path / "second.json")
    paths = [tmp_path / f"{name}.json" for name in ("first", "c", "second")]
    loaded = side_by_side.load(paths)
    (group,) = side_by_side.groups(loaded.rows)
    assert list(group.rows) == ["first: a", "b", "c", "second: a"]
    assert group.head.card == CARD
    ((_, lines),) = side_by_side.differences([group], "a", loaded.origin)
    gaps = {name: (gap, ends) for name, gap, ends, _ in lines}
    assert gaps["b"] == ("−2.0", "–"), "paired, and nothing varies"
    assert gaps["c"][0] == "−1.0" and gaps["c"][1].startswith("[")
    with pytest.raises(BadSetting, match="no row called 'nobody'"):
        side_by_side.differences([group], "nobody", loaded.origin)
    with pytest.raises(BadSetting, match="twice"):
        side_by_side.load([paths[0], paths[0]])


def test_paired_differences_need_one_file():
    luck = np.array([-30.0, 0.0, 30.0])[:, None, None, None]
    rng = np.random.default_rng(0)
    rows = {
        name: replace(made_up(), returns=luck + mean + rng.normal(0, 0.1, (3, 1, 2, 4)))
        for name, mean in (("a", 0.0), ("b", 1.0))
    }
    (group,) = side_by_side.groups(rows)
    one, two = Path("one"), Path("two")
    ((_, [[_, _, paired, _]]),) = side_by_side.differences([group], "a", {"a": one, "b": one})
    ((_, [[_, _, apart, _]]),) = side_by_side.differences([group], "a", {"a": one, "b": two})
    assert paired.startswith("[0.") and apart.startswith("[−")


def test_results_of_the_repository_are_readable():
    seen = 0
    for path in sorted(RESULTS.rglob("*.json")):
        try:
            rows = side_by_side.read(path)[0]
        except BadFile as error:
            assert "no scores in it" in str(error), path
            continue
        seen += len(rows)
        for row in rows.values():
            assert row.protocol is None or row.protocol.horizon_steps
    assert seen > 100
    paths = [
        RESULTS / f"cheetah-vel-table/specialized-{split}.json" for split in ("full", "eighth")
    ]
    loaded = side_by_side.load(paths)
    assert loaded.rows["specialized-full: HypLatent"].over == "3 pipelines"
    assert loaded.rows["specialized-eighth: HypLatent"].over == "one pipeline: 3 fits"
    (group,) = side_by_side.groups(loaded.rows)
    assert group.head.card.grid == "macaw" and "not recorded" in side_by_side.notes(group)[-1]


# --- Damaged files ------------------------------------------------------------------------
WHOLE = compare({"mine": made_up(), "theirs": made_up(-12.0)}).to_json()


def damaged(rng: np.random.Generator) -> str:
    """The JSON of a comparison with one value replaced, or cut off."""
    record = json.loads(json.dumps(WHOLE))
    if rng.random() < 0.2:
        return json.dumps(record)[: rng.integers(1, 2000)]
    place, junk = record, [None, -1, 1e308, 10**30, "x", [], {}, [[]], True, [None], "y" * 5000]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[rng.integers(len(keys))]
        deeper = place[key]
        if not isinstance(deeper, dict | list) or not deeper or rng.random() < 0.3:
            place[key] = junk[rng.integers(len(junk))]
            return json.dumps(record)
        place = deeper


def test_damaged_results_are_one_line(as_user, tmp_path):
    rng, told = np.random.default_rng(0), 0
    path = tmp_path / "r.json"
    for _ in range(400):
        path.write_text(damaged(rng))
        try:
            rows, published = side_by_side.read(path)
            compare(rows, published).cells()
        except HyperpolicyError as error:
            told += 1
            assert "\n" not in str(error) and len(str(error)) < 600
    assert told > 150


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"rows": ' * 50_000, "NaN", '{"a": 1e999}', "[1, 2", "\x00"]
)
def test_what_is_not_json_is_told(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(BadFile, match=r"r\.json"):
        side_by_side.read(path)


def test_only_regular_files_are_read(tmp_path):
    with pytest.raises(BadFile, match="is not a file"):
        side_by_side.read(tmp_path)
    with pytest.raises(BadFile, match="does not exist"):
        side_by_side.read(tmp_path / "nothing.json")
    with pytest.raises(BadFile, match="is not a file"):
        side_by_side.read("/dev/zero")
