"""The command line. A room is imported when a command needs it, so that ``jepalign --help`` stays instant."""

import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jepalign.errors import InputError

if TYPE_CHECKING:
    from jepalign.measurements import Measurement

app = typer.Typer(
    name="jepalign",
    help=(
        "Proves, solves, measures and draws what joint-embedding prediction (JEPA, BYOL, SimSiam) and contrastive learning "
        "have in common.\n\n"
        "Start with [bold]jepalign verify[/bold] (every result proved, every false sibling refused), then "
        "[bold]jepalign explain dictionary[/bold], then [bold]jepalign report --out build/report[/bold].\n\n"
        "Exit codes: 0 done; 1 something that was checked does not hold; 2 the input is wrong."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Names in kebab-case; all of them if none is given.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", help="Directory to write to; made if need be.", show_default=False)]


def _console(*, stderr: bool = False) -> Any:
    """Return a console as wide as the terminal, or wide enough for a table where there is none (a pipe, a file)."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)


RUN = "The run's settings"


@contextmanager
def _progress(what: str) -> Generator[Callable[[int, int, str], None], None, None]:
    """Yield a function (done, total, message) that shows a bar on standard error once two seconds have passed."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console(stderr=True)
    started = time.monotonic()
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(
        *columns,
        # Names of files may hold what reads as markup.
        TextColumn("{task.fields[message]}", style="dim", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(what, total=1, message="")
    shown = False

    def report(done: int, total: int, message: str) -> None:
        nonlocal shown
        bar.update(task, completed=done, total=total, message=message)
        if not shown and time.monotonic() - started > 1.0:
            bar.start()
            shown = True

    try:
        yield report
    finally:
        if shown:
            bar.stop()


def _say(text: str) -> None:
    """Write a line for people to standard error; standard output is for results."""
    typer.echo(text, err=True)


def _wrote(paths: Sequence[Path]) -> None:
    for path in paths:
        _say(f"wrote {path}")


def _emit_json(data: Any, target: str) -> None:
    from jepalign.storage import output_directory, write_json

    if target == "-":
        typer.echo(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))
        return
    path = Path(target)
    if path.is_dir():
        raise InputError("json", target, "must be a file or -, but it is a directory")
    output_directory(path.parent, "json")
    _wrote([write_json(path, data)])


@app.command()
def verify(
    names: Names = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="Write the whole findings as JSON; - is standard output.", metavar="FILE"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes to use.")] = 1,
    examples: Annotated[
        int | None,
        typer.Option(help="Draw this many admissible instances of each result and evaluate its conclusions exactly."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random instances.")] = 0,
) -> None:
    """Prove every result, refuse every false sibling, and show every assumption necessary.

    Exits with 1 unless every result is proved (or proved with citations), every common belief is refuted and its repair
    proved, every sibling is refused with a counterexample and every witness of necessity holds.

    Example: jepalign verify dictionary power-identity --json -
    """
    from jepalign import verification
    from jepalign.theory.catalogue import select

    chosen = select(names or [])
    with _progress("verifying") as report:
        reports = verification.verify_all(chosen, jobs=jobs, seed=seed, progress=report)
    data = verification.as_json(reports)
    failed = not all(r.stands for r in reports)
    _print_verification(reports, to_stderr=json_file == "-")
    if examples is not None:
        with _progress("drawing instances") as report:
            found: list[dict[str, Any]] = []
            for done, name in enumerate(chosen, start=1):
                found.append(verification.run_examples(name, examples, seed))
                report(done, len(chosen), name)
        data["examples"] = found
        failed |= any(entry["failure"] for entry in found)
        evaluated = sum(entry["evaluated"] for entry in found)
        _say(f"{evaluated} conclusions evaluated exactly on random instances, worst deviation " + _worst(found))
    if json_file is not None:
        _emit_json(data, json_file)
    raise typer.Exit(1 if failed else 0)


def _worst(found: Sequence[dict[str, Any]]) -> str:
    failures = [f"{entry['name']}: {entry['failure']}" for entry in found if entry["failure"]]
    return "; ".join(failures) or "0"


def _print_verification(reports: Sequence[Any], *, to_stderr: bool) -> None:
    from rich.table import Table

    from jepalign import verification

    console = _console(stderr=to_stderr)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("result", "verdict", "established", "siblings refused", "assumptions necessary", "ms"):
        table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
    for r in reports:
        methods = ", ".join(f"{count} {method}" for method, count in verification.count_methods([r]).items())
        table.add_row(
            r.name,
            f"[green]{r.verdict}" if r.stands else f"[red]{r.verdict}",
            methods,
            f"{sum(s.refused for s in r.siblings)}/{len(r.siblings)}",
            f"{sum(not n.problem for n in r.necessity)}/{len(r.assumptions)}",
            f"{1000 * r.seconds:.0f}",
        )
    console.print(table)
    for r in reports:
        for problem in _problems(r):
            console.print(f"[red]{r.name}[/red]: {problem}", highlight=False, markup=True)
    console.print(verification.summary(reports), highlight=False)


def _problems(report: Any) -> list[str]:
    from rich.markup import escape

    found = [f"step not proved ({s.outcome}): {s.claim} {s.detail}" for s in report.steps if s.outcome != "proved"]
    found += [f"belief not refuted: {s.claim} {s.counterexample}" for s in report.said if not s.refuted]
    found += [f"sibling {s.name} was not refused: {s.counterexample}" for s in report.siblings if not s.refused]
    found += [f"witness for {n.assumption}: {n.problem}" for n in report.necessity if n.problem]
    return [escape(text) for text in (*found, *report.problems)]


@app.command()
def explain(name: Annotated[str, typer.Argument(help="One result, for example dictionary.")]) -> None:
    """Explain one result: statement, assumptions, the nearest false belief, and a few lines of Python that show it."""
    from jepalign.explanation import explain as explained
    from jepalign.theory.catalogue import find

    _console().print(explained(find(name)), highlight=False)


@app.command()
def derive(names: Names = None, out: Out = Path("build/derivations")) -> None:
    """Write the derivations: LaTeX to paste, a page to read, a PDF."""
    from jepalign.derivations import write_derivations
    from jepalign.storage import output_directory
    from jepalign.theory.catalogue import select

    chosen = select(names or [])
    with _progress("deriving") as report:
        paths = write_derivations(chosen, output_directory(out), progress=report)
    _wrote(paths)


@app.command()
def figures(
    names: Names = None,
    out: Out = Path("build/figures"),
    venue: Annotated[
        str, typer.Option(help="neurips, icml, iclr, tmlr or jmlr: sets column width and type size.")
    ] = "neurips",
) -> None:
    """Draw the publication figures, each with its data (.csv) and its caption (.tex), as PDF and PNG."""
    from jepalign.figures import export

    with _progress("drawing") as report:
        paths = export(names or [], out, venue, progress=report)
    _wrote(paths)


@app.command()
def simulate(
    names: Names = None,
    out: Out = Path("build/measurements"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    scale: Annotated[
        str, typer.Option(help="quick (seconds) or paper (what the committed results were made with).")
    ] = "quick",
    seed: Annotated[int, typer.Option(help="Seed of data views, weights and batches.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="So many seeds from --seed on; of several, each has its directory OUT/seed-SEED.")
    ] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each with an experiment and seed of its own.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Compute on the workers of this Dask scheduler.", metavar="tcp://HOST:PORT")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a criterion fails.")] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Do not run: tabulate stored measurements (in --out if it has them).")
    ] = False,
    json_file: Annotated[
        str | None, typer.Option("--json", help="Write the rows as JSON; - is standard output.", metavar="FILE")
    ] = None,
) -> None:
    """Train deep encoders and hold them against the predictions (needs PyTorch).

    A criterion that fails is a result and exits with 0, unless --strict is given. With several seeds, processes or a
    scheduler, what was done when the command is stopped is kept in OUT/shards, and the same command goes on from there.
    """
    from jepalign import measurements
    from jepalign.simulations import EXPERIMENTS, find, run

    chosen = list(names or EXPERIMENTS)
    for name in chosen:
        find(name)
    found: list[Measurement] = []
    if summary:
        found = [measurements.load(name, out if (out / f"{name}.npz").exists() else None) for name in chosen]
    elif seeds > 1 or jobs > 1 or scheduler is not None:
        from jepalign.simulations.campaign import run_campaign

        several = range(seed, seed + seeds)
        with _progress("simulate") as report:
            done = run_campaign(
                chosen, several, out, device=device, scale=scale, jobs=jobs, scheduler=scheduler, progress=report
            )
        for measured, paths in done:
            found.append(measured)
            _wrote(paths)
    else:
        from jepalign.storage import output_directory

        directory = output_directory(out)
        for name in chosen:
            with _progress(name) as report:
                measured = run(name, device=device, scale=scale, seed=seed, progress=report)
            found.append(measured)
            _wrote(measurements.save(measured, directory))
    rows = [row for measured in found for row in measured.rows]
    _print_rows(rows, to_stderr=json_file == "-")
    _print_tallies(found, to_stderr=json_file == "-")
    if json_file is not None:
        _emit_json({"rows": rows}, json_file)
    raise typer.Exit(1 if strict and any(row["verdict"] != "holds" for row in rows) else 0)


def _print_rows(rows: Sequence[dict[str, Any]], *, to_stderr: bool) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("experiment", "architecture", "predicted", "observed", "error", "verdict")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [f"{row[c]:.6g}" if isinstance(row[c], float) else str(row[c]) for c in columns]
        table.add_row(*cells)
    _console(stderr=to_stderr).print(table)


def _print_tallies(found: Sequence["Measurement"], *, to_stderr: bool) -> None:
    """Print how many criteria of each experiment hold, with where and when it was measured, and of all."""
    from rich.table import Table

    table = Table("experiment", "hold", "of", "device", "date", "commit", box=None, pad_edge=False, header_style="bold")
    tallies = [(each, sum(row["verdict"] == "holds" for row in each.rows)) for each in found]
    for each, held in tallies:
        origin = each.provenance
        commit = str(origin["commit"])[:10] + (", changed" if origin["dirty"] else "")
        table.add_row(each.name, str(held), str(len(each.rows)), str(origin["device"]), str(origin["date"]), commit)
    console = _console(stderr=to_stderr)
    console.print()
    console.print(table)
    total, count = sum(held for _, held in tallies), sum(len(each.rows) for each in found)
    console.print(f"{total} of {count} criteria hold", highlight=False)


@app.command()
def diagnose(
    file: Annotated[
        Path, typer.Argument(help="A .npz, .safetensors, .pt or .npy file, or a folder of them.", show_default=False)
    ],
    weight_decay: Annotated[
        float | None,
        typer.Option(help="As the optimiser has it; 0 if there is none.", show_default=False, rich_help_panel=RUN),
    ] = None,
    predictor_weight_decay: Annotated[
        float | None,
        typer.Option(help="If the predictor's differs from the encoder's.", show_default=False, rich_help_panel=RUN),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the encoder.", show_default=False, rich_help_panel=RUN)
    ] = None,
    predictor_learning_rate: Annotated[
        float | None,
        typer.Option(help="If the predictor's differs from the encoder's.", show_default=False, rich_help_panel=RUN),
    ] = None,
    decoupled: Annotated[
        bool | None,
        typer.Option(
            "--decoupled/--coupled",
            help="Decay beside the gradient (AdamW), or added to it.",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adam.", show_default=False, rich_help_panel=RUN)] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD.", show_default=False, rich_help_panel=RUN)] = None,
    gradient_rms: Annotated[
        float | None,
        typer.Option(
            help="Of the last layer's entries; what Adam divides by.", show_default=False, rich_help_panel=RUN
        ),
    ] = None,
    ema_momentum: Annotated[
        float | None,
        typer.Option(help="Of the target encoder; leave out without one.", show_default=False, rich_help_panel=RUN),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="For the record.", show_default=False, rich_help_panel=RUN)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of the whole run.", show_default=False, rich_help_panel=RUN)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="half (½E‖ẑ−z̄‖²), sum (E‖ẑ−z̄‖²) or mean (MSELoss: over dimensions too).",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    bias: Annotated[
        bool | None,
        typer.Option(
            "--bias/--no-bias", help="Last layer and predictor have biases.", show_default=False, rich_help_panel=RUN
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page with figures here.", show_default=False)] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", help="Write everything as JSON; - is standard output.", metavar="FILE")
    ] = None,
    fail_under_rank: Annotated[
        int | None, typer.Option(help="Exit with 1 if fewer dimensions survive.", show_default=False)
    ] = None,
    drop_nonfinite: Annotated[bool, typer.Option("--drop-nonfinite", help="Leave rows with NaN out.")] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 0,
) -> None:
    """Tell what collapses in a training run, why, and the least explicit uniformity that would prevent it.

    Save, by these names, the embeddings of both views of the same samples, row by row: \
[bold]context[/bold] and [bold]target[/bold] (n × k). They tell correlations and, if the run is at rest, who survives. \
Add [bold]predictor[/bold] (k × k, prediction = context @ predictor.T), or [bold]prediction[/bold] (n × k), and weights are \
inferred by balance. Add [bold]encoder[/bold] and [bold]target_encoder[/bold] (the last linear layer, k × h) with its inputs \
[bold]context_features[/bold] and [bold]target_features[/bold] (n × h), and all is measured and the rest of the run integrated; \
with [bold]below[/bold] (inputs/‖θ‖² of each plain layer below, first to last; empty if none is trained), features are moved too, \
which tells early ends better, and with [bold]biases[/bold] (‖∂E h/∂b‖²/h of the bias b of each of them, for the mean of the h features; \
0 for none) their mean as well.

    Or put a recorder beside your training loop, which saves the moments of all that: jepalign.simulations.recording.

    A folder of such files is a run, in order of [bold]step[/bold]. Settings are the flags below or, by the same names, those \
of FILE.json beside the file or run.json; flags win. Files may be larger than memory. Pickles are never opened.

    Example: jepalign diagnose run/ --weight-decay 0.02 --out build/diagnosis --fail-under-rank 16
    """
    from jepalign import diagnosis

    given = dict(locals())
    for name in ("diagnosis", "file", "out", "json_file", "fail_under_rank", "drop_nonfinite", "seed"):
        given.pop(name)
    with _progress("diagnosing") as report:
        found = diagnosis.diagnose(file, given, drop_nonfinite=drop_nonfinite, seed=seed, progress=report)
    from jepalign.diagnosis.text import terminal

    _console(stderr=json_file == "-").print(terminal(found), highlight=False)
    if json_file is not None:
        _emit_json(diagnosis.as_json(found), json_file)
    if out is not None:
        from jepalign.diagnosis.page import write_page
        from jepalign.storage import output_directory

        _wrote(write_page(found, output_directory(out)))
    raise typer.Exit(1 if fail_under_rank is not None and found.outlook.rank < fail_under_rank else 0)


@app.command()
def design(
    rank: Annotated[int, typer.Option(help="Dimensions to keep.", metavar="K")],
    variance: Annotated[
        str | None, typer.Option(help="Variances σ of the modes, separated by commas; with --cross.", metavar="σ,σ,...")
    ] = None,
    cross: Annotated[str | None, typer.Option(help="Cross-covariances λ, as many.", metavar="λ,λ,...")] = None,
    spectra: Annotated[
        Path | None, typer.Option(help=".npz or .csv with variance and cross.", metavar="FILE", show_default=False)
    ] = None,
    views: Annotated[
        Path | None,
        typer.Option(help=".npz with context and target: paired rows, used in both orders.", metavar="FILE"),
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="Masked tokens with exponential correlation: how many.")] = None,
    token_correlation: Annotated[float | None, typer.Option(help="Correlation of neighbouring tokens.")] = None,
    target: Annotated[
        str, typer.Option(help="output: the target encoder sees all tokens (I-JEPA); input: the hidden ones.")
    ] = "output",
    line: Annotated[bool, typer.Option("--line", help="Tokens on a line instead of a circle.")] = False,
    mask_ratio: Annotated[
        float | None, typer.Option(help="Hide tokens independently; no mask given: the one that keeps the most.")
    ] = None,
    block_length: Annotated[int | None, typer.Option(help="Hide blocks of this length.")] = None,
    blocks: Annotated[int, typer.Option(min=1, help="How many blocks.")] = 1,
    weight_decay: Annotated[
        float | None, typer.Option(help="η to design at; by default half of the largest.", metavar="η")
    ] = None,
    predictor_rate: Annotated[
        float, typer.Option(help="α, the predictor's learning rate by the encoder's.", metavar="α")
    ] = 1.0,
    start: Annotated[
        float | None, typer.Option(help="Weight of the encoder's modes at the start; by default as large as need be.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="The embedding's dimension, if smaller than the modes.")] = None,
    uniformity: Annotated[
        list[str] | None, typer.Option(help="spectral, vicreg, log-det or sigreg; several times; by default all.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Integrate the flow 5 % below and above the largest weight decay, and count."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory for the figure of the trade-off.", show_default=False)
    ] = None,
    venue: Annotated[str, typer.Option(help="neurips, icml, iclr, tmlr or jmlr, for the figure.")] = "neurips",
    json_file: Annotated[
        str | None, typer.Option("--json", help="Write the answer as JSON; - is standard output.", metavar="FILE")
    ] = None,
) -> None:
    """Say which weight decay, start, predictor rate, mask and explicit uniformity keep a wanted number of dimensions.

    Exits with 1 if --check finds another rank.

    Example: jepalign design --variance 1,1,1 --cross 0.9,0.6,0.3 --rank 2
    """
    from jepalign.design.command import Question, answer, write_figure
    from jepalign.design.statement import as_json, print_answer

    question = Question(
        rank=rank,
        variance=variance,
        cross=cross,
        spectra=spectra,
        views=views,
        tokens=tokens,
        token_correlation=token_correlation,
        target=target,
        line=line,
        mask_ratio=mask_ratio,
        block_length=block_length,
        blocks=blocks,
        weight_decay=weight_decay,
        predictor_rate=predictor_rate,
        start=start,
        width=width,
        uniformity=uniformity or (),
        check=check,
    )
    found = answer(question)
    print_answer(found, _console(stderr=json_file == "-"))
    if out is not None:
        _wrote(write_figure(question, found, out, venue))
    if json_file is not None:
        _emit_json(as_json(found), json_file)
    raise typer.Exit(1 if found.checked is not None and not found.checked.holds else 0)


@app.command()
def report(
    out: Out = Path("build/report"),
    venue: Annotated[str, typer.Option(help="neurips, icml, iclr, tmlr or jmlr, for the figures.")] = "neurips",
) -> None:
    """Write everything: one self-contained page with derivations, verification table and figures; PDF and LaTeX beside it."""
    from jepalign.report import write_report
    from jepalign.storage import output_directory

    with _progress("report") as progress:
        paths = write_report(output_directory(out), venue=venue, progress=progress)
    _wrote(paths)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from jepalign import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    try:
        app()
    except InputError as problem:
        # Names of files may hold letters that a terminal acts on.
        _say("".join(letter if letter.isprintable() else "?" for letter in f"error: {problem}"))
        sys.exit(2)
