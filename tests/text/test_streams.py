"""streams.py against an oracle that walks lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.text import streams as streams_module
from rnnbptt.text.resets import Resets
from rnnbptt.text.streams import Streams
from support.refusals import message_of


def walk(ids: np.ndarray[Any, Any], streams: int, position: int) -> tuple[list[int], list[int], list[bool]]:
    """The oracle: what every lane reads, has to predict and resets at one position, lane by lane."""
    pairs = len(ids) - 1
    x, y, reset = [], [], []
    for lane in range(streams):
        pair = lane * pairs // streams
        wrapped = False
        for _ in range(position):
            pair += 1
            wrapped = pair == pairs
            if wrapped:
                pair = 0
        x.append(int(ids[pair]))
        y.append(int(ids[pair + 1]))
        reset.append(wrapped)
    return x, y, reset


@st.composite
def texts_and_streams(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], int]:
    streams = draw(st.integers(1, 7))
    pairs = draw(st.integers(2 * streams, 60))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.uint32]))
    return np.arange(pairs + 1, dtype=dtype), streams  # all different, so that any wrong place shows


@given(
    texts_and_streams(), st.lists(st.integers(1, 90), min_size=1, max_size=12), st.integers(1, 8), st.integers(0, 150)
)
def test_streams_walk_every_lane(
    given_text: tuple[np.ndarray[Any, Any], int], ks: list[int], ahead: int, position: int
) -> None:
    ids, count = given_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams_module, "READ_AHEAD", ahead)
        streams = Streams(ids, count, position)
        assert streams.epoch_chars == len(ids) - 1
        for k in ks:
            room = streams.until_wrap()
            x, y, reset = streams.take(k)
            steps = min(k, room)
            assert x.shape == y.shape == (steps, count)
            assert x.dtype == y.dtype == np.int64
            assert reset.shape == (count,)
            assert reset.dtype == np.bool_
            for t in range(steps):
                expected_x, expected_y, expected_reset = walk(ids, count, position + t)
                assert x[t].tolist() == expected_x
                assert y[t].tolist() == expected_y
                # Inside a segment nothing ever needs a reset; at its start, exactly what the walk says.
                assert expected_reset == (reset.tolist() if t == 0 else [False] * count)
            position += steps
            assert streams.position == position
            assert streams.until_wrap() == next(w for w in range(1, 99) if any(walk(ids, count, position + w)[2]))


@given(texts_and_streams(), st.lists(st.integers(1, 50), min_size=1), st.lists(st.integers(1, 50), min_size=1))
def test_any_sequence_of_k_reads_the_same(given_text: Any, first: list[int], second: list[int]) -> None:
    ids, count = given_text
    total = 150

    def read(ks: list[int]) -> tuple[list[Any], dict[int, list[bool]]]:
        streams, rows, resets = Streams(ids, count), [], {}
        while streams.position < total:
            at = streams.position
            x, y, reset = streams.take(min(ks[at % len(ks)], total - at))
            rows += [*zip(x.tolist(), y.tolist(), strict=True)]
            if reset.any():
                resets[at] = reset.tolist()
        return rows, resets

    assert read(first) == read(second)


def test_an_epoch_visits_every_pair_once_in_every_lane_and_resets_only_the_wrapping_lane() -> None:
    streams = Streams(np.arange(11, dtype=np.uint8), 3)
    assert streams.epoch_chars == 10
    first = streams.take(100)
    assert first.x.T.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert first.y.T.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8, 9, 10]]
    assert first.reset.tolist() == [False, False, False]  # the state is zero there anyway
    second = streams.take(100)
    assert second.x.T.tolist() == [[4, 5, 6], [7, 8, 9], [0, 1, 2]]
    assert second.reset.tolist() == [False, False, True]
    third = streams.take(2)
    assert third.x.T.tolist() == [[7, 8], [0, 1], [3, 4]]
    assert third.reset.tolist() == [False, True, False]
    assert streams.take(100).x.T.tolist() == [[9], [2], [5]]
    assert streams.position == streams.epoch_chars
    fourth = streams.take(1)
    assert fourth.x.tolist() == [[0, 3, 6]]
    assert fourth.reset.tolist() == [True, False, False]


def test_restoring_at_a_wrap_resets_as_reading_up_to_it_does() -> None:
    ids = np.arange(11, dtype=np.uint8)
    for position in range(1, 35):
        through = Streams(ids, 3)
        while through.position < position:
            through.take(min(2, position - through.position))
        for a, b in zip(through.take(9), Streams(ids, 3, position).take(9), strict=True):
            assert a.tolist() == b.tolist()


def test_segments_keep_their_content_and_little_is_read_ahead() -> None:
    ids = np.arange(200_000, dtype=np.uint32)
    streams = Streams(ids, 4)
    kept = [streams.take(k) for k in (1, 5, 600, 1, 3000, 7)]
    position = 0
    for segment in kept:  # after everything was read: no buffer is used twice
        for lane, column in enumerate(segment.x.T):
            start = lane * 199_999 // 4 + position
            assert column.tolist() == list(range(start, start + len(column)))
        position += len(segment.x)
    narrow = Streams(ids, 32)
    gathered = [narrow.take(1).x.base for _ in range(1024)]
    assert len(set(map(id, gathered))) == 2
    block = Streams(ids, 2000).take(1).x.base
    assert block is not None
    assert block.nbytes <= 1.1 * 2**20


@pytest.mark.parametrize(
    ("symbols", "streams", "message"),
    [
        (64, 32, "--streams 32: too many for the 64 symbols of the training text, give at most 31"),
        (
            2,
            1,
            "--streams 1: too many for the 2 symbols of the training text, which is too short even for 1; "
            "give more text",
        ),
        (
            0,
            1,
            "--streams 1: too many for the 0 symbols of the training text, which is too short even for 1; "
            "give more text",
        ),
        (64, 0, "--streams 0: must be at least 1"),
    ],
)
def test_streams_that_do_not_fit(symbols: int, streams: int, message: str) -> None:
    assert message_of(Streams, np.zeros(symbols, np.uint8), streams) == message


def test_streams_fit_exactly() -> None:
    assert Streams(np.zeros(65, np.uint8), 32).take(9).x.shape == (2, 32)


@pytest.mark.parametrize("streams", [1, 3, 4])
def test_since_is_what_was_read_since_the_state_was_zero(streams: int) -> None:
    ids = np.arange(24)  # 23 predictions
    lanes, read = Streams(ids, streams), [[] for _ in range(streams)]
    for _ in range(60):
        ends, lengths = lanes.ends(), lanes.since
        assert lengths.tolist() == [len(symbols) for symbols in read]
        for end, symbols in zip(ends, read, strict=True):
            assert ids[end - len(symbols) : end].tolist() == symbols
        x, _, reset = lanes.take(1)
        for lane, symbols in enumerate(read):
            if reset[lane]:
                symbols.clear()
            symbols.append(int(x[0, lane]))


def test_lanes_are_reset_by_chance_too_before_the_next_segment() -> None:
    """At the start of a segment, those whose place lies in the segment before, and those that have just wrapped."""
    ids, every = np.arange(41), 6
    lanes, plain = (Streams(ids, 3, resets=resets) for resets in (Resets(3, every, 1), None))
    other, read, met, before = Resets(3, every, 1), np.zeros(3), 0, 0
    for k in [3, 1, 7, 2, 2, 5, 1, 1, 4, 6] * 3:
        (x, _, reset), (theirs, _, wrapped) = lanes.take(k), plain.take(k)
        start = lanes.position - len(x)
        placed = other.between(before, start) if start else np.zeros(3, np.bool_)
        assert np.array_equal(x, theirs)
        assert reset.tolist() == (wrapped | placed).tolist()
        met += int((placed & ~wrapped).sum())
        read[reset] = 0
        read += len(x)
        before = start
        assert lanes.since.tolist() == read.tolist()
    assert met > 10


@given(st.integers(1, 9), st.integers(0, 40))
def test_segments_are_read_in_one_up_to_a_reset(length: int, position: int) -> None:
    """As many as `segments_until_reset` says: what is due within them is due after the last one."""
    ids = np.arange(100)
    lanes = Streams(ids, 3, position, Resets(3, 9, 0))
    count = lanes.segments_until_reset(length)
    assert count * length <= lanes.until_wrap() or count == 1
    one_by_one = Streams(ids, 3, position, Resets(3, 9, 0))
    dues = []
    for _ in range(count):
        one_by_one.take(length)
        dues.append(one_by_one.due.any())
    assert not any(dues[:-1])
    assert dues[-1] or (count + 1) * length > lanes.until_wrap()
