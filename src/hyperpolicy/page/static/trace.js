// What page/trace.py wrote down: nodes over flat arrays. `run` here means what `run` means there.

const UNARY = {
  negative: (x) => -x, absolute: Math.abs, square: (x) => x * x, sqrt: Math.sqrt, exp: Math.exp,
  log: Math.log, log1p: Math.log1p, expm1: Math.expm1, sin: Math.sin, cos: Math.cos, tan: Math.tan,
  arcsin: Math.asin, arccos: Math.acos, arctan: Math.atan, sinh: Math.sinh, cosh: Math.cosh,
  tanh: Math.tanh, arcsinh: Math.asinh, arccosh: Math.acosh, arctanh: Math.atanh, sign: Math.sign,
  floor: Math.floor, ceil: Math.ceil, isfinite: (x) => +Number.isFinite(x),
  isnan: (x) => +Number.isNaN(x), logical_not: (x) => +!x, reciprocal: (x) => 1 / x, positive: (x) => x,
};
const BINARY = {
  add: (a, b) => a + b, subtract: (a, b) => a - b, multiply: (a, b) => a * b, divide: (a, b) => a / b,
  power: Math.pow, maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b),
  arctan2: Math.atan2, hypot: (a, b) => Math.hypot(a, b), greater: (a, b) => +(a > b),
  greater_equal: (a, b) => +(a >= b), less: (a, b) => +(a < b), less_equal: (a, b) => +(a <= b),
  equal: (a, b) => +(a === b), not_equal: (a, b) => +(a !== b), logical_and: (a, b) => +!!(a && b),
  logical_or: (a, b) => +!!(a || b), mod: (a, b) => a - b * Math.floor(a / b),
};
const REDUCTIONS = {
  sum: (row) => row.reduce((a, b) => a + b, 0), prod: (row) => row.reduce((a, b) => a * b, 1),
  min: (row) => Math.min(...row), max: (row) => Math.max(...row),
  all: (row) => +row.every(Boolean), any: (row) => +row.some(Boolean),
};

/** What a program computes from named flat arrays: one flat array an output. */
export function run(program, given) {
  const values = [];
  for (const [operator, ...rest] of program.nodes) values.push(one(operator, rest, values, given));
  return program.outputs.map((i) => values[i]);
}

function one(operator, rest, values, given) {
  if (operator === "input") return given[rest[0]];
  if (operator === "const") return rest[0].map(Number);
  if (operator === "take") {
    const sources = rest[0].map((i) => values[i]);
    const all = sources.length === 1 ? sources[0] : sources.flatMap((x) => Array.from(x));
    return rest[1].map((i) => all[i]);
  }
  if (operator === "where") {
    const [condition, a, b] = rest.map((i) => values[i]);
    return Array.from(condition, (x, i) => (x ? a[i] : b[i]));
  }
  if (operator in UNARY) return Array.from(values[rest[0]], (x) => UNARY[operator](x));
  if (operator in BINARY) {
    const b = values[rest[1]];
    return Array.from(values[rest[0]], (x, i) => BINARY[operator](x, b[i]));
  }
  const [number, k] = rest;
  const flat = Array.from(values[number]);
  const rows = [];
  for (let i = 0; i < flat.length; i += k) rows.push(REDUCTIONS[operator](flat.slice(i, i + k)));
  return rows;
}
