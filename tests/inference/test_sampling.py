"""Sampling against brute force over the probabilities that torch.nn gives with the same weights."""

from __future__ import annotations

import math
from itertools import islice, product

import pytest
import torch

from rnnbptt.bptt.compiled import say_on
from rnnbptt.bptt.engines import COMPILED
from rnnbptt.bptt.network import CharRNN
from rnnbptt.inference import sampling
from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.sampling import BATCH, sample, sample_many
from rnnbptt.text.vocabulary import UNKNOWN, Vocabulary
from support.networks import independent, make_model
from support.refusals import message_of

VOCABULARY = Vocabulary("char", tuple("\nabcdef"))
V = len(VOCABULARY)
DRAWS = 20_000
# The total variation that DRAWS samples of 49 outcomes stay below: on average it is sqrt(49 / (2 pi DRAWS)) = 0.02.
CLOSE = 0.03


def text_of(model: CharRNN, vocabulary: Vocabulary = VOCABULARY, **options: object) -> str:
    return "".join(sample(model, vocabulary, SampleConfig(**options)))


def probabilities(model: CharRNN, text: str, temperature: float = 1.0) -> list[float]:
    """Of the symbol after `text`, by torch.nn, read from the zero state in one go."""
    x = torch.tensor([[VOCABULARY.symbols.index(char)] for char in text])
    with torch.no_grad():
        logits, _ = independent(model)(x, model.zero_state(1))
    return torch.softmax(logits[-1].double() / temperature, 0).tolist()


def narrowed(p: list[float], top_k: int, top_p: float) -> dict[int, float]:
    """Probability of each symbol that top-k and then top-p leave, by trying ever larger sets."""
    ranked = sorted(range(len(p)), key=p.__getitem__, reverse=True)[: top_k or None]
    whole = math.fsum(p[i] for i in ranked)
    size = next(
        n for n in range(1, len(ranked) + 1) if n == len(ranked) or sum(p[i] for i in ranked[:n]) >= top_p * whole
    )
    whole = math.fsum(p[i] for i in ranked[:size])
    return {i: p[i] / whole for i in ranked[:size]}


def total_variation(texts: list[str], expected: dict[str, float]) -> float:
    shares = {outcome: texts.count(outcome) / len(texts) for outcome in {*texts, *expected}}
    return sum(abs(shares[outcome] - expected.get(outcome, 0)) for outcome in shares) / 2


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "layers", "precision", "temperature"),
    [
        ("lstm", 1, "float64", 1),
        ("gru", 2, "float64", 0.5),
        ("rnn", 1, "float64", 2),
        ("window:1", 1, "float64", 1),
        ("window:3", 2, "float64", 1),  # one symbol more than the prompt and the first character of the pair
        ("lstm", 2, "float32", 1),  # so many streams that their products are in bfloat16 where there is that
    ],
)
def test_pairs_have_the_probabilities_of_torch(cell: str, layers: int, precision: str, temperature: float) -> None:
    model = make_model(cell, layers=layers, precision=precision)
    model.parameters.flat.mul_(2)  # far enough from even that another temperature, or a lost state, would show
    config = SampleConfig("abc", length=2, temperature=temperature, count=DRAWS)
    first = probabilities(model, "abc", temperature)
    second = [probabilities(model, "abc" + char, temperature) for char in VOCABULARY.symbols]
    pairs = product(enumerate(VOCABULARY.symbols), repeat=2)
    expected = {a + b: first[i] * second[i][j] for (i, a), (j, b) in pairs}
    assert total_variation(sample_many(model, VOCABULARY, config), expected) < CLOSE


def test_a_stream_of_characters_has_the_probabilities_of_torch() -> None:
    model = make_model(hidden=2)
    model.parameters.values["rnn.weight_ih_l0"].zero_()
    model.parameters.values["rnn.weight_hh_l0"].zero_()
    model.parameters.values["rnn.bias_ih_l0"][2:4] = -50  # it forgets everything: every character is drawn alike
    text = text_of(model, length=DRAWS // 5)
    expected = dict(zip(VOCABULARY.symbols, probabilities(model, "\n"), strict=True))
    assert total_variation(list(text), expected) < CLOSE


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(1, 1), (3, 1), (99, 1), (0, 1e-9), (0, 0.5), (0, 0.8), (0, 0.999), (4, 0.7)]
)
@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_top_k_and_top_p_leave_what_brute_force_leaves(top_k: int, top_p: float, temperature: float) -> None:
    model = make_model()
    config = SampleConfig("fad", 1, temperature, top_k, top_p, count=5000)
    left = narrowed(probabilities(model, "fad", temperature), top_k, top_p)
    texts = sample_many(model, VOCABULARY, config)
    assert {*texts} == {VOCABULARY.symbols[i] for i in left}
    assert total_variation(texts, {VOCABULARY.symbols[i]: p for i, p in left.items()}) < CLOSE


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-320}])
def test_without_chance_each_symbol_is_the_most_probable(options: dict[str, float]) -> None:
    model = make_model(layers=2)
    model.parameters.flat.mul_(3)  # with small weights the chain would soon repeat itself
    expected = "be"
    for _ in range(20):
        p = probabilities(model, expected)
        expected += VOCABULARY.symbols[p.index(max(p))]
    for seed in (1, 2):
        assert text_of(model, prompt="be", length=20, seed=seed, **options) == expected[2:]
    assert sample_many(model, VOCABULARY, SampleConfig("be", 20, count=3, **options)) == [expected[2:]] * 3


def test_the_most_probable_stays_so_for_a_random_number_of_0(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    expected = text_of(model, temperature=0)
    monkeypatch.setattr(torch, "rand", lambda *shape, dtype, generator: torch.zeros(*shape, dtype=dtype))
    assert text_of(model, temperature=0) == expected


@pytest.mark.parametrize("options", [{}, {"top_p": 0.999999}])
def test_without_measure_every_symbol_is_as_likely(options: dict[str, float]) -> None:
    config = SampleConfig(length=1, temperature=1e300, count=5000, **options)
    texts = sample_many(make_model(precision="float32"), VOCABULARY, config)
    assert total_variation(texts, dict.fromkeys(VOCABULARY.symbols, 1 / V)) < CLOSE


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"temperature": 50}, {"top_k": 1}, {"top_p": 0.5}])
def test_the_unknown_symbol_never_comes(options: dict[str, float]) -> None:
    model, vocabulary = make_model(vocabulary=V + 1), Vocabulary("char", (*VOCABULARY.symbols, UNKNOWN), V)
    model.parameters.values["head.bias"][V] = 50
    for count in (1, 20):
        texts = sample_many(model, vocabulary, SampleConfig(length=200, count=count, **options))
        assert {*"".join(texts)} <= {*VOCABULARY.symbols}


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 2, 3, sampling.PIECE])
def test_a_prompt_of_any_length_is_read_to_its_end(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PIECE", piece)
    model = make_model()
    model.parameters.flat.mul_(3)
    prompt = "".join(VOCABULARY.symbols[i] for i in torch.randint(V, (2 * piece + 8,)))
    for end in {*range(1, 9), *range(len(prompt) - 8, len(prompt) + 1)}:
        p = probabilities(model, prompt[:end])
        assert text_of(model, prompt=prompt[:end], length=1, temperature=0) == VOCABULARY.symbols[p.index(max(p))]


def test_going_on_from_a_text_is_as_if_it_had_been_the_prompt() -> None:
    model = make_model("gru")
    model.parameters.flat.mul_(3)
    whole = text_of(model, prompt="fed", length=60, temperature=0)
    for n in (1, 7, 59):
        assert text_of(model, prompt="fed" + whole[:n], length=60 - n, temperature=0) == whole[n:]


def test_without_a_prompt_it_reads_a_newline_or_else_the_first_symbol() -> None:
    model = make_model()
    model.parameters.flat.mul_(3)  # so that what was read tells
    for symbols, start in (("\t\nabcde", "\n"), ("abcdefg", "a")):
        vocabulary = Vocabulary("char", tuple(symbols))
        many = {s: sample_many(model, vocabulary, SampleConfig(s, length=1, count=300)) for s in ("", *symbols)}
        assert [symbol for symbol in symbols if many[symbol] == many[""]] == [start]
    no_newline = Vocabulary("byte", tuple("\xa9\xc3\xf0\xf1\xf2\xf3\xf4"))  # its first byte is no character
    assert len(text_of(model, no_newline, length=10)) == 10


# --- seeds and streams ------------------------------------------------------------------------------------------------


def test_the_seed_is_all_the_chance_there_is() -> None:
    model = make_model()
    before = torch.get_rng_state()
    assert text_of(model, seed=5) == text_of(model, seed=5) != text_of(model, seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert text_of(model, length=300, seed=5) == text_of(model, length=500, seed=5)[:300]


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9, "temperature": 0.8}, {"stop": "ab"}])
def test_one_of_many_is_the_one_streamed(options: dict[str, float]) -> None:
    model = make_model(precision="float32")
    assert sample_many(model, VOCABULARY, SampleConfig(**options)) == [text_of(model, **options)]


@pytest.mark.parametrize("count", [2, BATCH - 1, BATCH])
def test_each_stream_goes_its_own_way(count: int) -> None:
    config = SampleConfig(length=50, count=count)
    texts = sample_many(make_model(precision="float32"), VOCABULARY, config)
    assert [len(text) for text in texts] == [50] * count
    assert len({*texts}) == count
    # at any place two streams agree about as often as two characters drawn at random
    assert all(sum(a == b for a, b in zip(texts[0], text, strict=True)) < 30 for text in texts[1:])


def test_streaming_yields_each_character_as_it_is_made_and_goes_on_without_end() -> None:
    model = make_model()
    endless = sample(model, VOCABULARY, SampleConfig(length=0))
    pieces = list(islice(endless, 1200))
    assert "".join(pieces) == text_of(model, length=1200)
    assert {len(piece) for piece in pieces} == {1}


def test_samplers_side_by_side_and_the_caller_are_left_alone() -> None:
    model = make_model()  # float64, so that both use its very buffers
    expected = [text_of(model, length=40, seed=seed) for seed in (1, 2)]
    weights = model.parameters.flat.clone()
    both = [sample(model, VOCABULARY, SampleConfig(length=40, seed=seed)) for seed in (1, 2)]
    texts = ["", ""]
    for pieces in zip(*both, strict=True):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        assert torch.is_grad_enabled()
    assert texts == expected
    assert torch.equal(model.parameters.flat, weights)


# --- where a text ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 3, 30])
def test_a_text_ends_right_before_the_stop_string(length: int) -> None:
    model, vocabulary = make_model(vocabulary=2), Vocabulary("char", tuple("ab"))  # full of false starts
    whole = text_of(model, vocabulary, length=length)
    whole_many = sample_many(model, vocabulary, SampleConfig(length=length, count=3))
    stops = ["".join(chars) for n in range(1, 5) for chars in product("ab", repeat=n)]
    assert 0 < sum(stop in whole for stop in stops) < len(stops)  # some come and some do not
    for stop in stops:
        assert text_of(model, vocabulary, length=length, stop=stop) == whole.partition(stop)[0]
        config = SampleConfig(length=length, count=3, stop=stop)
        assert sample_many(model, vocabulary, config) == [text.partition(stop)[0] for text in whole_many]


def test_a_stop_string_ends_texts_of_any_length() -> None:
    model = make_model()
    whole = text_of(model, length=2000)
    assert "abc" in whole
    assert text_of(model, length=0, stop="abc") == whole.partition("abc")[0]
    assert all("e" not in text for text in sample_many(model, VOCABULARY, SampleConfig(length=0, count=5, stop="e")))


def test_the_end_of_the_prompt_is_no_part_of_the_stop_string() -> None:
    model = make_model()
    whole = text_of(model, prompt="ab", temperature=0)
    assert text_of(model, prompt="ab", temperature=0, stop="b" + whole[0]) == whole.partition("b" + whole[0])[0]


# --- bytes ------------------------------------------------------------------------------------------------------------

# Seven bytes, few strings of which are UTF-8, ...
BYTES = Vocabulary("byte", tuple(sorted({chr(byte) for byte in "aé😀".encode()})))
# ... and a character for each: with this the same model, drawing the same symbols, tells which they are.
SHADOW = Vocabulary("char", tuple("abcdefg"))


def shadowed(text: str) -> str:
    """The text that these symbols stand for."""
    return BYTES.decode([SHADOW.symbols.index(char) for char in text])


@pytest.mark.parametrize("length", [1, 2, 5, 1000])
def test_bytes_come_out_as_whole_characters(length: int) -> None:
    model = make_model(hidden=3)
    expected = shadowed(text_of(model, SHADOW, length=4 * length + 4))[:length]
    pieces = list(sample(model, BYTES, SampleConfig(length=length)))
    assert "".join(pieces) == expected
    assert all(pieces)
    if length == 1000:
        assert {"a", "é", "😀"} < {*expected}
        assert any("\udc80" <= char <= "\udcff" for char in expected)  # bytes that are no part of a character


def test_many_texts_of_bytes_each_have_their_length() -> None:
    model = make_model(hidden=3)
    config = SampleConfig(length=50, count=4)
    whole = sample_many(model, SHADOW, SampleConfig(length=204, count=4))
    assert sample_many(model, BYTES, config) == [shadowed(text)[:50] for text in whole]


@pytest.mark.parametrize("length", [5, 30, 1000])
def test_bytes_stop_where_the_bytes_of_the_stop_string_are(length: int) -> None:
    """Inside a character, too."""
    model = make_model(hidden=3)
    whole = text_of(model, BYTES, length=length).encode("utf-8", "surrogateescape")
    stops = [b"a", b"aa", b"\xa9", b"\xc3", b"a\xc3", b"\xa9a", b"\x9f\x98", *map(str.encode, ("é", "éa", "😀"))]
    assert length < 1000 or all(stop in whole for stop in stops)
    for stop in stops:
        text = text_of(model, BYTES, length=length, stop=stop.decode("utf-8", "surrogateescape"))
        data = text.encode("utf-8", "surrogateescape")
        assert data == whole.partition(stop)[0]
        assert ascii(text) == ascii(data.decode("utf-8", "surrogateescape")), "no character comes in two parts"


def test_a_prompt_is_read_as_bytes() -> None:
    model = make_model(hidden=3)
    prompt = "".join(SHADOW.symbols[i] for i in BYTES.encode("é😀a"))
    whole = text_of(model, SHADOW, prompt=prompt, length=200)
    assert text_of(model, BYTES, prompt="é😀a", length=40) == shadowed(whole)[:40]
    half = text_of(model, SHADOW, prompt=prompt[:1], length=200)  # the first byte of é, which is no UTF-8
    assert text_of(model, BYTES, prompt="\udcc3", length=40) == shadowed(half)[:40]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "--length -1: must be 0 or more"),
        ({"temperature": -1}, "--temperature -1: must be 0 or more"),
        ({"temperature": math.nan}, "--temperature nan: must be 0 or more"),
        ({"top_k": -5}, "--top-k -5: must be 0 or more"),
        ({"top_p": 0}, "--top-p 0: must be above 0 and at most 1"),
        ({"top_p": 1.5}, "--top-p 1.5: must be above 0 and at most 1"),
        ({"top_p": math.nan}, "--top-p nan: must be above 0 and at most 1"),
        ({"count": 0}, "--count 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "--seed 18446744073709551616: must be from 0 to 18446744073709551615"),
        (
            {"length": 0, "count": 3},
            "--length 0 --count 3: would never end; give a --length, a --stop or --count 1",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    assert message_of(SampleConfig, **options) == message


def test_the_limits_themselves_are_taken() -> None:
    model = make_model()
    options = {"length": 1, "temperature": 0, "top_k": 0, "top_p": 1, "count": 1, "seed": 2**64 - 1}
    assert len(text_of(model, **options)) == 1
    SampleConfig(length=0, count=3, stop="x")


@pytest.mark.parametrize("function", [sample, sample_many])
def test_what_the_vocabulary_lacks_is_refused_before_anything_is_made(function: object) -> None:
    model = make_model()
    assert message_of(function, model, VOCABULARY, SampleConfig("abxc")) == (
        "the vocabulary has no character 'x' (U+0078, position 3 of the prompt); "
        "leave it out, or train on a text that has it"
    )
    assert message_of(function, model, VOCABULARY, SampleConfig(stop="a\nx")) == (
        "--stop 'a\\nx': can never come, the vocabulary lacks a character of it"
    )


# --- long texts -------------------------------------------------------------------------------------------------------


def both_ways(monkeypatch: pytest.MonkeyPatch, model: CharRNN, **options: object) -> list[str]:
    """As torch makes a text, and as the kernel does."""
    calls: list[object] = []

    def spy(*args: object) -> list[int]:
        calls.append(args)
        return say_on(*args)

    monkeypatch.setattr("rnnbptt.bptt.compiled.say_on", spy)
    by_torch = text_of(model, **options)
    assert not calls
    monkeypatch.setattr(sampling, "LONG", 1)
    by_kernel = text_of(model, **options)
    assert calls
    return [by_torch, by_kernel]


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_kernel_makes_the_same_text(cell: str, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(cell, 32, layers=2, vocabulary=V, dropout=0.2, precision="float32")
    model.parameters.flat.mul_(0.4)
    options = {"length": 300, "temperature": temperature, "seed": 3, "prompt": "abcdef"}
    theirs, ours = both_ways(monkeypatch, model, **options)
    assert ours == theirs
    assert len(ours) == 300


def test_a_long_text_of_a_cell_without_a_kernel_is_made_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("mogrifier", 32, vocabulary=V, precision="float32")
    options = {"length": 300, "temperature": 1.0, "seed": 3, "prompt": "abcdef"}
    short = text_of(model, **options)
    monkeypatch.setattr(sampling, "LONG", 1)
    assert text_of(model, **options) == short


def test_a_kernel_never_says_the_unknown_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary("char", (*"\nabcde", UNKNOWN), 6)
    model = make_model("rnn", vocabulary=len(vocabulary), precision="float32")
    model.parameters.values["head.bias"][-1] = 100
    monkeypatch.setattr(sampling, "LONG", 1)
    assert UNKNOWN not in text_of(model, vocabulary, length=500)


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.5}, {"length": sampling.LONG - 1}])
def test_what_a_kernel_does_not_do_or_is_not_worth_it_for_is_left_to_torch(
    options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnbptt.bptt.compiled.say_on", pytest.fail)
    model = make_model("rnn", vocabulary=V, precision="float32")
    next(sample(model, VOCABULARY, SampleConfig(**{"length": 0} | options)))
    next(sample(make_model("rnn", vocabulary=V), VOCABULARY, SampleConfig(length=0)))
