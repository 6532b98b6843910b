"""The commands and their names; `main` runs one and turns its failure into an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import typer

from shortlist.cli import (
    backup,
    config,
    demo,
    doctor,
    evaluate,
    events,
    features,
    ingest,
    init,
    keys,
    lists,
    models,
    predict,
    publish,
    recommend,
    rollback,
    schema,
    serve,
    similar,
    train,
    tune,
    users,
    version,
    why,
)
from shortlist.cli.failures import explain

app = typer.Typer(
    name="shortlist",
    help="From millions of items to a short list for each person.\n\nExamples:\n\n\b\n  shortlist demo\n"
    "  shortlist init events.csv && shortlist ingest && shortlist train\n  shortlist recommend 42",
    epilog="Exit codes, environment and every option: docs/reference/cli.md",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={
        "help_option_names": ["--help", "-h"],
        "auto_envvar_prefix": "SHORTLIST",
        "max_content_width": 110,
    },
)
app.command("demo", help=demo.HELP, short_help="Real films and people, trained and served.")(demo.demo)
app.command("init", help=init.HELP, short_help="Guess the columns of your files, write shortlist.toml.")(init.init)
app.command("ingest", help=ingest.HELP, short_help="Load events, items and users.")(ingest.ingest)
app.command("train", help=train.HELP, short_help="Fit the models, write a release.")(train.train)
app.command("tune", help=tune.HELP, short_help="Search better parameters for models and pipelines.")(tune.tune)
app.command("evaluate", help=evaluate.HELP, short_help="Compare with popularity and chance.")(evaluate.evaluate)
app.command("features", help=features.HELP, short_help="What the ranker reads, and what has moved.")(features.features)
app.command("publish", help=publish.HELP, short_help="Make a release the one that is served.")(publish.publish)
app.command("rollback", help=rollback.HELP, short_help="Serve the release before this one again.")(rollback.rollback)
app.add_typer(models.group, name="models", help=models.HELP, short_help="Releases: list, show, verify, prune.")
app.command("serve", help=serve.HELP, short_help="Answer over HTTP.")(serve.serve)
app.command("recommend", help=recommend.HELP, short_help="One person's list, with reasons.")(recommend.recommend)
app.command("predict", help=predict.HELP, short_help="Scores of items that are named.")(predict.predict)
app.command("lists", help=lists.HELP, short_help="Everybody's list into a SQL table.")(lists.lists)
app.command("why", help=why.HELP, short_help="What became of one item on one person's list.")(why.why)
app.command("similar", help=similar.HELP, short_help="Items like one item.")(similar.similar)
app.add_typer(keys.group, name="keys", help=keys.HELP, short_help="API keys: make, list, revoke.")
app.add_typer(users.group, name="users", help=users.HELP, short_help="One person's data: show, export, erase.")
app.command("backup", help=backup.HELP, short_help="A checked copy of everything, while serving.")(backup.backup)
app.command("restore", help=backup.RESTORE, short_help="An installation from a backup.")(backup.restore)
app.command("doctor", help=doctor.HELP, short_help="What is wrong, and what to do.")(doctor.doctor)
app.add_typer(events.group, name="events", help=events.HELP, short_help="What happened, what was refused.")
app.add_typer(config.group, name="config", help=config.HELP, short_help="What is configured, and why.")
app.command("schema", help=schema.HELP, short_help="Contracts for machines.")(schema.schema)
app.command("version", help=version.HELP, short_help="Versions of Shortlist and what it stands on.")(version.version)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = command()(given, prog_name="shortlist", standalone_mode=False)
    except Exception as error:
        failure = explain(error)
        if type(error).__name__ == "NoArgsIsHelpError":  # asked for nothing: the help says what there is
            typer.echo(failure.what, err=True)
        else:
            failure.write(json="--json" in given)
        code = failure.exit_code
    sys.exit(code or 0)


def command() -> Any:
    """The commands as one object. Every option can be set in the environment, which help texts do not repeat."""
    root: Any = typer.main.get_command(app)
    for _, each in commands(root):
        for parameter in each.params:
            parameter.show_envvar = False
    return root


def commands(root: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """`root` and every command below it, each with the words that call it."""
    yield words, root
    for name, each in getattr(root, "commands", {}).items():
        yield from commands(each, (*words, name))


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(143)
