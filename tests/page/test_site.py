"""Pages: what is in the folder, what JavaScript computes from it, and what a browser shows."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli
from hyperpolicy.envs import family
from hyperpolicy.errors import AlreadyExists, BadSetting, MissingExtra
from hyperpolicy.page import site

NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js")
ZOOS = {name: f"zoos/{name}/specialized-full" for name in ("cheetah-vel", "ant-dir")}
FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two shipped generators with their zoos, without what npm brings."""
    root = site.STATIC.parents[3]
    named = [(name, hp.load(name), hp.Zoo.load(root / zoo)) for name, zoo in ZOOS.items()]
    return site.build(named, tmp_path_factory.mktemp("page") / "site", vendor=False)


def node(script: str, *arguments) -> dict:
    command = [NODE, "--input-type=module", "-e", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout)


OPEN = """
import fs from "node:fs";
const [folder, asked] = process.argv.slice(1);
const { write, act } = await import(`file://${folder}/graph.js`);
const record = JSON.parse(fs.readFileSync(`${folder}/data/page.json`));
const raw = fs.readFileSync(`${folder}/data/page.bin`);
const buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
"""
WRITE = """
const found = JSON.parse(fs.readFileSync(asked)).map(({ tab, name, context, obs }) => {
  const own = record.tabs[tab];
  const weights = write(name ? own.beside[name] : own.generator, buffer, { context });
  const actions = obs.map((x) => Array.from(act(own.policy, weights, x)));
  return { weights: Array.from(weights), actions };
});
console.log(JSON.stringify(found));
"""


@needs_node
def test_weights_and_actions_are_pythons(page, tmp_path):
    """At contexts that are drawn anew, for generators and for the experts beside them."""
    from hyperpolicy.generate.writers import lookup

    rng, asked, wanted = np.random.default_rng(), [], []
    for tab, (name, zoo) in enumerate(ZOOS.items()):
        generator = hp.load(name)
        known = hp.Zoo.load(site.STATIC.parents[3] / zoo).only(generator.trained_contexts)
        makers = {
            None: generator,
            "nearest expert": lookup.nearest(known),
            "interpolated experts": lookup.linear(known),
        }
        low, high = generator.trained_contexts.min(), generator.trained_contexts.max()
        obs = rng.normal(size=(3, generator.family.obs_size)).astype(np.float32)
        for context in rng.uniform(low, high, (20, 1)):
            for other, maker in makers.items():
                row = {"tab": tab, "name": other, "context": context.tolist(), "obs": obs.tolist()}
                asked.append(row)
                wanted.append((maker.generate(context[None]), obs))
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    found = node(OPEN + WRITE, page, tmp_path / "asked.json")
    for one, (policy, obs), row in zip(found, wanted, asked, strict=True):
        weights, used = policy.weights.copy(), len(one["weights"])
        np.testing.assert_allclose(one["weights"], weights[0, :used], 1e-5, 1e-5, str(row["name"]))
        weights[0, :used] = one["weights"]  # layers amplify what these differ by
        actions = replace(policy, weights=weights).act(obs[None])[0]
        np.testing.assert_allclose(one["actions"], actions, atol=1e-5)


def test_a_page_holds_what_it_needs(page):
    names = {str(path.relative_to(page)) for path in page.rglob("*") if path.is_file()}
    assert names == {*site.PAGES, "data/page.json", "data/page.bin"}
    record = json.loads((page / "data/page.json").read_text())
    assert [tab["title"] for tab in record["tabs"]] == list(ZOOS)
    world = record["tabs"][0]["world"]
    assert world["horizon_steps"] == 200 and world["xml"].startswith("<mujoco")
    assert record["tabs"][1]["coordinates"][0]["period"] == pytest.approx(2 * np.pi)
    with pytest.raises(AlreadyExists):
        site.build([("x", hp.load("ant-dir"), None)], page, vendor=False)


def test_bodies_that_change_come_along(tmp_path):
    pytest.importorskip("dm_control")
    made = site.build([("run", hp.load("cheetah-run"), None)], tmp_path / "site", vendor=False)
    bodies = json.loads((made / "data/page.json").read_text())["tabs"][0]["world"]["bodies"]
    assert len(bodies["axes"][0]) == 31 and {"geom_size", "body_pos"} <= bodies["fields"].keys()


def test_what_pages_cannot_show_is_said(tmp_path, monkeypatch, capsys):
    pytest.importorskip("metaworld")
    assert cli.main(["page", "--generators", "metaworld", "--out", str(tmp_path / "site")]) == 2
    assert "metaworld is no family of MuJoCo's own" in capsys.readouterr().err
    with pytest.raises(BadSetting, match="a page needs one"):
        site.build([], tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtra, match="apt-get install npm"):
        site.build([("ant", hp.load("ant-dir"), None)], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_npm_that_cannot_fetch_says_so(tmp_path, monkeypatch):
    fake = tmp_path / "npm"
    fake.write_text("#!/bin/sh\necho 'npm ERR! network' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda name: str(fake))
    with pytest.raises(MissingExtra, match=r"npm ERR! network"):
        site.fetched()


# --- With MuJoCo's WebAssembly build ------------------------------------------------------
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with everything; skipped where npm is missing or has no network."""
    root = site.STATIC.parents[3]
    named = [(name, hp.load(name), hp.Zoo.load(root / zoo)) for name, zoo in ZOOS.items()]
    named += [("cheetah-run", hp.load("cheetah-run"), None)] if find_spec("dm_control") else []
    if os.environ.get("XDG_CACHE_HOME", "").startswith("/tmp/pytest"):
        pytest.skip("the cache is a test's")
    try:
        site.fetched()
    except MissingExtra as error:
        pytest.skip(str(error))
    return site.build(named, tmp_path_factory.mktemp("whole") / "site")


PLAY = """
const { World } = await import(`file://${folder}/world.js`);
const { default: load } = await import(`file://${folder}/vendor/mujoco.js`);
const mujoco = await load({ locateFile: (file) => `${folder}/vendor/${file}` });
const found = JSON.parse(fs.readFileSync(asked)).map(({ tab, context, starts }) => {
  const own = record.tabs[tab];
  const world = new World(mujoco, own.world, buffer);
  const weights = write(own.generator, buffer, { context });
  return starts.map((start) => world.play(own.policy, weights, context, start));
});
console.log(JSON.stringify(found));
"""


@needs_node
@pytest.mark.slow
def test_returns_lie_within_the_episodes_noise(whole, tmp_path):
    """A hundred starts, the same here and there; MuJoCo's builds differ in their last digits."""
    asked = [
        {"tab": 0, "context": [1.7], "starts": list(range(100))},
        {"tab": 1, "context": [0.3], "starts": list(range(100))},
    ]
    if find_spec("dm_control"):
        shape = family("cheetah-run").context
        context = shape.usual
        context[[shape.names.index("speed"), shape.names.index("length")]] = 4.0, 0.6
        asked.append({"tab": 2, "context": context.tolist(), "starts": list(range(100))})
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    found = node(OPEN + PLAY, whole, tmp_path / "asked.json")
    for one, row in zip(found, asked, strict=True):
        generator = hp.load([*ZOOS, "cheetah-run"][row["tab"]])
        context = np.array([row["context"]])
        policies = generator.generate(context)
        ours = hp.rollout.returns(policies, generator.family, context, episodes=100)[0]
        half = 1.96 * np.sqrt((np.var(one) + ours.var()) / 100)
        print(generator.family.name, context[0], np.mean(one), ours.mean(), half)
        assert abs(np.mean(one) - ours.mean()) < max(half, 0.01 * abs(ours.mean())) * 1.5


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_it(whole):
    """It starts, moves, follows its link and the controls, and computes Python's weights."""
    sync = pytest.importorskip("playwright.sync_api")
    with served(whole) as address, sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 900, "height": 700})
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(address + "#ant-dir?direction=1.25")
        tab.wait_for_function("window.hyperpolicy?.state.moved", timeout=90_000)
        assert tab.evaluate("hyperpolicy.state.context") == [1.25]
        _compare_drawn_contexts(tab)
        tab.get_by_role("tab", name="cheetah-vel").click()
        tab.locator("input[type=number]").fill("0.5")
        tab.locator("input[type=number]").press("Enter")
        assert tab.evaluate("location.hash") == "#cheetah-vel?velocity=0.5"
        slow, fast = tab.evaluate("[0.5, 2.5].map((v) => hyperpolicy.weights(0, [v]))")
        runs = "(w, v) => hyperpolicy.returns(0, w, [v], [0])[0]"
        own = tab.evaluate(f"([w]) => ({runs})(w, 0.5)", [slow])
        other = tab.evaluate(f"([w]) => ({runs})(w, 0.5)", [fast])
        assert own > other + 100  # another context's policy does something else
        assert not faults
        browser.close()


def _compare_drawn_contexts(tab) -> None:
    """Twenty contexts drawn now, and actions on observations of an episode."""
    rng = np.random.default_rng()
    for at, name in enumerate(ZOOS):
        generator = hp.load(name)
        low, high = generator.trained_contexts.min(), generator.trained_contexts.max()
        contexts = rng.uniform(low, high, (10, 1))
        policies = generator.generate(contexts)
        recorded = hp.rollout.record(policies, generator.family, contexts, 1, made_by="test")
        obs = recorded.transitions()[:: 20 * 10, : generator.family.obs_size][:8]
        for i, context in enumerate(contexts):
            weights = tab.evaluate(
                "([at, c]) => hyperpolicy.weights(at, c)", [at, context.tolist()]
            )
            np.testing.assert_allclose(weights, policies.weights[i][: len(weights)], 1e-5, 1e-5)
            told = [at, weights, obs.tolist()]
            actions = tab.evaluate("([at, w, rows]) => hyperpolicy.act(at, w, rows)", told)
            ours = policies[i].act(obs[None])[0]
            np.testing.assert_allclose(actions, ours, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_that_cannot_says_so(page):
    """Without WebAssembly, and with a folder that is not whole: a sentence, no blank page."""
    sync = pytest.importorskip("playwright.sync_api")
    with served(page) as address, sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for script, said in (("delete window.WebAssembly", "no WebAssembly"), ("", "cannot start")):
            tab = browser.new_page()
            tab.add_init_script(script)
            tab.goto(address)
            tab.wait_for_function(
                "document.querySelector('#status').textContent.includes('cannot')"
            )
            assert said in tab.inner_text("#status")
        browser.close()


class served:
    """A folder on a port of this machine."""

    def __init__(self, folder):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
