// A family's worlds: MuJoCo's WebAssembly build steps them, programs say what is seen and paid.
import { act, arrays } from "./graph.js";
import { run } from "./trace.js";

/** One robot of a family, with a policy. */
export class World {
  constructor(mujoco, record, buffer) {
    this.mujoco = mujoco;
    this.record = record;
    this.buffer = buffer;
    this.model = mujoco.MjModel.from_xml_string(record.xml);
    this.data = new mujoco.MjData(this.model);
    this.body = -1;
    this.starts = Object.fromEntries(
      Object.entries(record.starts).map(([name, one]) => [name, arrays(one, buffer)]),
    );
  }

  /** How many starts of episodes there are. */
  get numStarts() {
    return this.starts.qpos.shape[0];
  }

  /** The body of a context: the nearest of those that came with the page. */
  shape(context) {
    const { coordinates, axes, fields } = this.record.bodies;
    let row = 0;
    coordinates.forEach((i, n) => {
      const gaps = axes[n].map((x) => Math.abs(x - context[i]));
      row = row * axes[n].length + gaps.indexOf(Math.min(...gaps));
    });
    if (row === this.body) return;
    this.body = row;
    for (const [name, record] of Object.entries(fields)) {
      const { shape, data } = arrays(record, this.buffer);
      const numbers = data.subarray(row * shape[1], (row + 1) * shape[1]);
      const field = this.model[name];
      for (let i = 0; i < numbers.length; i++) field[i] = numbers[i];
    }
  }

  /** Begin an episode. */
  begin(start, context) {
    const { mujoco, model, data, record } = this;
    this.context = Array.from(context);
    this.shape(context);
    mujoco.mj_resetData(model, data);
    const row = (name) => {
      const { shape, data: all } = this.starts[name];
      return all.subarray(start * shape[1], (start + 1) * shape[1]);
    };
    data.qpos.set(row("qpos"));
    data.qvel.set(row("qvel"));
    this.drawn = Array.from(row("drawn"));
    for (let i = 0; i < record.settle_steps; i++) mujoco.mj_step(model, data);
    mujoco.mj_forward(model, data);
    this.steps = 0;
    this.earned = 0;
    this.over = false;
  }

  view() {
    const found = { drawn: this.drawn };
    for (const name of this.record.fields) found[name] = Array.from(this.data[name]);
    return found;
  }

  /** What the policy sees. */
  observe() {
    return Float32Array.from(run(this.record.programs.observe, this.view())[0]);
  }

  /** One step of the environment; the reward. */
  step(policy, weights) {
    const { mujoco, model, data, record } = this;
    const action = Float32Array.from(act(policy, weights, this.observe()));
    const before = Array.from(data.qpos);
    const ctrl = data.ctrl;
    record.ctrl.forEach(([low, high], i) => (ctrl[i] = (low + high) / 2 + (action[i] * (high - low)) / 2));
    for (let i = 0; i < record.frame_skip; i++) mujoco.mj_step(model, data);
    if (record.current) {
      mujoco.mj_fwdPosition(model, data);
      mujoco.mj_sensorPos(model, data);
      mujoco.mj_fwdVelocity(model, data);
      mujoco.mj_sensorVel(model, data);
    }
    const now = this.view();
    const outcome = run(record.programs.outcome, { ...now, before })[0];
    const paid = { action, outcome, context: this.context };
    const reward = run(record.programs.reward, paid)[0][0];
    const ended = run(record.programs.terminated, now)[0];
    this.steps += 1;
    this.earned += reward;
    const sound = now.qpos.every(Number.isFinite);
    this.over = this.steps >= record.horizon_steps || !sound || Boolean(ended && ended[0]);
    return reward;
  }

  /** The return of one whole episode. */
  play(policy, weights, context, start) {
    this.begin(start, context);
    while (!this.over) this.step(policy, weights);
    return this.earned;
  }

  delete() {
    this.data.delete();
    this.model.delete();
  }
}

/** Steps of the training contexts between a context and the nearest of them, and that one. */
export function fromTraining(tab, buffer, context) {
  tab.known ??= (() => {
    const { shape, data } = arrays(tab.trained, buffer);
    return Array.from({ length: shape[0] }, (_, i) => data.subarray(i * shape[1], (i + 1) * shape[1]));
  })();
  const several = tab.coordinates.length > 1;
  const gap = (a, b) =>
    Math.hypot(
      ...tab.coordinates.map(({ index, period, low, high }) => {
        let away = Math.abs(a[index] - b[index]);
        if (period) away = Math.min(away, period - away);
        return several ? away / (high - low) : away;
      }),
    );
  tab.gap ??= (() => {
    const nearest = tab.known.map((a) => Math.min(...tab.known.filter((b) => b !== a).map((b) => gap(a, b))));
    return nearest.sort((a, b) => a - b)[nearest.length >> 1] || 1;
  })();
  const gaps = tab.known.map((one) => gap(one, context));
  const at = gaps.indexOf(Math.min(...gaps));
  return { steps: gaps[at] / tab.gap, nearest: Array.from(tab.known[at]) };
}
