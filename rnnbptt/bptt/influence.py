"""Influences: what carries credit past the place where back-propagation is cut, forward in time.

The gradient of a segment's loss lacks what the parameters did before the segment. That part is the gradient of the loss
with respect to the state before the segment times the influence of the parameters on that state,

    M' = A M + B,    A = d(state after) / d(state before),    B = d(state after) / d(parameters used in the segment),

which is kept from update to update: all of it is real-time recurrent learning (Williams & Zipser 1989), in blocks of a
segment (Schmidhuber 1992); what each unit owes to itself is SnAp-1 (Menick et al. 2021), what it owes to its leak RFLO
(Murray 2019); an estimate of rank one that is right in the mean is UORO (Tallec & Ollivier 2017). All products but the
A s of that come from the same backward passes as the gradient. The influence is that of the weights as they were used,
which have moved since: it is exact while they rest.

Axes: S tensors of a state, L layers, B streams, H hidden, U units of the state.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.layers import Boundary, Way
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Adjoint, Tape
from rnnbptt.errors import UserError, check_bytes, check_option
from rnnbptt.model.shapes import OF_SYMBOLS, update_flops

MOST_BYTES = 2 * 2**30  # of an exact influence


class Influence:
    """Goes along with the updates of B streams. By itself it carries nothing: truncated back-propagation.

    rng       the source of its random numbers, which is seeded and saved by whoever updates with it; None: it has none
    state     what is kept from update to update, and by a checkpoint: (..., B, ...) with the streams second
    boundary  where `CharRNN.backward` is to write the gradient of the state before the segment; None: it need not
    bytes     memory that it takes, but for what grows with the segment
    """

    boundary: Boundary | None = None
    bytes: int = 0
    rng: torch.Generator | None = None

    def __init__(self, network: CharRNN, streams: int) -> None:
        self.state: dict[str, Tensor] = {}

    def update(self, tape: Tape) -> None:
        """After `CharRNN.backward`: add the missing part to the gradient, then go on past the segment."""

    def reset(self, streams: Tensor) -> None:
        """Nothing came before: in the streams where the mask (B,) is true, the state has been set to zero."""
        for influence in self.state.values():
            influence[:, streams] = 0

    def flops(self, chars: int) -> float:
        """Floating-point operations of `update` after a segment of so many characters of each stream."""
        return 0.0


def parts_followed(network: CharRNN, way: Way) -> list[int]:
    """The parts of a unit's state whose influences go on that way; UserError where a cell has no leak, or a weight that
    reaches other units than its own at once, and the way stays in the units.
    """
    cell = network.cell
    advice = (
        "its R, which gates the state, reaches all units at once, and snap and rflo keep influences that stay in a"
        " unit; give --trunc uoro, rtrl or K, or --cell lstm"
    )
    check_option(way is Way.WHOLE or not cell.gates_state, "cell", cell.name, advice)
    if way is not Way.LEAK:
        return list(cell.carried)
    leaky = ", ".join(name for name, cell in CELLS.items() if cell.leaky)
    advice = f"--cell {cell.name} has no leak, so that it would be 1; give 1, or one of --cell {leaky}"
    check_option(bool(cell.leaky), "trunc", "rflo", advice)
    return list(cell.leaky)


def parameters_followed(network: CharRNN) -> list[str]:
    """Those of which a unit's state keeps an influence: not W_co, on which no layer's own state depends."""
    return [name for name in network.parameters.shapes if name.startswith("rnn.") and "weight_co" not in name]


def check_unit_bytes(network: CharRNN, parts: int, streams: int) -> None:
    """UserError where the influences on so many parts of each unit's state take more than the memory there is."""
    size = network.parameters.flat.nbytes * parts * streams
    check_bytes(size, f"the influences of {streams:,} streams", "give fewer --streams or less --hidden")


def unit_flops(state: Mapping[str, Tensor], chars: int) -> float:
    """Operations to move such influences, (parts, B, ...), past so many characters of each stream.

    B takes a product of the size of the gradient's own for each part of the state, where that has one: the first
    layer's input is a look-up. A is element by element.
    """
    numbers = sum(influence.numel() for influence in state.values())
    parts = len(next(iter(state.values())))
    products = sum(t.numel() for name, t in state.items() if t.dim() > 3 and name not in OF_SYMBOLS)
    return 2.0 * (products * chars + numbers * (parts + 1))


class UnitInfluence(Influence):
    """Of each parameter, the influence on its own unit, that goes on a way of that unit's own.

    For a segment it is B with the backward pass that stays in the unit, and A is diagonal. What the units do to each
    other, and a layer to the next, is lost at the cut. Inside the segment the gradient is that of back-propagation, and
    goes `inside` to the state before.

    SnAp-1 goes on through all of a unit's own recurrence, OWN, which is exact for one layer of an element-wise cell.
    With segments of one character and `inside` OWN too it is SnAp-1 to the letter.

    RFLO goes on through the leak, LEAK, and so does the gradient of its one character. Of each parameter there remains
    one number S, what the unit's memory owes to it, and what the character itself adds, imm, with the state a constant:

        LSTM    S' = f S + imm_c,    gradient  d_h' (o (1 - tanh^2(c')) S' + imm_o)
        GRU     S' = z S + imm_h,    gradient  d_h' S'
        elstm   S' = f S + imm_c,    gradient  d_c' S' + d_o imm_o

    Every term with a recurrent weight is gone: what an older state does through the gates, the candidate and the LSTM's
    output gate. d_h' is the true gradient of that character's loss, through the layers above: symmetric feedback, which
    makes it the form of e-prop (Bellec et al. 2020); Murray's has fixed random weights in its place.
    """

    def __init__(self, network: CharRNN, streams: int, on: Way = Way.OWN, inside: Way = Way.WHOLE) -> None:
        self._network, self._scratch, self._way = network, Scratch(), on
        self._parts = parts_followed(network, on)
        check_unit_bytes(network, len(self._parts), streams)
        self.boundary: Boundary = Boundary(network.zero_state(streams), inside)
        one_layer = network.zero_state(streams)[0]
        self._seed, self._passed_on = one_layer, torch.zeros_like(one_layer)
        self.state = {
            name: network.parameters.zeros(name, len(self._parts), streams) for name in parameters_followed(network)
        }
        self.bytes = sum(traces.nbytes for traces in self.state.values())
        # what a part was before it moved on, of one stream: those after it in the state still read that
        self._old = {name: torch.empty_like(traces[:-1, 0]) for name, traces in self.state.items()}

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        for layer, d_before in enumerate(self.boundary.d_before):
            own = {name: traces for name, traces in self.state.items() if name.endswith(f"_l{layer}")}
            transitions, adjoints = zip(*(self._backward(tape, layer, part) for part in self._parts), strict=True)
            for name, traces in own.items():
                factors = [self._by_row(transition, name) for transition in transitions]
                self._read_and_move(name, traces, self._by_row(d_before[self._parts], name), factors)
            for index, adjoint in enumerate(adjoints):  # B: of each part of the state after
                out = {name: traces[index] for name, traces in own.items()}
                self._network.add_per_stream(out, tape, layer, tape.segment, adjoint)

    def _backward(self, tape: Tape, layer: int, part: int) -> tuple[Tensor, Adjoint]:
        """From one part of the state after the segment back through it: A, from each part before, (parts, B, H), and
        the gradients that B is made of.
        """
        self._seed.zero_()[part] = 1
        own = self._network.layers[layer]
        own.backward_alone(tape.layers[layer], tape.segment, self._seed, self._passed_on, self._way)
        inputs, hidden, state_gate = tape.gradients.adjoint(tape.segment)
        if part != self._parts[-1]:  # the next part's pass writes where these are
            separate = hidden is not inputs
            inputs = self._scratch.copy(f"inputs of part {part}", inputs)
            hidden = self._scratch.copy(f"hidden of part {part}", hidden) if separate else inputs
        return self._passed_on[self._parts], Adjoint(inputs, hidden, state_gate)

    def _read_and_move(self, name: str, influences: Tensor, d_rows: Tensor, factors: list[Tensor]) -> None:
        """Of one parameter: the gradient's missing part, and A M in the place of M."""
        grad, old = self._network.parameters.grads[name], self._old[name]
        for stream, traces in enumerate(influences.unbind(1)):  # so much fits into the cache
            old.copy_(traces[:-1])
            for after, (trace, factor) in enumerate(zip(traces, factors, strict=True)):
                grad.addcmul_(trace, d_rows[after, stream])
                trace.mul_(factor[after, stream])
                for before, other in enumerate((*old[:after], trace, *traces[after + 1 :])):
                    if before != after:
                        trace.addcmul_(other, factor[before, stream])

    def _by_row(self, d_parts: Tensor, name: str) -> Tensor:
        """Of a number for each unit, (parts, B, H), those of the rows of a parameter: (parts, B, G, 1 or nothing)."""
        rows, *columns = self._network.parameters.shapes[name]
        d_rows = d_parts.repeat(1, 1, rows // d_parts.shape[-1])
        return d_rows.view(*d_rows.shape, *(1 for _ in columns))

    def flops(self, chars: int) -> float:
        """Of `update`."""
        return unit_flops(self.state, chars)


def exact_units(network: CharRNN) -> list[tuple[int, int, int]]:
    """The units of the state that the next character reads: layer, part, index."""
    return list(product(range(network.config.layers), network.cell.carried, range(network.config.hidden)))


def exact_bytes(network: CharRNN, streams: int) -> int:
    """Memory of the influence of every parameter on every unit of the state: M and B, and of one parameter at a time a
    copy of M and A M.
    """
    sizes = [math.prod(shape) for name, shape in network.parameters.shapes.items() if name.startswith("rnn.")]
    numbers = len(exact_units(network)) * streams * 2 * (sum(sizes) + max(sizes))
    return numbers * network.precision.float.itemsize


def check_exact_bytes(network: CharRNN, streams: int) -> int:
    """The same; UserError where it is more than MOST_BYTES."""
    size, units = exact_bytes(network, streams), len(exact_units(network))
    if size > MOST_BYTES:
        smaller = "uoro, which keeps two numbers" if network.cell.gates_state else "snap, which keeps one number"
        raise UserError(
            f"--trunc rtrl would take {size / 2**30:,.1f} GiB for influences"
            f" ({units} units of state x parameters x {streams} streams), of which"
            f" {MOST_BYTES // 2**30} are allowed; give {smaller} a parameter and stream, or less --hidden or fewer"
            " --streams"
        )
    return size


def exact_flops(network: CharRNN, chars: int, streams: int) -> float:
    """To move it on past so many characters of each stream: a backward pass for each unit, and A M."""
    units, n = len(exact_units(network)), chars * streams
    passes = update_flops(network.parameters.shapes, 0, n, n, losses=0, again=0)
    sizes = (math.prod(shape) for name, shape in network.parameters.shapes.items() if name.startswith("rnn."))
    return units * (passes + 2.0 * units * streams * sum(sizes))


class FullInfluence(Influence):
    """Real-time recurrent learning: the influence of every parameter on every unit of the state, U of them.

    One backward pass through the segment for each unit gives its row of A and of B. UserError where it takes more than
    MOST_BYTES.
    """

    def __init__(self, network: CharRNN, streams: int) -> None:
        self._network = network
        self._parts = list(network.cell.carried)
        self.boundary: Boundary = Boundary(network.zero_state(streams))
        self._units = exact_units(network)
        self.bytes = check_exact_bytes(network, streams)
        self.state = {
            name: network.parameters.zeros(name, len(self._units), streams)
            for name in network.parameters.shapes
            if name.startswith("rnn.")
        }

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        d_state = self._flat(self.boundary.d_before)
        for name, influence in self.state.items():
            self._network.parameters.grads[name].add_(torch.tensordot(d_state, influence, 2))
        seed, passed_on = torch.zeros_like(self.boundary.d_before), torch.zeros_like(self.boundary.d_before)
        a = d_state.new_empty(len(self._units), *d_state.shape)  # (U after, U before, B)
        b = {name: torch.zeros_like(influence) for name, influence in self.state.items()}
        for unit, (layer, part, h) in enumerate(self._units):
            seed.zero_()[layer, part, :, h] = 1
            of_unit = {name: influences[unit] for name, influences in b.items()}
            self._backward(tape, seed, passed_on, of_unit)
            a[unit] = self._flat(passed_on)
        for name, influence in self.state.items():
            influence.copy_(b[name].add_(torch.einsum("uvb,vb...->ub...", a, influence)))

    def _backward(self, tape: Tape, d_after: Tensor, d_before: Tensor, b: dict[str, Tensor]) -> None:
        """From d_after, (L, S, B, H), through the segment to d_before; what the parameters do on the way to b."""

        def add(layer: int) -> None:
            own = {name: influence for name, influence in b.items() if name.endswith(f"_l{layer}")}
            adjoint = tape.gradients.adjoint(tape.segment)
            self._network.add_per_stream(own, tape, layer, tape.segment, adjoint)

        self._network.backward_state(tape, tape.segment, d_after, d_before, visit=add)

    def _flat(self, d_state: Tensor) -> Tensor:
        """(L, S, B, H) -> (U, B)."""
        return d_state[:, self._parts].transpose(2, 3).reshape(len(self._units), -1)

    def flops(self, chars: int) -> float:
        """Of `update`."""
        return exact_flops(self._network, chars, self.boundary.d_before.shape[2])


def rank_one_bytes(network: CharRNN, streams: int) -> int:
    """Memory of the influence of rank one: its theta and v B, as many numbers as the layers have, for each stream."""
    numbers = sum(math.prod(shape) for name, shape in network.parameters.shapes.items() if name.startswith("rnn."))
    return 2 * streams * numbers * network.precision.float.itemsize


class RankOneInfluence(Influence):
    """UORO, Tallec & Ollivier 2017: in the place of M, the product of s, a vector like the state of all layers, and
    theta, one like their parameters, which is M in the mean. In blocks of a segment they go on by

        s' = r0 A s + r1 v,    theta' = theta / r0 + v B / r1,    v random signs, one for each unit of the state.

    v v^T is the unit matrix in the mean; what has v but once is 0 in the mean, because r0 and r1 are the same for v and
    for -v. So E[s' theta'] = A M + B: the gradient is unbiased, while the weights rest, and noisy, the more so the more
    units there are. r0 and r1 make the two factors of each term equally long, which makes the noise least: r0^2 =
    |theta| / |A s|, r1^2 = |v B| / |v|, with e added to each norm, as in the authors' code.

    Each stream has its own pair. The authors let a batch share one, which takes the memory of a single stream, but adds
    the noise that each stream makes to the gradient of all others.
    """

    e = 1e-5

    def __init__(self, network: CharRNN, streams: int) -> None:
        self._network, self.bytes = network, rank_one_bytes(network, streams)
        check_bytes(self.bytes, f"the influences of {streams:,} streams", "give fewer --streams or less --hidden")
        self.boundary: Boundary = Boundary(network.zero_state(streams))
        self.rng: torch.Generator = torch.Generator(network.device)
        names = [name for name in network.parameters.shapes if name.startswith("rnn.")]
        theta = {name: network.parameters.zeros(name, 1, streams) for name in names}
        self._theta = {name: tensor[0] for name, tensor in theta.items()}
        self._v_b = {name: torch.zeros_like(tensor) for name, tensor in self._theta.items()}
        self._s = network.zero_state(streams)
        self._nowhere = torch.empty_like(self._s)
        self.state = theta | {"s": self._s.flatten(0, 1)}

    def signs(self) -> Tensor:
        """v, (L, S, B, H): 1 or -1, and 0 where the next character does not read that part of the state."""
        v = torch.zeros_like(self._s)
        for part in self._network.cell.carried:
            v[:, part].random_(0, 2, generator=self.rng).mul_(2).sub_(1)
        return v

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        d_past = (self.boundary.d_before * self._s).sum((0, 1, 3))  # (B,)
        for name, theta in self._theta.items():
            self._network.parameters.grads[name].add_(torch.tensordot(d_past, theta, 1))
        self._network.tangent_state(tape, tape.segment, self._s)  # A s
        v = self.signs()
        self._backward(tape, v)
        r0 = self._ratio(_norms(self._theta.values()), _norms([self._s], 2))
        r1 = self._ratio(_norms(self._v_b.values()), _norms([v], 2))
        self._s.mul_(r0[:, None]).addcmul_(v, r1[:, None])
        for name, theta in self._theta.items():
            by_stream = (len(theta), *(1 for _ in theta.shape[1:]))
            theta.div_(r0.view(by_stream)).addcdiv_(self._v_b[name], r1.view(by_stream))

    def _ratio(self, theta: Tensor, state: Tensor) -> Tensor:
        """r0 or r1 from two norms, (B,) each."""
        return ((theta + self.e) / (state + self.e)).sqrt()

    def _backward(self, tape: Tape, v: Tensor) -> None:
        """v B."""

        def add(layer: int) -> None:
            own = {name: out.zero_() for name, out in self._v_b.items() if name.endswith(f"_l{layer}")}
            self._network.add_per_stream(own, tape, layer, tape.segment, tape.gradients.adjoint(tape.segment))

        self._network.backward_state(tape, tape.segment, v, self._nowhere, visit=add)

    def flops(self, chars: int) -> float:
        """One pass forward and one back through the layers, and 9 operations a number: 2 to read theta, 4 for its norm
        and that of v B, 3 to move it on.
        """
        streams = self._s.shape[2]
        n = chars * streams
        passes = update_flops(self._network.parameters.shapes, 0, depth=n, carried=n, losses=0, again=n)
        return passes + 9.0 * sum(theta.numel() for theta in self._theta.values())


def _norms(tensors: Iterable[Tensor], streams: int = 0) -> Tensor:
    """Of several tensors as one vector for each index along their axis `streams`, (B,)."""
    norms = [torch.linalg.vector_norm(t, dim=[axis for axis in range(t.dim()) if axis != streams]) for t in tensors]
    return torch.stack(norms).square().sum(0).sqrt()


# By the name of an influence: its memory, where that has to be known before it is made.
BYTES = {"rtrl": exact_bytes, "uoro": rank_one_bytes}

# By the name of an influence that stays in the units: how it goes on, and how the gradient reaches it.
UNIT_WAYS = {"snap": (Way.OWN, Way.OWN), "tail": (Way.OWN, Way.WHOLE), "rflo": (Way.LEAK, Way.LEAK)}

INFLUENCES: dict[str, Callable[[CharRNN, int], Influence]] = {
    "none": Influence,
    "rtrl": FullInfluence,
    "uoro": RankOneInfluence,
} | {name: partial(UnitInfluence, on=on, inside=inside) for name, (on, inside) in UNIT_WAYS.items()}
