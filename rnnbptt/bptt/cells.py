"""The cells: what each computes from one character to the next, and the gradient of that, unit by unit.

Each stands beside its equations; the loop over time is in recurrence.py. x is the input, h and c the state before the
character, h' and c' the one after it; sigma is the logistic function and products of vectors are element by element. In
the code a name that ends in `_new` is a value after the character, `d_` a gradient, and `v_` how a value moves when the
state moves in some direction, its derivative, which lies where gradients do at other times; shapes are (B, H) unless
given. The tests hold each cell against autograd, three of them on torch.nn's own.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import Weights
from rnnbptt.bptt.per_stream import add_outer
from rnnbptt.bptt.recurrence import Back, Cell, Step
from rnnbptt.bptt.tape import Adjoint, LayerTape, Span

_sigmoid_backward: Callable[..., Tensor] = torch.ops.aten.sigmoid_backward.grad_input  # d y (1 - y)
tanh_backward: Callable[..., Tensor] = torch.ops.aten.tanh_backward.grad_input  # d (1 - y^2)

# as tensors, because a Python number is converted to one at each call, which takes longer than a small product
_MINUS_ONE, _TWO = torch.tensor(-1.0), torch.tensor(2.0)


def stretch(s: Tensor) -> Tensor:
    """2 s - 1, in place: sigma(2x) becomes tanh(x)."""
    return torch.add(_MINUS_ONE, s, alpha=2, out=s)


def tanh_(x: Tensor) -> Tensor:
    """tanh(x), in place, as 2 sigma(2x) - 1: torch's own tanh takes up to seven times as long as its sigmoid."""
    return stretch(x.mul_(_TWO).sigmoid_())


class TanhRNN(Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): Elman 1990, as torch.nn.RNN has it."""

    name, carried = "rnn", (0,)

    def forward(self, at: Step) -> None:
        """h' = tanh(gates + W_hh h)."""
        tanh_(torch.add(at.gates, at.share, out=at.h_new))

    def backward(self, at: Step, direct: Tensor) -> None:
        """d_gates = d_h (1 - h'^2)."""
        tanh_backward(at.d_h, at.h_new, grad_input=at.d_inputs)

    def tangent(self, at: Step, v_state: Tensor) -> Tensor:
        """v_h' = (1 - h'^2) v_gates."""
        return tanh_backward(at.d_inputs.add_(at.share), at.h_new, grad_input=v_state[0])


class LSTMStep(Step):
    """Beside `Step`: the gates i, f, g, o and their gradients, i and f together (B, 2H), c, c' and tanh(c')."""

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        super().__init__(tape, t, weights)
        self.i, self.f, self.g, self.o = self.gates.chunk(4, dim=-1)
        self.d_i, self.d_f, self.d_g, self.d_o = self.d_inputs.chunk(4, dim=-1)
        self.i_f, self.d_i_f = (gates.chunk(2, dim=-1)[0] for gates in (self.gates, self.d_inputs))
        self.c, self.c_new, self.tanh_c = tape.c[t], tape.c[t + 1], tape.memo[t]


class LSTM(Cell):
    """c' = f c + i g, h' = o tanh(c'): Hochreiter & Schmidhuber 1997, Gers et al. 2000.

    With i, f, o = sigma and g = tanh of their blocks of W_ih x + b_ih + W_hh h + b_hh, in torch.nn.LSTM's order
    i, f, g, o. What comes back directly is the gradient of c.
    """

    name, carried, memo, step = "lstm", (0, 1), True, LSTMStep
    leaky: tuple[int, ...] = (1,)

    def forward(self, at: LSTMStep) -> None:
        """c' = f c + i g, h' = o tanh(c')."""
        at.gates.add_(at.share)
        at.g.mul_(_TWO)  # with g doubled, one sigmoid serves all four gates
        at.gates.sigmoid_()
        stretch(at.g)
        torch.mul(at.f, at.c, out=at.c_new).addcmul_(at.i, at.g)
        stretch(torch.mul(at.c_new, _TWO, out=at.tanh_c).sigmoid_())
        torch.mul(at.o, at.tanh_c, out=at.h_new)

    def backward(self, at: LSTMStep, direct: Tensor) -> None:
        """d_o = d_h tanh(c') o (1 - o); d_c' += d_h o (1 - tanh^2(c')); d_i = d_c' g i (1 - i);
        d_f = d_c' c f (1 - f); d_g = d_c' i (1 - g^2); d_c = d_c' f.
        """
        d_c = direct
        _sigmoid_backward(torch.mul(at.d_h, at.tanh_c, out=at.d_o), at.o, grad_input=at.d_o)
        through_h = torch.mul(at.d_h, at.o, out=at.spare)
        d_c.add_(tanh_backward(through_h, at.tanh_c, grad_input=through_h))
        torch.mul(d_c, at.g, out=at.d_i)
        torch.mul(d_c, at.c, out=at.d_f)
        _sigmoid_backward(at.d_i_f, at.i_f, grad_input=at.d_i_f)
        tanh_backward(torch.mul(d_c, at.i, out=at.d_g), at.g, grad_input=at.d_g)
        d_c.mul_(at.f)

    def d_state(self, through: Tensor, direct: Tensor) -> tuple[Tensor | None, ...]:
        """Of h, of c."""
        return through, direct

    def tangent(self, at: LSTMStep, v_state: Tensor) -> Tensor:
        """v_c' = f v_c + c f (1 - f) v_f + g i (1 - i) v_i + i (1 - g^2) v_g;
        v_h' = o (1 - tanh^2(c')) v_c' + tanh(c') o (1 - o) v_o.
        """
        v_h, v_c = v_state
        v_i, v_f, v_g, v_o = at.d_i, at.d_f, at.d_g, at.d_o
        at.d_inputs.add_(at.share)
        _sigmoid_backward(at.d_i_f, at.i_f, grad_input=at.d_i_f)
        tanh_backward(v_g, at.g, grad_input=v_g)
        _sigmoid_backward(v_o, at.o, grad_input=v_o)
        v_c.mul_(at.f).addcmul_(v_f, at.c).addcmul_(v_i, at.g).addcmul_(v_g, at.i)
        return tanh_backward(v_c, at.tanh_c, grad_input=v_h).mul_(at.o).addcmul_(v_o, at.tanh_c)


class MogrifierStep(LSTMStep):
    """Beside `LSTMStep`: h, the gates r that it goes through, and their gradient."""

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        super().__init__(tape, t, weights)
        self.h, self.state_gate, self.d_state_gate = tape.h[t], tape.state_gate[t], tape.gradients.state_gate[t]


class Mogrifier(LSTM):
    """An LSTM with r h in the place of h, r = 2 sigma(R x): of the rounds of a Mogrifier (Melis, Kocisky & Blunsom
    2020) the second alone, in which the input gates h, and none in which h gates the input. So each symbol has a
    recurrent matrix of its own in the first layer, W_hh diag(r).

    R reaches every unit at once, so that no unit keeps an influence for itself.
    """

    name, gates_state, step = "mogrifier", True, MogrifierStep
    leaky = ()


class GRUStep(Step):
    """Beside `Step`: the gates r, z, n and their gradients, r and z together (B, 2H), b_hn (H,), and
    q = W_hn h + b_hn.
    """

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        super().__init__(tape, t, weights)
        hidden = tape.h.shape[-1]

        self.r, self.z, self.n = self.gates.chunk(3, dim=-1)
        self.d_r, self.d_z, self.d_n = self.d_inputs.chunk(3, dim=-1)
        rz, n = slice(2 * hidden), slice(2 * hidden, None)
        self.rz, self.d_rz, self.share_rz = self.gates[:, rz], self.d_inputs[:, rz], self.share[:, rz]
        self.share_n, self.d_hidden_rz, self.d_hidden_n = self.share[:, n], self.d_hidden[:, rz], self.d_hidden[:, n]
        self.h, self.q = tape.h[t], tape.memo[t]
        self.b_hn = weights.values["bias_hh"][2 * hidden :]


class GRU(Cell):
    """h' = (1 - z) n + z h with n = tanh(W_in x + b_in + r (W_hn h + b_hn)): Cho et al. 2014.

    With r, z = sigma of their blocks of W_ih x + b_ih + W_hh h + b_hh; the reset gate r after the product and the order
    r, z, n are torch.nn.GRU's. What comes back directly is the gradient of h through z.
    """

    name, carried, leaky, memo, separate_hidden, step = "gru", (0,), (0,), True, True, GRUStep

    def folded_bias(self, weights: Weights) -> Tensor:
        """b_hn is multiplied by r, so it stays with the state."""
        b_ih, b_hh = weights.values["bias_ih"], weights.values["bias_hh"]
        folded, r_and_z = b_ih.clone(), 2 * len(b_ih) // 3
        folded[:r_and_z] += b_hh[:r_and_z]
        return folded

    def d_bias_hh(self, d_hidden: Tensor, d_bias_ih: Tensor) -> Tensor:
        """b_hn is multiplied by r; what reaches the other gates is simply added."""
        r_and_z = 2 * d_hidden.shape[-1] // 3
        of_n = d_hidden[..., r_and_z:].sum(0, dtype=d_bias_ih.dtype)
        return torch.cat([d_bias_ih[..., :r_and_z], of_n], -1)

    def forward(self, at: GRUStep) -> None:
        """q = W_hn h + b_hn, n = tanh(n + r q), h' = (h - n) z + n."""
        at.rz.add_(at.share_rz).sigmoid_()
        torch.add(at.share_n, at.b_hn, out=at.q)
        tanh_(at.n.addcmul_(at.r, at.q))
        torch.sub(at.h, at.n, out=at.h_new).mul_(at.z).add_(at.n)

    def backward(self, at: GRUStep, direct: Tensor) -> None:
        """d_n = d_h (1 - z) (1 - n^2); d_r = d_n q r (1 - r); d_z = d_h (h - n) z (1 - z); d_q = d_n r;
        to h directly: d_h z.
        """
        at.d_h.add_(direct)
        torch.mul(at.d_h, at.z, out=direct)
        tanh_backward(torch.sub(at.d_h, direct, out=at.d_n), at.n, grad_input=at.d_n)
        torch.mul(at.d_n, at.q, out=at.d_r)
        torch.sub(at.h, at.n, out=at.d_z).mul_(at.d_h)
        _sigmoid_backward(at.d_rz, at.rz, grad_input=at.d_rz)
        at.d_hidden_rz.copy_(at.d_rz)
        torch.mul(at.d_n, at.r, out=at.d_hidden_n)

    def d_state(self, through: Tensor, direct: Tensor) -> tuple[Tensor | None, ...]:
        """Of h."""
        return (through.add_(direct),)

    def tangent(self, at: GRUStep, v_state: Tensor) -> Tensor:
        """v_r and v_z as of any sigma; v_n = (1 - n^2) (its input's share + r v_q + q v_r);
        v_h' = z v_h + (h - n) v_z + (1 - z) v_n.
        """
        v_h, v_r, v_z, v_n = v_state[0], at.d_r, at.d_z, at.d_n
        at.d_rz.add_(at.share_rz)
        _sigmoid_backward(at.d_rz, at.rz, grad_input=at.d_rz)
        v_n.addcmul_(at.share_n, at.r).addcmul_(v_r, at.q)
        tanh_backward(v_n, at.n, grad_input=v_n)
        return v_h.sub_(v_n).mul_(at.z).add_(v_n).addcmul_(v_z, torch.sub(at.h, at.n, out=at.spare))


class ElementWise(Cell):
    """A recurrence without W_hh and b_hh: each unit's past reaches its future through itself alone, so that in one
    layer the influence that SnAp-1 keeps is the whole of it.
    """

    dense = False

    def folded_bias(self, weights: Weights) -> Tensor:
        """There is only one."""
        return weights.values["bias_ih"]

    def write_gradients(self, weights: Weights, tape: LayerTape, span: Span, scratch: Scratch) -> None:
        """b_ih: the sum over the characters."""
        torch.sum(tape.views(span).d_inputs, 0, out=weights.grads["bias_ih"])

    def add_per_stream(
        self, out: Mapping[str, Tensor], tape: LayerTape, span: Span, d: Adjoint, scratch: Scratch
    ) -> None:
        """The same for each stream."""
        out["bias_ih"].add_(d.inputs.sum(0))


class ELSTMStep(Step):
    """Beside `Step`: the gates f and z and their gradients, c and c', w_f and w_z (H,)."""

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        super().__init__(tape, t, weights)
        self.f, self.z, _ = self.gates.chunk(3, dim=-1)
        self.d_f, self.d_z, _ = self.d_inputs.chunk(3, dim=-1)
        self.c, self.c_new = tape.c[t], tape.c[t + 1]
        self.w_f, self.w_z = weights.values["weight_hh"].chunk(2)
        self.d_hidden = self.d_inputs  # no matrix product reads it


class ELSTM(ElementWise):
    """c' = f c + (1 - f) z with f = sigma(W_if x + b_f + w_f c), z = tanh(W_iz x + b_z + w_z c), element by element,
    and the output h' = o c' with o = sigma(W_io x + b_o + W_co c'): Irie, Gopalakrishnan & Schmidhuber 2024, equations
    5 to 8. Gates in the order f, z, o; `weight_hh` is w_f and w_z. What comes back directly is the gradient of c.
    """

    name, carried, leaky, step = "elstm", (1,), (1,), ELSTMStep

    def forward(self, at: ELSTMStep) -> None:
        """c' = (c - z) f + z."""
        at.f.addcmul_(at.w_f, at.c).sigmoid_()
        tanh_(at.z.addcmul_(at.w_z, at.c))
        torch.sub(at.c, at.z, out=at.c_new).mul_(at.f).add_(at.z)

    def outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """o = sigma(o + W_co c'), h' = o c': one product for all characters."""
        c_new, o = _states_and_outputs(tape, span)
        w_co = weights.operands["weight_co"]
        o += (c_new.flatten(0, 1).to(w_co.dtype) @ w_co.t()).view_as(o)
        torch.mul(o.sigmoid_(), c_new, out=tape.h[span.after])

    def d_outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """d_o = d_h c' o (1 - o); d_h becomes the gradient of c': d_h o + d_o W_co."""
        c_new, o = _states_and_outputs(tape, span)
        d_h, d_o = tape.gradients.h[span.here], _of_o(tape.gradients.inputs[span.here])
        _sigmoid_backward(d_h * c_new, o, grad_input=d_o)
        w_co = weights.operands["weight_co"]
        d_h.mul_(o).add_((d_o.flatten(0, 1).to(w_co.dtype) @ w_co).view_as(o))

    def back(self, weights: Weights, tape: LayerTape, alone: bool, count: int) -> Back:
        """d -> w_f d_f + w_z d_z; each unit reaches itself alone anyway."""
        w_f, w_z = weights.values["weight_hh"].chunk(2)
        hidden = len(w_f)
        return lambda d: (d[:, :hidden] * w_f).addcmul_(d[:, hidden : 2 * hidden], w_z)

    def backward(self, at: ELSTMStep, direct: Tensor) -> None:
        """d_c' += d_h; d_f = d_c' (c - z) f (1 - f); d_z = d_c' (1 - f) (1 - z^2); d_c = d_c' f."""
        d_c = direct.add_(at.d_h)
        _sigmoid_backward(torch.sub(at.c, at.z, out=at.spare).mul_(d_c), at.f, grad_input=at.d_f)
        d_c_before = torch.mul(d_c, at.f, out=at.spare)
        tanh_backward(d_c.sub_(d_c_before), at.z, grad_input=at.d_z)
        d_c.copy_(d_c_before)

    def d_state(self, through: Tensor, direct: Tensor) -> tuple[Tensor | None, ...]:
        """Of h, which the next character does not read, and of c."""
        return None, direct.add_(through)

    def tangent(self, at: ELSTMStep, v_state: Tensor) -> Tensor:
        """v_f = f (1 - f) (its input's share + w_f v_c), v_z = (1 - z^2) (its input's share + w_z v_c);
        v_c' = f v_c + (c - z) v_f + (1 - f) v_z. That of h' comes of it afterwards.
        """
        v_c, v_f, v_z = v_state[1], at.d_f, at.d_z
        v_f.addcmul_(at.w_f, v_c)
        v_z.addcmul_(at.w_z, v_c)
        _sigmoid_backward(v_f, at.f, grad_input=v_f)
        tanh_backward(v_z, at.z, grad_input=v_z)
        return v_c.sub_(v_z).mul_(at.f).add_(v_z).addcmul_(v_f, torch.sub(at.c, at.z, out=at.spare))

    def tangent_outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """v_o = o (1 - o) (its input's share + W_co v_c'); v_h' = o v_c' + c' v_o."""
        c_new, o = _states_and_outputs(tape, span)
        v_c, v_o = tape.gradients.h[span.here], _of_o(tape.gradients.inputs[span.here])
        w_co = weights.operands["weight_co"]
        v_o.add_((v_c.flatten(0, 1).to(w_co.dtype) @ w_co.t()).view_as(o))
        _sigmoid_backward(v_o, o, grad_input=v_o)
        v_c.mul_(o).addcmul_(v_o, c_new)

    def write_gradients(self, weights: Weights, tape: LayerTape, span: Span, scratch: Scratch) -> None:
        """W_co: one product for the whole span; the others: sums over its characters."""
        super().write_gradients(weights, tape, span, scratch)
        grads, c_new = weights.grads, tape.c[span.after]
        d_o = _of_o(tape.views(span).d_inputs).to(tape.h_op.dtype)
        scratch.product(grads["weight_co"], d_o.t(), c_new.flatten(0, 1).to(d_o.dtype))
        torch.sum(_of_w(tape, span, tape.gradients.inputs[span.here]), (0, 1), out=grads["weight_hh"])

    def add_per_stream(
        self, out: Mapping[str, Tensor], tape: LayerTape, span: Span, d: Adjoint, scratch: Scratch
    ) -> None:
        """W_co only where it is wanted: the state of its own layer does not depend on it."""
        super().add_per_stream(out, tape, span, d, scratch)
        out["weight_hh"].add_(_of_w(tape, span, d.inputs).sum(0))
        if "weight_co" in out:
            add_outer(out["weight_co"], _of_o(d.inputs), tape.c[span.after], scratch)


def _states_and_outputs(tape: LayerTape, span: Span) -> tuple[Tensor, Tensor]:
    """Of an elstm: c' and o of a span, (T, B, H) each."""
    return tape.c[span.after], _of_o(tape.gates[span.here])


def _of_o(gates: Tensor) -> Tensor:
    """The last third, that of o."""
    return gates.chunk(3, dim=-1)[2]


def _of_w(tape: LayerTape, span: Span, d_inputs: Tensor) -> Tensor:
    """The gradients of w_f and w_z at each character, (T, B, 2H), from d_inputs (T, B, 3H)."""
    c = tape.c[span.here]
    return d_inputs[..., : 2 * c.shape[-1]] * torch.cat([c, c], -1)


class MinGRUStep(Step):
    """Beside `Step`: the gate z, the candidate and their gradients, h."""

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        super().__init__(tape, t, weights)
        self.z, self.candidate = self.gates.chunk(2, dim=-1)
        self.d_z, self.d_candidate = self.d_inputs.chunk(2, dim=-1)
        self.h = tape.h[t]


class MinGRU(ElementWise):
    """h' = (1 - z) h + z h~: Feng et al. 2024, arXiv 2410.01201.

    With z = sigma of its block of W_ih x + b_ih and h~ its block as it is, in the order z, h~: the candidate is linear,
    as in the paper's vanilla form, with nothing of its form in log space. No gate reads the state, so that what comes
    back directly is the gradient of h, all of it.
    """

    name, carried, leaky, step = "mingru", (0,), (0,), MinGRUStep

    def forward(self, at: MinGRUStep) -> None:
        """h' = h + z (h~ - h)."""
        torch.lerp(at.h, at.candidate, at.z.sigmoid_(), out=at.h_new)

    def back(self, weights: Weights, tape: LayerTape, alone: bool, count: int) -> None:
        """No pre-activation reads the state."""

    def backward(self, at: MinGRUStep, direct: Tensor) -> None:
        """d_z = d_h (h~ - h) z (1 - z); d_h~ = d_h z; to h directly: d_h (1 - z)."""
        d_h = direct.add_(at.d_h)
        torch.sub(at.candidate, at.h, out=at.d_z).mul_(d_h)
        _sigmoid_backward(at.d_z, at.z, grad_input=at.d_z)
        torch.mul(d_h, at.z, out=at.d_candidate)
        d_h.sub_(at.d_candidate)

    def d_state(self, through: Tensor, direct: Tensor) -> tuple[Tensor | None, ...]:
        """Of h."""
        return (direct,)

    def tangent(self, at: MinGRUStep, v_state: Tensor) -> Tensor:
        """v_z = z (1 - z) its input's share; v_h' = (1 - z) v_h + (h~ - h) v_z + z v_h~."""
        v_h, v_z = v_state[0], at.d_z
        _sigmoid_backward(v_z, at.z, grad_input=v_z)
        return v_h.lerp_(at.d_candidate, at.z).addcmul_(v_z, torch.sub(at.candidate, at.h, out=at.spare))


CELLS: dict[str, Cell] = {cell.name: cell for cell in (TanhRNN(), GRU(), LSTM(), Mogrifier(), ELSTM(), MinGRU())}
