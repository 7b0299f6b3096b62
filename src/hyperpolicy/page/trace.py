"""What a family's NumPy functions compute, written down for a page: numbers in, numbers out.

`observe`, `outcome`, `reward` and `terminated` are ordinary NumPy. They are called once with arrays
that remember what is done to them (NumPy's `__array_ufunc__` and `__array_function__`), and a
program comes out, a list of nodes over flat arrays:

    [name, "input"]                        numbers that are given
    ["const", numbers]
    ["take", sources, places]              numbers out of sources laid end to end
    [ufunc, a, b?]                         element by element
    ["where", condition, a, b]
    [reduction, a, k]                      over rows of k: sum, prod, min, max, all, any

`run` is its meaning; the page's `trace.js` does the same. Functions that decide by the numbers
themselves (`if x > 0`) cannot be written down, and say so.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hyperpolicy.errors import BadSetting

UNARY = set(
    "negative absolute fabs square sqrt exp log log1p expm1 sin cos tan arcsin arccos arctan sinh "
    "cosh tanh arcsinh arccosh arctanh sign floor ceil isfinite isnan logical_not invert "
    "reciprocal positive".split()
)
BINARY = set(
    "add subtract multiply divide true_divide power float_power maximum minimum fmax fmin arctan2 "
    "hypot greater greater_equal less less_equal equal not_equal logical_and logical_or "
    "bitwise_and bitwise_or mod remainder".split()
)
SAME = {
    "true_divide": "divide",
    "float_power": "power",
    "fmax": "maximum",
    "fmin": "minimum",
    "fabs": "absolute",
    "remainder": "mod",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "invert": "logical_not",
}
"""Names that are others here; `&`, `|` and `~` are of truth values."""
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "prod": np.prod,
    "amin": np.min,
    "amax": np.max,
    "min": np.min,
    "max": np.max,
    "all": np.all,
    "any": np.any,
}
Node = list[Any]


class Program:
    """Nodes over flat arrays; a node's inputs are numbers of earlier ones."""

    def __init__(self, nodes: list[Node] | None = None, outputs: list[int] | None = None) -> None:
        self.nodes: list[Node] = nodes or []
        self.outputs: list[int] = outputs or []

    def put(self, *node: Any) -> int:
        """The number of a new node."""
        self.nodes.append(list(node))
        return len(self.nodes) - 1

    def record(self) -> dict:
        """As JSON, which has words for numbers that are not finite."""
        nodes = [[n[0], list(map(_word, n[1]))] if n[0] == "const" else n for n in self.nodes]
        return {"nodes": nodes, "outputs": self.outputs}


def _word(x: float) -> float | str:
    """A number as JSON and JavaScript's `Number` have it."""
    return x if np.isfinite(x) else str(x).replace("inf", "Infinity").replace("nan", "NaN")


# --- Arrays that remember -----------------------------------------------------------------
class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array [of one world] whose operations are written down."""

    __array_priority__ = 1000

    def __init__(self, program: Program, number: int, shape: tuple[int, ...], kind=float) -> None:
        self.program, self.number, self.shape = program, number, shape
        self.dtype = np.dtype(kind)

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape)))
    T = property(lambda self: self._moved(np.transpose))

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self):
        raise BadSetting(
            "a function of this family decides by the numbers themselves (if, while, and, or); "
            "pages need np.where, &, |"
        )

    __float__ = __int__ = __index__ = __bool__

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, where) -> "Traced":
        return self._moved(lambda places: places[where])

    def _moved(self, function: Callable) -> "Traced":
        """What a function that only moves numbers makes of this array."""
        places = np.asarray(function(np.arange(self.size).reshape(self.shape)))
        return self._new("take", [self.number], places.ravel().tolist(), shape=places.shape)

    def _new(self, *node: Any, shape, kind=None) -> "Traced":
        number = self.program.put(*node)
        return Traced(self.program, number, tuple(shape), self.dtype if kind is None else kind)

    def astype(self, kind, copy=True) -> "Traced":
        return Traced(self.program, self.number, self.shape, self.dtype)

    def copy(self) -> "Traced":
        return self

    def reshape(self, *shape) -> "Traced":
        return self._moved(lambda places: places.reshape(*shape))

    def ravel(self) -> "Traced":
        return self.reshape(-1)

    def transpose(self, *axes) -> "Traced":
        return self._moved(lambda places: places.transpose(*axes))

    def squeeze(self, axis=None) -> "Traced":
        return self._moved(lambda places: places.squeeze(axis))

    def reduced(self, name: str, axis=None, keepdims=False, **_: Any) -> "Traced":
        """A reduction over one, several or all axes."""
        whole = np.arange(self.size).reshape(self.shape)
        axes = range(self.ndim) if axis is None else np.atleast_1d(axis) % self.ndim
        kept = [i for i in range(self.ndim) if i not in set(axes)]
        rows = whole.transpose(*kept, *axes).reshape(
            int(np.prod([self.shape[i] for i in kept])), -1
        )
        laid = self._new("take", [self.number], rows.ravel().tolist(), shape=rows.shape)
        shape = [self.shape[i] for i in kept]
        if keepdims:
            shape = [1 if i in set(axes) else self.shape[i] for i in range(self.ndim)]
        kind = bool if name in ("all", "any") else None
        return laid._new(
            name.removeprefix("a") if name in ("amin", "amax") else name,
            laid.number,
            rows.shape[1],
            shape=shape,
            kind=kind,
        )

    def sum(self, axis=None, **more) -> "Traced":
        return self.reduced("sum", axis, **more)

    def prod(self, axis=None, **more) -> "Traced":
        return self.reduced("prod", axis, **more)

    def min(self, axis=None, **more) -> "Traced":
        return self.reduced("min", axis, **more)

    def max(self, axis=None, **more) -> "Traced":
        return self.reduced("max", axis, **more)

    def all(self, axis=None, **more) -> "Traced":
        return self.reduced("all", axis, **more)

    def any(self, axis=None, **more) -> "Traced":
        return self.reduced("any", axis, **more)

    def mean(self, axis=None, keepdims=False, **_: Any) -> "Traced":
        total = self.reduced("sum", axis, keepdims)
        return total / (self.size / total.size)

    def clip(self, low=None, high=None) -> "Traced":
        return _clip(self, low, high)

    # --- NumPy's two protocols ------------------------------------------------------------
    def __array_ufunc__(self, ufunc, method, *inputs, **more):
        if method == "reduce" and ufunc.__name__ in ("add", "logical_and", "logical_or"):
            name = {"add": "sum", "logical_and": "all", "logical_or": "any"}[ufunc.__name__]
            return inputs[0].reduced(name, more.get("axis", 0), more.get("keepdims", False))
        name = ufunc.__name__
        if method != "__call__" or name not in UNARY | BINARY:
            raise BadSetting(f"pages do not know NumPy's {name} ({method})")
        truth = name.startswith(("greater", "less", "equal", "not_", "logical", "is"))
        kinds = [getattr(x, "dtype", np.dtype(float)) for x in inputs]
        if name in ("bitwise_and", "bitwise_or", "invert") and any(k.kind != "b" for k in kinds):
            raise BadSetting(f"pages know {name} of truth values only")
        truth |= name in ("bitwise_and", "bitwise_or", "invert")
        numbers, shape = _laid(self.program, inputs)
        kind = bool if truth else float
        return self._new(SAME.get(name, name), *numbers, shape=shape, kind=kind)

    def __array_function__(self, function, types, args, more):
        name = function.__name__
        if name in REDUCTIONS:
            return args[0].reduced(name, *args[1:], **more)
        if name in MOVES:
            return _move(self.program, function, args, more)
        if name in OTHERS:
            return OTHERS[name](*args, **more)
        raise BadSetting(f"pages do not know NumPy's {name}")


MOVES = set(
    "concatenate stack hstack vstack column_stack reshape transpose squeeze expand_dims ravel "
    "broadcast_to swapaxes moveaxis atleast_1d atleast_2d flip repeat tile take split copy".split()
)
"""Functions that only move numbers."""


def _number(program: Program, x) -> int:
    """The node of an input that may be a plain number or array."""
    if isinstance(x, Traced):
        return x.number
    return program.put("const", np.asarray(x, float).ravel().tolist())


def _laid(program: Program, inputs) -> tuple[list[int], tuple[int, ...]]:
    """Nodes of inputs, each as long as what comes out, and the shape of that."""
    shape = np.broadcast_shapes(*(np.shape(x) for x in inputs))
    found = []
    for x in inputs:
        own, number = np.shape(x), _number(program, x)
        if own != shape:
            places = np.broadcast_to(np.arange(int(np.prod(own))).reshape(own), shape)
            number = program.put("take", [number], places.ravel().tolist())
        found.append(number)
    return found, shape


def _move(program: Program, function: Callable, args, more) -> Any:
    """A function that moves numbers: what it does to their places."""
    sources: list[int] = []
    sizes = [0]

    def places(x):
        if isinstance(x, list | tuple) and any(isinstance(one, Traced) for one in x):
            return type(x)(places(one) for one in x)
        if not isinstance(x, Traced) and not isinstance(x, np.ndarray):
            return x
        sources.append(_number(program, x))
        size = int(np.prod(np.shape(x)))
        sizes.append(sizes[-1] + size)
        return np.arange(sizes[-2], sizes[-1]).reshape(np.shape(x))

    rest = {k: v for k, v in more.items() if k not in ("dtype", "casting")}
    found = function(*(places(x) for x in args), **{k: places(v) for k, v in rest.items()})

    def made(one) -> Traced:
        number = program.put("take", sources, np.asarray(one).ravel().tolist())
        return Traced(program, number, np.shape(one))

    return [made(one) for one in found] if isinstance(found, list) else made(found)


def _where(condition, a, b):
    program = next(x.program for x in (condition, a, b) if isinstance(x, Traced))
    numbers, shape = _laid(program, (condition, a, b))
    return Traced(program, program.put("where", *numbers), shape)


def _clip(x, low=None, high=None, **_: Any):
    found = x if low is None else np.maximum(x, low)
    return found if high is None else np.minimum(found, high)


def _norm(x, ord=None, axis=None, keepdims=False):
    if ord not in (None, 2):
        raise BadSetting("pages know np.linalg.norm of order 2 only")
    return np.sqrt((x * x).sum(axis, keepdims=keepdims))


def _einsum(letters: str, *operands, **_: Any):
    """Products over all letters, summed over those that do not come out."""
    told, arrow, out = letters.replace(" ", "").partition("->")
    names = told.split(",")
    every = out + "".join(sorted({x for name in names for x in name} - set(out)))
    if "." in letters or not arrow or len(names) != len(operands):
        raise BadSetting(f"pages do not know np.einsum of {letters!r}")
    product: Any = 1.0
    for name, x in zip(names, operands, strict=True):
        order = sorted(range(len(name)), key=lambda i: every.index(name[i]))
        shape = [np.shape(x)[name.index(one)] if one in name else 1 for one in every]
        product = product * np.reshape(np.transpose(x, order), shape)
    summed = tuple(range(len(out), len(every)))
    return product.sum(axis=summed) if summed else product


OTHERS: dict[str, Callable] = {
    "einsum": _einsum,
    "where": _where,
    "clip": _clip,
    "norm": _norm,
    "mean": lambda x, axis=None, **more: x.mean(axis, **more),
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "zeros_like": lambda x, **_: np.zeros(x.shape),
    "ones_like": lambda x, **_: np.ones(x.shape),
    "nan_to_num": lambda x, **_: _where(np.isfinite(x), x, 0.0),
}


# --- Writing down, and running ------------------------------------------------------------
def trace(function: Callable, inputs: Mapping[str, tuple[int, ...]]) -> Program:
    """The program of a function of arrays, called with one of each shape; it may return None, an
    array or several, and the program then has as many outputs.

    Raises BadSetting: it does what cannot be written down.
    """
    program = Program()
    given = {}
    for name, shape in inputs.items():
        given[name] = Traced(program, program.put("input", name), tuple(shape))
    found = function(given)
    some = [] if found is None else found if isinstance(found, tuple | list) else [found]
    program.outputs = [_number(program, x) for x in some]
    return program


def run(program: Program, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the program computes: the meaning of its nodes, in double precision."""
    values: list[np.ndarray] = []
    for operator, *rest in program.nodes:
        values.append(_run_one(operator, rest, values, given))
    return [values[i] for i in program.outputs]


def _run_one(operator: str, rest: list, values: list[np.ndarray], given) -> np.ndarray:
    if operator == "input":
        return np.asarray(given[rest[0]], float).ravel()
    if operator == "const":
        return np.array(rest[0], float)
    if operator == "take":
        return np.concatenate([values[i] for i in rest[0]])[rest[1]]
    if operator == "where":
        return np.where(*(values[i] for i in rest))
    if operator in REDUCTIONS:
        return np.asarray(REDUCTIONS[operator](values[rest[0]].reshape(-1, rest[1]), axis=1), float)
    with np.errstate(all="ignore"):
        return np.asarray(getattr(np, operator)(*(values[i] for i in rest)), float)
