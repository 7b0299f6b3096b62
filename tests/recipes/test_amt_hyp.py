"""AMT-Hyp's tables and figures on a made-up zoo of two seen tasks, with episodes of 70 steps."""

from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.demonstrations import Demonstrations, widths
from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.errors import BadSetting
from hyperpolicy.evaluate import legacy
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.conditioned import DistillConfig
from hyperpolicy.generate.hypformer import HypFormerConfig
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.make_an_agent import MakeAnAgentConfig
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.nets.film_mlp import FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.recipes import amt_hyp, amt_hyp_figures, amt_hyp_rows, amt_hyp_tables
from hyperpolicy.recipes.metaworld_data import SMOKE, Data
from hyperpolicy.zoo import Zoo

SPEC = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
TINY = amt_hyp.Preset(
    data=SMOKE,
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
    make_an_agent=MakeAnAgentConfig(
        encoder=PcaConfig(components=4),
        net=FilmMlpConfig(width=8, blocks=1, embedding=4),
        batch=8,
        steps=5,
        diffusion_steps=10,
        sampling_steps=2,
    ),
    distill=DistillConfig(steps=5, batch=8),
    seeds=(0, 1),
    policies=3,
    configurations=1,
)


class Short(MetaWorld):
    horizon_steps = 4


@pytest.fixture(scope="module")
def b(tmp_path_factory):
    rng = np.random.default_rng(0)
    split = Short().grid("amt-hyp").split("seen")
    tasks = np.concatenate([split.train, split.test])
    expert = np.tile(np.arange(8), 3)
    zoo = Zoo(
        spec=SPEC,
        family="metaworld",
        weights=rng.normal(scale=0.3, size=(24, SPEC.size)).astype(np.float32),
        expert=expert,
        updates=np.repeat([4, 8, 8], 8),
        final=np.arange(24) >= 16,
        returns=np.zeros(24, np.float32),
        contexts=split.train,
        states=rng.normal(size=(8, 6, 39)).astype(np.float32),
        provenance={
            "env_steps_per_expert": 10,
            "updates_per_expert": 8,
            "scripted_steps_per_expert": 80,
        },
    )

    def shown(contexts):
        f, g = widths(Short())
        d = len(contexts)
        return Demonstrations(
            "metaworld", contexts, rng.normal(size=(d, f)), rng.normal(size=(d, g))
        )

    data = Data(zoo, shown(zoo.row_contexts), np.arange(24), shown(np.repeat(tasks, 3, axis=0)))
    out = tmp_path_factory.mktemp("amt-hyp")
    share = [0.0] * 8 + [1.0] * 16
    record = {"success": share, "return": share, "updates": zoo.updates.tolist()}
    files.save_json(out / "data/gate.json", record)
    with pytest.MonkeyPatch.context() as patch:
        for page in (amt_hyp, amt_hyp_rows, amt_hyp_tables, amt_hyp_figures, legacy):
            patch.setattr(page, "MetaWorld", Short)
        yield amt_hyp.Bench(TINY, data, out)
    crews.dismiss()


@pytest.mark.slow
def test_every_row_is_measured_and_shown(b):
    silent = [].append
    found = {
        half: amt_hyp_tables.cells(b, half, tuple(amt_hyp_rows.METHODS), silent)
        for half in amt_hyp.HALVES
    }
    assert "decoded expert" in found["seen"] and "decoded expert" not in found["unseen"]
    for cell in (found["seen"]["HypFormer"], found["unseen"]["Make-An-Agent"]):
        assert cell.strict.returns.shape == (2, 3, 8, 1) and len(cell.legacy) == 8
        assert cell.strict.seed != cell.choosing.seed
    page = amt_hyp_tables.page(b, found)
    for text in ("HypFormer (published)", "70.3", "| window-open", "chance 12.5 %", "qualified"):
        assert text in page
    again = amt_hyp_tables.cells(b, "seen", ["HypLatent"], pytest.fail)  # all is there already
    np.testing.assert_array_equal(
        again["HypLatent"].strict.returns, found["seen"]["HypLatent"].strict.returns
    )


@pytest.mark.slow
def test_figures_are_drawn(b):
    found = amt_hyp_figures.tokens(b, counts=(1, 2), progress=[].append)
    assert {len(x) for x in found.fitted.values()} == {2} == {len(x) for x in found.given.values()}
    path = amt_hyp_figures.draw_tokens(found, b.out / "tokens.png", (1, 2))
    panels = amt_hyp_figures.latents(b)
    assert set(panels) == set(amt_hyp_figures.SHOWN)
    assert "Fréchet" in amt_hyp_figures.table(panels)
    for picture in (path, amt_hyp_figures.draw_latents(panels, b.out / "latents.png")):
        assert picture.stat().st_size > 10_000


def test_plain_rows_write_what_they_say(b):
    zoo, demos = b.data.zoo, b.data.test.of(b.data.zoo.contexts[2])
    mean = amt_hyp_rows.MeanExpert(zoo).generate(demos)
    own = zoo.weights[zoo.expert == 2]
    np.testing.assert_allclose(mean.weights[1], own.mean(axis=0), atol=1e-6)
    shown = b.data.train.of(zoo.contexts[2])
    nearest = amt_hyp_rows.NearestDemonstration(b.lesson()).generate(shown)
    np.testing.assert_array_equal(nearest.weights, own)
    (decoded, _) = amt_hyp_rows.decoded(PcaConfig(components=24), b)
    np.testing.assert_allclose(decoded.generate(demos).weights, own, atol=1e-4)


def test_the_embedding_is_fitted_once(b, monkeypatch):
    first = b.embedding
    monkeypatch.setattr(
        amt_hyp.demonstrated, "fit_embedding", lambda *a, **k: pytest.fail("fitted again")
    )
    again = amt_hyp.Bench(b.preset, b.data, b.out).embedding
    np.testing.assert_array_equal(again.maps.bilinear, first.maps.bilinear)


def test_released_attention_looks_at_the_batch(b):
    """A policy changes with its neighbors in a batch of three, alone it does not."""
    (generator, _) = b.hypformers(amt_hyp_rows.attend_over_batch)
    demos = b.data.test[:3]
    other = replace(demos, opening=np.concatenate([demos.opening[:1], -demos.opening[1:]]))
    for size, same in ((3, False), (1, True)):
        maker = amt_hyp_rows.OverBatch(generator, size)
        one, two = (maker.generate(d).weights[0] for d in (demos, other))
        assert np.array_equal(one, two) == same


def test_distances_between_latents():
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(4000, 3))
    assert amt_hyp_figures.gap(shown, shown) == pytest.approx((1.0, 0.0, 0.0), abs=1e-4)
    moved = 2.0 * rng.normal(size=(4000, 3)) + np.array([1.0, 0.0, 0.0])
    assert amt_hyp_figures.frechet(moved, shown) == pytest.approx(1.0 + 3 * 1.0, rel=0.1)
    flipped = 2 * shown.mean(axis=0) - shown
    assert amt_hyp_figures.gap(flipped, shown).cosine == pytest.approx(-1.0)


def test_unknown_rows_are_suggested():
    with pytest.raises(BadSetting, match="Did you mean 'HypFormer'"):
        amt_hyp_rows.method("HypForner")


def test_published_sizes_are_the_paper_preset():
    paper = amt_hyp.PAPER
    assert paper.hyplatent.generator_hidden == (1024, 512, 256) and paper.hyplatent.noise == 128
    assert (paper.hypformer.width, paper.hypformer.heads, paper.hypformer.ff) == (256, 128, 2048)
    assert paper.make_an_agent.net.channels == (512, 1024, 2048)
    assert paper.hyplatent.encoder.dim == paper.make_an_agent.encoder.dim == 1024
