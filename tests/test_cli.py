"""The command line: what it prints, its exit codes, and that it never ends in a traceback."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli, doctor
from hyperpolicy.cli.command import Command
from hyperpolicy.data import demonstrations
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import FAMILIES
from hyperpolicy.envs.metaworld import crews
from hyperpolicy.generate import normalizer
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig, Embedding, Maps
from hyperpolicy.generate.demonstration import DemonstrationReader
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import Identity, Model
from hyperpolicy.generate.writers import conditioned, lookup
from hyperpolicy.interchange import WIDTHS, Tensors, make_zoo


@pytest.fixture
def zoo(made):
    return made / "zoo"


@pytest.fixture
def generator(made):
    return made / "generator"


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


# --- Frame --------------------------------------------------------------------------------
def test_help_is_quick():
    """The overview loads neither jax nor MuJoCo nor matplotlib, and names every command."""
    code = (
        "import sys; from hyperpolicy.cli import main; assert main(['--help']) == 0; "
        "assert not {'jax', 'mujoco', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, (_, does) in cli.COMMANDS.items():
        assert name in done.stdout
        assert does in " ".join(done.stdout.split())  # however lines are broken


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        run(name, "--help")
    assert end.value.code == 0
    assert f"hyperpolicy {name}" in capsys.readouterr().out
    assert issubclass(cli.load(name), Command)


@pytest.mark.parametrize("arguments", [["play"], ["zoo"], ["play", "x", "--context", "y"]])
def test_wrong_options_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2


def test_no_command_shows_the_overview_and_ends_with_2(capsys):
    assert run() == 2
    assert "usage" in capsys.readouterr().out


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(monkeypatch, capsys):
    @dataclass(frozen=True)
    class Interrupted(Command):
        """Work that is interrupted."""

        steps: int = 1
        resumes = True

        def run(self, console):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", lambda name: Interrupted)
    assert run("train", "--steps", "3") == 130
    assert "resume with: hyperpolicy train --steps 3" in capsys.readouterr().err


def test_warnings_are_one_line(monkeypatch, capsys):
    @dataclass(frozen=True)
    class Warns(Command):
        """Work that warns."""

        def run(self, console):
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.warn("mind the gap", stacklevel=1)

    monkeypatch.setattr(cli, "load", lambda name: Warns)
    assert run("train") == 0
    assert capsys.readouterr().err == "warning: mind the gap\n"


# --- Looking ------------------------------------------------------------------------------
def test_families(capsys):
    assert run("families") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("cheetah-vel", "ant-dir", "m/s", "rad", "sixteenth"))


def test_doctor(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("jax", "1.0")])
    assert run("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["value"] == "1.0"


def test_doctor_fails_on_an_unusable_machine(monkeypatch, capsys):
    monkeypatch.setattr(
        doctor, "examine", lambda: [doctor.Finding("jax", "missing", "get [it]", True)]
    )
    assert run("doctor") == 1
    out = capsys.readouterr().out
    assert "get [it]" in out
    assert "not usable" in out


def test_zoo_info_and_verify(zoo, capsys):
    assert run("zoo", "info", zoo) == 0
    out = capsys.readouterr().out
    assert "40, contexts [0.075] … [3.0]" in out
    assert "mean -100.0" in out
    assert run("zoo", "verify", zoo) == 0


@pytest.mark.parametrize("to", ["neighbors", "middle"])
def test_zoo_align_writes_a_copy_that_acts_alike(zoo, to, tmp_path, capsys):
    out = tmp_path / "aligned"
    assert run("zoo", "align", zoo, "--out", out, "--to", to) == 0
    assert "distance of neighbors" in capsys.readouterr().out
    before, after = hp.Zoo.load(zoo), hp.Zoo.load(out)
    obs = np.random.default_rng(0).normal(size=(40, 5, 20)).astype(np.float32)
    np.testing.assert_allclose(after.finals.act(obs), before.finals.act(obs), atol=0.02)
    assert np.abs(after.weights - before.weights).max() > 0.1
    assert "aligned_to" in after.provenance
    assert run("zoo", "align", zoo, "--out", out) == 2
    assert capsys.readouterr().err.startswith("AlreadyExists: ")


def test_a_damaged_zoo_is_told(zoo, tmp_path, capsys):
    damaged = tmp_path / "zoo"
    damaged.mkdir()
    for file in zoo.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    shard = damaged / "actors-000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    assert run("zoo", "verify", damaged) == 2
    assert "checksum" in capsys.readouterr().err


# --- Interchange --------------------------------------------------------------------------
def published(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    # numbers that a zoo's half precision holds exactly
    rows = (rng.integers(-9, 9, (2, width)).astype(np.float32) for width in WIDTHS.values())
    return Tensors(*rows)


IMPORT = "zoo import-make-an-agent 0.pt 1.pt --task window-open door-open --out zoo".split()


def test_import_makes_a_zoo_and_its_demonstrations(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tensors, "load", lambda path: published(int(path.stem)))
    assert run(*IMPORT) == 0
    assert "4 policies of window-open, door-open: zoo\n" in capsys.readouterr().out
    zoo = hp.Zoo.load("zoo")
    assert zoo.provenance["files"] == ["0.pt", "1.pt"] and "clamp" in zoo.provenance["sampling"]
    shown = Demonstrations.load("zoo.demonstrations.safetensors")
    np.testing.assert_array_equal(shown.contexts, zoo.row_contexts)
    assert run("zoo", "info", "zoo") == 0
    assert "not measured" in capsys.readouterr().out
    assert run("zoo", "verify", "zoo") == 0
    assert run(*IMPORT[:-1], "other", "--demonstrations", "zoo.demonstrations.safetensors") == 2
    assert "AlreadyExists: zoo.demonstrations.safetensors" in capsys.readouterr().err
    assert run(*IMPORT[:-1], "other", "--demonstrations", "other/shown.safetensors") == 2
    assert "BadSetting: other/shown.safetensors lies in the zoo" in capsys.readouterr().err


def test_a_failed_import_leaves_nothing(monkeypatch, tmp_path, capsys):
    def full(zoo, path):
        raise hp.errors.DiskFull("no space left")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tensors, "load", lambda path: published(0))
    monkeypatch.setattr(hp.Zoo, "save", full)
    assert run(*IMPORT) == 2
    assert not list(tmp_path.iterdir())


def test_import_without_torch_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(*IMPORT) == 2
    assert "pip install 'hyperpolicy[torch]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_export_of_an_import_is_the_file(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    for i in (0, 1):
        published(i).save(f"{i}.pt")
    assert run(*IMPORT) == 0
    export = "zoo export zoo --make-an-agent both.pt".split()
    assert run(*export) == 0
    assert "does not say which is whose" in capsys.readouterr().out
    both = Tensors.load("both.pt")
    for name in WIDTHS:
        wanted = np.concatenate([getattr(published(i), name) for i in (0, 1)])
        np.testing.assert_array_equal(getattr(both, name), wanted)
    assert run(*export) == 2
    assert capsys.readouterr().err.startswith("AlreadyExists: both.pt")


def test_export_of_other_policies_says_what_to_do(zoo, tmp_path, capsys):
    shown = tmp_path / "shown.safetensors"
    make_zoo({"window-open": published(0)})[1].save(shown)
    out = tmp_path / "a.pt"
    assert run("zoo", "export", zoo, "--make-an-agent", out, "--demonstrations", shown) == 2
    error = capsys.readouterr().err
    assert error.startswith("BadZoo: ") and "--hidden 128 128 --activations elu relu" in error
    assert not out.exists()


# --- Policies -----------------------------------------------------------------------------
def test_play_prints_what_was_done(capsys):
    assert run("play", "cheetah-vel", "--context", 1.2, 0.6, "--policy", "zero") == 0
    out = capsys.readouterr().out
    assert "1.2 m/s" in out
    assert "0.6 m/s" in out
    assert "-240" in out or "-239" in out


def test_play_says_which_expert_is_nearest(zoo, capsys):
    assert run("play", "cheetah-vel", "--context", 1.21, "--policy", "expert", "--zoo", zoo) == 0
    assert f"nearest experts of {zoo}: 1.2 m/s" in capsys.readouterr().out


def test_play_takes_a_zoo_a_generator_and_a_file(zoo, generator, tmp_path, capsys):
    """The nearest expert, by three ways, does the same."""
    file = tmp_path / "policies.safetensors"
    assert run("generate", generator, "--context", 1.2, "--out", file) == 0
    outs = []
    for source in (zoo, generator, file):
        capsys.readouterr()
        assert run("play", "cheetah-vel", "--context", 1.2, "--policy", source) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] == outs[2]


def test_play_writes_a_video(tmp_path, capsys):
    from hyperpolicy.envs import rendering

    try:
        rendering.back_end()
    except hp.errors.NoRendering as fault:
        pytest.skip(str(fault))
    path = tmp_path / "out.mp4"
    arguments = ("play", "cheetah-vel", "--context", 1.0, "--policy", "random", "--video", path)
    assert run(*arguments, "--every", 100) == 0
    assert path.read_bytes()[4:8] == b"ftyp"
    assert run(*arguments) == 2
    assert "AlreadyExists" in capsys.readouterr().err


def test_generate_writes_policies_and_overwrites_nothing(generator, tmp_path, capsys):
    out = tmp_path / "policies.safetensors"
    assert run("generate", generator, "--context", 0.31, 2.17, "--out", out) == 0
    assert len(hp.Policies.load(out)) == 2
    assert "0.31 m/s, 2.17 m/s" in capsys.readouterr().out
    assert run("generate", generator, "--context", 0.31, "--out", out) == 2
    assert capsys.readouterr().err.startswith("AlreadyExists: ")


# --- Meta-World ---------------------------------------------------------------------------
ARM = hp.family("metaworld")
ARM_SPEC = hp.PolicySpec(39, 4, (4, 4), ("elu", "relu"))


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """An untrained generator that reads demonstrations, and a file of three of these."""
    config = BehaviorEmbeddingConfig(dim=2, opening_hidden=(4,), ending_hidden=4)
    o, s = demonstrations.widths(ARM)
    maps = Maps.init(config, o, s, jax.random.key(0))
    embedding = Embedding(maps, normalizer.blank(o), normalizer.blank(s))
    reader = DemonstrationReader(embedding, normalizer.blank(4), "both")
    spec = conditioned.conditioned_spec(ARM_SPEC, 4)
    rng = np.random.default_rng(0)
    writer = conditioned.Conditioned(rng.normal(size=spec.size).astype(np.float32), spec)
    tasks = ARM.contexts(["window-open", "door-open"])
    model = Model(reader, writer, Identity(ARM_SPEC.size))
    made = Generator(hp.family("metaworld"), ARM_SPEC, tasks, model, {"kind": "demonstrated"})
    shown = Demonstrations(ARM, tasks[[0, 1, 1]], rng.normal(size=(3, o)), rng.normal(size=(3, s)))
    where = tmp_path_factory.mktemp("cli")
    return made.save(where / "generator"), shown.save(where / "demos.safetensors")


def test_named_tasks_are_played_by_scripts(monkeypatch, capsys):
    monkeypatch.setitem(FAMILIES, "metaworld", replace(ARM, horizon_steps=6))
    assert run("play", "metaworld:window-open,drawer-close", "--policy", "scripted") == 0
    out = capsys.readouterr().out
    assert "window-open" in out and "drawer-close" in out and "0 of 6" in out
    crews.dismiss()


def test_a_success_that_does_not_last_is_no_contradiction():
    """'no success … first success after 53 steps' was."""
    from hyperpolicy.cli.play import _outcomes
    from hyperpolicy.rollout import Trace

    outcome = np.zeros((1, 1, 10, 2))
    outcome[0, 0, 3, 1] = 1.0
    shape = (1, 1, 10)
    nothing = np.zeros((*shape, 39)), np.zeros((*shape, 4)), np.zeros(shape)
    found = Trace(*nothing, outcome, np.ones(shape, bool), np.zeros((1, 1)))
    shown = _outcomes(ARM, ARM.contexts(["reach"]), found)
    assert [column.header for column in shown.columns][-1] == "steps of success"
    assert [str(cell) for cell in shown.columns[-1].cells] == ["1 of 10, the first after 4"]


def test_policies_are_written_for_demonstrations(reading, tmp_path, capsys):
    generator, demos = reading
    out = tmp_path / "policies.safetensors"
    assert run("generate", generator, "--demo", demos, "--out", out) == 0
    assert "3 × 220 numbers, metaworld at window-open, door-open" in capsys.readouterr().out
    assert len(hp.Policies.load(out)) == 3


def test_a_demonstration_is_played(reading, monkeypatch, capsys):
    generator, demos = reading
    monkeypatch.setitem(FAMILIES, "metaworld", replace(ARM, horizon_steps=3))
    assert run("play", "metaworld:door-open", "--policy", generator, "--demo", demos) == 0
    assert "door-open" in capsys.readouterr().out
    assert run("play", "metaworld:door-open", "--policy", generator) == 2
    assert "give --demo FILE" in capsys.readouterr().err
    assert run("play", "metaworld:reach", "--policy", generator, "--demo", demos) == 2
    assert "no demonstration of reach; it has some of: door-open" in capsys.readouterr().err


def test_score_refuses_who_trained_on_test_contexts(zoo, generator, capsys):
    assert run("score", "cheetah-vel", "--policy", generator, "--zoo", zoo) == 2
    assert "was trained on test contexts of split 'full'" in capsys.readouterr().err


def test_score_prints_trivial_rows_beside(zoo, tmp_path, capsys):
    train = hp.family("cheetah-vel").grid("macaw").split("sixteenth").train
    generator = lookup.nearest(hp.Zoo.load(zoo).only(train)).save(tmp_path / "generator")
    out = tmp_path / "score.json"
    code = run(
        *("score", "cheetah-vel", "--policy", generator, "--zoo", zoo),
        *("--episodes", 1, "--split", "sixteenth", "--out", out),
    )
    assert code == 0
    printed = capsys.readouterr().out
    names = ("zero action", "random", "nearest training expert", "interpolated", "oracle", "5 test")
    assert all(name in printed for name in names)
    assert "published" not in printed  # those numbers are of the full split
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 7 and "regression of weights" in rows
    assert rows["zero action"]["score"]["given"] == "nothing"
    assert "[" not in printed, "one episode knows no interval"
    other = tmp_path / "other.json"
    other.write_text(out.read_text())
    assert run("compare", out, other, "--against", "random", "--out", tmp_path / "c.md") == 0
    printed = capsys.readouterr().out
    assert "score: random" in printed and "Table 1" in printed and "Table 2" not in printed
    assert "ahead of 'random'" in (tmp_path / "c.md").read_text()
    assert run("compare", zoo / "zoo.json") == 2
    assert "no scores in it" in capsys.readouterr().err


def test_results_are_saved_before_anything_is_printed(tmp_path):
    """As `score … --out r.json | true`: the reader of the pipe is gone."""
    asked = "score cheetah-vel --policy zero --episodes 1 --out r.json".split()
    code = f"from hyperpolicy.cli import main; main({asked})"
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert "zero action" in json.loads((tmp_path / "r.json").read_text())["rows"]


def test_a_method_of_ones_own_enters_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    text = "import numpy as np\ndef act(obs, contexts): return np.zeros((len(obs), 6))\n"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "random.py").write_text(text)
    asked = ("score", "cheetah-vel", "--method", "mine.py", "--episodes", 1)
    assert run(*asked) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0].strip(): line.split() for line in lines}
    assert rows["mine"][1] == rows["zero action"][2]
    assert run(*asked, "--method", "random.py") == 2
    assert "two rows called 'random'" in capsys.readouterr().err
    assert run("score", "cheetah-vel", "--method", "nothing.py") == 2
    assert capsys.readouterr().err.startswith("BadMethod: nothing.py is no file")


def test_demonstrations_are_scored(reading, monkeypatch, tmp_path, capsys):
    generator, demos = reading
    monkeypatch.setitem(hp.envs.FAMILIES, "metaworld", replace(ARM, horizon_steps=3))
    asked = ("score", "metaworld:door-open", "--policy", generator, "--episodes", 2)
    assert run(*asked, "--demo", demos, "--out", tmp_path / "r.json") == 0
    assert "success" in capsys.readouterr().out
    row = json.loads((tmp_path / "r.json").read_text())["rows"][str(generator)]["score"]
    assert row["given"].startswith("one demonstration")
    assert row["protocol"]["starts"] == "drawn anew for each policy"
    assert run(*asked) == 2
    assert "reads demonstrations; give --demo FILE" in capsys.readouterr().err
    assert run("score", "metaworld:reach", "--policy", generator, "--demo", demos) == 2
    assert "it shows" in capsys.readouterr().err


def test_scripted_policies_are_scored(monkeypatch, capsys):
    monkeypatch.setitem(hp.envs.FAMILIES, "metaworld", replace(ARM, horizon_steps=3))
    asked = ("score", "metaworld:door-open", "--policy", "scripted", "--episodes", 1)
    assert run(*asked) == 0
    out = capsys.readouterr().out
    assert "a program written for the task" in out and "untrained: 1 start" in out


def test_score_without_a_zoo_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("score", "cheetah-vel", "--policy", "zero", "--episodes", 1) == 0
    out = capsys.readouterr().out
    assert "without rows of experts: no zoo at zoos/cheetah-vel" in out
    assert "published" in out


# --- Bad input ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("paly", "UnknownCommand: no command 'paly'. Did you mean 'play'?"),
        ("play cheetah-vell --context 1", "UnknownFamily: no task family 'cheetah-vell'. Did you"),
        ("play metaworld:windw-open --policy zero", "UnknownTask: no Meta-World task 'windw-open'"),
        ("play cheetah-vel:fast --policy zero", "BadContext: tasks of cheetah-vel have no names"),
        ("play cheetah-vel --context 1 --policy scripted", "BadContext: cheetah-vel has no scr"),
        ("play cheetah-vel --context 3.5 --policy zero", "BadContext: velocity = 3.5 m/s"),
        (
            "play cheetah-run --context 3 0.5 -4 0.5 --policy zero",
            "BadContext: mass = -4 × is outside [0.2, 3]; the family's bounds are 0.2 to 3 ×. "
            "Fewer than 5 numbers are the first of one context",
        ),
        ("play cheetah-vel --context --policy zero", "BadContext: 0 numbers"),
        ("play cheetah-vel --context 1 --policy nope", "UnknownGenerator: no generator 'nope'"),
        ("play cheetah-vel --context 1 --policy .", "UnknownGenerator: . is not a generator"),
        ("play cheetah-vel --context 1 --policy a.json", "BadFile: a.json is not"),
        ("play cheetah-vel --context 1 --policy zero --video a.json", "BadFile: cannot write a"),
        (
            "play cheetah-vel --context 1 --video x.mp4 --every 0",
            "BadSetting: every=0 (--every)",
        ),
        ("play cheetah-vel --context 1 --policy expert", "BadZoo: no zoo at zoos/cheetah-vel"),
        ("zoo info .", "BadZoo: . is not a zoo"),
        ("zoo verify nowhere", "BadZoo: 1 faults in nowhere"),
        (
            "zoo import-make-an-agent b --task windw-open --out c",
            "UnknownTask: no Meta-World task",
        ),
        ("zoo import-make-an-agent b --task a c --out d", "BadSetting: 1 files and 2 different"),
        ("zoo import-make-an-agent b --task a --out a.json", "AlreadyExists: a.json exists"),
        ("zoo export . --make-an-agent b", "BadZoo: . is not a zoo"),
        ("score cheetah-vel --split sixtenth", "UnknownSplit: no split"),
        ("score cheetah-vel --grid nope", "UnknownGrid: no grid"),
        ("score cheetah-vel --policy zero --demo x", "BadSetting: --demo x: no policy here reads"),
        ("score cheetah-vel --policy zero --draws 2", "BadSetting: --draws 2: nothing here draws"),
        (
            "score cheetah-vel --policy zero --episodes 0",
            "BadSetting: episodes=0 (--e",
        ),
        ("score cheetah-vel --policy zero --seed -1", "BadSetting: seed=-1"),
        ("score cheetah-vel --policy scripted", "BadContext: cheetah-vel has no scripted"),
        ("score metaworld:reach --split seen", "BadSetting: metaworld:reach names its tasks"),
        ("score metaworld --grid all", "BadSetting: grid all of metaworld has no splits"),
        ("compare a.json", "BadFile: a.json: no scores in it"),
        ("compare nowhere.json", "BadFile: nowhere.json does not exist"),
        ("generate nope --context 1 --out b", "UnknownGenerator"),
        ("generate ant-dir --context nan --out b", "BadSetting: context=(nan,) (--context); give"),
        ("generate ant-dir --out b", "BadContext: 0 numbers in --context; ant-dir takes 1"),
        ("tune nope --context 1 --out b", "UnknownGenerator: no generator 'nope'"),
        ("tune cheetah-vel --context 9 --out b", "BadContext: velocity = 9 m/s is outside"),
        (
            "tune cheetah-vel --context 1 --critics nearest --zoo z --out b",
            "BadZoo: z is not a zoo",
        ),
        ("tune cheetah-vel --context 1 --steps 100 --out b", "BadSetting: steps=100, fill_steps"),
        (
            "tune ant-dir --context 1 --learner ppo --steps 300 --out b",
            "BadSetting: steps=300: ppo",
        ),
        (
            "tune ant-dir --context 1 --evaluate-every 0 --out b",
            "BadSetting: evaluate_every=0 (--ev",
        ),
        ("tune ant-dir --context 1 --critics nearest --out b", "BadSetting: critics=nearest come"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_2(arguments, says, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    assert run(*arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(says)
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_generator_of_another_family(generator, capsys):
    assert run("play", "ant-dir", "--context", 1, "--policy", generator) == 2
    assert "is of family cheetah-vel" in capsys.readouterr().err


def test_a_zoo_of_another_family_is_not_tuned_with(zoo, tmp_path, capsys):
    out = tmp_path / "run"
    tune = ("tune", "ant-dir", "--context", 1, "--critics", "nearest")
    assert run(*tune, "--zoo", zoo, "--out", out) == 2
    assert "the zoo holds cheetah-vel policies" in capsys.readouterr().err
    assert not out.exists()
