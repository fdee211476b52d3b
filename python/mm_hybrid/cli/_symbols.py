"""Which one of the symbols in a set of files is meant."""

from __future__ import annotations

import click


def choose(held: list[tuple[str, str]], exchange: str | None, symbol: str | None) -> tuple[str, str]:
    """Return the one ``(exchange, symbol)`` that fits; refuse none and several with what there is.

    A symbol that is not there as it is written is looked for in upper case, as exchanges write them.
    """
    if not held:
        raise click.ClickException("the files hold no book change and no trade up to that time")
    if symbol not in {name for _, name in held} and symbol is not None:
        symbol = symbol.upper()
    fitting = [(venue, name) for venue, name in held if exchange in (None, venue) and symbol in (None, name)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{venue} {name}" for venue, name in fitting or held)
    if fitting:
        option = "--exchange" if symbol else "--symbol"
        raise click.UsageError(f"the files hold several symbols, choose one with {option}: {listed}")
    wanted = " ".join(filter(None, (exchange, symbol)))
    option = "--symbol" if symbol else "--exchange"
    raise click.UsageError(f"{option}: {wanted} is not in the files, which hold: {listed}")
