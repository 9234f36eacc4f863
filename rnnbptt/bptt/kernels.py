"""The compiled kernels: updates of a few streams as loops over plain arrays, in float32.

The equations are those of `model/reference.py`, whose functions each kernel names, and the gradients those of
`cells.py`. All is in this one file, because numba's cache does not see a change in another one.

Axes: V symbols, H hidden units, G = gates x H, L layers, S tensors of a state, B streams, T new characters of an
update, C that a tape has room for, older ones and then the new ones, N = C B rows, row t B + b that of character t in
stream b; n updates. A matrix of any kind is (R, C). Names as in `cells.py`: `_new` is a value after the character, `d_`
a gradient; i, f, g, o, r, z are gates. `m` and `v` are the running means of an optimizer.

What a kernel calls is always inlined. Of a function that is not, a process that has just compiled it and one that has
loaded its caller from the cache may run different copies, which round differently.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
jit: Callable[..., Any] = numba.njit  # its own types do not know all its options
as_intrinsic: Callable[[Any], Callable[..., Any]] = intrinsic
populate: Callable[..., None] = populate_array
f4 = np.float32
Array = NDArray[np.float32]
Doubles = NDArray[np.float64]
Symbols = NDArray[np.int64]

# Sums in any order and fused multiply-adds; but not "nnan" and "ninf": a diverged run must still be seen.
FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}
RNN, GRU, LSTM, ELSTM, MINGRU = 0, 1, 2, 3, 4
NONE, ADAM, RMSPROP, SGD = 0, 1, 2, 3  # kinds of optimizer
WHOLE, OWN, LEAK = 0, 1, 2  # ways back from a character to the one before it, as `Way` of layers.py has them
# no entries for Python and C: each would hold a copy of all that is inlined, and take as long to compile
INLINED = {
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
CACHED = 1 << 17  # numbers of a whole influence that are moved on at a time: half a MiB
ROWS = 16  # of a matrix: they stay in the first-level cache between their two turns


def kernel(function: F) -> F:
    """What Python calls: compiled at its first call, and kept in numba's cache."""
    compiled: F = jit(function, fastmath=FAST, error_model="numpy", cache=True, no_cfunc_wrapper=True, _nrt=False)
    return compiled


def part(function: F) -> F:
    """What a kernel calls."""
    compiled: F = jit(function, fastmath=FAST, **INLINED)
    return compiled


def section(function: F) -> F:
    """A part that is called once and holds most of a kernel, or returns one of its arrays: put in its place before
    anything is compiled, which takes less time.
    """
    compiled: F = jit(function, inline="always")
    return compiled


class Model(NamedTuple):
    """flat (P,) parameters, as parameters.py lays them out; the cell, and the sizes of the model."""

    flat: Array
    cell: int
    vocabulary: int
    hidden: int
    gates: int
    layers: int


class Task(NamedTuple):
    """What n updates read and how they go back, as `Plan` has it.

    x, y     (n, T, B)      symbols, and those to predict
    masks    (n, L, M, H)   dropout masks of all that is read, of M rows with what is read once more; (n, L, M, 0):
                            nothing is dropped
    carry    (C - 1,)       the factor on the gradient at each step back
    lengths  (n,)           how many characters each goes back: T, the new ones, at least
    rerun                   whether the older ones of these are read once more before
    scale                   factor on the gradient
    losses                  how many of the T characters, the last ones, have a loss
    reset                   whether the state is set to zero before what an update reads
    """

    x: Symbols
    y: Symbols
    masks: Array
    carry: Array
    lengths: Symbols
    rerun: bool
    scale: float
    losses: int
    reset: bool


class Descent(NamedTuple):
    """How n updates move the parameters.

    kind   of optimizer; NONE: the gradient is written, and no parameter is moved
    m, v   (P,) its running means of the gradient and of its square; any array where it has none
    rates  (n,) learning rates
    kept   (n,) what the weights are multiplied by before the step: 1 where no decay is due
    beta2  decay of v
    clip   the longest gradient; 0: any
    steps  those it has made before
    """

    kind: int
    m: Array
    v: Array
    rates: Doubles
    kept: Doubles
    beta2: float
    clip: float
    steps: int


class Layer(NamedTuple):
    """Parameters of a layer, or what belongs to them: views into a flat buffer.

    w_ih  (V, G) of the first layer, as it is stored; (G, H)
    w_hh  (G, H); (1, 2H) of an elstm, w_f and w_z; (1, 0) of a mingru
    w_co  (H, H) of an elstm; (0, H)
    b_ih  (1, G)
    b_hh  (1, G); (1, 0) of an elstm or a mingru
    """

    w_ih: Array
    w_hh: Array
    w_co: Array
    b_ih: Array
    b_hh: Array


class Rule(NamedTuple):
    """One step of an optimizer: m keeps the share keep1 of itself and takes take1 of the gradient, v as much of its
    square. Adam's corrections of bias are in `rate` and `root`. Each number is rounded once, from float64.
    """

    kind: int
    keep1: np.float32
    take1: np.float32
    keep2: np.float32
    take2: np.float32
    rate: np.float32
    root: np.float32
    eps: np.float32


# --- elementary functions, which LLVM can vectorise: no library call, no branch ---------------------------------------


@as_intrinsic
def as_float(_: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(bits), generate


@as_intrinsic
def matrix(_: Any, flat: Any, start: Any, rows: Any, columns: Any) -> Any:
    """The numbers of flat (P,) from `start` on, so many rows and columns of them: a view. No bound is checked, and none
    of them copied: what numba makes of `reshape` takes a fifth of the time that a kernel takes to compile.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        view, size = context.make_array(signature.return_type)(context, builder), context.get_constant(types.intp, 4)
        shape = arguments[2:]
        populate(
            view,
            data=builder.gep(source.data, [arguments[1]]),
            shape=shape,
            strides=[builder.mul(shape[1], size), size],
            itemsize=size,
            meminfo=source.meminfo,
        )
        return view._getvalue()

    return types.float32[:, ::1](flat, types.intp, types.intp, types.intp), generate


A1, A3, A5, A7, A9, A11, A13 = (
    *(f4(4.89352455891786e-03), f4(6.37261928875436e-04), f4(1.48572235717979e-05), f4(5.12229709037114e-08)),
    *(f4(-8.60467152213735e-11), f4(2.00018790482477e-13), f4(-2.76076847742355e-16)),
)
B0, B2, B4, B6 = f4(4.89352518554385e-03), f4(2.26843463243900e-03), f4(1.18534705686654e-04), f4(1.19825839466702e-06)
FLAT = f4(7.90531110763549805)  # from here on tanh is 1
ZERO, HALF, ONE = f4(0), f4(0.5), f4(1)


@part
def tanh(x: np.float32) -> np.float32:
    """The rational function of Eigen and XLA: within 4 units of the last place."""
    x = min(max(x, -FLAT), FLAT)
    s = x * x
    p = x * (A1 + s * (A3 + s * (A5 + s * (A7 + s * (A9 + s * (A11 + s * A13))))))
    return p / (B0 + s * (B2 + s * (B4 + s * B6)))


@part
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + exp(-x))."""
    return HALF + HALF * tanh(HALF * x)


LOG2E, LN2_HIGH, LN2_LOW = f4(1.44269504088896341), f4(0.693359375), f4(-2.12194440e-4)
E0, E1, E2 = f4(5.0000001201e-1), f4(1.6666665459e-1), f4(4.1665795894e-2)
E3, E4, E5 = f4(8.3334519073e-3), f4(1.3981999507e-3), f4(1.9875691500e-4)
LOWEST = f4(-87.0)


@part
def exp(x: np.float32) -> np.float32:
    """For x <= 0, as a softmax needs it (Cephes): within 2 units of the last place, never 0."""
    x = max(x, LOWEST)
    n = np.int32(x * LOG2E - HALF)  # it is cut off towards 0: the nearest for x <= 0
    r = x - f4(n) * LN2_HIGH - f4(n) * LN2_LOW
    p = ((((E5 * r + E4) * r + E3) * r + E2) * r + E1) * r + E0
    power: np.float32 = as_float(np.uint32((n + np.int32(127)) << np.int32(23)))
    return (p * r * r + r + ONE) * power


# --- products ---------------------------------------------------------------------------------------------------------


@part
def dot(a: Array, b: Array) -> np.float32:
    """sum_i a_i b_i."""
    total = ZERO
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@part
def multiply(w: Array, x: Array, out: Array) -> None:
    """out (R,) = w (R, C) x (C,): four rows at a time, so that sums need not wait for each other."""
    last = w.shape[0] // 4 * 4
    for i in range(0, last, 4):
        w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
        s0, s1, s2, s3 = ZERO, ZERO, ZERO, ZERO
        for j in range(len(x)):
            s0 += w0[j] * x[j]
            s1 += w1[j] * x[j]
            s2 += w2[j] * x[j]
            s3 += w3[j] * x[j]
        out[i], out[i + 1], out[i + 2], out[i + 3] = s0, s1, s2, s3
    for i in range(last, w.shape[0]):
        out[i] = dot(w[i], x)


@part
def multiply_all(w: Array, xs: Array, outs: Array) -> None:
    """outs (B, R) = xs (B, C) w^T, for w (R, C): four streams share a row of w."""
    last = len(xs) // 4 * 4
    for b in range(0, last, 4):
        x0, x1, x2, x3 = xs[b], xs[b + 1], xs[b + 2], xs[b + 3]
        for i in range(w.shape[0]):
            row = w[i]
            s0, s1, s2, s3 = ZERO, ZERO, ZERO, ZERO
            for j in range(len(row)):
                s0 += row[j] * x0[j]
                s1 += row[j] * x1[j]
                s2 += row[j] * x2[j]
                s3 += row[j] * x3[j]
            outs[b, i], outs[b + 1, i], outs[b + 2, i], outs[b + 3, i] = s0, s1, s2, s3
    for b in range(last, len(xs)):
        multiply(w, xs[b], outs[b])


@part
def add_transposed(w: Array, factor: np.float32, d: Array, out: Array) -> None:
    """out (C,) += factor d (R,) w (R, C), four rows at a time."""
    last = len(d) // 4 * 4
    for i in range(0, last, 4):
        w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
        d0, d1, d2, d3 = factor * d[i], factor * d[i + 1], factor * d[i + 2], factor * d[i + 3]
        for j in range(len(out)):
            out[j] += d0 * w0[j] + d1 * w1[j] + d2 * w2[j] + d3 * w3[j]
    for i in range(last, len(d)):
        row, d0 = w[i], factor * d[i]
        for j in range(len(out)):
            out[j] += d0 * row[j]


@part
def sum_outer(d: Array, first: int, x: Array, out: Array) -> None:
    """out (R, C) = sum_t d_t x_t^T, for the columns of d (N, ...) from `first` on and x (N, C)."""
    last = len(d) // 4 * 4
    for i in range(out.shape[0]):
        row, column = out[i], first + i
        for j in range(len(row)):
            row[j] = ZERO
        for t in range(0, last, 4):
            x0, x1, x2, x3 = x[t], x[t + 1], x[t + 2], x[t + 3]
            d0, d1, d2, d3 = d[t, column], d[t + 1, column], d[t + 2, column], d[t + 3, column]
            for j in range(len(row)):
                row[j] += d0 * x0[j] + d1 * x1[j] + d2 * x2[j] + d3 * x3[j]
        for t in range(last, len(d)):
            factor, x0 = d[t, column], x[t]
            for j in range(len(row)):
                row[j] += factor * x0[j]


@part
def sum_rows(d: Array, out: Array) -> None:
    """out (1, C) = sum_t d_t, for d (N, C)."""
    total = out[0]
    for j in range(len(total)):
        total[j] = ZERO
    for t in range(len(d)):
        row = d[t]
        for j in range(len(total)):
            total[j] += row[j]


# --- cells: one character of one stream -------------------------------------------------------------------------------
#
# forward(w, a, u, h, c, h_new, c_new, memo)
#     w the layer; a (G,) is W_ih x + b_ih, and becomes the activations; u (G,) is W_hh h; states (H,); memo (H,) is
#     what else the gradient needs
# backward(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)
#     from d_h (H,), the gradient of h_new, to those of a and of u, (G,) each; direct (H,) is what the character after
#     this one passes back by no matrix product, and becomes what is passed to the one before
# One short loop for each line: LLVM vectorises those that touch few arrays.


@part
def forward_rnn(w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array) -> None:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): `_rnn`."""
    b_hh = w.b_hh[0]
    for j in range(len(h_new)):
        h_new[j] = a[j] = tanh(a[j] + u[j] + b_hh[j])


@part
def backward_rnn(
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """d_a = d_h (1 - h'^2)."""
    for j in range(len(d_h)):
        d_in[j] = d_h[j] * (ONE - a[j] * a[j])


@part
def forward_gru(w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array) -> None:
    """h' = (1 - z) n + z h, n = tanh(W_in x + b_in + r (W_hn h + b_hn)): `_gru`. The memo is W_hn h + b_hn."""
    size = len(h)
    b_hh, n = w.b_hh[0], a[2 * size :]
    u_n, b_n, z = u[2 * size :], b_hh[2 * size :], a[size : 2 * size]
    r_z = a[: 2 * size]
    for j in range(len(r_z)):
        r_z[j] = sigmoid(r_z[j] + u[j] + b_hh[j])
    for j in range(len(h)):
        memo[j] = u_n[j] + b_n[j]
    for j in range(len(h)):
        n[j] = tanh(n[j] + a[j] * memo[j])
    for j in range(len(h)):
        h_new[j] = n[j] + z[j] * (h[j] - n[j])


@part
def backward_gru(
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """d_n = d_h (1 - z) (1 - n^2); d_r = d_n q r (1 - r); d_z = d_h (h - n) z (1 - z); d_q = d_n r; directly d_h z."""
    size = len(h)
    r, z, n = a[:size], a[size : 2 * size], a[2 * size :]
    d_r, d_z, d_n, d_q = d_in[:size], d_in[size : 2 * size], d_in[2 * size :], d_hidden[2 * size :]
    for j in range(size):
        d_h[j] += direct[j]
    for j in range(size):
        direct[j] = d_h[j] * z[j]
    for j in range(size):
        d_n[j] = (d_h[j] - direct[j]) * (ONE - n[j] * n[j])
    for j in range(size):
        d_z[j] = d_h[j] * (h[j] - n[j]) * z[j] * (ONE - z[j])
    for j in range(size):
        d_r[j] = d_n[j] * memo[j] * r[j] * (ONE - r[j])
    for j in range(size):
        d_q[j] = d_n[j] * r[j]
    for j in range(2 * size):
        d_hidden[j] = d_in[j]


@part
def forward_lstm(w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array) -> None:
    """c' = f c + i g, h' = o tanh(c'): `_lstm`. The memo is tanh(c')."""
    size = len(h)
    b_hh, i_f = w.b_hh[0], a[: 2 * size]
    i, f, g, o = a[:size], a[size : 2 * size], a[2 * size : 3 * size], a[3 * size :]
    for j in range(len(a)):
        a[j] += u[j] + b_hh[j]
    for j in range(len(i_f)):
        i_f[j] = sigmoid(i_f[j])
    for j in range(size):
        g[j] = tanh(g[j])
    for j in range(size):
        o[j] = sigmoid(o[j])
    for j in range(size):
        c_new[j] = f[j] * c[j] + i[j] * g[j]
    for j in range(size):
        memo[j] = tanh(c_new[j])
    for j in range(size):
        h_new[j] = o[j] * memo[j]


@part
def backward_lstm(
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """d_o = d_h tanh(c') o (1 - o); d_c' += d_h o (1 - tanh^2(c')); d_i = d_c' g i (1 - i);
    d_f = d_c' c f (1 - f); d_g = d_c' i (1 - g^2); d_c = d_c' f.
    """
    size = len(h)
    i, f, g, o = a[:size], a[size : 2 * size], a[2 * size : 3 * size], a[3 * size :]
    d_i, d_f, d_g, d_o = d_in[:size], d_in[size : 2 * size], d_in[2 * size : 3 * size], d_in[3 * size :]
    for j in range(size):
        direct[j] += d_h[j] * o[j] * (ONE - memo[j] * memo[j])
    for j in range(size):
        d_o[j] = d_h[j] * memo[j] * o[j] * (ONE - o[j])
    for j in range(size):
        d_i[j] = direct[j] * g[j] * i[j] * (ONE - i[j])
    for j in range(size):
        d_f[j] = direct[j] * c[j] * f[j] * (ONE - f[j])
    for j in range(size):
        d_g[j] = direct[j] * i[j] * (ONE - g[j] * g[j])
    for j in range(size):
        direct[j] *= f[j]


@part
def forward_elstm(w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array) -> None:
    """c' = f c + (1 - f) z, f = sigma(W_if x + b_f + w_f c), z = tanh(W_iz x + b_z + w_z c);
    h' = o c', o = sigma(W_io x + b_o + W_co c'): `_elstm`.
    """
    size = len(c)
    w_f, w_z = w.w_hh[0, :size], w.w_hh[0, size:]
    z, o = a[size : 2 * size], a[2 * size :]
    for j in range(size):
        a[j] = sigmoid(a[j] + w_f[j] * c[j])
    for j in range(size):
        z[j] = tanh(z[j] + w_z[j] * c[j])
    for j in range(size):
        c_new[j] = z[j] + a[j] * (c[j] - z[j])
    multiply(w.w_co, c_new, memo)
    for j in range(size):
        o[j] = sigmoid(o[j] + memo[j])
    for j in range(size):
        h_new[j] = o[j] * c_new[j]


@part
def backward_elstm(
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """d_o = d_h c' o (1 - o); d_c' += d_h o + d_o W_co; d_f = d_c' (c - z) f (1 - f); d_z = d_c' (1 - f) (1 - z^2);
    d_c = d_c' f, to which comes what passes `back_by_unit`.
    """
    size = len(c)
    f, z, o = a[:size], a[size : 2 * size], a[2 * size :]
    d_f, d_z, d_o = d_in[:size], d_in[size : 2 * size], d_in[2 * size :]
    for j in range(size):
        d_o[j] = d_h[j] * c_new[j] * o[j] * (ONE - o[j])
    for j in range(size):
        direct[j] += d_h[j] * o[j]
    add_transposed(w.w_co, ONE, d_o, direct)
    for j in range(size):
        d_f[j] = direct[j] * (c[j] - z[j]) * f[j] * (ONE - f[j])
    for j in range(size):
        d_z[j] = direct[j] * (ONE - f[j]) * (ONE - z[j] * z[j])
    for j in range(size):
        direct[j] *= f[j]


@part
def back_alone(w_hh: Array, d_hidden: Array, out: Array) -> None:
    """out (H,) += what of d_hidden (G,) passes from each unit to itself alone: W_hh's diagonals."""
    size = len(out)
    for first in range(0, len(d_hidden), size):
        for j in range(size):
            out[j] += w_hh[first + j, j] * d_hidden[first + j]


@part
def back_by_unit(w: Layer, d_in: Array, out: Array) -> None:
    """Of an elstm, out (H,) += d_f w_f + d_z w_z."""
    size = len(out)
    w_f, w_z, d_z = w.w_hh[0, :size], w.w_hh[0, size:], d_in[size : 2 * size]
    for j in range(size):
        out[j] += d_in[j] * w_f[j] + d_z[j] * w_z[j]


@part
def forward_mingru(w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array) -> None:
    """h' = (1 - z) h + z h~, z = sigma(W_iz x + b_z), h~ the rest of W_ih x + b_ih: `_mingru`."""
    size = len(h)
    candidate = a[size:]
    for j in range(size):
        a[j] = sigmoid(a[j])
    for j in range(size):
        h_new[j] = h[j] + a[j] * (candidate[j] - h[j])


@part
def backward_mingru(
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """d_z = d_h (h~ - h) z (1 - z); d_h~ = d_h z; directly d_h (1 - z)."""
    size = len(h)
    candidate, d_candidate = a[size:], d_in[size:]
    for j in range(size):
        direct[j] += d_h[j]
    for j in range(size):
        d_in[j] = direct[j] * (candidate[j] - h[j]) * a[j] * (ONE - a[j])
    for j in range(size):
        d_candidate[j] = direct[j] * a[j]
    for j in range(size):
        direct[j] -= d_candidate[j]


@part
def forward(
    cell: int, w: Layer, a: Array, u: Array, h: Array, c: Array, h_new: Array, c_new: Array, memo: Array
) -> None:
    """That of the cell: one kernel for all of them takes hardly longer to compile than one for each."""
    if cell == RNN:
        forward_rnn(w, a, u, h, c, h_new, c_new, memo)
    elif cell == GRU:
        forward_gru(w, a, u, h, c, h_new, c_new, memo)
    elif cell == LSTM:
        forward_lstm(w, a, u, h, c, h_new, c_new, memo)
    elif cell == ELSTM:
        forward_elstm(w, a, u, h, c, h_new, c_new, memo)
    else:
        forward_mingru(w, a, u, h, c, h_new, c_new, memo)


@part
def backward(
    cell: int,
    w: Layer,
    a: Array,
    h: Array,
    c: Array,
    c_new: Array,
    memo: Array,
    d_h: Array,
    direct: Array,
    d_in: Array,
    d_hidden: Array,
) -> None:
    """That of the cell."""
    if cell == RNN:
        backward_rnn(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)
    elif cell == GRU:
        backward_gru(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)
    elif cell == LSTM:
        backward_lstm(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)
    elif cell == ELSTM:
        backward_elstm(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)
    else:
        backward_mingru(w, a, h, c, c_new, memo, d_h, direct, d_in, d_hidden)


@part
def dense(cell: int) -> bool:
    """Whether a matrix W_hh multiplies the state; otherwise each unit's past reaches it alone."""
    return cell < ELSTM


# --- the layout of parameters.py --------------------------------------------------------------------------------------


@part
def rows_and_columns(first: bool, vocabulary: int, hidden: int, gates: int) -> tuple[int, int]:
    """Of w_ih, as it is stored."""
    return (vocabulary, gates * hidden) if first else (gates * hidden, hidden)


@part
def layer_of(model: Model, flat: Array, index: int) -> Layer:
    """Layer `index` of a flat buffer."""
    hidden, width = model.hidden, model.gates * model.hidden
    w_hh = (width, hidden) if dense(model.cell) else (1, 2 * hidden if model.cell == ELSTM else 0)
    w_co = (hidden if model.cell == ELSTM else 0, hidden)
    b_hh = width if dense(model.cell) else 0
    rest = w_hh[0] * w_hh[1] + w_co[0] * w_co[1] + width + b_hh
    start = 0 if index == 0 else model.vocabulary * width + rest + (index - 1) * (width * hidden + rest)
    rows, columns = rows_and_columns(index == 0, model.vocabulary, hidden, model.gates)
    a = start + rows * columns
    b = a + w_hh[0] * w_hh[1]
    c = b + w_co[0] * w_co[1]
    d = c + width
    return Layer(
        matrix(flat, start, rows, columns),
        matrix(flat, a, w_hh[0], w_hh[1]),
        matrix(flat, b, w_co[0], w_co[1]),
        matrix(flat, c, 1, width),
        matrix(flat, d, 1, b_hh),
    )


@part
def head_of(model: Model, flat: Array) -> tuple[Array, Array]:
    """The head of a flat buffer: weights (V, H) and bias (1, V)."""
    bias = len(flat) - model.vocabulary
    first = bias - model.vocabulary * model.hidden
    return matrix(flat, first, model.vocabulary, model.hidden), matrix(flat, bias, 1, model.vocabulary)


# --- optimizers -------------------------------------------------------------------------------------------------------


@part
def rule_at(kind: int, lr: float, beta2: float, step: int) -> Rule:
    """That of step number `step`, the first one is 1; torch counts them in float32, which ends at 2^24."""
    step = min(step, 1 << 24)
    rate, root, take1 = lr, 1.0, 1.0
    if kind == ADAM:
        rate, root, take1 = lr / (1 - 0.9**step), 1 / math.sqrt(1 - beta2**step), 1 - 0.9
    return Rule(kind, f4(0.9), f4(take1), f4(beta2), f4(1 - beta2), f4(rate), f4(root), f4(1e-8))


def _descend(rule: Rule, w: Array, m: Array, v: Array, scale: np.float32, d: Array, x: Array) -> None:
    """Move w (R, C) and its means along the gradient scale * d x^T, d (R,), x (C,), as `training/optimizers.py` has
    it.
    """
    keep1, take1, keep2, take2 = rule.keep1, rule.take1, rule.keep2, rule.take2
    rate, root, eps = rule.rate, rule.root, rule.eps
    for i in range(w.shape[0]):
        s, w_row, m_row, v_row = scale * d[i], w[i], m[i], v[i]
        if rule.kind == ADAM:
            for j in range(len(x)):
                g = s * x[j]
                mean = m_row[j] + take1 * (g - m_row[j])
                square = keep2 * v_row[j] + take2 * (g * g)
                m_row[j], v_row[j] = mean, square
                w_row[j] -= rate * mean / (math.sqrt(square) * root + eps)
        elif rule.kind == RMSPROP:
            for j in range(len(x)):
                g = s * x[j]
                square = keep2 * v_row[j] + take2 * (g * g)
                v_row[j] = square
                w_row[j] -= rate * g / (math.sqrt(square) + eps)
        else:
            for j in range(len(x)):
                mean = keep1 * m_row[j] + take1 * (s * x[j])
                m_row[j] = mean
                w_row[j] -= rate * mean


# numbers known to be finite: a division may be a reciprocal and a step of Newton's
descend = jit(_descend, fastmath=True, **INLINED)


@part
def shortening(clip: float, norm: float) -> np.float32:
    """The factor on a gradient of this norm."""
    return f4(clip / norm) if 0 < clip < norm else ONE


@part
def decay(model: Model, kept: float) -> None:
    """Multiply the weights, not the biases."""
    factor = f4(kept)
    for index in range(model.layers):
        w = layer_of(model, model.flat, index)
        shrink(w.w_ih, factor)
        shrink(w.w_hh, factor)
        shrink(w.w_co, factor)
    weights, _ = head_of(model, model.flat)
    shrink(weights, factor)


@part
def shrink(w: Array, factor: np.float32) -> None:
    """w (R, C) times a factor."""
    for i in range(w.shape[0]):
        row = w[i]
        for j in range(len(row)):
            row[j] *= factor


@part
def is_finite(x: float) -> bool:
    """math.isfinite is true of everything where sums may be in any order."""
    return abs(x) < np.inf


# --- forward and back -------------------------------------------------------------------------------------------------


class Tape(NamedTuple):
    """What forward leaves for backward, and the gradients; of each layer. The last characters are the newest.

    x         (C, B)         symbols
    a         (L, N, G)      activations
    h, c      (L, N + B, H)  states, row r the one before row r of the others; c of cells that have one
    memo      (L, N, H)
    mask      (L, N, H)      dropout masks; (L, 0, H): nothing is dropped
    out       (L, N, H)      h' under them
    u         (L, B, G)      W_hh h of one character
    d_in      (L, N, G)      gradients of W_ih x + b_ih
    d_hidden  (L, N, G)      of W_hh h + b_hh, where that is another
    d_h       (N, H)         of what a layer passes upwards
    direct    (B, H)         of a state, passed back by no matrix product
    logits    (N, V)         then their gradients
    unit      (L, 2H)        gradients of an elstm's w_f and w_z, after one character; (L, 0)
    one       (1,)           1
    """

    x: Symbols
    a: Array
    h: Array
    c: Array
    memo: Array
    mask: Array
    out: Array
    u: Array
    d_in: Array
    d_hidden: Array
    d_h: Array
    direct: Array
    logits: Array
    unit: Array
    one: Array


def make_tape(model: Model, chars: int, streams: int, dropping: bool) -> Tape:
    """For so many characters of each stream. No kernel allocates anything."""
    layers, rows, hidden, width = model.layers, chars * streams, model.hidden, model.gates * model.hidden
    d_in, dropped = np.empty((layers, rows, width), f4), (layers, rows if dropping else 0, hidden)
    return Tape(
        np.zeros((chars, streams), np.int64),
        np.empty((layers, rows, width), f4),
        np.empty((layers, rows + streams, hidden), f4),
        np.empty((layers, rows + streams, hidden), f4),
        np.empty((layers, rows, hidden), f4),
        np.empty(dropped, f4),
        np.empty(dropped, f4),
        np.empty((layers, streams, width), f4),
        d_in,
        np.empty((layers, rows, width), f4) if model.cell == GRU else d_in,
        np.empty((rows, hidden), f4),
        np.empty((streams, hidden), f4),
        np.empty((rows, model.vocabulary), f4),
        np.empty((layers, 2 * hidden if model.cell == ELSTM else 0), f4),
        np.ones(1, f4),
    )


@section
def output_of(tape: Tape, index: int, streams: int) -> Array:
    """What layer `index` passes upwards, (N, H)."""
    return tape.out[index] if tape.out.shape[1] else tape.h[index, streams:]


@part
def copy_rows(source: Array, target: Array) -> None:
    """(B, H) each; a slice that is assigned takes seconds to compile."""
    for b in range(len(target)):
        row, new = target[b], source[b]
        for j in range(len(row)):
            row[j] = new[j]


@part
def fill(x: Array, value: np.float32) -> None:
    """Every element of x (N,)."""
    for j in range(len(x)):
        x[j] = value


@part
def enter(tape: Tape, state: Array) -> None:
    """Let `state` (L, S, B, H) be what the characters on the tape have left."""
    rows = tape.a.shape[1]
    for index in range(state.shape[0]):
        copy_rows(state[index, 0], tape.h[index, rows:])
        copy_rows(state[index, state.shape[1] - 1], tape.c[index, rows:])


@part
def leave(tape: Tape, state: Array) -> None:
    """Write what they have left into `state` (L, S, B, H)."""
    rows = tape.a.shape[1]
    for index in range(state.shape[0]):
        copy_rows(tape.h[index, rows:], state[index, 0])
        if state.shape[1] == 2:
            copy_rows(tape.c[index, rows:], state[index, 1])


@part
def go_on(tape: Tape, new: int) -> None:
    """Make room for so many new characters: what there is of older ones moves up, and the state after them becomes the
    one before the new ones.
    """
    rows, first = tape.a.shape[1], new * tape.x.shape[1]
    for t in range(new, len(tape.x)):
        for b in range(tape.x.shape[1]):
            tape.x[t - new, b] = tape.x[t, b]
    for index in range(len(tape.h)):
        copy_rows(tape.h[index, first:], tape.h[index, : rows + tape.x.shape[1] - first])
        copy_rows(tape.c[index, first:], tape.c[index, : rows + tape.x.shape[1] - first])
        copy_rows(tape.a[index, first:], tape.a[index, : rows - first])
        copy_rows(tape.memo[index, first:], tape.memo[index, : rows - first])
        if tape.mask.shape[1]:
            copy_rows(tape.mask[index, first:], tape.mask[index, : rows - first])
            copy_rows(tape.out[index, first:], tape.out[index, : rows - first])


@part
def take(task: Task, update: int, tape: Tape) -> None:
    """Put the new characters of update number `update` on the tape, and the masks of all that it reads."""
    x, masks, chars = task.x[update], task.masks[update], task.x.shape[1]
    for t in range(chars):
        for b in range(x.shape[1]):
            tape.x[len(tape.x) - chars + t, b] = x[t, b]
    if tape.mask.shape[1]:
        for index in range(len(masks)):
            copy_rows(masks[index], tape.mask[index, tape.mask.shape[1] - masks.shape[1] :])


@part
def clear(tape: Tape, first: int) -> None:
    """The state before character `first` becomes zero."""
    streams = tape.x.shape[1]
    for index in range(len(tape.h)):
        for r in range(first * streams, (first + 1) * streams):
            fill(tape.h[index, r], ZERO)
            fill(tape.c[index, r], ZERO)


@part
def add_input(w: Layer, index: int, first: int, below: Array, tape: Tape) -> None:
    """a = W_ih x + b_ih from character `first` on, for symbols or the output below (N, H)."""
    a, b_ih, streams = tape.a[index], w.b_ih[0], tape.x.shape[1]
    if index:
        multiply_all(w.w_ih, below[first * streams :], a[first * streams :])
    for t in range(first, len(tape.x)):
        for b in range(streams):
            row = a[t * streams + b]
            if index:
                for j in range(len(row)):
                    row[j] += b_ih[j]
            else:
                w_x = w.w_ih[tape.x[t, b]]
                for j in range(len(row)):
                    row[j] = w_x[j] + b_ih[j]


@part
def drop(h: Array, mask: Array, out: Array) -> None:
    """out = h mask, (N, H) each."""
    for r in range(len(out)):
        h_row, mask_row, row = h[r], mask[r], out[r]
        for j in range(len(row)):
            row[j] = h_row[j] * mask_row[j]


@part
def softmax_loss(logits: Array, target: int, share: np.float32) -> float:
    """Nats of the target; the logits (V,) become their gradient, times `share`."""
    highest = logits[0]
    for i in range(len(logits)):
        highest = max(highest, logits[i])
    aim, total = logits[target] - highest, ZERO
    for i in range(len(logits)):
        logits[i] = exp(logits[i] - highest)
    for i in range(len(logits)):
        total += logits[i]
    factor = share / total
    for i in range(len(logits)):
        logits[i] *= factor
    logits[target] -= share
    nats: float = math.log(total) - aim
    return nats


@section
def predict(model: Model, tape: Tape, y: Symbols, losses: int, scale: float) -> float:
    """The mean loss of the last so many characters of y (T, B), in nats, and the gradients of the logits, times
    `scale`, and of h.
    """
    streams, rows = y.shape[1], losses * y.shape[1]
    first, new = len(tape.logits) - rows, len(tape.logits) - y.size
    weights, bias = head_of(model, model.flat)
    below, b, share, total = output_of(tape, model.layers - 1, streams), bias[0], f4(scale / rows), 0.0
    multiply_all(weights, below[first:], tape.logits[first:])
    for r in range(first):
        fill(tape.d_h[r], ZERO)
    for r in range(first, len(tape.logits)):
        logits, d_h = tape.logits[r], tape.d_h[r]
        for j in range(len(logits)):
            logits[j] += b[j]
        total += softmax_loss(logits, y[(r - new) // streams, (r - new) % streams], share)
        fill(d_h, ZERO)
        add_transposed(weights, ONE, logits, d_h)
    mean: float = total / rows
    return mean


@section
def read(cell: int, ready: bool, w: Layer, index: int, first: int, tape: Tape) -> None:
    """Layer `index` reads the characters from `first` on, one after the other; `ready`: W_hh h of the first one is
    there.
    """
    streams = tape.x.shape[1]
    a, h, c, memo, u = tape.a[index], tape.h[index], tape.c[index], tape.memo[index], tape.u[index]
    add_input(w, index, first, output_of(tape, max(0, index - 1), streams), tape)
    for t in range(first, len(tape.x)):
        if dense(cell) and not ready:
            multiply_all(w.w_hh, h[t * streams : (t + 1) * streams], u)
        for b in range(streams):
            r = t * streams + b
            forward(cell, w, a[r], u[b], h[r], c[r], h[r + streams], c[r + streams], memo[r])
    if tape.mask.shape[1]:
        start = first * streams
        drop(h[start + streams :], tape.mask[index, start:], tape.out[index, start:])


class Pass(NamedTuple):
    """What a pass back through a layer reads and writes: d_h (N, H) and direct (B, H) as of the tape, from what comes
    of later characters and from above; d_in and d_hidden (N, G), of which it makes the gradients of the layer.
    """

    d_in: Array
    d_hidden: Array
    d_h: Array
    direct: Array


@section
def go_back(cell: int, w: Layer, index: int, way: int, carry: Array, first: int, to: Pass, tape: Tape) -> None:
    """Layer `index` goes back to character `first`, that way from each to the one before."""
    a, h, c, memo = tape.a[index], tape.h[index], tape.c[index], tape.memo[index]
    d_in, d_hidden, d_h, direct = to
    streams = tape.x.shape[1]
    for t in range(len(carry), first - 1, -1):  # back in time
        for b in range(streams):
            r = t * streams + b
            if t < len(carry):
                if cell == ELSTM and way != LEAK:
                    back_by_unit(w, d_in[r + streams], direct[b])
                for j in range(len(direct[b])):
                    direct[b, j] *= carry[t]
                if dense(cell) and way == WHOLE and carry[t] != ZERO:
                    add_transposed(w.w_hh, carry[t], d_hidden[r + streams], d_h[r])
                if dense(cell) and way == OWN:
                    back_alone(w.w_hh, d_hidden[r + streams], d_h[r])
            backward(cell, w, a[r], h[r], c[r], c[r + streams], memo[r], d_h[r], direct[b], d_in[r], d_hidden[r])


@part
def enter_back(index: int, first: int, tape: Tape) -> None:
    """Before layer `index` goes back to character `first`: its mask on the gradient of what it passes upwards, and
    nothing of later characters.
    """
    streams = tape.x.shape[1]
    if tape.mask.shape[1]:
        drop(tape.d_h[first * streams :], tape.mask[index, first * streams :], tape.d_h[first * streams :])
    for b in range(streams):
        fill(tape.direct[b], ZERO)


@part
def hand_down(w: Layer, index: int, first: int, tape: Tape) -> None:
    """After it: the gradient of its input becomes that of what the layer below passes upwards."""
    if index:
        for r in range(first * tape.x.shape[1], len(tape.d_h)):
            fill(tape.d_h[r], ZERO)
            add_transposed(w.w_ih, ONE, tape.d_in[index, r], tape.d_h[r])


@section
def go_all_back(cell: int, w: Layer, index: int, carry: Array, first: int, tape: Tape) -> None:
    """Layer `index` goes back to character `first`, and passes the gradient of its input down."""
    enter_back(index, first, tape)
    to = Pass(tape.d_in[index], tape.d_hidden[index], tape.d_h, tape.direct)
    go_back(cell, w, index, WHOLE, carry, first, to, tape)
    hand_down(w, index, first, tape)


@part
def write_gradient(model: Model, grad: Array, index: int, first: int, tape: Tape) -> None:
    """The gradient of layer `index`, sums of outer products from character `first` on, into grad (P,)."""
    streams = tape.x.shape[1]
    start, rows = first * streams, tape.x.size
    g, d_in, d_hidden = layer_of(model, grad, index), tape.d_in[index, start:], tape.d_hidden[index, start:]
    sum_rows(d_in, g.b_ih)
    if dense(model.cell):
        of_matrix, column, states, matrix = d_hidden, 0, tape.h[index, start:rows], g.w_hh
        sum_rows(d_hidden, g.b_hh)
    else:
        of_matrix, column, states, matrix = d_in, 2 * model.hidden, tape.c[index, start + streams :], g.w_co
        fill(g.w_hh[0], ZERO)
        for r in range(len(d_in)):
            add_by_unit(d_in[r], tape.c[index, start + r], g.w_hh[0])
    sum_outer(of_matrix, column, states, matrix)
    if index:
        sum_outer(d_in, 0, output_of(tape, index - 1, streams)[start:], g.w_ih)
    else:
        for i in range(len(g.w_ih)):
            fill(g.w_ih[i], ZERO)
        for r in range(len(d_in)):
            row, d = g.w_ih[tape.x[first + r // streams, r % streams]], d_in[r]
            for j in range(len(row)):
                row[j] += d[j]


@part
def add_by_unit(d_in: Array, c: Array, out: Array) -> None:
    """Add the gradients of an elstm's w_f and w_z, d_f c and d_z c, to out (2H,); to one that is empty, nothing."""
    size = len(out) // 2
    d_z, out_z = d_in[size:], out[size:]
    for j in range(size):
        out[j] += d_in[j] * c[j]
    for j in range(size):
        out_z[j] += d_z[j] * c[j]


@section
def read_and_predict(model: Model, tape: Tape, task: Task, update: int, grad: Array) -> float:
    """The loss of update number `update`, and the gradient of the head, into grad (P,)."""
    streams, chars = task.x.shape[2], task.x.shape[1]
    first = len(tape.x) - (task.lengths[update] if task.rerun else chars)
    go_on(tape, chars)
    take(task, update, tape)
    if task.reset:
        clear(tape, first)
    for index in range(model.layers):
        read(model.cell, False, layer_of(model, model.flat, index), index, first, tape)
    nats = predict(model, tape, task.y[update], task.losses, task.scale)
    weights, bias = head_of(model, grad)
    d_logits, below = tape.logits[-task.losses * streams :], output_of(tape, model.layers - 1, streams)
    sum_outer(d_logits, 0, below[-task.losses * streams :], weights)
    sum_rows(d_logits, bias)
    return nats


@part
def step(model: Model, descent: Descent, update: int, norm: float, grad: Array, one: Array) -> None:
    """A step along grad (P,), which has this norm, and the decay that is due before it."""
    if descent.kind != NONE:
        if descent.kept[update] != 1:
            decay(model, descent.kept[update])
        rule = rule_at(descent.kind, descent.rates[update], descent.beta2, descent.steps + update + 1)
        w, m, v = (
            matrix(model.flat, 0, 1, len(grad)),
            matrix(descent.m, 0, 1, len(grad)),
            matrix(descent.v, 0, 1, len(grad)),
        )
        descend(rule, w, m, v, shortening(descent.clip, norm), one, grad)


@kernel
def segments(
    model: Model, state: Array, tape: Tape, task: Task, descent: Descent, grad: Array, nats: Doubles, norms: Doubles
) -> int:
    """n updates of T new characters of B streams from `state` (L, S, B, H), moved on; grad (P,) is overwritten.

    Losses and norms of the gradient go to nats and norms (n,). Returns how many updates were made: fewer than n where
    the loss or the gradient of one is not finite.
    """
    enter(tape, state)
    for update in range(len(nats)):
        nats[update] = read_and_predict(model, tape, task, update, grad)
        first = len(tape.x) - task.lengths[update]
        for index in range(model.layers - 1, -1, -1):
            go_all_back(model.cell, layer_of(model, model.flat, index), index, task.carry, first, tape)
            write_gradient(model, grad, index, first, tape)
        norms[update] = math.sqrt(dot(grad, grad))
        if not is_finite(nats[update] + norms[update]):
            return update
        step(model, descent, update, norms[update], grad, tape.one)
    leave(tape, state)
    return len(nats)


# --- influences: what carries credit past the cut ---------------------------------------------------------------------


class Traces(NamedTuple):
    """The influences of influence.py, and room to move them on: those of SnAp-1 and RFLO on each unit of its own
    parameters (`UnitInfluence`), M = Q; that of one layer's parameters on every unit (`FullInfluence`), M = Q H.

    Of the Q parts of a state that are followed, which are neighbours, `first` is the first.

    on         how they go on from character to character: OWN or LEAK; WHOLE, where they are those on every unit
    inside     how the gradient of an update reaches the state before it: WHOLE, OWN or LEAK
    influence  (M, B, P)     laid out as the parameters
    a          (M, Q, B, H)  of each part of the state after, or each unit, from each part of the one before
    d_before   (Q, B, H)     gradient of the state before
    d_in, d_hidden  (Q, N, G)  as of the tape, but of each part of the state after; (1, N, G) for one unit at a time;
    d_h, direct     one of (N, H) and one of (B, H) for all
    spare      (H,), or (M,) for the whole influence
    added      (M, B, P)     B of the whole influence; (0, B, P) for those on each unit
    moved      (M, C)        A M of C parameters at a time; (0, C)
    """

    first: int
    on: int
    inside: int
    influence: Array
    a: Array
    d_before: Array
    d_in: Array
    d_hidden: Array
    d_h: Array
    direct: Array
    spare: Array
    added: Array
    moved: Array


def make_traces(model: Model, parts: int, first: int, on: int, inside: int, influence: Array, chars: int) -> Traces:
    """For updates of so many characters of each stream."""
    passes, streams, size = influence.shape
    rows, hidden, width = chars * streams, model.hidden, model.gates * model.hidden
    whole = passes if on == WHOLE else 0
    d_in = np.empty((1 if whole else parts, rows, width), f4)
    return Traces(
        first,
        on,
        inside,
        influence,
        np.empty((passes, parts, streams, hidden), f4),
        np.empty((parts, streams, hidden), f4),
        d_in,
        np.empty_like(d_in) if model.cell == GRU else d_in,
        np.empty((rows, hidden), f4),
        np.empty((streams, hidden), f4),
        np.empty(max(hidden, whole), f4),
        np.empty((whole, streams, size), f4),
        np.empty((whole, CACHED // max(1, 2 * whole)), f4),
    )


@part
def pass_on(
    cell: int, way: int, number: int, w: Layer, d_in: Array, d_hidden: Array, direct: Array, out: Array
) -> None:
    """out (H,) becomes the gradient of a part of the state before a character: h is number 0, c is 1."""
    is_direct = number == 1 or cell in (GRU, MINGRU)
    for j in range(len(out)):
        out[j] = direct[j] if is_direct else ZERO
    if dense(cell) and number == 0 and way == WHOLE:
        add_transposed(w.w_hh, ONE, d_hidden, out)
    if dense(cell) and number == 0 and way == OWN:
        back_alone(w.w_hh, d_hidden, out)
    if cell == ELSTM and way != LEAK:
        back_by_unit(w, d_in, out)


@part
def begin_with(index: int, whole: bool, hidden: int, first: int, to: Pass, streams: int) -> None:
    """The gradient of what influence number `index` is on: a part of the state after all characters, 1 for each unit;
    or, of the whole influence, one unit.
    """
    part, unit = (first + index // hidden, index % hidden) if whole else (first + index, -1)
    for r in range(len(to.d_h)):
        fill(to.d_h[r], ONE if unit < 0 and part == 0 and r >= len(to.d_h) - streams else ZERO)
    for b in range(streams):
        fill(to.direct[b], ONE if unit < 0 and part == 1 else ZERO)
        if unit >= 0 and part == 0:
            to.d_h[len(to.d_h) - streams + b, unit] = ONE
        elif unit >= 0:
            to.direct[b, unit] = ONE


@part
def add_outer(d: Array, x: Array, b: int, streams: int, out: Array) -> None:
    """out (R, C) += sum_t d_t x_t^T of stream b, for d (N, R) and x (N, C), four characters at a time."""
    last = len(d) // (4 * streams) * (4 * streams)
    for i in range(len(out)):
        row = out[i]
        for r in range(b, last, 4 * streams):
            s, t, u = r + streams, r + 2 * streams, r + 3 * streams
            x0, x1, x2, x3 = x[r], x[s], x[t], x[u]
            d0, d1, d2, d3 = d[r, i], d[s, i], d[t, i], d[u, i]
            for j in range(len(row)):
                row[j] += d0 * x0[j] + d1 * x1[j] + d2 * x2[j] + d3 * x3[j]
        for r in range(last + b, len(d), streams):
            factor, x_r = d[r, i], x[r]
            for j in range(len(row)):
                row[j] += factor * x_r[j]


@part
def add_row(d: Array, out: Array) -> None:
    """out (C,) += d (C,)."""
    for j in range(len(out)):
        out[j] += d[j]


@part
def add_effect(model: Model, index: int, of: Pass, b: int, m: Layer, tape: Tape) -> None:
    """B, added to m: what the parameters of layer `index` did in stream b to what that pass back began with."""
    streams, d_in, d_hidden = tape.x.shape[1], of.d_in, of.d_hidden
    for number in range(2):  # arrays first, then one product for both: what is called twice is compiled twice
        d, below, out, there = d_in, output_of(tape, max(0, index - 1), streams), m.w_ih, index > 0
        if number == 1:
            d, below, out, there = d_hidden, tape.h[index], m.w_hh, dense(model.cell)
        if there:
            add_outer(d, below, b, streams, out)
    for t in range(len(tape.x)):
        r = t * streams + b
        if index == 0:
            add_row(d_in[r], m.w_ih[tape.x[t, b]])
        add_row(d_in[r], m.b_ih[0])
        if dense(model.cell):
            add_row(d_hidden[r], m.b_hh[0])
        else:
            add_by_unit(d_in[r], tape.c[index, r], m.w_hh[0])


@section
def go_back_by_all_ways(model: Model, w: Layer, index: int, carry: Array, tape: Tape, traces: Traces) -> None:
    """Layer `index` goes back through all characters: the gradient of the loss first, to `d_before`, then what each
    influence is on, to `a`, the way that influences go; the carry of these is 1. All in one place, because it takes
    long to compile.
    """
    cell, streams, whole = model.cell, tape.x.shape[1], traces.on == WHOLE
    for number in range(-1, len(traces.a)):
        way, beyond, q = WHOLE, traces.inside, 0 if whole else number
        to = Pass(tape.d_in[index], tape.d_hidden[index], tape.d_h, tape.direct)
        if number >= 0:
            way, beyond = traces.on, traces.on
            to = Pass(traces.d_in[q], traces.d_hidden[q], traces.d_h, traces.direct)
            begin_with(number, whole, model.hidden, traces.first, to, streams)
        go_back(cell, w, index, way, carry, 0, to, tape)
        for b in range(streams):
            for among in range(len(traces.d_before)):
                out = traces.d_before[among, b] if number < 0 else traces.a[number, among, b]
                pass_on(cell, beyond, traces.first + among, w, to.d_in[b], to.d_hidden[b], to.direct[b], out)
            if number >= 0 and whole:
                fill(traces.added[number, b], ZERO)
                add_effect(model, index, to, b, layer_of(model, traces.added[number, b], index), tape)


@part
def read_and_move_whole(traces: Traces, b: int, hidden: int, size: int, grad: Array) -> None:
    """Of the first `size` parameters: the gradient's missing part, and A M + B in the place of M, so many parameters at
    a time as stay in the cache.
    """
    a, d, units, columns, factors = traces.a, traces.d_before, len(traces.a), traces.moved.shape[1], traces.spare
    fours = units // 4 * 4
    for first in range(0, size, columns):
        block = slice(first, min(first + columns, size))
        for u in range(units):
            influence, factor, row = traces.influence[u, b, block], d[u // hidden, b, u % hidden], grad[block]
            for j in range(len(row)):
                row[j] += factor * influence[j]
        for u in range(units):
            added, row = traces.added[u, b, block], traces.moved[u]
            for j in range(len(added)):
                row[j] = added[j]
            for v in range(units):
                factors[v] = a[u, v // hidden, b, v % hidden]
            for v in range(0, fours, 4):  # four rows at a time
                m0, m1 = traces.influence[v, b, block], traces.influence[v + 1, b, block]
                m2, m3 = traces.influence[v + 2, b, block], traces.influence[v + 3, b, block]
                a0, a1, a2, a3 = factors[v], factors[v + 1], factors[v + 2], factors[v + 3]
                for j in range(len(m0)):
                    row[j] += a0 * m0[j] + a1 * m1[j] + a2 * m2[j] + a3 * m3[j]
            for v in range(fours, units):
                influence, factor = traces.influence[v, b, block], factors[v]
                for j in range(len(influence)):
                    row[j] += factor * influence[j]
        for u in range(units):
            row, influence = traces.moved[u], traces.influence[u, b, block]
            for j in range(len(influence)):
                influence[j] = row[j]


@part
def read_and_move_row(traces: Traces, b: int, unit: int, m: Array, n: Array, grad: Array) -> None:
    """One unit's row of a parameter, (C,): the gradient's missing part, and A M in the place of M, whose parts are m
    and n; where there is one part, both are the same.
    """
    a, d = traces.a, traces.d_before
    if len(a) == 1:
        d_m, a_m = d[0, b, unit], a[0, 0, b, unit]
        for j in range(len(m)):
            grad[j] += d_m * m[j]
            m[j] *= a_m
    else:
        d_m, a_mm, a_mn = d[0, b, unit], a[0, 0, b, unit], a[0, 1, b, unit]
        d_n, a_nm, a_nn = d[1, b, unit], a[1, 0, b, unit], a[1, 1, b, unit]
        for j in range(len(m)):
            old_m, old_n = m[j], n[j]
            grad[j] += d_m * old_m + d_n * old_n
            m[j] = a_mm * old_m + a_mn * old_n
            n[j] = a_nm * old_m + a_nn * old_n


@part
def read_and_move_units(traces: Traces, b: int, m: Array, n: Array, grad: Array) -> None:
    """The same of a parameter that has one number a unit, (H,)."""
    a, d, old = traces.a, traces.d_before, traces.spare
    d_m, a_mm = d[0, b], a[0, 0, b]
    for j in range(len(m)):
        grad[j] += d_m[j] * m[j]
    if len(a) == 1:
        for j in range(len(m)):
            m[j] *= a_mm[j]
    else:
        d_n, a_mn, a_nm, a_nn = d[1, b], a[0, 1, b], a[1, 0, b], a[1, 1, b]
        for j in range(len(m)):
            grad[j] += d_n[j] * n[j]
        for j in range(len(m)):
            old[j] = m[j]
        for j in range(len(m)):
            m[j] = a_mm[j] * m[j] + a_mn[j] * n[j]
        for j in range(len(m)):
            n[j] = a_nm[j] * old[j] + a_nn[j] * n[j]


@part
def read_and_move(traces: Traces, b: int, hidden: int, by_row: bool, m: Array, n: Array, grad: Array) -> None:
    """A whole parameter (R, C), whose units are its rows or its columns, gate after gate."""
    for i in range(len(m)):
        if by_row:
            read_and_move_row(traces, b, i % hidden, m[i], n[i], grad[i])
        else:
            for first in range(0, m.shape[1], hidden):
                gate = slice(first, first + hidden)
                read_and_move_units(traces, b, m[i, gate], n[i, gate], grad[i, gate])


@section
def trace(model: Model, grad: Array, index: int, tape: Tape, traces: Traces) -> None:
    """Add what the influences of layer `index` tell to grad (P,), and move them on past all characters."""
    g, last, whole = layer_of(model, grad, index), len(traces.a) - 1, traces.on == WHOLE
    for b in range(tape.x.shape[1]):
        if whole:
            but_for_head = len(grad) - model.vocabulary * (model.hidden + 1)
            read_and_move_whole(traces, b, model.hidden, but_for_head, grad)
        m, n = layer_of(model, traces.influence[0, b], index), layer_of(model, traces.influence[last, b], index)
        for number in range(0 if whole else 4):  # arrays first, then one call for all
            by_row = index > 0 if number == 0 else number == 1 and dense(model.cell)
            m_p, n_p, g_p = m.w_ih, n.w_ih, g.w_ih
            if number == 1:
                m_p, n_p, g_p = m.w_hh, n.w_hh, g.w_hh
            elif number == 2:
                m_p, n_p, g_p = m.b_ih, n.b_ih, g.b_ih
            elif number == 3:
                m_p, n_p, g_p = m.b_hh, n.b_hh, g.b_hh
            read_and_move(traces, b, model.hidden, by_row, m_p, n_p, g_p)
        for q in range(0 if whole else last + 1):
            of = Pass(traces.d_in[q], traces.d_hidden[q], traces.d_h, traces.direct)
            add_effect(model, index, of, b, m if q == 0 else n, tape)


@kernel
def traced(
    model: Model,
    state: Array,
    tape: Tape,
    traces: Traces,
    task: Task,
    descent: Descent,
    grad: Array,
    nats: Doubles,
    norms: Doubles,
) -> int:
    """As `segments`, with influences, which are moved on; a task that resets states has none, nor one whose tape holds
    older characters.
    """
    enter(tape, state)
    for update in range(len(nats)):
        nats[update] = read_and_predict(model, tape, task, update, grad)
        for index in range(model.layers - 1, -1, -1):
            w = layer_of(model, model.flat, index)
            enter_back(index, 0, tape)
            go_back_by_all_ways(model, w, index, task.carry, tape, traces)
            hand_down(w, index, 0, tape)
            write_gradient(model, grad, index, 0, tape)
            trace(model, grad, index, tape, traces)
        norms[update] = math.sqrt(dot(grad, grad))
        if not is_finite(nats[update] + norms[update]):
            return update
        step(model, descent, update, norms[update], grad, tape.one)
    leave(tape, state)
    return len(nats)


# --- one stream, one character: pure online learning ------------------------------------------------------------------
#
# After one character the gradient of a matrix is an outer product d x^T: it is never formed, and its norm is |d| |x|.
# And the state that the next character meets is known before the step, so its product with W_hh is taken row by row
# while the row that was just moved is still in the cache: one pass over weights and means is a whole update.


@part
def square(a: Array) -> np.float32:
    """|a|^2."""
    return dot(a, a)


@part
def square_norm(model: Model, tape: Tape) -> np.float32:
    """Of the gradient of all parameters. W_ih of the first layer has a one-hot input, and so a factor of 1."""
    total = square(tape.logits[0]) * (square(output_of(tape, model.layers - 1, 1)[0]) + ONE)
    for index in range(model.layers):
        d_in, d_hidden = tape.d_in[index, 0], tape.d_hidden[index, 0]
        below = square(output_of(tape, index - 1, 1)[0]) if index else ONE
        total += square(d_in) * (below + ONE)
        if dense(model.cell):
            total += square(d_hidden) * (square(tape.h[index, 0]) + ONE)
        elif model.cell == ELSTM:
            d_o = d_in[2 * model.hidden :]
            total += square(tape.unit[index]) + square(d_o) * square(tape.c[index, 1])
    return total


@section
def step_and_multiply(
    moving: bool, rule: Rule, scale: np.float32, model: Model, descent: Descent, index: int, tape: Tape
) -> None:
    """Where it is `moving`, a step of the matrix of layer `index` that the state goes through; and u = W_hh h, for the
    state that the next character meets.
    """
    w, m, v = (
        layer_of(model, model.flat, index),
        layer_of(model, descent.m, index),
        layer_of(model, descent.v, index),
    )
    if dense(model.cell):
        matrix, mean, square, d, x = w.w_hh, m.w_hh, v.w_hh, tape.d_hidden[index, 0], tape.h[index, 0]
    else:
        matrix, mean, square, d, x = w.w_co, m.w_co, v.w_co, tape.d_in[index, 0, 2 * model.hidden :], tape.c[index, 1]
    next_h, u = tape.h[index, 1], tape.u[index, 0]
    for first in range(0, matrix.shape[0], ROWS):
        last = min(first + ROWS, matrix.shape[0])
        if moving:
            descend(rule, matrix[first:last], mean[first:last], square[first:last], scale, d[first:last], x)
        if dense(model.cell):
            multiply(matrix[first:last], next_h, u[first:last])


@section
def step_others(
    rule: Rule, scale: np.float32, model: Model, descent: Descent, index: int, tape: Tape, one_hot: Array
) -> None:
    """A step of what else layer `index` has: W_ih, the biases, and an elstm's w_f and w_z."""
    w, m, v = (
        layer_of(model, model.flat, index),
        layer_of(model, descent.m, index),
        layer_of(model, descent.v, index),
    )
    d_in, one = tape.d_in[index, 0], tape.one
    if index:
        d, x = d_in, output_of(tape, index - 1, 1)[0]
    else:
        d, x = one_hot, d_in
    descend(rule, w.w_ih, m.w_ih, v.w_ih, scale, d, x)
    descend(rule, w.b_ih, m.b_ih, v.b_ih, scale, one, d_in)
    if dense(model.cell):
        weights, mean, square, x = w.b_hh, m.b_hh, v.b_hh, tape.d_hidden[index, 0]
    else:
        weights, mean, square, x = w.w_hh, m.w_hh, v.w_hh, tape.unit[index]
    descend(rule, weights, mean, square, scale, one, x)


@section
def step_head(rule: Rule, scale: np.float32, model: Model, descent: Descent, tape: Tape) -> None:
    """A step of the output layer."""
    weights, bias = head_of(model, model.flat)
    mean, mean_bias = head_of(model, descent.m)
    square, square_bias = head_of(model, descent.v)
    below = output_of(tape, model.layers - 1, 1)[0]
    descend(rule, weights, mean, square, scale, tape.logits[0], below)
    descend(rule, bias, mean_bias, square_bias, scale, tape.one, tape.logits[0])


@kernel
def online(
    model: Model,
    state: Array,
    tape: Tape,
    task: Task,
    descent: Descent,
    one_hot: Array,
    nats: Doubles,
    norms: Doubles,
) -> int:
    """As `segments`, for T = B = 1; one_hot (V,) is zero.

    A step is taken, and the product that the next character needs, when the next turn begins: so there is one place
    for it, and no sum is in another order where a call begins.
    """
    cell = model.cell
    enter(tape, state)
    for update in range(len(nats) + 1):
        before = max(0, update - 1)
        rule = rule_at(descent.kind, descent.rates[before], descent.beta2, descent.steps + before + 1)
        scale = shortening(descent.clip, norms[before])
        if update > 0 and descent.kept[before] != 1:
            decay(model, descent.kept[before])
        for index in range(model.layers):
            step_and_multiply(update > 0, rule, scale, model, descent, index, tape)
        if update > 0:
            one_hot[task.x[before, 0, 0]] = ONE
            for index in range(model.layers):
                step_others(rule, scale, model, descent, index, tape, one_hot)
            step_head(rule, scale, model, descent, tape)
            one_hot[task.x[before, 0, 0]] = ZERO
        if update == len(nats):
            break
        go_on(tape, 1)
        take(task, update, tape)
        if task.reset:
            clear(tape, 0)
            for index in range(model.layers):
                fill(tape.u[index, 0], ZERO)
        for index in range(model.layers):
            read(cell, True, layer_of(model, model.flat, index), index, 0, tape)
        nats[update] = predict(model, tape, task.y[update], task.losses, task.scale)
        for index in range(model.layers - 1, -1, -1):
            go_all_back(cell, layer_of(model, model.flat, index), index, task.carry, 0, tape)
            if cell == ELSTM:
                fill(tape.unit[index], ZERO)
                add_by_unit(tape.d_in[index, 0], tape.c[index, 0], tape.unit[index])
        norms[update] = math.sqrt(square_norm(model, tape))
        if not is_finite(nats[update] + norms[update]):
            return update
    leave(tape, state)
    return len(nats)


@kernel
def speak(model: Model, state: Array, tape: Tape, first: int, noise: Array, symbols: Symbols) -> None:
    """One stream goes on from `state` (L, S, 1, H), which is moved on: it reads the symbol `first`, then each of those
    that it says itself, n of them, into symbols (n,). That is each time the one with the largest sum of its logit and
    its noise, (n, K), among the first K.
    """
    weights, bias = head_of(model, model.flat)
    b, logits = bias[0], tape.logits[0]
    enter(tape, state)
    tape.x[0, 0] = first
    for n in range(len(symbols)):
        go_on(tape, 1)
        for index in range(model.layers):
            read(model.cell, False, layer_of(model, model.flat, index), index, 0, tape)
        multiply(weights, output_of(tape, model.layers - 1, 1)[0], logits)
        best = 0
        for j in range(noise.shape[1]):
            logits[j] += b[j] + noise[n, j]
            if logits[j] > logits[best]:
                best = j
        symbols[n] = tape.x[0, 0] = best
    leave(tape, state)


@kernel
def listen(model: Model, state: Array, tape: Tape, x: Symbols, y: Symbols, nats: Doubles) -> None:
    """One stream reads x (n,) from `state` (L, S, 1, H), which is moved on; the losses of y (n,) go to nats (n,), where
    these have room.
    """
    weights, bias = head_of(model, model.flat)
    b, logits = bias[0], tape.logits[0]
    enter(tape, state)
    for n in range(len(x)):
        go_on(tape, 1)
        tape.x[0, 0] = x[n]
        for index in range(model.layers):
            read(model.cell, False, layer_of(model, model.flat, index), index, 0, tape)
        if len(nats):
            multiply(weights, output_of(tape, model.layers - 1, 1)[0], logits)
            for j in range(len(logits)):
                logits[j] += b[j]
            nats[n] = softmax_loss(logits, y[n], ONE)
    leave(tape, state)


CELLS = {"rnn": RNN, "gru": GRU, "lstm": LSTM, "elstm": ELSTM, "mingru": MINGRU}
OPTIMIZERS = {"adam": ADAM, "rmsprop": RMSPROP, "sgd": SGD}
