"""Command lines with wrong values end with 0 or 2 and one line, never in a traceback."""

import random
import re

import pytest

from hyperpolicy import cli

VALUES = [
    *"-1 0 1 2.5 1e400 nan inf -inf 99999999999999999999 x zero random expert scripted".split(),
    *"full macaw nope cheetah-vel metaworld:reach metaworld: : , / . .. -- - --help".split(),
    *("", " ", "a" * 300, "[red]x[/y]", "\x1b[2J", "−1", "ü", "a\nb", "/dev/null", "/nope/x.mp4"),
    *("x.mp4", "zoo.json", "--out", "--context", "--import", "--no-such-option"),
]
HOPELESS = {
    "families": ["families"],
    "play": ["play", "cheetah-vel", "--policy", "zero"],
    "play nothing": ["play"],
    "play tasks": ["play", "metaworld:nope"],
    "generate": ["generate", "cheetah-vel", "--out", "/dev/null/x"],
    "generate nothing": ["generate", "nope"],
    "score": ["score", "cheetah-vel", "--policy", "nope"],
    "zoo info": ["zoo", "info", "nope"],
    "zoo verify": ["zoo", "verify", "nope"],
    "zoo align": ["zoo", "align", "nope", "--out", "/nope/x"],
    "train": ["train", "nope", "--out", "x"],
    "tune": ["tune", "nope", "--context", "1", "--out", "x"],
    "fit": ["fit", "nope", "--out", "x", "regression"],
    "demo": ["demo", "--zoo", "nope"],
    "recipe": ["recipe", "nope"],
    "": [],
}
"""What a command line begins with: it ends at once, or plays one short episode."""


@pytest.fixture(scope="module")
def options():
    """The options that each command's help names."""
    import contextlib
    import io

    found = {}
    for name in cli.COMMANDS:
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
            cli.main([name, "--help"])
        found[name] = sorted(set(re.findall(r"--[a-z][a-z-]+", out.getvalue())) - {"--video"})
    return found


@pytest.mark.parametrize("seed", range(10))
def test_wrong_command_lines_end_in_one_line(seed, options, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(seed)
    for _ in range(30):
        start = HOPELESS[draw.choice(list(HOPELESS))]
        known = options.get(start[0], ["--help"]) if start else ["--version", "help"]
        arguments = list(start)
        for _ in range(draw.randint(0, 3)):
            arguments += [draw.choice(known), *draw.choices(VALUES, k=draw.randint(0, 2))]
        check(arguments, capsys)


def check(arguments, capsys) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        assert end.code in (0, 2), arguments
        capsys.readouterr()
        return
    except Exception as error:
        raise AssertionError(f"{arguments} ended in a traceback") from error
    err = capsys.readouterr().err
    assert code in (0, 2), arguments
    if code == 2 and arguments:
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1 and re.match(r"[A-Z]\w+: ", lines[0]), (arguments, err)
        assert "\x1b" not in err
