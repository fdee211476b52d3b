"""The ``mm-hybrid`` command line.

Every command lives in a module of its own name and is imported only when it is called, so that ``--help`` and
``--version`` answer at once. Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration, 3 stopped by risk or
kill switch, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import resource
import sys
from contextlib import suppress
from typing import NoReturn

import click

from mm_hybrid import __version__
from mm_hybrid.errors import ConfigError, MmHybridError, RiskStopError, SessionInterruptedError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RISK = 3
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "demo": "The whole system on loopback: no key, no network.",
    "book": "Rebuild books from Tardis files and print one.",
    "spikes": "List the alarms a recorded market would have raised.",
    "paper": "Run a strategy on live data against a local exchange.",
    "live": "Run a strategy on live data against the venue.",
    "serve": "Run one of the local servers: tardis, exchange, advisor.",
    "record": "Record a live stream to files that can be replayed.",
    "fetch": "Download daily datasets from Tardis.",
    "convert": "Convert Tardis files to the fast local format.",
    "calibrate": "Estimate A, k and volatility from recorded data, with errors and plots.",
    "prompt": "Print exactly what the advisor would be asked about recorded data.",
    "cassette": "Look into recorded answers of an advisor, or check them.",
    "report": "Make the HTML report of a journal.",
    "doctor": "Check the set-up and say what is wrong with it.",
    "kill": "Latch the kill switch of a session.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"mm_hybrid.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mm-hybrid")
def cli() -> None:
    """Make markets on Bybit and Bitget: feed, book, optimizer and execution in one package."""


def main() -> NoReturn:
    """Run the command line and exit with its code; every known failure is one line on stderr."""
    _raise_file_limit()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with ``arguments`` and return its exit code."""
    _configure_logging()
    try:
        code = cli.main(args=arguments, prog_name="mm-hybrid", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _fail(_usage_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except SessionInterruptedError as error:
        return _fail(str(error), EXIT_INTERRUPTED)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except RiskStopError as error:
        return _fail(str(error), EXIT_RISK)
    except (MmHybridError, OSError) as error:
        return _fail(str(error), EXIT_FAILED)
    return code if isinstance(code, int) else 0


def _raise_file_limit() -> None:
    """Let this process open as many files as it may: those that overlap in time are read side by side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _configure_logging() -> None:
    """Send warnings to stderr as plain lines; retries of the exchange client are business as usual and journalled."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("stamina").setLevel(logging.ERROR)


def _usage_line(error: click.ClickException) -> str:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" (see '{error.ctx.command_path} --help')"
    return error.format_message() + hint


def _fail(message: str, code: int) -> int:
    click.echo(f"mm-hybrid: {' '.join(message.split())}", err=True)
    return code
