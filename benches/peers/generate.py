"""Write the common input of the comparison: a BTCUSDT-like book as Tardis would record it, from a seed.

The folder gets ``book_change.ndjson`` (messages of a tardis-machine), ``incremental_book_L2.csv`` (the same changes as
a Tardis dataset) and ``truth.json`` (counts and the final book, so that every contestant can be checked).

The touch walks at random and takes the levels it passes with it, so that no message leaves the book crossed; most
other changes are near the touch, some are anywhere. A message changes five levels in the mean.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

EXCHANGE, SYMBOL = "binance-futures", "BTCUSDT"
START_US = 1_700_000_000_000_000
FIRST_BID_TICKS = 300_000
CSV_HEADER = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"


@dataclass(slots=True)
class Market:
    """A book in ticks of 0.1 and lots of 0.001, and the random draws that move it."""

    draw: random.Random
    levels: int
    best: dict[str, int] = field(default_factory=dict)
    book: dict[str, dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill every tick of both sides."""
        self.best = {"bids": FIRST_BID_TICKS, "asks": FIRST_BID_TICKS + 1}
        for side, away in (("bids", -1), ("asks", 1)):
            self.book[side] = {self.best[side] + away * d: self.lots(d) for d in range(self.levels)}

    def lots(self, distance: int) -> int:
        """Draw the size of a level, which grows with its distance from the touch."""
        return max(1, int(self.draw.lognormvariate(6.0, 1.2) * (1.0 + min(distance, 50) / 25.0)))

    def change(self) -> dict[str, dict[int, int]]:
        """Draw one message and apply it: the new lots by side and tick, 0 for a level that goes."""
        changed: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
        if self.draw.random() < 0.12:
            self._move_touch(changed)
        wanted = min(20, 1 + int(self.draw.expovariate(1 / 5.0)))
        while len(changed["bids"]) + len(changed["asks"]) < wanted:
            side, away = ("bids", -1) if self.draw.random() < 0.5 else ("asks", 1)
            distance = self._distance()
            tick = self.best[side] + away * distance
            if tick in changed[side]:
                wanted -= 1
                continue
            goes = distance > 0 and tick in self.book[side] and self.draw.random() < 0.3
            changed[side][tick] = 0 if goes else self.lots(distance)
        for side, levels in changed.items():
            for tick, lots in levels.items():
                if lots:
                    self.book[side][tick] = lots
                else:
                    self.book[side].pop(tick, None)
        return changed

    def _distance(self) -> int:
        kind = self.draw.random()
        if kind < 0.75:
            return int(self.draw.expovariate(1 / 6.0))
        return int(self.draw.expovariate(1 / 60.0)) if kind < 0.96 else int(self.draw.random() * self.levels)

    def _move_touch(self, changed: dict[str, dict[int, int]]) -> None:
        """Move the touch up or down: one side loses the levels passed, the other gains new ones."""
        step = 1 + int(self.draw.expovariate(1.2))
        up = self.draw.random() < 0.5
        loses, gains, way = ("asks", "bids", 1) if up else ("bids", "asks", -1)
        for tick in (self.best[loses] + way * d for d in range(step)):
            if tick in self.book[loses]:
                changed[loses][tick] = 0
        for d in range(1, step + 1):
            if d == step or self.draw.random() < 0.6:
                changed[gains][self.best[gains] + way * d] = self.lots(1)
        for side in self.best:
            self.best[side] += way * step
        there = self.best[loses]
        changed[loses][there] = self.book[loses].get(there) or self.lots(1)


def main() -> None:
    """Write the files and print what they hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=2_000_000, help="level updates after the snapshot")
    parser.add_argument("--levels", type=int, default=1000, help="levels a side in the snapshot")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(json.dumps(write(options.out, updates=options.updates, levels=options.levels, seed=options.seed)))


def write(folder: Path, *, updates: int, levels: int, seed: int) -> dict[str, float]:
    """Write the three files and return what is true of them."""
    draw = random.Random(seed)
    market = Market(draw, levels)
    us = START_US
    local_us = us + 2000
    messages = total = 0
    with (
        (folder / "book_change.ndjson").open("w") as ndjson,
        (folder / "incremental_book_L2.csv").open("w") as csv,
    ):
        csv.write(CSV_HEADER)
        changed, is_snapshot = market.book, True
        snapshot_levels = 2 * levels
        while True:
            sides = [sorted(changed["bids"].items(), reverse=True), sorted(changed["asks"].items())]
            ndjson.write(_message(sides, us, local_us, is_snapshot=is_snapshot))
            csv.write(_rows(sides, us, local_us, is_snapshot=is_snapshot))
            messages += 1
            total += len(sides[0]) + len(sides[1])
            if total - snapshot_levels >= updates:
                break
            us += max(1, int(draw.expovariate(1 / 5000.0)))
            local_us = max(local_us, us + 1500 + int(draw.expovariate(1 / 500)))
            changed, is_snapshot = market.change(), False
    truth = {
        "seed": seed,
        "messages": messages,
        "level_updates": total,
        "best_bid": market.best["bids"] / 10,
        "best_ask": market.best["asks"] / 10,
        "bid_levels": len(market.book["bids"]),
        "ask_levels": len(market.book["asks"]),
        "bid_lots": sum(market.book["bids"].values()),
        "ask_lots": sum(market.book["asks"].values()),
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))
    return truth


def _price(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}" if ticks % 10 else str(ticks // 10)


def _amount(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03}".rstrip("0").rstrip(".")


def _iso(us: int) -> str:
    second = datetime.fromtimestamp(us // 1_000_000, tz=UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{us // 1000 % 1000:03}Z"


def _message(sides: list[list[tuple[int, int]]], us: int, local_us: int, *, is_snapshot: bool) -> str:
    bids, asks = (
        ",".join(f'{{"price":{_price(ticks)},"amount":{_amount(lots)}}}' for ticks, lots in side)
        for side in sides
    )
    return (
        f'{{"type":"book_change","symbol":"{SYMBOL}","exchange":"{EXCHANGE}","isSnapshot":{str(is_snapshot).lower()},'
        f'"bids":[{bids}],"asks":[{asks}],"timestamp":"{_iso(us)}","localTimestamp":"{_iso(local_us)}"}}\n'
    )


def _rows(sides: list[list[tuple[int, int]]], us: int, local_us: int, *, is_snapshot: bool) -> str:
    start = f"{EXCHANGE},{SYMBOL},{us},{local_us},{str(is_snapshot).lower()}"
    return "".join(
        f"{start},{name},{_price(ticks)},{_amount(lots)}\n"
        for name, side in zip(("bid", "ask"), sides, strict=True)
        for ticks, lots in side
    )


if __name__ == "__main__":
    main()
