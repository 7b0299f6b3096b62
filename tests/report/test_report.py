"""Reports: self-contained, escaped, and about what a directory or results hold."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli
from hyperpolicy.envs import family
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadZoo
from hyperpolicy.evaluate import compare
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.generate.generator import SHIPPED
from hyperpolicy.report import document, pictures
from hyperpolicy.report.directory import report
from hyperpolicy.report.results import report as report_results


def written(path: Path, found) -> str:
    return document.save(path, *found, overwrite=True).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A comparison of two untrained rows and one generator, two starts each."""
    fam, generator = family("cheetah-vel"), hp.load("cheetah-vel")
    contexts = np.array([[0.5], [1.5]])
    rows = {
        name: score(Row([maker]), fam, contexts, 2)
        for name, maker in (("zero action", hp.rollout.zero(fam)), ("<b>mine</b>", generator))
    }
    path = tmp_path_factory.mktemp("results") / "ours.json"
    compare(rows).save(path)
    return path


def test_a_report_needs_nothing_beside_it(tmp_path):
    folder = SHIPPED / "cheetah-vel"
    text = written(tmp_path / "r.html", report(folder, film=False))
    assert "<script" not in text and "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert text.count("data:image/svg+xml;base64,") == 1  # weights
    for said in ("context → residual → identity", "35: velocity", "Provenance of the generator"):
        assert said in text


def test_text_from_files_is_escaped(tmp_path, results):
    text = written(tmp_path / "r.html", report_results([results]))
    assert "<b>mine</b>" not in text and "&lt;b&gt;mine&lt;/b&gt;" in text
    page = "# Hello\n\n<script>x</script> ![p](http://a/b.png) [here](http://a)\n\n|a|\n|-|\n|1|\n"
    html = document.markdown(page)
    assert "<script" not in html and "http" not in html and "here" in html
    assert "<h3>Hello</h3>" in html and '<div class="scroll"><table>' in html


def test_a_run_in_progress_and_runs_below(tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"learner": "sac", "config": {"tau": 0.005}}))
    with pytest.raises(BadFile, match="a run without metrics"):
        report(run)
    lines = [
        {"updates": 0, "env_steps": 0, "return": [1.0, 2.0], "seconds": 1.0},
        {"updates": 50, "env_steps": 9, "return": [2, 4], "loss/q": [0.1, 0.2], "seconds": 60.0},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{half")
    (run / "snapshot.safetensors").write_bytes(b"")
    found = report(run)
    assert found.lead == "50 updates in 1.0 minutes; not finished."
    text = written(tmp_path / "r.html", found)
    assert text.count("data:image/svg+xml;base64,") == 2 and "config.tau" in text
    above = written(tmp_path / "a.html", report(tmp_path / "runs"))
    assert "one" in above and "not finished" in above


def test_a_fit_is_drawn_against_its_steps(tmp_path):
    lines = [{"step": k, "loss": [1.0 / k], "seconds": 1.0} for k in (100, 200, 300)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    [curves] = [one for one in report(tmp_path).sections if one.title == "Curves"]
    assert "data:image" in curves.parts[0]


def test_what_no_report_is_about(tmp_path):
    with pytest.raises(BadFile, match="holds no run, zoo or generator"):
        report(tmp_path)
    with pytest.raises(BadFile, match="does not exist"):
        report(tmp_path / "none")
    (tmp_path / "zoo.json").write_text("{")
    with pytest.raises(BadZoo, match="damaged"):
        report(tmp_path)


@pytest.mark.parametrize(
    "lines", ['[1, 2]\n"x"\n', '{"updates": "a", "return": "b"}\n' * 2, "\x00\xff garbage\n"]
)
def test_metrics_that_are_none(tmp_path, lines):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_bytes(lines.encode("latin-1"))
    assert not [one for one in report(tmp_path).sections if one.title == "Curves"]
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(BadFile, match="does not describe a run"):
        report(tmp_path)


def test_a_page_that_is_no_text_does_not_lose_the_rest(tmp_path):
    (tmp_path / "x.md").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "y.md").write_text("all is well")
    text = written(tmp_path / "r.html", report(tmp_path))
    assert "x.md cannot be read" in text and "all is well" in text


def test_a_zoo_of_other_networks_is_left_out(tmp_path):
    """HyperZero writes another architecture than the experts it learned from have."""
    generator = hp.load("cheetah-run") if find_spec("dm_control") else hp.load("cheetah-vel")
    path = generator.save(tmp_path / "g")
    other = hp.Zoo.load(Path(__file__).parents[2] / "zoos/ant-dir/specialized-full")
    assert report(path, other, film=False).sections


def test_results_of_unlike_protocols_are_refused(tmp_path, results):
    other = json.loads(results.read_text())
    for row in other["rows"].values():
        row["score"]["protocol"]["horizon_steps"] = 1000
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(other))
    with pytest.raises(BadSetting, match=r"theirs.json and .*ours.json are .*steps 1000, not 200"):
        report_results([results, path])


def test_the_command(tmp_path, results, capsys):
    assert cli.main(["report", str(results)]) == 0
    made = results.with_suffix(".html")
    assert "mean return" in made.read_text() or "95 % CI" in made.read_text()
    assert cli.main(["report", str(results)]) == 2  # nothing is overwritten
    assert "exists" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path), str(results)]) == 2
    assert "is a directory: give it alone" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path)]) == 2 and not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(hp.errors.DiskFull):
        document.save(tmp_path / "r.html", "t", "l", [])
    assert not list(tmp_path.iterdir())


def test_an_older_report_stays_unless_it_is_ours(tmp_path):
    document.save(tmp_path / "r.html", "t", "l", [])
    with pytest.raises(AlreadyExists):
        document.save(tmp_path / "r.html", "t", "l", [])


def test_between_are_the_middles():
    fam = family("cheetah-vel")
    assert pictures.between(fam, np.array([[2.0], [0.0], [1.0]])).ravel().tolist() == [0.5, 1.5]
