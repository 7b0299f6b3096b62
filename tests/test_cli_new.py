"""`hyperpolicy new`: what it writes works as it stands."""

import subprocess
import sys

import pytest

from hyperpolicy import cli


def test_a_new_family_passes_its_own_test_and_trains(tmp_path, capsys):
    assert cli.main(["new", "family", "my-cart", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "my_cart.py" in out and "doctor --contexts my-cart" in out
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_cart.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    script = "import my_cart, hyperpolicy as hp; print(hp.family('my-cart').grid('even').name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "even\n", done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My Cart", "is no family's name"),
        ("cheetah-vel", "there is a family 'cheetah-vel' already"),
    ],
)
def test_names_that_cannot_be_are_refused(name, said, tmp_path, capsys):
    assert cli.main(["new", "family", name, "--out", str(tmp_path / "there")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "there").exists()


def test_a_new_method_is_one_that_can_be_scored(tmp_path, capsys):
    from hyperpolicy.evaluate import foreign

    assert cli.main(["new", "method", str(tmp_path / "mine.py")]) == 0
    own = foreign.load(tmp_path / "mine.py")
    assert own.writes and own.name == "the expert below"
    assert cli.main(["new", "method", str(tmp_path / "mine.py")]) == 2


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "test_my_cart.py").write_text("mine")
    assert cli.main(["new", "family", "my-cart", "--out", str(tmp_path)]) == 2
    assert "test_my_cart.py exists" in capsys.readouterr().err
    assert not (tmp_path / "my_cart.py").exists()
