"""Methods of one's own: what a file must define, and that its faults are one line."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.evaluate import foreign, score
from hyperpolicy.evaluate.foreign import BadMethod

FAMILY = family("cheetah-vel")
CONTEXTS = np.array([[0.6], [1.2]])
WRITER = """
import numpy as np
import hyperpolicy as hp
SPEC = hp.PolicySpec(20, 6, (4,), ("tanh",))
def generate(contexts, seed):
    rows = np.random.default_rng(seed).normal(size=(len(contexts), SPEC.size)) * contexts
    return hp.Policies(rows.astype(np.float32), SPEC)
"""
ACTOR = """
import numpy as np
NAME, GIVEN, ENV_STEPS = "half torque", "the speed", 12
def act(obs, contexts):
    assert obs.shape[0] == len(contexts) and contexts.shape[1] == 1
    return np.full((len(obs), 6), 0.5)
"""


@pytest.fixture
def short():
    """The family with episodes of four steps."""
    return replace(FAMILY, horizon_steps=4)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_that_writes_policies_is_a_row(short, tmp_path):
    path = written(tmp_path / "mine.py", WRITER)
    rows = foreign.methods([path], short, CONTEXTS, draws=3)
    method = rows["mine"]
    found = score(method, short, CONTEXTS, 2)
    assert found.returns.shape == (1, 3, 2, 2)
    assert found.given == "true context"
    again = score(method, short, CONTEXTS, 2)
    np.testing.assert_array_equal(found.returns, again.returns)


def test_a_file_that_acts_is_a_row(short, tmp_path):
    rows = foreign.methods([written(tmp_path / "a.py", ACTOR)], short, CONTEXTS)
    method = rows["half torque"]
    assert (method.given, method.env_steps, method.draws) == ("the speed", 12, 1)
    found = score(method, short, CONTEXTS, 2)
    assert np.isfinite(found.returns).all()
    assert found.returns[0, 0, 0, 0] < 0


def test_files_of_one_name_are_pipelines_of_one_method(tmp_path):
    paths = [written(tmp_path / f"{i}.py", f"NAME = 'mine'\n{WRITER}") for i in range(3)]
    method = foreign.methods(paths, FAMILY, CONTEXTS)["mine"]
    assert list(method.pipelines) == [0, 1, 2] and len(method.makers) == 3
    other = written(tmp_path / "other.py", ACTOR.replace("half torque", "mine"))
    with pytest.raises(BadMethod, match=r"other.py are both called 'mine'"):
        foreign.methods([*paths, other], FAMILY, CONTEXTS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "mine.py defines neither; define generate(contexts, seed)"),
        (f"{WRITER}\ndef act(obs, contexts): pass", "mine.py defines generate and act; define"),
        ("def act(:", "mine.py, line 1: SyntaxError"),
        ("x = 1\nimport no_such_module", "mine.py, line 2: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)", "mine.py, line 2: SystemExit: 3"),
        ("x = 1\x00", "mine.py"),
        (ACTOR.replace("12", "'many'"), "mine.py: ENV_STEPS = 'many'; give a whole number"),
        (ACTOR.replace("12", "-1"), "mine.py: ENV_STEPS is 0 or more"),
        ("NAME = 3\ndef act(obs, contexts): pass", "mine.py: NAME = 3; give text"),
        ("ACTION = 'dreamt'\ndef act(obs, contexts): pass", "ACTION one of deterministic, sampled"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, text, says):
    with pytest.raises(BadMethod) as error:
        foreign.load(written(tmp_path / "mine.py", text))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("act(obs, contexts): return obs[:, :3]", "are shape [4, 3]; give finite numbers of shape"),
        ("act(obs, contexts): return obs[:, :6] * float('nan')", "are not finite; give"),
        ("act(obs, contexts): return 'left'", "act gave a str, which is no array"),
        ("act(obs, contexts): return {}['a']", "mine.py, line 1: KeyError: 'a'"),
        ("act(obs): return obs", "mine.py: TypeError"),
        ("generate(contexts, seed): return contexts", "generate gave a ndarray; give hyperpolicy"),
        ("generate(contexts, seed): return None", "generate gave None; give hyperpolicy.Policies"),
        ("generate(contexts, seed): return 1 / 0", "mine.py, line 1: ZeroDivisionError"),
    ],
)
def test_wrong_answers_are_one_line(as_user, short, tmp_path, body, says):
    path = written(tmp_path / "mine.py", f"def {body}\n")
    (method,) = foreign.methods([path], short, CONTEXTS).values()
    with pytest.raises(BadMethod) as error:
        score(method, short, CONTEXTS, 2)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_too_few_policies_and_policies_that_do_not_fit_are_told(as_user, short, tmp_path):
    fewer = WRITER.replace("SPEC)\n", "SPEC)[:1]\n")
    path = written(tmp_path / "mine.py", fewer)
    (method,) = foreign.methods([path], short, CONTEXTS).values()
    with pytest.raises(BadMethod, match="1 policies for 2 contexts"):
        score(method, short, CONTEXTS, 2)


def test_the_example_of_the_docs_runs(short, tmp_path):
    """The file that docs/evaluation.md shows enters a table as it stands there."""
    text = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n# mine\.py\n(.*?)```", text, re.DOTALL)
    path = written(tmp_path / "mine.py", example.group(1))
    rows = foreign.methods([path], short, CONTEXTS)
    for method in rows.values():
        found = score(method, short, CONTEXTS, 2)
        assert np.isfinite(found.returns).all()
