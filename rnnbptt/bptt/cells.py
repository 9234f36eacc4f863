"""The recurrences, written out: a forward pass over a segment that fills a tape, and a backward pass that reads it.

In every loop the names are those of the equations; a name that ends in `_new` is a value after the character, `_op` one
in the dtype of matrix products, `d_` a gradient. The tests hold each against autograd, three of them on torch.nn's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnnbptt.bptt.recurrence import Back, Carry, Cell, Dense, Each, Multiply, Outer, PerStream, Weights, later
from rnnbptt.bptt.tape import LayerTape, Span

_sigmoid_backward: Callable[..., Tensor] = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward: Callable[..., Tensor] = torch.ops.aten.tanh_backward.grad_input

# as tensors, because a Python number is converted to one at each call, which takes longer than a small product
_MINUS_ONE, _TWO = torch.tensor(-1.0), torch.tensor(2.0)


def _stretch(s: Tensor) -> Tensor:
    """2 s - 1, in place: sigmoid(2x) becomes tanh(x)."""
    return torch.add(_MINUS_ONE, s, alpha=2, out=s)


def _tanh_of_half(doubled: Tensor) -> Tensor:
    """tanh(x) from 2x, in place: torch's own tanh takes up to seven times as long as its sigmoid."""
    return _stretch(doubled.sigmoid_())


class TanhRNN(Dense):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): Elman 1990, as torch.nn.RNN has it."""

    name, gates, parts, carried, memo = "rnn", 1, 1, (0,), False

    def bind(self, tape: LayerTape) -> None:
        d = tape.gradients
        h, h_op = tape.h.unbind(0), tape.h_op.unbind(0)
        tape.forward_steps = list(zip(tape.gates.unbind(0), h_op, h[1:], h_op[1:], strict=False))
        tape.backward_steps = list(
            zip(d.h.unbind(0), h[1:], d.inputs.unbind(0), d.hidden.unbind(0), strict=True),
        )

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        w, product = weights.operands["weight_hh"].t(), tape.product
        for pre, h_op, h_new, h_op_new in tape.forward_steps[slice(*span)]:
            _tanh_of_half(torch.add(pre, product(h_op, w), out=h_new).mul_(_TWO))
            if tape.narrow:
                h_op_new.copy_(h_new)

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        for factor, (d_h, h_new, d_in, d_op) in later(tape.backward_steps, span, carry):
            if factor:
                d_h.add_(back(d_op_new), alpha=factor)
            _tanh_backward(d_h, h_new, grad_input=d_in)
            if tape.narrow:
                d_op.copy_(d_in)
            d_op_new = d_op

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        *_, d_op = tape.backward_steps[span.start]
        return (back(d_op),)


class LSTM(Dense):
    """c' = f c + i g, h' = o tanh(c'): Hochreiter & Schmidhuber 1997, Gers et al. 2000. Gates in torch.nn.LSTM's order
    i, f, g, o.
    """

    name, gates, parts, carried, memo = "lstm", 4, 2, (0, 1), True

    def bind(self, tape: LayerTape) -> None:
        d = tape.gradients
        i, f, g, o = (gate.unbind(0) for gate in tape.gates.chunk(4, dim=-1))
        d_i, d_f, d_g, d_o = (gate.unbind(0) for gate in d.inputs.chunk(4, dim=-1))
        i_f, d_i_f = (gates.chunk(2, dim=-1)[0].unbind(0) for gates in (tape.gates, d.inputs))
        h, h_op, c, tanh_c = tape.h.unbind(0), tape.h_op.unbind(0), tape.c.unbind(0), tape.memo.unbind(0)
        gates, d_in, d_op = tape.gates.unbind(0), d.inputs.unbind(0), d.hidden.unbind(0)
        tape.forward_steps = list(zip(gates, i, f, g, o, h_op, c, tanh_c, h[1:], h_op[1:], c[1:], strict=False))
        tape.backward_steps = list(
            zip(d.h.unbind(0), i, f, g, o, i_f, c, tanh_c, d_i, d_f, d_g, d_o, d_i_f, d_in, d_op, strict=False),
        )

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        w, product = weights.operands["weight_hh"].t(), tape.product
        for gates, i, f, g, o, h_op, c, tanh_c, h_new, h_op_new, c_new in tape.forward_steps[slice(*span)]:
            gates.add_(product(h_op, w))
            g.mul_(_TWO)  # tanh(x) = 2 sigmoid(2x) - 1: with g doubled, one sigmoid serves all four gates
            gates.sigmoid_()
            _stretch(g)
            torch.mul(f, c, out=c_new).addcmul_(i, g)
            _tanh_of_half(torch.mul(c_new, _TWO, out=tanh_c))
            torch.mul(o, tanh_c, out=h_new)
            if tape.narrow:
                h_op_new.copy_(h_new)

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        d_c, d_c_here = tape.gradients.d_c.unbind(0)
        for factor, step in later(tape.backward_steps, span, carry):
            d_h, i, f, g, o, i_f, c, tanh_c, d_i, d_f, d_g, d_o, d_i_f, d_in, d_op = step
            if factor:
                d_h.add_(back(d_op_new), alpha=factor)
            if factor is not None and factor != 1:
                d_c.mul_(factor)
            _sigmoid_backward(torch.mul(d_h, tanh_c, out=d_o), o, grad_input=d_o)
            d_c.add_(_tanh_backward(torch.mul(d_h, o, out=d_c_here), tanh_c, grad_input=d_c_here))
            torch.mul(d_c, g, out=d_i)
            torch.mul(d_c, c, out=d_f)
            _sigmoid_backward(d_i_f, i_f, grad_input=d_i_f)
            _tanh_backward(torch.mul(d_c, i, out=d_g), g, grad_input=d_g)
            d_c.mul_(f)
            if tape.narrow:
                d_op.copy_(d_in)
            d_op_new = d_op

    def initial_bias(self, hidden: int) -> Tensor:
        """The forget gates start open: Gers et al. 2000."""
        return torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(hidden)

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        *_, d_op = tape.backward_steps[span.start]
        return back(d_op), tape.gradients.d_c[0]


class GRU(Dense):
    """h' = (1 - z) n + z h with n = tanh(W_in x + b_in + r (W_hn h + b_hn)): Cho et al. 2014, with the reset gate after
    the product and the gates in the order r, z, n, as torch.nn.GRU has them.
    """

    name, gates, parts, carried, memo, separate_hidden = "gru", 3, 1, (0,), True, True

    def bind(self, tape: LayerTape) -> None:
        d, hidden = tape.gradients, tape.h.shape[-1]

        def r_z(gates: Tensor) -> tuple[Tensor, ...]:
            return gates[..., : 2 * hidden].unbind(0)

        r, z, n = (gate.unbind(0) for gate in tape.gates.chunk(3, dim=-1))
        d_r, d_z, d_n = (gate.unbind(0) for gate in d.inputs.chunk(3, dim=-1))
        d_op_n = d.hidden[..., 2 * hidden :].unbind(0)
        h, h_op, q = tape.h.unbind(0), tape.h_op.unbind(0), tape.memo.unbind(0)
        tape.forward_steps = list(zip(r_z(tape.gates), r, z, n, q, h, h_op, h[1:], h_op[1:], strict=False))
        tape.backward_steps = list(
            zip(
                *(d.h.unbind(0), r_z(tape.gates), r, z, n, q, h),
                *(d_r, d_z, d_n, r_z(d.inputs), r_z(d.hidden), d_op_n, d.hidden.unbind(0)),
                strict=False,
            ),
        )

    def folded_bias(self, b_ih: Tensor, weights: Weights) -> Tensor:
        """b_hn is multiplied by r, so it stays with the state."""
        b_hh, r_and_z = weights.values["bias_hh"], 2 * len(b_ih) // 3
        folded = b_ih.clone()
        folded[:r_and_z] += b_hh[:r_and_z]
        return folded

    def hidden_bias_gradient(self, d_hidden: Tensor, d_bias_ih: Tensor) -> Tensor:
        """b_hn is multiplied by r; what reaches the other gates is simply added."""
        r_and_z = 2 * d_hidden.shape[-1] // 3
        of_n = d_hidden[..., r_and_z:].sum(0, dtype=d_bias_ih.dtype)
        return torch.cat([d_bias_ih[..., :r_and_z], of_n], -1)

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        w, product, r_and_z = weights.operands["weight_hh"].t(), tape.product, 2 * tape.h.shape[-1]
        product_rz, product_n = product.result[:, :r_and_z], product.result[:, r_and_z:]
        b_hn = weights.values["bias_hh"][r_and_z:]
        for rz, r, z, n, q, h, h_op, h_new, h_op_new in tape.forward_steps[slice(*span)]:
            product(h_op, w)
            rz.add_(product_rz).sigmoid_()
            torch.add(product_n, b_hn, out=q)
            _tanh_of_half(n.addcmul_(r, q).mul_(_TWO))
            torch.sub(h, n, out=h_new).mul_(z).add_(n)
            if tape.narrow:
                h_op_new.copy_(h_new)

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        d_by_z, _ = tape.gradients.d_c.unbind(0)  # what reaches the state before through z alone
        for factor, step in later(tape.backward_steps, span, carry):
            d_h, rz, r, z, n, q, h, d_r, d_z, d_n, d_rz, d_op_rz, d_op_n, d_op = step
            if factor:
                d_h.add_(back(d_op_new), alpha=factor).add_(d_by_z, alpha=factor)
            torch.mul(d_h, z, out=d_by_z)
            _tanh_backward(torch.sub(d_h, d_by_z, out=d_n), n, grad_input=d_n)
            torch.mul(d_n, q, out=d_r)
            torch.sub(h, n, out=d_z).mul_(d_h)
            _sigmoid_backward(d_rz, rz, grad_input=d_rz)
            d_op_rz.copy_(d_rz)
            torch.mul(d_n, r, out=d_op_n)
            d_op_new = d_op

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        *_, d_op = tape.backward_steps[span.start]
        return (back(d_op).add_(tape.gradients.d_c[0]),)


class ELSTM:
    """c' = f c + (1 - f) z with f = sigmoid(W_if x + b_f + w_f c), z = tanh(W_iz x + b_z + w_z c), element by element,
    and the output h' = sigmoid(W_io x + b_o + W_co c') c': Irie, Gopalakrishnan & Schmidhuber 2024, equations 5 to 8.
    Gates in the order f, z, o.

    Each unit's past reaches its future through itself alone, so that in one layer the influence that SnAp-1 keeps is
    the whole of it, and no truncation loses any gradient. The forget gates' biases spread how long the units remember.
    """

    name, gates, parts, carried, memo, separate_hidden, window = "elstm", 3, 2, (1,), False, False, 0

    longest: ClassVar[int] = 1024  # characters after which the slowest unit of a fresh layer keeps 1/e of its state

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """w_f and w_z, then W_co."""
        return {"weight_hh": (2 * hidden,), "weight_co": (hidden, hidden)}

    def initial_bias(self, hidden: int) -> Tensor:
        """Time constants spread evenly on a logarithmic scale, from 2 characters on: f = 1 - 1/tau."""
        tau = torch.logspace(math.log(2), math.log(self.longest), hidden, base=math.e)
        return torch.cat([torch.log(tau - 1), torch.zeros(2 * hidden)])

    def bind(self, tape: LayerTape) -> None:
        d = tape.gradients
        f, z, _ = (gate.unbind(0) for gate in tape.gates.chunk(3, dim=-1))
        d_f, d_z, _ = (gate.unbind(0) for gate in d.inputs.chunk(3, dim=-1))
        c = tape.c.unbind(0)
        tape.forward_steps = list(zip(f, z, c, c[1:], strict=False))
        tape.backward_steps = list(zip(d.h.unbind(0), f, z, c, d_f, d_z, d.inputs.unbind(0), strict=False))

    def folded_bias(self, b_ih: Tensor, weights: Weights) -> Tensor:
        """There is only one."""
        return b_ih

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        w_f, w_z = weights.values["weight_hh"].chunk(2)
        for f, z, c, c_new in tape.forward_steps[slice(*span)]:
            f.addcmul_(w_f, c).sigmoid_()
            _tanh_of_half(z.addcmul_(w_z, c).mul_(_TWO))
            torch.sub(c, z, out=c_new).mul_(f).add_(z)
        # the output is no part of the recurrence: one product for all characters
        c_new, o = self._states_and_outputs(tape, span)
        w_co = weights.operands["weight_co"]
        o += (c_new.flatten(0, 1).to(w_co.dtype) @ w_co.t()).view_as(o)
        torch.mul(o.sigmoid_(), c_new, out=tape.h[span.start + 1 : span.stop + 1])
        if tape.narrow:
            tape.h_op[span.start + 1 : span.stop + 1].copy_(tape.h[span.start + 1 : span.stop + 1])

    def back(self, weights: Weights, tape: LayerTape) -> Back:
        """w_f d_f + w_z d_z."""
        w_f, w_z = weights.values["weight_hh"].chunk(2)
        hidden = len(w_f)
        return lambda d: (d[:, :hidden] * w_f).addcmul_(d[:, hidden : 2 * hidden], w_z)

    own_back = back

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        c_new, o = self._states_and_outputs(tape, span)
        d_h, d_o = (
            buffer[slice(*span)] for buffer in (tape.gradients.h, tape.gradients.inputs[..., 2 * o.shape[-1] :])
        )
        _sigmoid_backward(d_h * c_new, o, grad_input=d_o)
        w_co = weights.operands["weight_co"]
        d_h.mul_(o).add_((d_o.flatten(0, 1).to(w_co.dtype) @ w_co).view_as(o))  # now with respect to c'
        d_c, slope = tape.gradients.d_c.unbind(0)
        d_in_new: Any = None  # that of the character after
        for factor, (d_c_here, f, z, c, d_f, d_z, d_in) in later(tape.backward_steps, span, carry):
            if factor is not None:
                d_c.add_(back(d_in_new)).mul_(factor)
            d_c.add_(d_c_here)
            _sigmoid_backward(torch.sub(c, z, out=slope).mul_(d_c), f, grad_input=d_f)
            torch.mul(d_c, f, out=slope)
            _tanh_backward(d_c.sub_(slope), z, grad_input=d_z)
            d_c.copy_(slope)
            d_in_new = d_in

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        *_, d_in = tape.backward_steps[span.start]
        return None, tape.gradients.d_c[0].add_(back(d_in))

    def gradients(self, tape: LayerTape, span: Span, grads: Mapping[str, Tensor], multiply: Multiply) -> None:
        """One product for the whole span, and the sum over its characters of what the others do."""
        c_new, o = self._states_and_outputs(tape, span)
        d_o = tape.views(span).d_inputs[:, -o.shape[-1] :].to(tape.h_op.dtype)
        multiply(grads["weight_co"], d_o.t(), c_new.flatten(0, 1).to(d_o.dtype))
        torch.sum(tape.views(span).d_inputs, 0, out=grads["bias_ih"])
        torch.sum(self._own_gradients(tape, span), (0, 1), out=grads["weight_hh"])

    def influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """All but W_co."""
        d_bias = tape.gradients.inputs[slice(*span)].sum(0)
        return {"weight_hh": Each(self._own_gradients(tape, span).sum(0)), "bias_ih": Each(d_bias)}

    def output_influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """W_co's."""
        c_new, o = self._states_and_outputs(tape, span)
        d_o = tape.gradients.inputs[slice(*span)][..., -o.shape[-1] :]
        return {"weight_co": Outer(d_o, c_new)}

    def _own_gradients(self, tape: LayerTape, span: Span) -> Tensor:
        """Of w_f and w_z, at each character, (T, B, 2H)."""
        c = tape.c[slice(*span)]
        return tape.gradients.inputs[slice(*span)][..., : 2 * c.shape[-1]] * torch.cat([c, c], -1)

    def _states_and_outputs(self, tape: LayerTape, span: Span) -> tuple[Tensor, Tensor]:
        """c' and o of a span, (T, B, H) each."""
        return tape.c[span.start + 1 : span.stop + 1], tape.gates[slice(*span)].chunk(3, dim=-1)[2]


class FeedForward:
    """h' = tanh(W_ih x + b_ih), and nothing recurs: the rival without a state. The first layer reads the last `window`
    characters, as in Bengio et al. 2003 but without their shared embedding.

    Each character's gradient is whole without the characters before it, whatever the truncation.
    """

    gates, parts, carried, memo, separate_hidden = 1, 0, (), False, False

    def __init__(self, window: int) -> None:
        self.name, self.window = f"window:{window}", window

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def initial_bias(self, hidden: int) -> Tensor:
        """Zero."""
        return torch.zeros(hidden)

    def bind(self, tape: LayerTape) -> None:
        """Nothing is done character by character."""

    def folded_bias(self, b_ih: Tensor, weights: Weights) -> Tensor:
        """There is only one."""
        return b_ih

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        after = slice(span.start + 1, span.stop + 1)
        _tanh_of_half(torch.mul(tape.gates[slice(*span)], _TWO, out=tape.h[after]))
        if tape.narrow:
            tape.h_op[after].copy_(tape.h[after])

    def back(self, weights: Weights, tape: LayerTape) -> Back:
        """To a state of no width."""
        return lambda d: d[:, :0]

    own_back = back

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        here, h = slice(*span), tape.h[span.start + 1 : span.stop + 1]
        _tanh_backward(tape.gradients.h[here], h, grad_input=tape.gradients.inputs[here])

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        """The state has no parts."""
        return ()

    def gradients(self, tape: LayerTape, span: Span, grads: Mapping[str, Tensor], multiply: Multiply) -> None:
        """That of the bias."""
        torch.sum(tape.views(span).d_inputs, 0, out=grads["bias_ih"])

    def influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """There is no state that could depend on anything."""
        return {}

    def output_influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """There is no state that could depend on anything."""
        return {}


CELLS: dict[str, Cell] = {cell.name: cell for cell in (TanhRNN(), GRU(), LSTM(), ELSTM())}
