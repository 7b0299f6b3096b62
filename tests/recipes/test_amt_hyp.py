"""AMT-Hyp's tables and figures on a made-up zoo of two seen tasks, with episodes of 70 steps."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console

import hyperpolicy as hp
from hyperpolicy import files
from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.cli import amt_hyp as command_page
from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.errors import BadSetting
from hyperpolicy.evaluate import scoring
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.codecs import AutoencoderConfig, PcaConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hypformer import HypFormerConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.nets.film_mlp import FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.recipes import stage
from hyperpolicy.recipes.amt_hyp import bench, figures, methods, presets, tables
from hyperpolicy.recipes.amt_hyp.data import MetaWorldData
from hyperpolicy.recipes.amt_hyp.presets import SMOKE_DATA
from hyperpolicy.zoo import Training, Zoo

SPEC = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
TINY = presets.Preset(
    data=SMOKE_DATA,
    embedding=BehaviorEmbeddingConfig(
        dim=4, opening_hidden=(8,), ending_hidden=4, batch=8, steps=10
    ),
    hyplatent=HypLatentConfig(
        encoder=PcaConfig(components=4),
        generator_hidden=(8, 4),
        discriminator_hidden=(8, 4),
        noise=2,
        batch=8,
        steps=5,
    ),
    hypformer=HypFormerConfig(width=8, heads=4, ff=8, tokens=2, batch=8, steps=5),
    counted=HypFormerConfig(width=8, heads=4, ff=8, batch=8, steps=5),
    shipped_embedding=BehaviorEmbeddingConfig(
        dim=2, opening_hidden=(4,), ending_hidden=4, batch=8, steps=5
    ),
    shipped=HypLatentConfig(
        encoder=PcaConfig(components=2),
        generator_hidden=(4,),
        discriminator_hidden=(4,),
        noise=2,
        batch=8,
        steps=5,
    ),
    make_an_agent=MakeAnAgentConfig(
        encoder=PcaConfig(components=4),
        net=FilmMlpConfig(width=8, blocks=1, embedding=4),
        batch=8,
        steps=5,
        diffusion_steps=10,
        sampling_steps=2,
    ),
    distill=DistillConfig(steps=5, batch=8),
    decision=DecisionConfig(
        width=8, layers=1, context=2, piece_steps=23, where="start", tasks=2, each=2, steps=2
    ),
    episodes=1,
    seldom=1,
    autoencoder=AutoencoderConfig(dim=4, steps=10),
    seeds=(0, 1),
    policies=3,
    configurations=1,
)


Short = partial(MetaWorld, horizon_steps=4)


@pytest.fixture(scope="module")
def b(tmp_path_factory):
    rng = np.random.default_rng(0)
    split = Short().grid("amt-hyp").split("seen")
    tasks = np.concatenate([split.train, split.test])
    expert = np.tile(np.arange(8), 3)
    zoo = Zoo(
        spec=SPEC,
        family=hp.family("metaworld"),
        weights=rng.normal(scale=0.3, size=(24, SPEC.size)).astype(np.float32),
        expert=expert,
        updates=np.repeat([4, 8, 8], 8),
        final=np.arange(24) >= 16,
        returns=np.zeros(24, np.float32),
        contexts=split.train,
        states=rng.normal(size=(8, 6, 39)).astype(np.float32),
        training=Training(env_steps=10, updates=8),
    )

    def shown(contexts):
        f, g = widths(Short())
        d = len(contexts)
        return Demonstrations(
            hp.family("metaworld"), contexts, rng.normal(size=(d, f)), rng.normal(size=(d, g))
        )

    test = shown(np.repeat(tasks, 3, axis=0))
    data = MetaWorldData(zoo, shown(zoo.row_contexts), np.arange(24), test)
    out = tmp_path_factory.mktemp("amt-hyp")
    share = [0.0] * 8 + [1.0] * 16
    record = {"success": share, "return": share, "updates": zoo.updates.tolist()}
    files.save_json(out / "data/gate.json", record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "MetaWorld", Short)
        yield bench.Bench(TINY, data, out, family=Short())
    crews.dismiss()


@pytest.mark.slow
def test_every_row_is_measured_and_shown(b):
    silent = [].append
    found = {half: tables.cells(b, half, tuple(methods.METHODS), silent) for half in bench.HALVES}
    for name in ("decoded expert", "decoded expert, autoencoder"):
        assert name in found["seen"] and name not in found["unseen"]
    for cell in (found["seen"]["HypFormer"], found["unseen"]["Make-An-Agent"]):
        assert cell.strict.returns.shape == (2, 3, 8, 1) and len(cell.legacy) == 8
        assert cell.strict.seed != cell.choosing.seed
    page = tables.page(b, found)
    for text in ("HypFormer (published)", "70.3", "| window-open", "chance 12.5 %", "qualified"):
        assert text in page
    assert bench.transfer(b).shape == (8, 8) and "the best of them" in page
    for text in ("its own nearest checkpoint", "| cells, seen tasks", "| fit, make-an-agent"):
        assert text in page
    assert tables.audits(b)["HypLatent"].groups["generated"].weights
    again = tables.cells(b, "seen", ["HypLatent"], pytest.fail)  # all is there already
    np.testing.assert_array_equal(
        again["HypLatent"].strict.returns, found["seen"]["HypLatent"].strict.returns
    )


@pytest.mark.slow
def test_the_command_ships_and_writes_the_page(b, tmp_path, monkeypatch):
    monkeypatch.setattr(command_page, "bench", lambda preset, out: b)
    places = {"ship": tmp_path / "zoos", "ship_generator": tmp_path / "metaworld"}
    command = command_page.AmtHyp(out=tmp_path, methods=("HypLatent",), **places)
    for new in (2, 0):  # the second call finds them
        console = Console(record=True, width=1000)
        command.run(console)
        lines = [line.strip() for line in console.export_text().splitlines()]
        made = tmp_path / "zoos/metaworld/amt-hyp", tmp_path / "metaworld"
        assert sum(str(path) in lines for path in made) == new
    assert (tmp_path / "zoos/metaworld/amt-hyp/zoo.json").exists()
    assert (tmp_path / "metaworld/config.json").exists()
    assert "Minutes per stage" in (tmp_path / "amt-hyp.md").read_text()
    assert (tmp_path / "success.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Matrix is")  # three demonstrations of four numbers
def test_figures_are_drawn(b):
    found = figures.tokens(b, counts=(1, 2), progress=[].append)
    assert {len(x) for curves in found.values() for x in curves.values()} == {2}
    assert set(found) == {"fitted", "given"}
    one, two = (b.out / f"fits/hypformer-tokens-{count}/seed-0" for count in (1, 2))
    assert [generators.load(x).model.writer.tokens for x in (one, two)] == [1, 2]
    assert not (one.parent / "seed-1").exists()  # the first seed only
    path = figures.draw_tokens(found, b.out / "tokens.png", (1, 2))
    panels = figures.latents(b)
    assert set(panels) == set(figures.SHOWN)
    assert "Fréchet" in figures.table(panels)
    for picture in (path, figures.draw_latents(panels, b.out / "latents.png")):
        assert picture.stat().st_size > 10_000


def test_plain_rows_write_what_they_say(b):
    zoo, demos = b.data.zoo, b.data.test.of(b.data.zoo.contexts[2])
    mean = methods.MeanExpert(zoo).generate(demos)
    own = zoo.weights[zoo.expert == 2]
    np.testing.assert_allclose(mean.weights[1], own.mean(axis=0), atol=1e-6)
    shown = b.data.train.of(zoo.contexts[2])
    nearest = methods.NearestDemonstration(b.lesson()).generate(shown)
    np.testing.assert_array_equal(nearest.weights, own)
    (decoded, _) = methods.decoded(PcaConfig(components=24), b)
    np.testing.assert_allclose(decoded.generate(demos).weights, own, atol=1e-4)


@pytest.mark.slow
def test_encoders_are_fitted_once(b, monkeypatch):
    first = methods.decoded(b.preset.autoencoder, b)
    spent = stage.read(b.minutes)
    assert spent["fit, encoder, AutoencoderConfig"] > 0
    monkeypatch.setattr(AutoencoderConfig, "fit", lambda *a, **k: pytest.fail("fitted again"))
    again = methods.decoded(b.preset.autoencoder, b)
    demos = b.data.test.of(b.data.zoo.contexts[2])
    one, other, same = (rows.generate(demos).weights for rows in (*first, again[0]))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and stage.read(b.minutes) == spent


@pytest.mark.slow
def test_audits_are_kept(b, monkeypatch):
    found = tables.audits(b, ["HypLatent"])["HypLatent"]
    assert len(found.groups["generated"].weights) == 8 * 3  # all there are, of ten
    monkeypatch.setattr(tables.memorization, "audit", lambda *a: pytest.fail("again"))
    text = tables.copies(b, ["HypLatent", "decoded expert"])
    assert "beside the 24 rows" in text and "| HypLatent" in text and "HypFormer" not in text
    assert "none of them" in tables.copies(b, ["decoded expert"])


def test_a_slice_ships_with_demonstrations(b, tmp_path):
    many = replace(b, data=replace(b.data, zoo=_longer(b.data.zoo)))
    [path] = bench.ship(many, tmp_path)
    assert path == tmp_path / "metaworld/amt-hyp" and not Zoo.verify(path)
    zoo = Zoo.load(path)
    assert zoo.states.shape == (8, 64, 39) and zoo.final.sum() == 8
    first = sorted(zoo.updates[(zoo.expert == 0) & ~zoo.final])
    assert first == [0, 20]
    assert not (~zoo.final[zoo.expert == 1]).any()  # nothing of it passed the gate
    demos = Demonstrations.load(path / "demonstrations.safetensors")
    assert len(demos) == 16 * 3 and len(np.unique(demos.contexts, axis=0)) == 16
    assert bench.ship(many, tmp_path) == []


def _longer(zoo):
    """21 checkpoints of the first expert, none of the second, two of the others; more states."""
    rows = np.concatenate([np.zeros(19, int), np.delete(np.arange(24), [1, 9])])
    updates = np.concatenate([np.arange(2, 21), zoo.updates[rows[19:]]])
    updates[(zoo.expert[rows] == 0) & (np.arange(len(rows)) >= 19)] = [0, 1, 30]
    return replace(
        zoo,
        weights=zoo.weights[rows],
        expert=zoo.expert[rows],
        updates=updates,
        final=zoo.final[rows],
        returns=zoo.returns[rows],
        states=np.tile(zoo.states, (1, 20, 1)),
    )


def test_a_compact_generator_ships(b, tmp_path):
    [path] = bench.ship_generator(b, tmp_path / "metaworld")
    small, whole = generators.load(path), generators.load(b.out / "fits/hyplatent-shipped/seed-0")
    arrays, _ = files.load_arrays(path / "weights.safetensors")
    assert {x.dtype for x in arrays.values() if x.ndim > 1} == {np.dtype(np.float16)}
    made, wanted = (g.generate(b.data.test, seed=3).weights for g in (small, whole))
    np.testing.assert_allclose(made, wanted, atol=1e-2)
    assert (made != wanted).any() and small.provenance["seed"] == 0
    measured = b.shipped().generate(b.data.test, seed=3).weights
    np.testing.assert_array_equal(measured, made)  # the row is of what ships
    assert bench.ship_generator(b, path) == []


def test_the_embedding_is_fitted_once(b, monkeypatch):
    first = b.embedding
    monkeypatch.setattr(
        bench.demonstration, "fit_embedding", lambda *a, **k: pytest.fail("fitted again")
    )
    again = replace(b).embedding
    np.testing.assert_array_equal(again.maps.bilinear, first.maps.bilinear)


@pytest.mark.slow
def test_released_attention_looks_at_the_batch(b):
    """A policy changes with its neighbors in a batch of three, alone it does not."""
    (generator,) = b.hypformers(methods.attend_over_batch, fits=1)
    demos = b.data.test[:3]
    other = replace(demos, opening=np.concatenate([demos.opening[:1], -demos.opening[1:]]))
    for size, same in ((3, False), (1, True)):
        maker = methods.OverBatch(generator, size)
        one, two = (maker.generate(d).weights[0] for d in (demos, other))
        assert np.array_equal(one, two) == same


def test_distances_between_latents():
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(4000, 3))
    assert figures.gap(shown, shown) == pytest.approx((1.0, 0.0, 0.0), abs=1e-4)
    moved = 2.0 * rng.normal(size=(4000, 3)) + np.array([1.0, 0.0, 0.0])
    assert figures.frechet(moved, shown) == pytest.approx(1.0 + 3 * 1.0, rel=0.1)
    flipped = 2 * shown.mean(axis=0) - shown
    assert figures.gap(flipped, shown)[0] == pytest.approx(-1.0)


def test_unknown_rows_are_suggested():
    with pytest.raises(BadSetting, match="Did you mean 'HypFormer'"):
        methods.method("HypForner")


def test_published_sizes_are_the_paper_preset():
    paper = presets.PAPER
    assert paper.hyplatent.generator_hidden == (1024, 512, 256) and paper.hyplatent.noise == 128
    assert (paper.hypformer.width, paper.hypformer.heads, paper.hypformer.ff) == (256, 128, 2048)
    assert paper.make_an_agent.net.channels == (512, 1024, 2048)
    assert paper.hyplatent.encoder == paper.make_an_agent.encoder == paper.autoencoder
    assert (paper.autoencoder.dim, paper.autoencoder.steps) == (1024, 327_670)
