"""Tables: the rows that honesty asks for, the published ones, and what the cells say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hyperpolicy import rollout
from hyperpolicy.envs import FAMILIES
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.evaluate import (
    Published,
    Row,
    Score,
    compare,
    published,
    side_by_side,
    standard_rows,
)
from hyperpolicy.evaluate.protocol import DECODED, NEAREST, ORACLE, RANDOM, REGRESSION, ZERO
from hyperpolicy.evaluate.tables import amount, interval_text, markdown, number

FAMILY = CheetahVel(horizon_steps=8)
CONTEXTS = np.array([[0.5], [2.0]])


def made_up(*task_returns: float, **more) -> Score:
    contexts = 0.075 * (1 + np.arange(len(task_returns), dtype=float))[:, None]  # MACAW's
    tasks = tuple(f"{i} m/s" for i in range(len(contexts)))
    returns = np.array(task_returns, float)[None, None, :, None]
    return Score("cheetah-vel", contexts, tasks, returns, **more)


ROWS = {
    RANDOM: made_up(-100, -300, given="nothing", env_steps=0),
    "mine": made_up(-55, -110, env_steps=12_400_000),
    ORACLE: made_up(-10, -20),
}
QUOTED = Published("cheetah-vel", "Theirs", -34.43, "macaw", "5", "prompt", "a paper", 2.33, 3)


def test_cells_hold_what_the_scores_say():
    header, rows = compare(ROWS, [QUOTED]).cells()
    cells = dict(zip(header, rows[1], strict=True))
    assert cells == {
        "method": "mine",
        "mean": "−82.5",
        "95 % CI": "–",
        "over": "one pipeline: 1 start",
        "IQM": "−82.5",
        "a new pipeline, 95 %": "–",
        "normalized": "0.589",
        "0 m/s": "−55.0",
        "1 m/s": "−110.0",
        "given at test time": "true context",
        "env steps": "12.4 M",
    }
    quoted = dict(zip(header, rows[3], strict=True))
    assert quoted["method"] == "Theirs (published, macaw grid)"
    assert (quoted["mean"], quoted["over"]) == ("−34.43 ± 2.33", "3 seeds, as printed")


def test_many_tasks_stay_out_of_the_table_but_not_out_of_json():
    wide = compare({"mine": made_up(*range(9))})
    assert "8 m/s" not in wide.cells()[0]
    assert len(wide.to_json()["rows"]["mine"]["computed"]["task_means"]) == 9


def test_json_is_strict_and_scores_come_back(tmp_path):
    found = compare(ROWS | {"fell": made_up(-5, np.nan)}, [QUOTED])
    path = found.save(tmp_path / "table.json")
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert record["rows"]["fell"]["computed"]["mean"] is None
    assert record["rows"]["mine"]["computed"]["mean"] == -82.5
    assert record["published"][0]["value"] == -34.43
    back = Score.from_json(record["rows"]["mine"]["score"])
    np.testing.assert_array_equal(back.returns, ROWS["mine"].returns)


def test_markdown_and_terminal_show_the_same_rows():
    found = compare(ROWS, [QUOTED])
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.rich("Cheetah-Vel"))
    console.file.close()
    text = console.export_text()
    for name in (*ROWS, "Theirs"):
        assert name.split(" (")[0] in found.markdown()
        assert name.split(" (")[0] in text
    assert "[" not in text, "one episode knows no interval"


def test_rows_of_other_tasks_do_not_mix():
    with pytest.raises(BadShape, match="same tasks"):
        compare({"a": made_up(1.0), "b": made_up(1.0, 2.0)})
    with pytest.raises(BadSetting, match="at least one"):
        compare({})


def test_standard_rows_come_in_order_and_say_what_they_were_given():
    still = Row([rollout.zero(FAMILY)], env_steps=3)
    asked = dict.fromkeys((ORACLE, "mine", NEAREST, DECODED), still)
    rows = standard_rows(FAMILY, CONTEXTS, asked, episodes=2)
    assert list(rows) == [ZERO, RANDOM, NEAREST, "mine", DECODED, ORACLE]
    assert [row.given for row in rows.values()] == [
        "nothing",
        "nothing",
        "true context",
        "true context",
        "test task's expert",
        "training on the test task",
    ]
    assert rows["mine"].env_steps == 3
    np.testing.assert_array_equal(rows[ZERO].returns, rows["mine"].returns)
    assert not np.isclose(rows[RANDOM].returns, rows[ZERO].returns).any()


def test_published_rows_are_the_printed_numbers():
    def value(family, method):
        (row,) = [row for row in published(family) if row.method == method]
        return row.value

    assert value("cheetah-vel", "AMT-Hyp without HypFormer, 35 training tasks") == -29.6
    assert value("cheetah-vel", "GenHyper HypLatent, 35 training tasks") == -34.84
    assert value("ant-dir", "GenHyper HypLatent, 45 training tasks") == 505.64
    assert value("ant-dir", "Prompt-DT, K* = 2") == 409.81
    assert value("cheetah-vel", "MACAW, 20K steps") == -60.5


def test_published_rows_belong_to_grids_and_cite():
    for family in (FAMILIES["cheetah-vel"], FAMILIES["ant-dir"]):
        rows = published(family.name)
        assert len(rows) > 10
        for row in rows:
            assert row.grid in [grid.name for grid in family.grids]
            assert row.source
            assert row.given
            assert row.tasks
        halves = [published(family.name, grid) for grid in ("authors", "macaw")]
        assert sorted(map(len, halves))[0] > 0
        assert sum(map(len, halves)) == len(rows)
        assert len({row.method for row in rows}) == len(rows)
    assert published("no-such-family") == ()


def test_numbers_are_written_for_readers():
    assert number(-16.44) == "−16.4"
    assert number(-0.0001) == "0.0"
    assert number(None) == "–"
    assert number(float("nan")) == "broken"
    assert interval_text((-17.0, 2.25), 2) == "[−17.00, 2.25]"
    assert [amount(n) for n in (None, 0, 999, 12_400_000)] == ["–", "0", "999", "12.4 M"]


def test_markdown_aligns_numbers_to_the_right():
    table = markdown(["a", "b"], [["x", "−1.0"], ["long", "–"]])
    assert table.splitlines() == [
        "| a    |    b |",
        "|------|-----:|",
        "| x    | −1.0 |",
        "| long |    – |",
    ]
    assert interval_text((1.0, 1.0)) == "–"
    assert interval_text((0.991, 0.9938)) == "[0.991, 0.994]", "digits until it has a width"


# --- Bold ---------------------------------------------------------------------------------
def of_pipelines(*means: float, spread: float = 0.1, pipelines=None) -> Score:
    """Two tasks, four starts, one run a pipeline."""
    noise = np.random.default_rng(len(str(means))).normal(0, spread, (len(means), 1, 2, 4))
    returns = np.array(means, float)[:, None, None, None] + noise
    numbers = tuple(range(len(means))) if pipelines is None else pipelines
    contexts = np.array([[0.6], [1.2]])
    return Score("cheetah-vel", contexts, ("0.6 m/s", "1.2 m/s"), returns, pipelines=numbers)


def test_bold_is_ahead_of_every_trivial_row_by_more_than_the_interval():
    rows = {
        ZERO: of_pipelines(-200, pipelines=()),
        NEAREST: of_pipelines(-28, -29, -30, spread=0.2),
        REGRESSION: of_pipelines(-20, -21, -22, spread=0.3),
        "ahead": of_pipelines(-10, -11, -12),
        "within": of_pipelines(-10, -21, -32),
        "one pipeline": of_pipelines(-1, -1.1, -1.2, pipelines=(0, 0, 0)),
        ORACLE: of_pipelines(-1, -2, -3),
    }
    found = compare(rows)
    assert found.ahead == ("ahead",)
    bold = [line for line in found.markdown().splitlines() if "**" in line]
    assert len(bold) == 1 and "| **ahead** " in bold[0] and "**−11." in bold[0]
    assert compare({name: rows[name] for name in (ZERO, "ahead")}).ahead == ()
    near = rows | {f"{REGRESSION}, turned": of_pipelines(-10, -12, -11)}
    assert compare(near).ahead == (), "turned rows are trivial too"


def test_one_pipeline_is_marked():
    fits = of_pipelines(-10, -11, -12, pipelines=(0, 0, 0))
    text = compare({"mine": fits, "theirs": of_pipelines(-10, -11, -12)}).markdown()
    assert "one pipeline: 3 fits" in text and "3 pipelines" in text
    assert "says nothing of training luck" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert lines["mine"].count("[") == 1, "no interval for a new pipeline"
    assert lines["theirs"].count("[") == 2
    assert "luck" not in compare({"theirs": of_pipelines(-10, -11, -12)}).markdown()


def test_published_rows_stand_beside_numbers_of_their_own_grid():
    text = compare({"mine": of_pipelines(-10, -11, -12)}, published("cheetah-vel")).markdown()
    first, second = text.split("published, of another grid")
    assert "macaw grid" in first and "authors grid" not in first
    assert "authors grid" in second and "macaw grid" not in second


def test_success_is_what_a_table_of_rates_shows():
    success = np.ones((1, 1, 2, 20))
    row = of_pipelines(-10)
    row = replace(row, returns=np.zeros(success.shape), success=success)
    header, ((_, rate, ends, *_),) = compare({"mine": row}).cells()
    assert header[1] == "success [%]" and rate == "100.0"
    assert ends.startswith("[91.2") and ends.endswith("100.0]")


# --- Files --------------------------------------------------------------------------------
def test_older_tables_say_which_runs_are_pipelines(tmp_path):
    """The nearest expert is looked up once a zoo: its runs count the table's pipelines."""
    rows = {
        ZERO: of_pipelines(-200),
        NEAREST: of_pipelines(-28, -29, -30),
        "ours": of_pipelines(-1, -2, -3),
        "alone": of_pipelines(-1),
    }
    rows[ZERO] = replace(rows[ZERO], given="nothing")
    record = compare(rows).to_json()
    for row in record["rows"].values():
        for key in ("pipelines", "protocol", "rates"):
            del row["score"][key]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(record))
    read = side_by_side.read(path)[0]
    assert [row.num_pipelines for row in read.values()] == [0, 3, 3, 1]
    record["rows"][NEAREST]["score"] |= {"returns": [[[[1.0], [2.0]]]]}
    path.write_text(json.dumps(record))
    assert side_by_side.read(path)[0]["ours"].over == "one pipeline: 3 fits"
