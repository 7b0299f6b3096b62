// A generator's operators (ONNX's, for one row), and the policies that it writes.

/** The typed arrays of data/page.bin that a record names. */
export function arrays(record, buffer) {
  const kinds = { f4: Float32Array, f8: Float64Array, i4: Int32Array };
  const size = record.shape.reduce((a, b) => a * b, 1);
  return { shape: record.shape, data: new kinds[record.kind](buffer, record.at, size) };
}

/** Error function, to 1e-12: a series near zero, a continued fraction farther out. */
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let term = z, sum = z;
    for (let n = 1; n < 80; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (z + fraction);
  return Math.sign(x) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * (z + fraction)));
}

const both = (f) => (a, b) => {
  const n = Math.max(a.length, b.length);
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = f(a[a.length === 1 ? 0 : i], b[b.length === 1 ? 0 : i]);
  return out;
};
const each = (f) => (x) => Float64Array.from(x, f);
const ELEMENTS = {
  Add: both((a, b) => a + b), Sub: both((a, b) => a - b), Mul: both((a, b) => a * b),
  Div: both((a, b) => a / b), Max: both(Math.max), Min: both(Math.min), Mod: both((a, b) => a % b),
  Equal: both((a, b) => +(a === b)), Greater: both((a, b) => +(a > b)),
  Abs: each(Math.abs), Sin: each(Math.sin), Cos: each(Math.cos), Tanh: each(Math.tanh),
  Relu: each((x) => Math.max(0, x)), Erf: each(erf), Identity: (x) => x, Cast: (x) => x,
};

function product(x, matrix, bias) {
  const [k, p] = matrix.shape;
  const out = bias ? Float64Array.from(bias.data) : new Float64Array(p);
  for (let i = 0; i < k; i++) {
    const a = x[i];
    if (a === 0) continue;
    for (let j = 0, at = i * p; j < p; j++, at++) out[j] += a * matrix.data[at];
  }
  return out;
}

/** What a generator writes for what its ports are given, each a flat array. */
export function write(generator, buffer, given) {
  generator.held ??= Object.fromEntries(
    Object.entries(generator.constants).map(([name, record]) => [name, arrays(record, buffer)]),
  );
  const held = generator.held;
  const values = Object.fromEntries(Object.entries(given).map(([k, x]) => [k, Float64Array.from(x)]));
  const flat = (name) => values[name] ?? held[name].data;
  for (const [operator, inputs, output, attributes] of generator.nodes) {
    values[output] = node(operator, inputs, attributes, flat, held);
  }
  return Float32Array.from(values[generator.weights]);
}

function node(operator, inputs, attributes, flat, held) {
  const [a, b, c] = inputs;
  if (operator in ELEMENTS) return ELEMENTS[operator](...inputs.map(flat));
  if (operator === "Sum") return inputs.slice(1).reduce((x, n) => ELEMENTS.Add(x, flat(n)), flat(a));
  if (operator === "MatMul" || operator === "Gemm") return product(flat(a), held[b], held[c]);
  if (operator === "Concat") return Float64Array.from(inputs.flatMap((n) => Array.from(flat(n))));
  if (operator === "Clip") return ELEMENTS.Min(ELEMENTS.Max(flat(a), flat(b)), flat(c));
  if (operator === "ArgMin") {
    const x = flat(a);
    return [x.indexOf(Math.min(...x))];
  }
  if (operator === "Gather") {
    const where = Array.from(flat(b));
    if (attributes.axis === 1) return Float64Array.from(where, (i) => flat(a)[i]);
    const width = held[a].shape[1];
    return held[a].data.subarray(where[0] * width, (where[0] + 1) * width);
  }
  if (operator === "LayerNormalization") {
    const x = Array.from(flat(a));
    const mean = x.reduce((s, v) => s + v, 0) / x.length;
    const variance = x.reduce((s, v) => s + (v - mean) ** 2, 0) / x.length;
    const scale = 1 / Math.sqrt(variance + attributes.epsilon);
    return Float64Array.from(x, (v, i) => (v - mean) * scale * flat(b)[i] + flat(c)[i]);
  }
  throw new Error(`operator ${operator}`);
}

const ACTIVATIONS = {
  relu: (x) => Math.max(0, x), tanh: Math.tanh, elu: (x) => (x > 0 ? x : Math.expm1(x)),
  swish: (x) => x / (1 + Math.exp(-x)), clip: (x) => Math.min(1, Math.max(-1, x)),
};

/** The action of a policy for one observation, each number in [−1, 1]. */
export function act(policy, weights, obs) {
  let x = obs, at = 0;
  policy.layers.forEach(([i, o], n) => {
    const y = new Float64Array(o);
    for (let a = 0; a < i; a++) {
      const value = x[a];
      if (value !== 0) for (let b = 0; b < o; b++) y[b] += value * weights[at + a * o + b];
    }
    at += i * o;
    const f = ACTIVATIONS[policy.activations[n]];
    for (let b = 0; b < o; b++) y[b] = f(y[b] + weights[at + b]);
    at += o;
    x = y;
  });
  return x;
}
