"""The recurrences, written out: a forward pass over a segment that fills a tape, and a backward pass that reads it.

No autograd anywhere: what is called *back-propagation through time* is the reversed loop of each `backward`, and where
it starts and stops is the truncation. The tests hold every gradient here against autograd on torch.nn's own cells.

Axes and dtypes as in tape.py: T characters, B streams, H hidden, G = gates x H. In every loop the names are those of
the equations; a name that ends in `_new` is a value after the character, `_op` one in the dtype of matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rnnbptt.tape import LayerTape, Span

_sigmoid_backward: Callable[..., Tensor] = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward: Callable[..., Tensor] = torch.ops.aten.tanh_backward.grad_input

# as tensors, because a Python number is converted to one at each call, which takes longer than a small product
_MINUS_ONE, _TWO = torch.tensor(-1.0), torch.tensor(2.0)


Carry = Sequence[float]  # the factor on the gradient that passes from character t + 1 of a span to t


def _later(steps: list[Any], span: Span, carry: Carry) -> Iterator[tuple[float, Any]]:
    """The steps of a span from the last to the first, each with the factor on the gradient that comes from the next."""
    return zip((0.0, *reversed(carry)), reversed(steps[slice(*span)]), strict=True)


def _stretch(s: Tensor) -> Tensor:
    """2 s - 1, in place: sigmoid(2x) becomes tanh(x)."""
    return torch.add(_MINUS_ONE, s, alpha=2, out=s)


def _tanh_of_half(doubled: Tensor) -> Tensor:
    """tanh(x) from 2x, in place: torch's own tanh takes up to seven times as long as its sigmoid."""
    return _stretch(doubled.sigmoid_())


class Cell(Protocol):
    """A recurrence. `w_hh` is (G, H) in operand dtype; biases are (G,) float."""

    name: str
    gates: int  # G / H
    parts: int  # tensors of the state: 1 (h) or 2 (h and c)
    memo: bool  # whether it remembers anything but states and gates
    gated_product: bool  # whether a gate multiplies W_hh h, so that the gradients of both shares differ

    def bind(self, tape: LayerTape) -> None:
        """Make the tape's `forward_steps` and `backward_steps`, one tuple of views a character."""

    def fold_bias(self, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """The part of both biases that does not depend on the state, (G,): it is added to the input's share."""

    def forward(self, w_hh: Tensor, b_hh: Tensor, tape: LayerTape, span: Span) -> None:
        """Run the recurrence over the characters of `span`, from the state the tape entered with."""

    def backward(self, w_hh: Tensor, tape: LayerTape, span: Span, carry: Carry) -> None:
        """Back-propagate through the characters of `span`.

        `tape.gradients.h` holds the gradient of the loss with respect to each h through everything but the recurrence.
        Fills `inputs` and `hidden` beside it. No gradient arrives from beyond the last character, and none is passed on
        beyond the first: that is the cut. The gradient that passes from character t + 1 of the span to t is multiplied
        by carry[t], T - 1 factors: 1 is back-propagation, 0 one more cut.
        """

    def bias_gradients(self, d_inputs: Tensor, d_hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of b_ih and b_hh, (G,) each, from those of the pre-activations, (T*B, G)."""


class _UngatedProduct:
    """Cells in which W_ih x + b_ih and W_hh h + b_hh are simply added, so that one gradient serves both."""

    gated_product = False

    def fold_bias(self, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        return b_ih + b_hh

    def bias_gradients(self, d_inputs: Tensor, d_hidden: Tensor) -> tuple[Tensor, Tensor]:
        total = d_inputs.sum(0)
        return total, total


class TanhRNN(_UngatedProduct):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): Elman 1990, as torch.nn.RNN has it."""

    name, gates, parts, memo = "rnn", 1, 1, False

    def bind(self, tape: LayerTape) -> None:
        d = tape.gradients
        h, h_op = tape.h.unbind(0), tape.h_op.unbind(0)
        tape.forward_steps = list(zip(tape.gates.unbind(0), h_op, h[1:], h_op[1:], strict=False))
        tape.backward_steps = list(
            zip(d.h.unbind(0), h[1:], d.inputs.unbind(0), d.hidden.unbind(0), strict=True),
        )

    def forward(self, w_hh: Tensor, b_hh: Tensor, tape: LayerTape, span: Span) -> None:
        w, product = w_hh.t(), tape.product
        for pre, h_op, h_new, h_op_new in tape.forward_steps[slice(*span)]:
            _tanh_of_half(torch.add(pre, product(h_op, w), out=h_new).mul_(_TWO))
            if tape.narrow:
                h_op_new.copy_(h_new)

    def backward(self, w_hh: Tensor, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        product = tape.gradients.product
        for factor, (d_h, h_new, d_in, d_op) in _later(tape.backward_steps, span, carry):
            if factor:
                d_h.add_(product(d_op_new, w_hh), alpha=factor)
            _tanh_backward(d_h, h_new, grad_input=d_in)
            if tape.narrow:
                d_op.copy_(d_in)
            d_op_new = d_op


class LSTM(_UngatedProduct):
    """c' = f c + i g, h' = o tanh(c'): Hochreiter & Schmidhuber 1997, Gers et al. 2000. Gates in torch.nn.LSTM's order
    i, f, g, o.
    """

    name, gates, parts, memo = "lstm", 4, 2, True

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

    def forward(self, w_hh: Tensor, b_hh: Tensor, tape: LayerTape, span: Span) -> None:
        w, product = w_hh.t(), tape.product
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

    def backward(self, w_hh: Tensor, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        product = tape.gradients.product
        d_c, d_c_here = tape.gradients.d_c.zero_().unbind(0)
        for factor, step in _later(tape.backward_steps, span, carry):
            d_h, i, f, g, o, i_f, c, tanh_c, d_i, d_f, d_g, d_o, d_i_f, d_in, d_op = step
            if factor:
                d_h.add_(product(d_op_new, w_hh), alpha=factor)
            if factor != 1:
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


class GRU:
    """h' = (1 - z) n + z h with n = tanh(W_in x + b_in + r (W_hn h + b_hn)): Cho et al. 2014, with the reset gate after
    the product and the gates in the order r, z, n, as torch.nn.GRU has them.
    """

    name, gates, parts, memo, gated_product = "gru", 3, 1, True, True

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

    def fold_bias(self, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        r_and_z = 2 * len(b_hh) // 3
        folded = b_ih.clone()
        folded[:r_and_z] += b_hh[:r_and_z]  # b_hn is multiplied by r, so it stays with the state
        return folded

    def forward(self, w_hh: Tensor, b_hh: Tensor, tape: LayerTape, span: Span) -> None:
        w, product, r_and_z = w_hh.t(), tape.product, 2 * tape.h.shape[-1]
        product_rz, product_n, b_hn = product.result[:, :r_and_z], product.result[:, r_and_z:], b_hh[r_and_z:]
        for rz, r, z, n, q, h, h_op, h_new, h_op_new in tape.forward_steps[slice(*span)]:
            product(h_op, w)
            rz.add_(product_rz).sigmoid_()
            torch.add(product_n, b_hn, out=q)
            _tanh_of_half(n.addcmul_(r, q).mul_(_TWO))
            torch.sub(h, n, out=h_new).mul_(z).add_(n)
            if tape.narrow:
                h_op_new.copy_(h_new)

    def backward(self, w_hh: Tensor, tape: LayerTape, span: Span, carry: Carry) -> None:
        d_op_new: Any = None  # that of the character after
        product = tape.gradients.product
        d_by_z, _ = tape.gradients.d_c.unbind(0)  # what reaches the state before through z alone
        for factor, step in _later(tape.backward_steps, span, carry):
            d_h, rz, r, z, n, q, h, d_r, d_z, d_n, d_rz, d_op_rz, d_op_n, d_op = step
            if factor:
                d_h.add_(product(d_op_new, w_hh), alpha=factor).add_(d_by_z, alpha=factor)
            torch.mul(d_h, z, out=d_by_z)
            _tanh_backward(torch.sub(d_h, d_by_z, out=d_n), n, grad_input=d_n)
            torch.mul(d_n, q, out=d_r)
            torch.sub(h, n, out=d_z).mul_(d_h)
            _sigmoid_backward(d_rz, rz, grad_input=d_rz)
            d_op_rz.copy_(d_rz)
            torch.mul(d_n, r, out=d_op_n)
            d_op_new = d_op

    def bias_gradients(self, d_inputs: Tensor, d_hidden: Tensor) -> tuple[Tensor, Tensor]:
        return d_inputs.sum(0), d_hidden.sum(0, dtype=d_inputs.dtype)


CELLS: dict[str, Cell] = {cell.name: cell for cell in (TanhRNN(), GRU(), LSTM())}
