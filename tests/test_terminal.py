"""The terminal is a guest: its characters, its width, its pipes, and nothing that steers it."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

import hyperpolicy as hp
from hyperpolicy import cli, terminal
from hyperpolicy.cli.command import Command, table
from hyperpolicy.evaluate import tables
from hyperpolicy.run import progress
from hyperpolicy.terminal import Terminal

MAIN = "import sys; from hyperpolicy.cli import main; raise SystemExit(main(sys.argv[1:]))"


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def does(monkeypatch, run, resumes=False):
    """Let the command `train` do this instead."""

    @dataclass(frozen=True)
    class Other(Command):
        """Something else."""

        def run(self, console):
            return run(console)

    Other.resumes = resumes
    monkeypatch.setattr(cli, "load", lambda name: Other)


# --- Characters ---------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", ["families", "tune --help", "help", "play cheetah-vel -h"])
def test_any_encoding_takes_the_output(arguments, encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    try:
        assert run(*arguments.split()) == 0
    except SystemExit as end:
        assert end.code == 0
    out.flush()
    assert len(out.buffer.getvalue().decode(encoding)) > 200


def test_signs_have_plain_forms(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    does(monkeypatch, lambda console: console.print("−1 … 2 × π → ✓ ☃ \udcff"))
    assert run("train") == 0
    out.flush()
    assert out.buffer.getvalue() == b"-1 ... 2 x pi -> ok \\u2603 \\udcff\n"
    assert out.errors == "strict", "as before"


HOSTILE = "[red]x[/y] \x1b]0;title\x07 \x9b2J \u202e"


def test_nothing_printed_steers_the_terminal(monkeypatch, capsys):
    """Whatever comes out of a file: escapes are written out, markup is only text."""
    show = table(["name", HOSTILE], [[HOSTILE, "1"]])
    scores = tables.rich_table(HOSTILE, ["a", "b"], [[HOSTILE, "1"]])

    def printing(console):
        for one in (HOSTILE, show, scores, Text(HOSTILE)):
            console.print(one)
        raise hp.errors.BadZoo(HOSTILE + "\nsecond line")

    does(monkeypatch, printing)
    assert run("train") == 2
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not terminal.STEERING.search(text)
        assert "[red]x[/y] \\x1b]0;title" in text
    assert err.count("\n") == 1


def test_a_foreign_zoo_does_not_steer_the_terminal(tmp_path, monkeypatch, capsys):
    spec = hp.PolicySpec(20, 6, (4, 4))
    zoo = hp.Zoo(
        spec,
        hp.family("cheetah-vel"),
        np.zeros((1, spec.size), np.float32),
        expert=np.zeros(1, int),
        updates=np.ones(1, int),
        final=np.ones(1, bool),
        returns=np.zeros(1, np.float32),
        contexts=np.array([[1.0]]),
        provenance={"made by": HOSTILE, HOSTILE: 1},
    )
    zoo.save(tmp_path / "z[seed]1")
    assert run("zoo", "info", tmp_path / "z[seed]1") == 0
    out = capsys.readouterr().out
    assert not terminal.STEERING.search(out)
    assert "z[seed]1" in out


@pytest.mark.parametrize("name", ["f[seed]1", "f[/x]", "f[bold]", ":smile:"])
def test_paths_are_printed_as_they_are(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    does(monkeypatch, lambda console: console.print(f"{name}: done"))
    assert run("train") == 0
    assert capsys.readouterr().out == f"{name}: done\n"


# --- Streams ------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", [[], ["families"], ["score", "-h"]])
def test_a_closed_pipe_is_quiet(arguments):
    command = [sys.executable, "-c", MAIN, *arguments]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.stdout.close()
    assert started.stderr.read() == ""
    started.stderr.close()
    assert started.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_device_is_one_line(buffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "families"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": buffered},
        )
    assert done.returncode == 2
    assert done.stderr == "DiskFull: cannot write to standard output: No space left on device\n"


class Broken(io.StringIO):
    """A pipe nobody reads, without a buffer."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_results_are_saved_before_anything_is_printed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", Broken())
    out = tmp_path / "policies.safetensors"
    assert run("generate", "cheetah-vel", "--context", 1, "--out", out) == 141
    assert len(hp.Policies.load(out)) == 1
    monkeypatch.setattr("hyperpolicy.evaluate.video.check", lambda *_: None)
    monkeypatch.setattr("hyperpolicy.envs.rendering.back_end", lambda: "egl")
    recorded = []
    monkeypatch.setattr("hyperpolicy.evaluate.video.record", lambda *a, **_: recorded.append(a[3]))
    video = tmp_path / "v.mp4"
    play = ("play", "cheetah-vel", "--context", 1, "--policy", "zero", "--video", video)
    assert run(*play) == 141
    assert recorded == [video]


def test_work_can_go_on_where_nobody_reads(monkeypatch):
    """A long job may ignore a screen that is gone; then it ends with 0."""

    def working(console):
        with contextlib.suppress(OSError):
            console.print("half way")

    monkeypatch.setattr(sys, "stdout", Broken())
    does(monkeypatch, working)
    assert run("train") == 0


def test_lost_news_stop_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken())
    monkeypatch.setattr(progress, "SOON_S", 0.0)
    monkeypatch.setattr(progress, "LINES_S", 0.0)
    with progress.Steps("fit", 10) as steps:
        steps.update(3)
    Terminal(news=True).print("x")
    assert run("nope") == 2


# --- Widths -------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_keep_their_names_at_any_width(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [["nearest training expert", "−234.2", "[−234.3, −234.0]", "−240.2", "true context"]]
    header = ["method", "mean", "95 % CI", "IQM", "given at test time"]
    Terminal().print(tables.rich_table("scores", header, rows, "a caption"))
    out = capsys.readouterr().out
    assert "…" not in out
    for text in (*header[1:], *rows[0], "scores", "a caption"):
        for word in text.split():
            assert word in out
    assert max(map(len, out.splitlines())) <= columns


def test_play_fits_into_forty_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert run("play", "cheetah-vel", "--context", 1.2, "--policy", "zero") == 0
    out = capsys.readouterr().out
    assert "1.2 m/s" in out and "-2" in out and "…" not in out
    assert max(map(len, out.splitlines())) <= 40


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_fits_bar_keeps_steps_and_time_left(columns, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(
        progress, "Terminal", lambda **_: Console(file=out, force_terminal=True, width=columns)
    )
    with progress.Steps("hyplatent", 20_000) as steps:
        for done in (100, 1_234):
            steps.update(done, "  ".join(f"{name} 0.1234" for name in "critic actor gap".split()))
            time.sleep(0.02)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "1,234/20,000 steps" in last
    assert re.search(r"\d:\d\d:\d\d", last)


# --- Words while one waits ----------------------------------------------------------------
def test_long_work_says_a_word(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SOON_S", 0.01)

    def waiting(console):
        time.sleep(0.3)

    does(monkeypatch, waiting, resumes=True)
    assert run("train") == 0
    assert capsys.readouterr().err == "train: preparing\n"
    with progress.Steps("fit", 10):
        time.sleep(0.3)
    assert capsys.readouterr().err == "fit: 10 steps to do\n"


def test_short_work_is_silent(monkeypatch, capsys):
    with progress.Announced("preparing"), progress.Steps("fit", 10) as steps:
        steps.update(10)
    assert capsys.readouterr().err == ""


def test_lines_are_few_where_nobody_watches(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SOON_S", 0.0)
    with progress.Steps("fit", 10, done=2) as steps:
        for done in range(3, 11):
            steps.update(done, "loss 1")
    err = capsys.readouterr().err
    assert err.count("left") == 1
    assert "fit 3/10 steps" in err


# --- Frame --------------------------------------------------------------------------------
def test_version_and_help(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"hyperpolicy {hp.__version__}\n"
    assert run("help") == 0
    assert "usage: hyperpolicy COMMAND" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        run("help", "families")
    assert end.value.code == 0
    assert "usage: hyperpolicy families" in capsys.readouterr().out
    assert run("help", "familie") == 2
    assert "Did you mean 'families'?" in capsys.readouterr().err


def test_the_package_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "hyperpolicy", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"hyperpolicy {hp.__version__}\n"


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_file_is_imported_before_the_command(where, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("print('mine runs')\n")
    arguments = ["help", "help"]
    arguments[where:where] = ["--import", str(file)]
    cli.run_file(file)
    assert capsys.readouterr().out == "mine runs\n"
    assert cli.split_imports(arguments) == ([file], ["help", "help"])
    assert cli.split_imports([f"--import={file}", "play"]) == ([file], ["play"])
    assert run("families", "--import", file) == 0
    assert "mine runs" not in capsys.readouterr().out, "once is enough"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nraise ValueError('no\\nway')", ", line 2: ValueError: no\\nway"),
        ("def f():\n    1 / 0\nf()", ", line 2: ZeroDivisionError: division by zero"),
        ("def (:", ", line 1: SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", ", line 1: SystemExit: 3"),
        ("import hyperpolicy as hp\nhp.family('x')", ", line 2: hyperpolicy.errors.UnknownFamily"),
        (None, ": there is no such file"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(text, says, tmp_path, capsys):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    assert run("families", "--import", file) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"BadFile: --import {file}{says}")
    assert err.count("\n") == 1
    assert run("families", "--import") == 2
    assert "wants the name of a Python file" in capsys.readouterr().err


def test_resuming_repeats_the_import(monkeypatch, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("")

    def interrupted(console):
        raise KeyboardInterrupt

    from hyperpolicy.cli import training

    does(monkeypatch, interrupted, resumes=True)
    assert training and run("--import", file, "train") == 130
    assert capsys.readouterr().err == (
        f"interrupted; resume with: hyperpolicy --import {file} train\n"
    )


# --- Faults of the machine ----------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("Unable to allocate 7.45 TiB"), "OutOfMemory: Unable to allocate 7.45 TiB;"),
        (MemoryError(), "OutOfMemory: not enough memory; ask for fewer"),
        (RuntimeError("RESOURCE_EXHAUSTED: 8 bytes\nmore"), "OutOfMemory: RESOURCE_EXHAUSTED: 8"),
        (OSError(36, "File name too long", "x" * 300), "BadFile: File name too long: xxx"),
    ],
)
def test_faults_of_the_machine_are_one_line(error, says, monkeypatch, capsys):
    def fail(console):
        raise error

    does(monkeypatch, fail)
    assert run("train") == 2
    err = capsys.readouterr().err
    assert err.startswith(says)
    assert err.count("\n") == 1


def test_faults_of_the_code_are_not_hidden(monkeypatch):
    def fail(console):
        raise KeyError("a fault of ours")

    does(monkeypatch, fail)
    with pytest.raises(KeyError):
        run("train")


def test_an_array_beyond_memory_is_one_line(monkeypatch, capsys):
    does(monkeypatch, lambda console: np.zeros((1 << 50,)).any())
    assert run("train") == 2
    assert capsys.readouterr().err.startswith("OutOfMemory: Unable to allocate")


def test_ctrl_c_in_a_callback_still_interrupts(monkeypatch, capsys):
    """Python prints what is raised in `__del__` and goes on."""

    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def working(console):
        Dying()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.01)
        return 0

    does(monkeypatch, working)
    began = time.monotonic()
    assert run("train") == 130
    assert time.monotonic() - began < 9
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupt_that_is_swallowed_at_the_end_is_not_a_success(monkeypatch):
    class Dying:
        def __del__(self):
            raise KeyboardInterrupt

    does(monkeypatch, lambda console: Dying() and 0)
    assert run("train") == 130
