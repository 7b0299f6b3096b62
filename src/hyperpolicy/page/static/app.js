// The page: what the reader chooses, what is written for it, and the robots that do it.
import { act, write } from "./graph.js";
import { fromTraining, World } from "./world.js";

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const COLORS = ["--generated", "--nearest", "--mixed"];
const began = performance.now();
const state = { at: 0, context: [], paused: still, start: 0, worlds: {}, tabs: [] };

// --- Start -------------------------------------------------------------------------------
async function open() {
  if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly");
  const [record, bytes, { default: load }] = await Promise.all([
    fetch("data/page.json").then((x) => x.json()),
    fetch("data/page.bin").then((x) => x.arrayBuffer()),
    import("./vendor/mujoco.js"),
  ]);
  state.tabs = record.tabs;
  state.buffer = bytes;
  state.mujoco = await load({ locateFile: (file) => `vendor/${file}` });
  try {
    const { Scene, picture } = await import("./draw.js");
    state.picture = picture;
    state.scene = new Scene($("scene"), still);
  } catch (error) {
    $("status").textContent = `Robots cannot be drawn here (${error.message}); the numbers still run.`;
  }
  tabs();
  read();
  window.addEventListener("hashchange", read);
  $("context").addEventListener("submit", (event) => event.preventDefault()); // Enter in a number
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  $("pause").onclick = () => pause(!state.paused);
  $("again").onclick = () => begin(state.start + 1);
  $("beside").onchange = () => choose(state.at);
  $("link").onclick = copy;
  pause(state.paused);
  state.ready = performance.now() - began;
  requestAnimationFrame(frame);
}

function tabs() {
  state.tabs.forEach((tab, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.role = "tab";
    button.textContent = tab.title;
    button.onclick = () => choose(i, tab.usual);
    button.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + state.tabs.length) % state.tabs.length;
      choose(next, state.tabs[next].usual);
      $("tabs").children[next].focus();
    };
    $("tabs").append(button);
  });
}

// --- The context, and its link -----------------------------------------------------------
/** The task that the address names: #ant-dir?direction=0.3 */
function read() {
  const [name, query] = decodeURIComponent(location.hash.slice(1)).split("?");
  const at = Math.max(0, state.tabs.findIndex((tab) => tab.title === name));
  const tab = state.tabs[at], told = new URLSearchParams(query ?? "");
  const context = Array.from(tab.usual);
  for (const one of tab.coordinates) {
    const x = Number.parseFloat(told.get(one.name));
    if (Number.isFinite(x)) context[one.index] = allowed(one, x);
  }
  choose(at, context);
}

function address() {
  const tab = state.tabs[state.at];
  const told = tab.coordinates.map(({ name, index }) => `${name}=${+state.context[index].toFixed(4)}`);
  return `#${tab.title}?${told.join("&")}`;
}

/** A number within a coordinate's bounds. */
function allowed(one, x) {
  if (one.period) return ((x % one.period) + one.period) % one.period;
  let y = Math.min(one.high, Math.max(one.low, x));
  if (Math.abs(y) < one.least) y = y < 0 ? -one.least : one.least;
  return y;
}

function choose(at, context) {
  const same = at === state.at && state.players;
  state.at = at;
  if (context) state.context = Array.from(context);
  const tab = state.tabs[at];
  Array.from($("tabs").children).forEach((button, i) => {
    button.setAttribute("aria-selected", i === at);
    button.tabIndex = i === at ? 0 : -1;
  });
  if (!same || context) controls(tab);
  compose();
}

/** A slider and a number for each coordinate; a dial for a circle. */
function controls(tab) {
  $("context").replaceChildren(...tab.coordinates.map((one) => {
    const set = document.createElement("fieldset");
    const unit = one.unit ? ` (${one.unit})` : "";
    set.innerHTML = `<legend></legend><div class="choice"><input type="range"><input type="number"></div>`;
    set.querySelector("legend").textContent = one.name + unit;
    const [range, number] = set.querySelectorAll("input");
    const step = (one.high - one.low) / 300;
    let hand = null;
    const show = (x) => {
      range.value = x;
      number.value = +x.toFixed(3);
      hand?.(x);
    };
    for (const input of [range, number]) {
      Object.assign(input, { min: one.low, max: one.high });
      input.step = input === range ? step : "any";
      input.setAttribute("aria-label", one.name + unit);
      input.addEventListener(input === range ? "input" : "change", () => {
        const x = allowed(one, Number.parseFloat(input.value) || 0);
        state.context[one.index] = x;
        show(x);
        compose();
      });
    }
    if (one.period) hand = dial(set.querySelector(".choice"), one, (x) => {
      state.context[one.index] = x;
      show(x);
      compose();
    });
    show(state.context[one.index]);
    return set;
  }));
}

/** A circle whose hand can be turned; the slider beside it is for the keyboard. */
function dial(parent, one, turned) {
  parent.insertAdjacentHTML("afterbegin",
    `<svg class="dial" viewBox="-50 -50 100 100" aria-hidden="true"><circle r="44"/>
     <line class="tick" x1="38" x2="44"/><line class="tick" x1="-38" x2="-44"/>
     <line class="tick" y1="38" y2="44"/><line class="tick" y1="-38" y2="-44"/>
     <line class="hand" x1="0" y1="0"/></svg>`);
  const svg = parent.firstElementChild, hand = svg.querySelector(".hand");
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const x = event.clientX - box.left - box.width / 2, y = event.clientY - box.top - box.height / 2;
    turned(allowed(one, (Math.atan2(-y, x) / (2 * Math.PI)) * one.period));
  };
  svg.onpointerdown = (event) => {
    svg.setPointerCapture(event.pointerId);
    point(event);
    svg.onpointermove = point;
  };
  svg.onpointerup = svg.onpointercancel = () => (svg.onpointermove = null);
  return (x) => {
    const angle = (x / one.period) * 2 * Math.PI;
    hand.setAttribute("x2", 40 * Math.cos(angle));
    hand.setAttribute("y2", -40 * Math.sin(angle));
  };
}

async function copy() {
  const link = location.href.split("#")[0] + address();
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    $("link").textContent = "Copied";
  } catch {
    $("link").textContent = "The address above is the link";
  }
  setTimeout(() => ($("link").textContent = "Copy a link to this task"), 2000);
}

// --- Policies ----------------------------------------------------------------------------
/** Write the policies for the context, and begin their episodes. */
function compose() {
  const tab = state.tabs[state.at], context = state.context;
  const { steps, nearest } = fromTraining(tab, state.buffer, context);
  const wanted = [["written for it", tab.generator, context]];
  if ($("beside").checked) {
    const others = Object.entries(tab.beside).map(([name, one]) => [name, one, context]);
    wanted.push(...(others.length ? others : [["written for the nearest", tab.generator, nearest]]));
  }
  state.players = wanted.map(([name, generator, told], i) => {
    const weights = write(generator, state.buffer, { context: told });
    return { name, weights, world: world(state.at, i), returns: [] };
  });
  history.replaceState(null, "", address());
  const told = tab.coordinates.map(({ index, unit }) => `${+nearest[index].toFixed(3)} ${unit}`).join(", ");
  $("about").textContent = tab.about;
  $("trained").textContent = steps < 1e-6 ? "An expert was trained on exactly this."
    : `No expert was trained on this; the nearest one stands ${steps.toFixed(2)} steps of the training grid away, at ${told}.`;
  $("trained").classList.toggle("far", steps > 1.5);
  const own = state.players[0].weights;
  $("size").textContent = `${tab.policy.numbers.toLocaleString("en")} numbers, written for this task.`;
  state.picture?.($("weights"), tab.policy, own);
  table();
  state.scene?.cast(state.players.map((_, i) => color(COLORS[i])));
  paint();
  begin(state.start);
}

/** A world for player i of a tab, kept from one context to the next. */
function world(at, i) {
  const key = `${at} ${i}`;
  state.worlds[key] ??= new World(state.mujoco, state.tabs[at].world, state.buffer);
  return state.worlds[key];
}

function begin(start) {
  state.start = start % state.players[0].world.numStarts;
  for (const { world } of state.players) world.begin(state.start, state.context);
  state.behind = 0;
  if (state.scene) state.scene.fresh = true;
}

function table() {
  $("returns").replaceChildren(...state.players.map((player, i) => {
    const row = document.createElement("tr");
    row.innerHTML = `<th scope="row"><span class="dot"></span><span></span></th><td></td><td></td>`;
    row.querySelector(".dot").style.background = `var(${COLORS[i]})`;
    row.querySelector("th span:last-child").textContent = player.name;
    player.row = row;
    return row;
  }));
  $("episodes").textContent = 0;
}

// --- Time --------------------------------------------------------------------------------
let last = 0;

function frame(now) {
  requestAnimationFrame(frame);
  const tab = state.tabs[state.at];
  const passed = Math.min(0.1, (now - last) / 1000);
  last = now;
  if (!state.paused) {
    state.behind += passed;
    while (state.behind >= tab.world.dt_s) {
      state.behind -= tab.world.dt_s;
      step(tab);
    }
  }
  state.scene?.draw(state.players.map(({ world }) => world), tab.world, passed);
  state.frames = (state.frames ?? 0) + 1;
  state.moved ??= state.players[0].world.steps > 0 ? performance.now() - began : undefined;
}

function step(tab) {
  for (const player of state.players) {
    const { world } = player;
    if (world.over) continue;
    world.step(tab.policy, player.weights);
    if (world.over) player.returns.push(world.earned);
  }
  for (const { row, world, returns } of state.players) {
    const [, so, mean] = row.children;
    so.textContent = world.earned.toFixed(1);
    mean.textContent = returns.length ? (returns.reduce((a, b) => a + b) / returns.length).toFixed(1) : "–";
  }
  $("episodes").textContent = state.players[0].returns.length;
  if (state.players.every(({ world }) => world.over)) begin(state.start + 1);
}

function pause(paused) {
  state.paused = paused;
  $("pause").textContent = paused ? "Play" : "Pause";
  $("pause").setAttribute("aria-pressed", paused);
  if (state.scene || !paused) $("status").textContent = paused ? "Paused" : "";
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function paint() {
  state.scene?.paint(color("--soft"), COLORS.map(color));
}

// --- For whoever wants to look inside ----------------------------------------------------
/** Weights, actions and returns, as the page computes them. */
window.hyperpolicy = {
  state,
  weights: (at, context, name) => {
    const tab = state.tabs[at];
    return Array.from(write(name ? tab.beside[name] : tab.generator, state.buffer, { context }));
  },
  act: (at, weights, rows) => rows.map((obs) => Array.from(act(state.tabs[at].policy, weights, obs))),
  returns: (at, weights, context, starts) =>
    starts.map((start) => world(at, "test").play(state.tabs[at].policy, weights, context, start)),
};

open().catch((error) => {
  $("status").textContent = `The page cannot start: ${error.message}`;
  console.error(error);
});
