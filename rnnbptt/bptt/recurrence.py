"""The one loop over time: a layer of recurrent cells, forward over a segment and backward through it.

No autograd anywhere: what is called *back-propagation through time* is the loop of `RecurrentLayer.backward`, and where
it starts, what it multiplies by and where it stops is the truncation. Told to stay in the units, the same loop follows
each unit through itself alone, or through its leak alone, which are the influences that SnAp-1 and RFLO keep (see
influence.py).

Axes and dtypes as in tape.py: T characters, B streams, H hidden, G = gates x H, S tensors of a state.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import Boundary, Carry, Layer, Way, Weights
from rnnbptt.bptt.per_stream import add_outer
from rnnbptt.bptt.products import pays_to_pack, repeated
from rnnbptt.bptt.tape import Adjoint, LayerTape, Span
from rnnbptt.model.parameters import Parameters

Back = Callable[[Tensor], Tensor]  # from the gradient of one character's W_hh h, (B, G), to that of the state it met


class Step:
    """The tensors of one character t that the loop over time needs, views of the tape; a cell adds its own.

    gates     (B, G)           pre-activations, then activations
    met       (B, H) operand   the hidden state it meets, as W_hh multiplies it
    h_new     (B, H)           the one it leaves, and `h_op_new` the same as operand
    share     (B, G)           W_hh h
    d_h       (B, H)           gradient with respect to h_new
    d_inputs  (B, G)           gradient with respect to W_ih x + b_ih
    d_hidden  (B, G) operand   gradient with respect to W_hh h + b_hh
    spare     (B, H)           for arithmetic
    """

    def __init__(self, tape: LayerTape, t: int, weights: Weights) -> None:
        d = tape.gradients
        self.gates, self.share, self.spare = tape.gates[t], tape.share, d.spare
        self.met, self.h_new, self.h_op_new = tape.met[t], tape.h[t + 1], tape.h_op[t + 1]
        self.d_h, self.d_inputs, self.d_hidden = d.h[t], d.inputs[t], d.hidden[t]


class Cell:
    """A recurrence: what it computes from one character to the next, unit by unit, and the gradient of that.

    What is here is that of cells with a product W_hh h + b_hh, one block of W_hh a gate.

    name             as `--cell` has it
    carried          the parts of the state that the next character reads, so that a gradient comes back through them
    leaky            those of which a unit keeps a share from one character to the next, by no recurrent weight
    memo             whether it remembers anything but states and gates
    separate_hidden  whether W_ih x and W_hh h have different gradients, because a gate multiplies the latter
    dense            whether a matrix W_hh multiplies h; otherwise each unit's past reaches it alone
    gates_state      whether the input gates h before that, see gated.py
    """

    name = ""
    carried: tuple[int, ...] = ()
    leaky: tuple[int, ...] = ()
    memo, separate_hidden, dense, gates_state = False, False, True, False
    step: type[Step] = Step  # the views of a character that it works on

    def folded_bias(self, weights: Weights) -> Tensor:
        """The part of all biases that does not depend on the state, (G,): it is added to the input's share."""
        return weights.values["bias_ih"] + weights.values["bias_hh"]

    def forward(self, at: Any) -> None:
        """The equations of one character: from `at.gates`, the input's share of the pre-activations, and `at.share`
        to the state it leaves.
        """

    def backward(self, at: Any, direct: Tensor) -> None:
        """The gradient of `forward`: from `at.d_h` to `at.d_inputs`.

        `direct` (B, H) is what has come from the character after it by no matrix product; it becomes what passes on to
        the one before.
        """

    def d_state(self, through: Tensor, direct: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of each part of the state before a character, (B, H), None where it is 0, from what has passed
        through W_hh and what has passed directly.
        """
        return (through,)

    def tangent(self, at: Any, v_state: Tensor) -> Tensor:
        """The derivative of `forward` along a direction: from how the input's share moves, in `at.d_inputs`, how W_hh h
        moves, in `at.share`, and how the state moves, v_state (S, B, H), which becomes how the state that it leaves
        moves. Returns the part of it that the output is, or comes of.
        """
        return v_state[0]

    def outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """After the characters of `span`: their outputs, where these are no part of the recurrence."""

    def d_outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """Before going back through them: the gradient of the same."""

    def tangent_outputs(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """After the `tangent` of each of them: the derivative of the same, in `d_h` of the tape."""

    def back(self, weights: Weights, tape: LayerTape, alone: bool, count: int) -> Back | None:
        """d -> d W_hh, for so many characters; `alone` from each unit to itself: with the diagonal of each block of
        W_hh. None where no pre-activation reads the state.
        """
        d = tape.gradients
        if not alone:
            of = weights.values if pays_to_pack(d.back_narrow, count) else weights.operands  # these transpose slowly
            multiply = repeated(of["weight_hh"].t(), d.back_narrow, count)
            return lambda d_hidden: multiply(d.back, d_hidden)
        hidden = tape.h.shape[-1]
        blocks = weights.values["weight_hh"].view(-1, hidden, hidden)
        diagonals = blocks.diagonal(dim1=1, dim2=2).contiguous()  # (gates, H)
        return lambda d_hidden: (
            d_hidden.to(diagonals.dtype, copy=True).view(-1, *diagonals.shape).mul_(diagonals).sum(1)
        )

    def write_gradients(self, weights: Weights, tape: LayerTape, span: Span, scratch: Scratch) -> None:
        """Write the gradients of the parameters that act on the state, and of the biases.

        W_hh: sum_t d(W_hh h + b_hh)_t h_t^T, one product for the whole span.
        """
        views, grads = tape.views(span), weights.grads
        scratch.product(grads["weight_hh"], views.d_hidden.t(), views.met)
        d_inputs = views.d_inputs
        torch.mv(d_inputs.t(), d_inputs.new_ones(len(d_inputs)), out=grads["bias_ih"])  # a third of the time of a sum
        grads["bias_hh"].copy_(self.d_bias_hh(views.d_hidden, grads["bias_ih"]))

    def d_bias_hh(self, d_hidden: Tensor, d_bias_ih: Tensor) -> Tensor:
        """The gradient of b_hh, (..., G), from those of W_hh h + b_hh, (T, ..., G), and of b_ih: both are added."""
        return d_bias_ih

    def add_per_stream(
        self, out: Mapping[str, Tensor], tape: LayerTape, span: Span, d: Adjoint, scratch: Scratch
    ) -> None:
        """Add the same gradients, `d` of the pre-activations given, for each stream by itself to `out`, (B, ...) by
        kind.
        """
        d_bias = d.inputs.sum(0)
        add_outer(out["weight_hh"], d.hidden, tape.met[span.here], scratch)
        out["bias_ih"].add_(d_bias)
        out["bias_hh"].add_(self.d_bias_hh(d.hidden, d_bias))


class RecurrentLayer(Layer):
    """A cell over the characters of a segment, with the input below it."""

    def __init__(self, cell: Cell, parameters: Parameters, index: int, scratch: Scratch) -> None:
        super().__init__(parameters, index, scratch)
        self._cell = cell

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """Read x from `state` (S, B, H): the equations of the cell, character after character."""
        cell, weights, dense = self._cell, self._weights, self._cell.dense
        gates = tape.views(span).gates
        self._input.forward(x, gates)
        gates.add_(cell.folded_bias(weights))
        tape.enter(span.start, state)
        if not tape.steps:
            tape.steps = [cell.step(tape, t, weights) for t in range(len(tape.gates))]
        multiply = repeated(weights.operands["weight_hh"], tape.share_narrow, span.length) if dense else None
        for at in tape.steps[span.here]:  # forward through time
            if multiply:
                multiply(at.share, self._met(at))  # W_hh h
            cell.forward(at)
            if dense and tape.narrow:
                at.h_op_new.copy_(at.h_new)
        cell.outputs(weights, tape, span)
        if tape.narrow and not dense:
            tape.h_op[span.after].copy_(tape.h[span.after])
        tape.leave(span.stop, state)

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
        way: Way = Way.WHOLE,
    ) -> None:
        """From the gradient of its output, `d_h` of the tape, to those of its pre-activations, character by character.

        The gradient that passes from character t + 1 of the span to t is multiplied by carry[t]: 1 is back-propagation
        through time, 0 a cut. d_after (S, B, H) is a gradient of the state after the span that comes from beyond, none
        unless given. It goes `way` from character to character, and that of the `boundary` to the state before.
        """
        cell, weights, d = self._cell, self._weights, tape.gradients
        direct = d.direct.zero_()
        if d_after is not None:
            d.h[span.stop - 1].add_(d_after[0])
            if len(d_after) > 1:
                direct.copy_(d_after[1])
        cell.d_outputs(weights, tape, span)
        back = self._back(tape, way, span.length)
        copies = tape.narrow and cell.dense and not cell.separate_hidden
        later: Any = None  # the character after this one; what it passes back is multiplied by the factor
        for factor, at in zip((None, *reversed(carry)), reversed(tape.steps[span.here]), strict=True):  # back in time
            if factor is not None and factor != 1:
                direct.mul_(factor)
            if back and self._forms_d_met(factor):
                through = self._d_met(back, later)  # d W_hh
                if factor:
                    (at.d_h if cell.dense else direct).add_(through, alpha=factor)
            cell.backward(at, direct)
            if copies:
                at.d_hidden.copy_(at.d_inputs)
            later = at
        if boundary is not None:
            self._cross(boundary, tape, later, direct)

    def _cross(self, boundary: Boundary, tape: LayerTape, first: Any, direct: Tensor) -> None:
        """Write the gradient of the state before the first character of a span, from what reaches it."""
        back = self._back(tape, boundary.way, 1)
        through = self._d_met(back, first) if back else torch.zeros_like(direct)
        for d_part, d_new in zip(boundary.d_before, self._cell.d_state(through, direct), strict=True):
            d_part.zero_() if d_new is None else d_part.copy_(d_new)

    def tangent(self, tape: LayerTape, span: Span, v_state: Tensor) -> None:
        """The derivative of `forward`: from how the state before moves, v_state (S, B, H), and the input, in `d_h` of
        the tape, to how the state after moves and the output, in the same places.
        """
        cell, weights, views = self._cell, self._weights, tape.views(span)
        self._input.tangent(views.d_h, views.d_inputs)
        multiply = repeated(weights.operands["weight_hh"], tape.share_narrow, span.length) if cell.dense else None
        for at in tape.steps[span.here]:  # forward through time
            if multiply:
                multiply(at.share, self._scratch.operand(self._v_met(at, v_state[0]), tape.met.dtype))  # W_hh v
            at.d_h.copy_(cell.tangent(at, v_state))
        cell.tangent_outputs(weights, tape, span)

    def _met(self, at: Any) -> Tensor:
        """The state that a character meets, (B, H) operand, as W_hh multiplies it."""
        met: Tensor = at.met
        return met

    def _forms_d_met(self, factor: float | None) -> bool:
        """Whether the gradient of the state that a character meets is wanted, where it is multiplied by that factor on
        its way to the character before; None: there is no such character in the span.
        """
        return bool(factor)

    def _d_met(self, back: Back, at: Any) -> Tensor:
        """The gradient of that state, (B, H), from that of the character's W_hh h."""
        return back(at.d_hidden)

    def _v_met(self, at: Any, v_h: Tensor) -> Tensor:
        """How it moves as W_hh multiplies it, (B, H), where the state moves along v_h."""
        return v_h

    def _back(self, tape: LayerTape, way: Way, count: int) -> Back | None:
        """What passes through W_hh that way, for so many characters; the leak passes directly, see `Cell.backward`."""
        return None if way is Way.LEAK else self._cell.back(self._weights, tape, way is Way.OWN, count)

    def backward_alone(self, tape: LayerTape, span: Span, d_after: Tensor, d_before: Tensor, way: Way) -> None:
        """From d_after to d_before, (S, B, H) each, in no unit's way but its own: OWN or LEAK."""
        tape.views(span).d_h.zero_()
        self.backward(tape, span, (1.0,) * (span.length - 1), d_after, Boundary(d_before, way), way)

    def write_gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """After `backward`: write the gradients of this layer's parameters. x as in `forward`."""
        self._cell.write_gradients(self._weights, tape, span, self._scratch)
        super().write_gradients(x, tape, span)

    def add_per_stream(self, out: Mapping[str, Tensor], x: Tensor, tape: LayerTape, span: Span, d: Adjoint) -> None:
        """After `backward`, which left the gradients `d`: add those of this layer's parameters, for each stream by
        itself, to `out`, (B, ...) by full name, for those that it has.
        """
        by_kind = {kind: out[name] for kind, name in self.names.items() if name in out}
        self._cell.add_per_stream(by_kind, tape, span, d, self._scratch)
        self._input.add_per_stream(by_kind["weight_ih"], x, d.inputs)
