"""How the command lines of workshop and grader end: one clear line for what went wrong, and the exit code."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn

import click

from workshop.errors import UsageError, WorkshopError


def run_command(cli: click.Command) -> NoReturn:
    """Runs a command line. Exit code 0, 1 for failures, 2 for wrong usage, 130 when it was interrupted."""
    try:
        cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        _leave(130)
    except click.ClickException as error:
        error.show()
        _leave(2)
    except WorkshopError as error:
        click.echo(f"Error: {error}", err=True)
        _leave(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        click.echo(f"Error: {said}. Nothing half-written was kept.", err=True)
        _leave(1)
    except SystemExit as stop:
        _leave(int(stop.code or 0))
    _leave(0)


def _leave(code: int) -> NoReturn:
    """Ends the process once its exit handlers have run. Where a thread still holds something of DuckDB, the take-down of
    the interpreter would report it at a length of fifty lines."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
