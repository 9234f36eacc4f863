"""The command line: parse, call, show. torch is imported inside the commands, so that help and refusals are instant."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rnnbptt import __version__
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.training.budget import UNITS, Budget
from rnnbptt.training.config import TrainConfig
from rnnbptt.truncation.specs import FORMS, parse_truncation

if TYPE_CHECKING:
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.folder import RunFolder
    from rnnbptt.training.loop import Trainer


class _Boundary(TyperGroup):
    """The one place where errors become a line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except (RuntimeError, MemoryError) as error:
            told = ("allocate memory", "out of memory", "Storage size calculation overflowed")
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in told):
                raise  # torch has no exception of its own for that on every device
            typer.echo(
                "error: out of memory; give a shorter --trunc or --depth, fewer --streams or less --hidden", err=True
            )
            raise typer.Exit(1) from None
        except UnicodeEncodeError as error:
            typer.echo(
                f"error: the output is in {error.encoding}, which has no {error.object[error.start]!a};"
                " set PYTHONIOENCODING=utf-8",
                err=True,
            )
            raise typer.Exit(1) from None
        except BrokenPipeError:  # the reader has seen enough; let nothing be flushed into the closed pipe at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=_Boundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train character-level recurrent networks with a chosen truncation of back-propagation through time (BPTT), "
    "generate text with them, and tell honestly which truncation was better.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rnnbptt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _option(panel: str, text: str, *names: str, **extra: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **extra)


_TEXT, _MODEL, _LENGTH, _STEP, _RUN = "Text", "Model", "Budget: one of", "Optimization", "Run"

Unit = Annotated[str, _option(_TEXT, "What a symbol is: char (a Unicode character) or byte.")]
Encoding = Annotated[str, _option(_TEXT, "Encoding of the text.")]
Nfc = Annotated[bool, _option(_TEXT, "Normalize to Unicode NFC.", "--nfc")]
MinCount = Annotated[int, _option(_TEXT, "Characters rarer than this become one unknown symbol.")]
Split = Annotated[str, _option(_TEXT, "Training, validation and test part: shares, or sizes such as 90M/5M/5M.")]
Threads = Annotated[int, _option(_RUN, "Threads of torch; 0: one a core.", min=0, max=4096)]
Device = Annotated[str, _option(_RUN, "Any torch device.")]
DEFAULT_SPLIT = "0.9/0.05/0.05"


@app.command()
def prepare(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Texts: plain, .gz, .bz2, .xz, or - for standard input.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="the text's name + .corpus")] = None,
    unit: Unit = "char",
    encoding: Encoding = "utf-8",
    nfc: Nfc = False,
    min_count: MinCount = 1,
    split: Split = DEFAULT_SPLIT,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it is a prepared corpus.")] = False,
) -> None:
    """Turn texts, joined in order, into a corpus: vocabulary, symbols and splits, ready for any number of runs."""
    from rnnbptt.report import tables as display
    from rnnbptt.text.options import TextOptions
    from rnnbptt.text.preparing import prepare as prepare_corpus

    options = TextOptions(unit=unit, encoding=encoding, nfc=nfc, min_count=min_count, split=split)
    with display.reading_bar() as progress:
        corpus = prepare_corpus(files, out or Path(f"{_stem(files[0])}.corpus"), options, force=force, tell=progress)
    display.show_corpus(corpus)


def _stem(source: str) -> str:
    """The name of a text or corpus without folder and suffixes: data/shakespeare.txt.gz -> shakespeare."""
    path = Path(source).resolve()
    if path.suffix in (".gz", ".bz2", ".xz"):
        path = path.with_suffix("")
    return "stdin" if source == "-" else path.stem.lstrip(".") or "text"


@app.command()
def train(
    ctx: typer.Context,
    corpus: Annotated[Path, typer.Argument(help="A prepared folder, or a text file.")],
    trunc: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="How back-propagation is cut. K: update after every K characters, through these K. A..B: K grows from "
            f"A to B by doubling. K1/K2: update every K1, through K2. All forms: {FORMS}.",
        ),
    ] = TrainConfig.trunc,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run.", show_default="runs/TEXT-SPEC")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, with its own options.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
    epochs: Annotated[
        float | None, _option(_LENGTH, "Passes over the training text.", show_default=f"{Budget.amount:g}")
    ] = None,
    chars: Annotated[int | None, _option(_LENGTH, "Characters, over all streams.")] = None,
    updates: Annotated[int | None, _option(_LENGTH, "Optimizer steps.")] = None,
    minutes: Annotated[float | None, _option(_LENGTH, "Minutes of training.")] = None,
    cell: Annotated[
        str, _option(_MODEL, "rnn (tanh), gru, lstm, elstm, or window:N (no recurrence).")
    ] = ModelConfig.cell,
    hidden: Annotated[int, _option(_MODEL, "Units of each layer.")] = ModelConfig.hidden,
    layers: Annotated[int, _option(_MODEL, "Stacked layers.")] = ModelConfig.layers,
    dropout: Annotated[float, _option(_MODEL, "Dropout between layers and before the output.")] = ModelConfig.dropout,
    streams: Annotated[
        int, _option(_STEP, "Places of the text read side by side; 1 is pure online learning.")
    ] = TrainConfig.streams,
    optimizer: Annotated[str, _option(_STEP, "adam (AdamW), rmsprop or sgd.")] = TrainConfig.optimizer,
    lr: Annotated[float, _option(_STEP, "Learning rate after the warm-up.")] = TrainConfig.lr,
    warmup: Annotated[int, _option(_STEP, "Characters over which it rises from 0.")] = TrainConfig.warmup,
    final_lr: Annotated[
        float, _option(_STEP, "Share of --lr where the cosine decay ends; 1: no decay.")
    ] = TrainConfig.final_lr,
    weight_decay: Annotated[
        float, _option(_STEP, "Share of the weights, times --lr, taken off every 1,000 characters.")
    ] = TrainConfig.weight_decay,
    beta2: Annotated[float, _option(_STEP, "Decay of the mean of squared gradients, per update.")] = TrainConfig.beta2,
    beta2_chars: Annotated[
        float, _option(_STEP, "Horizon of that mean in characters instead; 0: --beta2 holds.")
    ] = TrainConfig.beta2_chars,
    clip: Annotated[float, _option(_STEP, "Largest norm of the gradient; 0: no clipping.")] = TrainConfig.clip,
    seed: Annotated[int, _option(_STEP, "Seed of weights, dropout and random truncations.")] = TrainConfig.seed,
    eval_every: Annotated[int, _option(_RUN, "Characters between validations; 0: 20 in all.")] = TrainConfig.eval_every,
    sample_length: Annotated[int, _option(_RUN, "Characters of the sample shown after each validation.", min=0)] = 200,
    precision: Annotated[
        str, _option(_RUN, "auto, float32, bfloat16 (operands of matrix products) or float64.")
    ] = "auto",
    threads: Threads = 0,
    device: Device = "cpu",
    unit: Unit = "char",
    encoding: Encoding = "utf-8",
    nfc: Nfc = False,
    min_count: MinCount = 1,
    split: Split = DEFAULT_SPLIT,
) -> None:
    """Train a model on a text with a chosen truncation. Ctrl-C saves and stops; --resume goes on."""
    budget = _budget(ctx)
    _refuse_what_has_no_effect(ctx)
    settings = _settings(ctx.params, budget)  # what is wrong with them is said before torch is loaded

    from rnnbptt.report import tables as display
    from rnnbptt.training.folder import RunFolder

    folder = RunFolder(run or Path("runs", f"{_stem(str(corpus))}-{re.sub('[/:]', '-', parse_truncation(trunc).spec)}"))
    _set_up_torch(threads)
    place = device if _given(ctx, "device") else None
    trainer = _resume(corpus, folder, budget, place) if resume else _begin(ctx.params, folder, *settings)
    display.say_memory(trainer, quiet)
    with _interrupts() as interrupted, display.TrainingView(trainer, quiet, sample_length) as view:
        for record in folder.follow(trainer, interrupted):
            view.show(record)
    if not quiet:
        display.show_run(folder, trainer)
    if interrupted():
        raise typer.Exit(130)


def _set_up_torch(threads: int) -> None:
    import torch

    torch.set_flush_denormal(True)  # vanishing gradients reach the denormal numbers, which are a hundred times slower
    if threads:
        torch.set_num_threads(threads)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C only raises a flag here, so that the update under way is finished and saved; a second one kills."""
    raised = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal raised
        raised = True
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: raised
    finally:
        signal.signal(signal.SIGINT, previous)


def _budget(ctx: typer.Context) -> Budget | None:
    """The one budget that was given, if any."""
    given = [unit for unit in UNITS if ctx.params[unit] is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"--{' and --'.join(given)} are both budgets; give one of --{', --'.join(UNITS)}")
    return Budget(given[0], ctx.params[given[0]]) if given else None


# What a resumed run may be told: where it is, how long it lasts, and what changes none of its results.
_BESIDE_RESUME = {"corpus", "run", "resume", "quiet", "sample_length", "threads", "device", *UNITS}
_OF_TEXT = ("unit", "encoding", "nfc", "min_count", "split")


def _given(ctx: typer.Context, *names: str) -> list[str]:
    """Which of these options stand on the command line, as they are typed."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return [f"--{n.replace('_', '-')}" for n, source in sources.items() if source and source.name == "COMMANDLINE"]


def _refuse_what_has_no_effect(ctx: typer.Context) -> None:
    values = ctx.params
    if values["resume"] and (given := _given(ctx, *(values.keys() - _BESIDE_RESUME))):
        raise typer.BadParameter(
            f"{given[0]} cannot be given with --resume: a run goes on with its own options (a budget may be changed)"
        )
    if values["corpus"].is_dir() and (given := _given(ctx, *_OF_TEXT)):
        raise typer.BadParameter(f"{given[0]} is for a text file: {values['corpus']} is prepared already")
    if values["optimizer"] == "sgd" and (given := _given(ctx, "beta2", "beta2_chars")):
        raise typer.BadParameter(f"{given[0]} is for adam and rmsprop: sgd has no such mean")
    if len(_given(ctx, "beta2", "beta2_chars")) == 2:
        raise typer.BadParameter("--beta2-chars takes the place of --beta2; give one of them")


def _settings(values: Mapping[str, Any], budget: Budget | None) -> tuple[TrainConfig, ModelConfig]:
    """What the options say of a new run; the vocabulary is not known yet."""
    chosen, shape = (
        {field.name: values[field.name] for field in fields(kind) if field.name in values}
        for kind in (TrainConfig, ModelConfig)
    )
    return TrainConfig(**chosen, budget=budget or Budget()), ModelConfig(**shape, vocabulary=1)


def _begin(values: Mapping[str, Any], folder: RunFolder, config: TrainConfig, model_config: ModelConfig) -> Trainer:
    """A new run in its folder; a text file is prepared into `corpus` there first."""
    from rnnbptt.bptt.network import CharRNN
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.loop import Trainer

    folder.check(values["force"])
    folder.discard_incoming()  # of a start that was killed
    try:
        corpus = _open_corpus(values, folder)
        model_config = replace(model_config, vocabulary=len(corpus.vocabulary))
        model = CharRNN.create(model_config, values["precision"], values["device"], config.seed)
        trainer = Trainer(model, corpus, config)
        folder.clear()
    except BaseException:
        folder.discard_incoming()
        raise
    if corpus.path == folder.incoming:
        trainer.corpus = Corpus.open(folder.corpus)
    return trainer


def _open_corpus(values: Mapping[str, Any], folder: RunFolder) -> Corpus:
    from rnnbptt.report import tables as display
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.text.options import TextOptions
    from rnnbptt.text.preparing import prepare as prepare_corpus

    source: Path = values["corpus"]
    if source.is_dir():
        return Corpus.open(source)
    options = TextOptions(**{field.name: values[field.name] for field in fields(TextOptions)})
    with display.reading_bar(values["quiet"]) as progress:
        return prepare_corpus([source], folder.incoming, options, force=True, tell=progress)


def _resume(source: Path, folder: RunFolder, budget: Budget | None, device: str | None) -> Trainer:
    """The run in the folder, where its last checkpoint left it, on the device it was on unless given."""
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.checkpoint import load_checkpoint
    from rnnbptt.training.loop import Trainer

    if not folder.last.exists():
        raise UserError(
            f"{folder.path}: no run to resume; name its folder with --run, or leave --resume out to begin one"
        )
    checkpoint = load_checkpoint(folder.last)
    if not source.is_dir() and not folder.corpus.exists():
        trained_on = checkpoint.document.corpus.path
        raise UserError(f"{source}: {folder.last} was trained on the prepared {trained_on}; give that to resume")
    corpus = Corpus.open(source if source.is_dir() else folder.corpus)
    if not source.is_dir():
        _check_text(source, corpus, folder)
    device = device or checkpoint.document.device
    trainer = Trainer.resume(checkpoint, corpus, "auto", device, budget)
    folder.rewind(trainer.axes.updates)
    return trainer


def _check_text(source: Path, corpus: Corpus, folder: RunFolder) -> None:
    """UserError unless the text is still the one that the run's own corpus was made from."""
    from rnnbptt.text.reading import Reader

    reader = Reader([str(source)])
    for _ in reader.pieces(str(source)):
        pass  # only its hash is wanted
    if [text.sha256 for text in reader.finished] != [text.sha256 for text in corpus.sources]:
        raise UserError(f"{source}: not the text that {folder.last} was trained on; give that one to resume")


@app.command()
def sample(
    checkpoint: Annotated[Path, typer.Argument(help="A run folder (its best checkpoint) or a .safetensors file.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from; it is printed first.")] = "",
    prompt_file: Annotated[Path | None, typer.Option(help="File with the prompt, in UTF-8.")] = None,
    length: Annotated[int, typer.Option(help="Characters to make; 0: until interrupted.")] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 bolder, above 1 wilder; 0: the most probable.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the K most probable symbols; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the most probable symbols that share this probability.")] = 1.0,
    stop: Annotated[str, typer.Option(help="End before this string.")] = "",
    count: Annotated[int, typer.Option(help="Samples to make, side by side.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Generate text, streamed to standard output as it is made."""
    if prompt and prompt_file:
        raise typer.BadParameter("--prompt and --prompt-file both give a prompt; give one of them")

    from rnnbptt.inference.sampling import SampleConfig, sample_many
    from rnnbptt.inference.sampling import sample as sample_one
    from rnnbptt.report import tables as display
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint

    start = _read_prompt(prompt_file) if prompt_file else prompt
    config = SampleConfig(start, length, temperature, top_k, top_p, stop, count, seed)
    _set_up_torch(threads)
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    model, vocabulary = loaded.build_model(device=device), loaded.vocabulary
    if count == 1:
        display.stream(start, sample_one(model, vocabulary, config))
    else:
        display.show_samples(start, sample_many(model, vocabulary, config))


def _read_prompt(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 (byte {error.start})"
        raise UserError(f"--prompt-file {path}: {reason}; give a readable UTF-8 text") from None


@app.command()
def compare(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Run folders (their best checkpoints) or .safetensors files.")
    ],
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare on this text.", show_default="validation and test part of the corpus"
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Learning curves, as .png or .svg.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="All figures, as JSON.")] = None,
    prompt: Annotated[str, typer.Option(help="What the samples go on from.")] = "",
    sample_length: Annotated[int, typer.Option(min=0, help="Characters of each sample; 0: none.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    threads: Threads = 0,
) -> None:
    """Compare checkpoints on the same text: bits per character, with intervals for the differences."""
    from rnnbptt.inference.sampling import SampleConfig
    from rnnbptt.report import tables as display
    from rnnbptt.report.curves import plot_curves
    from rnnbptt.storage.files import write_json
    from rnnbptt.study.comparing import compare as compare_checkpoints
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint

    _check_results(plot, json)
    _set_up_torch(threads)
    config = SampleConfig(prompt=prompt, length=sample_length, seed=seed)
    if prompt and sample_length:
        for path in checkpoints:  # what cannot be sampled is said before the work
            load_checkpoint(find_checkpoint(path)).vocabulary.encode(prompt)
    with display.counting_bar("compare") as progress:
        comparison = compare_checkpoints(checkpoints, text, progress)
    display.show_comparison(comparison)
    if json:
        write_json(comparison, json)
    if plot:
        display.say_notes(plot_curves(comparison.rows, plot))
    if sample_length:
        display.show_comparison_samples(comparison, config)


def _check_results(plot: Path | None, json: Path | None) -> None:
    """UserError where a result could not be written: before the work."""
    from rnnbptt.report.curves import check_format
    from rnnbptt.storage.files import check_place

    if plot:
        check_format(plot)
    for path in filter(None, (plot, json)):
        check_place(path)


@app.command()
def probe(
    checkpoint: Annotated[Path, typer.Argument(help="A run folder (its best checkpoint) or a .safetensors file.")],
    depth: Annotated[int, typer.Option(metavar="R", min=2, help="Characters that the full gradient goes back.")] = 512,
    streams: Annotated[int, typer.Option(min=1, help="Places of the held-out text, read side by side.")] = 16,
    trunc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="Another truncation to probe, as for train; may be repeated.", show_default=False
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="First hold the gradient against autograd and finite differences.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="The figures drawn, as .png or .svg.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="All figures, as JSON.")] = None,
    threads: Threads = 0,
) -> None:
    """Measure what truncation does to the gradient of a trained model, and how much memory the model really uses."""
    more = [parse_truncation(spec) for spec in trunc or ()]

    from rnnbptt.report import tables as display
    from rnnbptt.report.curves import plot_probe
    from rnnbptt.storage.files import write_json
    from rnnbptt.study.probe.probing import probe as probe_subject
    from rnnbptt.study.probe.subject import check_subject, open_subject

    _check_results(plot, json)
    _set_up_torch(threads)
    subject = open_subject(checkpoint, depth, streams, more)
    checks = check_subject(subject) if check else ()
    display.show_checks(checks)
    display.say_probe(subject)
    with display.counting_bar("probe") as progress:
        found = replace(probe_subject(subject, progress), checks=checks)
    display.show_probe(found)
    if json:
        write_json(found, json)
    if plot:
        plot_probe(found, plot)


def main() -> None:
    """The console script."""
    app()
