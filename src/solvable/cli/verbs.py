"""The verbs and their options. Nothing heavy is imported here; a verb imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solvable.cli.call import call, refuse, unprintable

app = typer.Typer(
    name="solvable",
    help="Solvable models of learning: train them, predict them exactly, overlay the two.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# typer names no public base for its usage errors; this is the one above BadParameter
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
_Experiment = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="A name that `solvable list` shows.")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE[,VALUE...]", help="Set a parameter; several values make it an axis."),
]
_Grid = Annotated[
    str | None, typer.Option(metavar="FILE", help="A TOML file: NAME = VALUE or a list of values, a line each.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command("list")
def list_(json: _Json = False, debug: _Debug = False) -> int:
    """Systems and experiments, with their source and claims."""

    def work():
        from solvable.cli import listing

        return listing.every_experiment()

    return call(work, json, debug)


@app.command()
def show(experiment: _Experiment, json: _Json = False, debug: _Debug = False) -> int:
    """Parameters, defaults and observables of one experiment."""

    def work():
        from solvable.cli import listing

        return listing.one_experiment(experiment)

    return call(work, json, debug)


@app.command()
def predict(
    experiment: _Experiment, set_: _Set = None, grid: _Grid = None, json: _Json = False, debug: _Debug = False
) -> int:
    """Theory only: the predictions that need no run."""

    def work():
        from solvable.cli import running

        return running.predict(experiment, set_ or [], grid)

    return call(work, json, debug)


@app.command()
def run(
    experiment: _Experiment,
    set_: _Set = None,
    grid: _Grid = None,
    replicates: Annotated[int | None, typer.Option(help="Runs a cell; more of them extend what is stored.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Where to compute: in-process (default), loky (with --jobs), dask or submitit.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Worker processes or SLURM jobs, one thread each.")] = None,
    address: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler that runs already.")
    ] = None,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where results and figures go.")] = "solvable-results",
    json: _Json = False,
    debug: _Debug = False,
) -> int:
    """Simulate and predict, store, compare, draw. The same command again resumes.

    The exit code is 0 when all agree, 1 when a comparison disagrees or a cell failed.
    """

    def work():
        from solvable.cli import running

        how = {"replicates": replicates, "engine": engine, "jobs": jobs, "address": address}
        return running.run(experiment, set_ or [], grid, out, **how)

    interrupted = f"interrupted; what is finished is kept in {out}, and the same command resumes"
    return call(work, json, debug, interrupted)


@app.command()
def plan(
    experiment: _Experiment,
    solve: Annotated[str, typer.Option(metavar="PARAMETER", help="The parameter that is solved for, a number.")],
    target: Annotated[str, typer.Option(metavar="OBSERVABLE=VALUE", help="What the theory is to give.")],
    set_: _Set = None,
    between: Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="Limits of the search.")] = None,
    json: _Json = False,
    debug: _Debug = False,
) -> int:
    """Invert the theory: the value of a parameter at which an observable has the target, for each model side by side.

    A clear "never" is an answer too, with exit code 0.
    """

    def work():
        from solvable.cli import planning

        return planning.plan(experiment, solve, target, set_ or [], between)

    return call(work, json, debug)


@app.command()
def diagnose(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Bags: .npz (values, offsets, labels) or Parquet.")],
    out: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Where the figure goes: .png, .pdf or .svg.")
    ] = None,
    curves: Annotated[bool, typer.Option("--curves/--no-curves", help="Learning curves, predicted and real.")] = True,
    bag: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Parquet: the column that names a row's bag; bag by default.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Parquet: the column of the bag's label; label by default.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Parquet: a column that is no feature; repeatable.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class whose bags hide the signal; without it, by the data.")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The column (.npz: array) of what bags share, such as the patient."),
    ] = None,
    json: _Json = False,
    debug: _Debug = False,
) -> int:
    """A user's bags: how strong and how sparse the signal is, whether attention helps, and what more bags would bring.

    What these data cannot tell, and that the model does not describe them, are answers too, with exit code 0.
    """

    def work():
        from solvable.cli import diagnosing

        return diagnosing.examine(file, out, curves, bag, label, ignore or [], positive, groups)

    return call(work, json, debug)


@app.command()
def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where results are stored.")],
    out: Annotated[str | None, typer.Option(metavar="FILE", help="The page; DIR/report.html by default.")] = None,
    json: _Json = False,
    debug: _Debug = False,
) -> int:
    """One self-contained HTML page over everything stored in DIR.

    The exit code is 0 when all agree, 1 when a comparison disagrees or a cell failed, 4 when something stored could not
    be read.
    """

    def work():
        from solvable.cli import reporting

        return reporting.write(folder, out)

    return call(work, json, debug)


@app.command()
def doctor(
    folder: Annotated[str | None, typer.Argument(metavar="[DIR]", help="Results whose checksums are verified.")] = None,
    json: _Json = False,
    debug: _Debug = False,
) -> int:
    """Versions, devices, precision, engines, caches and, given DIR, the health of what is stored there."""

    def work():
        from solvable.cli import health

        return health.examine(folder)

    return call(work, json, debug)


def run_one(as_json: bool) -> int:
    """Run the verb that `sys.argv` names; the exit code."""
    try:
        return app(standalone_mode=False) or 0
    except _USAGE_ERROR as error:
        sentence = error.format_message()
        return refuse(sentence, as_json, 2) if sentence else 2  # none: the help is printed already
    except OSError as error:  # of printing the help: the verbs answer for their own
        return unprintable(error)
