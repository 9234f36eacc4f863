"""How far back a loss still has a gradient."""

from torch import Tensor

from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Span, Tape


def norms_by_lag(network: CharRNN, tape: Tape, d_logits: Tensor) -> list[float]:
    """Norms, means over the streams, of the gradient of the last character's loss, given by its d_logits (B, V), with
    respect to the state 0, 1, 2, ... characters before, as many as the segment has.

    It goes back one character at a time; `parameters.grad` is left alone.
    """
    segment, d_state, norms = tape.segment, network.zero_state(tape.streams), []
    last = Span(segment.stop - 1, segment.stop)

    def at_the_loss(layer: int) -> None:
        if layer == network.config.layers - 1:  # where the loss reaches the state
            norms.append(float(tape.layers[layer].views(last).d_h.square().sum(1).sqrt().mean()))

    network.backward_state(tape, last, d_state, d_state, d_logits, at_the_loss)
    for at in range(last.start - 1, segment.start - 1, -1):
        norms.append(float(d_state.square().sum((0, 1, 3)).sqrt().mean()))
        network.backward_state(tape, Span(at, at + 1), d_state, d_state)
    return norms
