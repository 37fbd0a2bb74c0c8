"""Put the commands together, and map their errors to exit codes."""

from __future__ import annotations

import os
import sys
from inspect import getdoc
from pathlib import Path
from typing import Any, Optional, Sequence

import typer

from normlab import __version__
from normlab.cli import (
    backups,
    catalogue,
    checking,
    continuing,
    datasets,
    deciding,
    exporting,
    jobs,
    labels,
    limits,
    looking,
    plugins,
    projects,
    reproduce,
    rerun,
    results,
    studies,
    submitting,
    tokens,
    trained,
    trash,
    up,
    watching,
    weights,
    worker,
)
from normlab.cli.completion import Command
from normlab.cli.forms import with_forms
from normlab.cli.output import examples
from normlab.errors import InvalidSpec, NormlabError, QuotaExceeded, ServiceUnavailable, told
from normlab.plain_text import shown
from normlab.stacks.addresses import Address

BAD_INPUT, NO_ANSWER, INTERRUPTED = 2, 3, 130
# typer brings a click of its own or uses the installed one: this is the right one's root
_UsageError: Any = typer.BadParameter.__mro__[1]
# a new group is a module with `commands`, and a line here; help lists them in this order
GROUPS = (
    up,
    worker,
    submitting,
    watching,
    jobs,
    looking,
    continuing,
    trash,
    labels,
    backups,
    results,
    deciding,
    reproduce,
    rerun,
    exporting,
    weights,
    trained,
    catalogue,
    plugins,
    checking,
    studies,
    datasets,
    projects,
    limits,
    tokens,
)


def _paragraphs(text: str) -> str:
    """Return *text* with one line for each paragraph, which help breaks as its width needs."""
    return "\n\n".join(" ".join(one.split()) for one in text.split("\n\n"))


app = typer.Typer(
    name="normlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "normlab up                                   start a stack on this machine",
        "normlab submit -s normalizer=batch --wait    train something",
        "normlab COMMAND --help                       options of a command, with examples",
        "normlab --install-completion                 install Tab completion",
    ),
)
for group in GROUPS:
    app.add_typer(group.commands)
for below in (app, *(one.typer_instance for one in app.registered_groups)):
    for command in below.registered_commands if below else ():
        if command.callback:
            command.help = _paragraphs(getdoc(command.callback) or "")
            command.callback = with_forms(command.callback)
            command.cls = Command


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"normlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    url: Optional[str] = typer.Option(
        None, envvar="NORMLAB_URL", help="The API's address; default: the stack on this machine."
    ),
    token: Optional[str] = typer.Option(
        None, envvar="NORMLAB_TOKEN", help="The API token; default: that stack's own."
    ),
    data_dir: Optional[Path] = typer.Option(
        None,
        envvar="NORMLAB_DATA_DIR",
        help="Data folder of the stack to use; default: the running stack.",
    ),
    version: bool = typer.Option(
        False, "--version", callback=_say_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Train networks with any normalizer, on any device, and compare how well they learn.

    Exit codes: 0 success, 1 a job did not succeed, 2 bad input, 3 no answer from the service.
    """
    ctx.obj = Address(url, token, data_dir)


def main() -> None:
    """Run the command line of this process, and exit with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error is one line on stderr."""
    try:
        code = app(args=list(arguments), prog_name="normlab", standalone_mode=False)
        sys.stdout.flush()
    except NormlabError as e:
        return _say(one_line(e), exit_code(e))
    except _UsageError as e:
        way_out = _way_out(e)
        said = _in_our_words(e).format_message()
        # without any argument, the help is printed already
        return _say(said + way_out, BAD_INPUT) if said else BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # the reader, such as `head`, has closed the pipe; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        if e.filename is None:
            raise
        return _say(f"{e.filename}: {e.strerror}", BAD_INPUT)  # a file that the user named
    return code if isinstance(code, int) else 0


def exit_code(error: NormlabError) -> int:
    """Return the exit code for *error*."""
    return NO_ANSWER if isinstance(error, (ServiceUnavailable, QuotaExceeded)) else BAD_INPUT


def one_line(error: NormlabError) -> str:
    """Print *error* on one line: each field and its rule, or the message."""
    problems = error.problems if isinstance(error, InvalidSpec) else ()
    text = told(problems) or str(error)
    return " ".join(text.split())


def _in_our_words(error: Any) -> Any:
    from pydantic import ValidationError

    from normlab.specs.problems import rule_of

    # typer checks values with pydantic, whose messages have words of its own and not the value
    if isinstance(error.__cause__, ValidationError):
        error.message = "; ".join(rule_of(found) for found in error.__cause__.errors())
    return error


def _way_out(error: Any) -> str:
    """Name the help of the command, or say that an option must be before the command."""
    if not error.ctx:
        return ""
    option = getattr(error, "option_name", None)
    root = error.ctx.find_root()
    if error.ctx is not root and any(option in one.opts for one in root.command.params):
        error.possibilities = None  # similar options of the command are not what the user meant
        return f"; write it before the command: normlab {option} ... {error.ctx.info_name}"
    return f" ({error.ctx.command_path} --help)"


def _say(text: str, code: int) -> int:
    print(f"normlab: {shown(text)}", file=sys.stderr)
    return code
