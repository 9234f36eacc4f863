"""The other side of the benchmarks: the training loops that people write with torch.nn and autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class UsualLoop:
    """nn.Embedding, nn.LSTM (GRU, RNN), nn.Linear, torch.optim.Adam, clip_grad_norm_: the loop of every tutorial."""

    def __init__(self, cell: str, vocabulary: int, hidden: int) -> None:
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.rnn = CELLS[cell](hidden, hidden)
        self.head = nn.Linear(hidden, vocabulary)
        self.parameters = [p for module in (self.embedding, self.rnn, self.head) for p in module.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)
        self.state: Tensor | tuple[Tensor, ...] | None = None

    def update(self, x: Tensor, y: Tensor) -> float:
        """One update on x and y, (T, B) each."""
        out, state = self.rnn(self.embedding(x), self.state)
        loss = nn.functional.cross_entropy(self.head(out).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return loss.item()


class UnrolledCell:
    """The strongest usual rival at k = 1: an LSTM cell written by hand over autograd, and fused Adam."""

    def __init__(self, cell: str, vocabulary: int, hidden: int) -> None:
        assert cell == "lstm"
        bound = hidden**-0.5
        shapes = [(vocabulary, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,), (hidden, vocabulary), (vocabulary,)]
        self.parameters = [torch.empty(shape).uniform_(-bound, bound).requires_grad_() for shape in shapes]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)
        self.hidden = hidden
        self.state: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, y: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of x and y, (T, B) each, from a state (B, H), and the state after."""
        table, recurrent, bias, out, out_bias = self.parameters
        losses = []
        for symbols, targets in zip(x, y, strict=True):
            gates = torch.addmm(table[symbols], h, recurrent) + bias
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            losses.append(nn.functional.cross_entropy(torch.addmm(out_bias, h, out), targets))
        return torch.stack(losses).mean(), h, c

    def update(self, x: Tensor, y: Tensor) -> float:
        """One update on x and y, (T, B) each."""
        h, c = self.state or torch.zeros(2, x.shape[1], self.hidden, device=x.device).unbind()
        loss, h, c = self.forward(x, y, h, c)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.state = (h.detach(), c.detach())
        return loss.item()


class InductorCell(UnrolledCell):
    """The same cell, its loss and gradient by torch.compile, which wants a C++ compiler."""

    def __init__(self, cell: str, vocabulary: int, hidden: int) -> None:
        super().__init__(cell, vocabulary, hidden)
        torch._dynamo.reset()  # of one function it compiles no more than eight kinds in a process
        self.forward = torch.compile(super().forward, dynamic=False)
