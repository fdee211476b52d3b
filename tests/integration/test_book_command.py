"""``mm-hybrid book`` against an independent rebuild of every recorded file."""

import csv
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mm_hybrid.cli import run

NDJSON = [
    "binance-futures_BTCUSDT_2024-08-08",
    "binance_BTCUSDT_2024-08-08",
    "binance_BTCUSDT_2024-08-09",
    "binance_ETHUSDT_2024-08-08",
    "bitget_SPOT_2022-04-07",
    "bybit_PERPETUALS_2021-04-17",
    "bybit_XRPUSDT_2024-12-01",
]
TWINS = [
    ("binance-futures", "BTCUSDT", "2024-08-08"),
    ("binance", "BTCUSDT", "2024-08-08"),
    ("binance", "BTCUSDT", "2024-08-09"),
    ("binance", "ETHUSDT", "2024-08-08"),
    ("bitget", "AVAXUSDT", "2022-04-07"),
    ("bitget", "EOSUSDT", "2022-04-07"),
    ("bybit", "ETHUSDT", "2021-04-17"),
    ("bybit", "LTCUSDT", "2021-04-17"),
    ("bybit", "XRPUSDT", "2024-12-01"),
]


def parse_ns(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


class Rebuilt:
    """One symbol, kept as plainly as possible: two dicts of decimals."""

    def __init__(self):
        self.sides = {"bids": {}, "asks": {}}
        self.synced = False
        self.book_changes = self.trades = self.local_ts_ns = 0

    def take(self, message):
        if message["type"] == "trade":
            self.trades += 1
            return
        self.book_changes += 1
        if message["isSnapshot"]:
            self.sides = {"bids": {}, "asks": {}}
            self.synced = True
        if not self.synced:
            return
        self.local_ts_ns = parse_ns(message["localTimestamp"])
        for name, side in self.sides.items():
            for level in message[name]:
                if level["amount"]:
                    side[level["price"]] = level["amount"]
                else:
                    side.pop(level["price"], None)

    def levels(self, name):
        side = self.sides[name]
        return [[float(price), float(side[price])] for price in sorted(side, reverse=name == "bids")]


def rebuild(path, until_ns=None):
    """Return the messages read and the books of every symbol of an NDJSON file."""
    books = {}
    messages = 0
    with gzip.open(path, "rt") as file:
        for line in file:
            message = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            if until_ns is not None and parse_ns(message["localTimestamp"]) > until_ns:
                break
            messages += 1
            books.setdefault(message["symbol"], Rebuilt()).take(message)
    return messages, books


def book_json(capsys, *arguments):
    assert run(["book", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *arguments):
    """Return exit code and the one line on stderr of a call that must fail."""
    code = run(["book", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return code, captured.err


def assert_equal_books(shown, expected):
    assert shown["bids"] == expected.levels("bids")
    assert shown["asks"] == expected.levels("asks")
    assert shown["levels"] == {"bid": len(expected.sides["bids"]), "ask": len(expected.sides["asks"])}


@pytest.mark.parametrize("stem", NDJSON)
def test_the_final_book_of_every_symbol_equals_an_independent_rebuild(stem, data_dir, capsys):
    path = data_dir / f"{stem}.ndjson.gz"
    messages, books = rebuild(path)
    for symbol, expected in books.items():
        shown = book_json(capsys, path, "--symbol", symbol)
        assert_equal_books(shown, expected)
        counts = (shown["messages"], shown["book_changes"], shown["trades"], shown["local_ts_ns"])
        assert counts == (messages, expected.book_changes, expected.trades, expected.local_ts_ns)
        assert (shown["symbol"], shown["state"], shown["crossed_levels_pruned"]) == (symbol, "LIVE", 0)


@pytest.mark.parametrize(("exchange", "symbol", "date"), TWINS)
def test_the_csv_twin_gives_the_same_book(exchange, symbol, date, data_dir, capsys):
    book_file = data_dir / f"{exchange}_incremental_book_L2_{date}_{symbol}.csv.gz"
    trade_file = data_dir / f"{exchange}_trades_{date}_{symbol}.csv.gz"
    files = [path for path in (book_file, trade_file) if path.exists()]
    of_day = [stem for stem in NDJSON if stem.startswith(f"{exchange}_") and stem.endswith(date)]
    stem = next((stem for stem in of_day if symbol in stem), of_day[0])
    _, books = rebuild(data_dir / f"{stem}.ndjson.gz")
    shown = book_json(capsys, *files)
    assert_equal_books(shown, books[symbol])
    with gzip.open(book_file, "rt") as file:
        rows = list(csv.DictReader(file))
    trade_rows = len(gzip.decompress(trade_file.read_bytes()).splitlines()) - 1 if trade_file.exists() else 0
    assert shown["messages"] == len(rows) + trade_rows
    assert shown["book_changes"] == len({row["local_timestamp"] for row in rows})
    assert shown["trades"] == trade_rows == books[symbol].trades


@pytest.mark.parametrize("as_iso", [True, False])
def test_at_stops_after_a_local_time(as_iso, data_dir, capsys):
    path = data_dir / "binance_ETHUSDT_2024-08-08.ndjson.gz"
    text = "2024-08-08T23:56:00.5Z"
    messages, books = rebuild(path, until_ns=parse_ns(text))
    shown = book_json(capsys, path, "--at", text if as_iso else parse_ns(text))
    assert_equal_books(shown, books["ETHUSDT"])
    assert shown["messages"] == messages


def test_depth_cuts_the_levels_shown_and_nothing_else(data_dir, capsys):
    path = data_dir / "bybit_XRPUSDT_2024-12-01.ndjson.gz"
    whole, cut = book_json(capsys, path), book_json(capsys, path, "--depth", 7)
    assert (cut["bids"], cut["asks"]) == (whole["bids"][:7], whole["asks"][:7])
    assert (cut["levels"], cut["metrics"]) == (whole["levels"], whole["metrics"])


def test_metrics_follow_from_the_levels(data_dir, capsys):
    shown = book_json(capsys, data_dir / "binance-futures_BTCUSDT_2024-08-08.ndjson.gz")
    (bid, bid_qty), (ask, ask_qty) = shown["bids"][0], shown["asks"][0]
    metrics, mid = shown["metrics"], (bid + ask) / 2
    share = bid_qty / (bid_qty + ask_qty)
    assert metrics["mid_price"] == pytest.approx(mid)
    assert metrics["spread_bps"] == pytest.approx(1e4 * (ask - bid) / mid)
    assert metrics["microprice"] == pytest.approx(share * ask + (1 - share) * bid)
    near = [sum(qty for _, qty in shown[side][:5]) for side in ("bids", "asks")]
    assert metrics["imbalance"] == pytest.approx((near[0] - near[1]) / sum(near))
    in_band = [(p, q) for p, q in shown["bids"] if p >= 0.9 * mid]
    assert metrics["depth_10pct"]["bid_base"] == pytest.approx(sum(q for _, q in in_band))
    assert metrics["depth_10pct"]["bid_quote"] == pytest.approx(sum(p * q for p, q in in_band))
    assert metrics["volatility_1m"] > 0


def test_without_json_a_table_is_printed(data_dir, capsys):
    assert run(["book", str(data_dir / "bybit_XRPUSDT_2024-12-01.ndjson.gz"), "--depth", "3"]) == 0
    printed = capsys.readouterr().out
    assert "XRPUSDT" in printed
    assert "LIVE" in printed
    assert "spread" in printed


def test_prices_are_shown_as_the_exchange_wrote_them(tmp_path, capsys):
    levels = '{"price":30000.2,"amount":2.315},{"price":30000,"amount":0.00000007}'
    stamp = '"timestamp":"2024-08-08T00:00:00.000Z","localTimestamp":"2024-08-08T00:00:00.000Z"'
    head = '{"type":"book_change","symbol":"BTCUSDT","exchange":"bybit","isSnapshot":true'
    (tmp_path / "book.ndjson").write_text(f'{head},"bids":[{levels}],"asks":[],{stamp}}}\n')
    assert run(["book", str(tmp_path / "book.ndjson")]) == 0
    cells = capsys.readouterr().out.replace("│", " ").split()
    assert {"30000.2", "2.315", "30000", "0.00000007"} <= set(cells)


def test_several_symbols_and_no_choice_is_refused_with_the_list(data_dir, capsys):
    code, line = refusal(capsys, data_dir / "bybit_PERPETUALS_2021-04-17.ndjson.gz", "--json")
    assert code == 2
    for symbol in ("ADA", "BCH", "DOT", "ETH", "LINK", "LTC", "UNI", "XTZ"):
        assert f"bybit {symbol}USDT" in line


def test_one_symbol_on_two_exchanges_needs_the_exchange(data_dir, capsys):
    files = [
        data_dir / f"{exchange}_BTCUSDT_2024-08-08.ndjson.gz" for exchange in ("binance", "binance-futures")
    ]
    code, line = refusal(capsys, *files, "--symbol", "BTCUSDT")
    assert (code, "--exchange" in line) == (2, True)
    assert book_json(capsys, *files, "--exchange", "binance")["exchange"] == "binance"


def test_a_symbol_may_be_given_in_letters_of_any_case(data_dir, capsys):
    path = data_dir / "bybit_XRPUSDT_2024-12-01.ndjson.gz"
    assert book_json(capsys, path, "--symbol", "xrpusdt") == book_json(capsys, path, "--symbol", "XRPUSDT")


def test_an_unknown_symbol_is_refused_with_what_there_is(data_dir, capsys):
    code, line = refusal(capsys, data_dir / "bybit_XRPUSDT_2024-12-01.ndjson.gz", "--symbol", "NOPE")
    assert code == 2
    assert "NOPE is not in the files, which hold: bybit XRPUSDT" in line


@pytest.mark.parametrize("suffix", [".ndjson.gz", ".csv.gz"])
def test_a_gz_cut_short_is_an_error_that_names_file_and_line(suffix, data_dir, tmp_path, capsys):
    whole = next(iter(sorted(data_dir.glob(f"binance_*{suffix}")))).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: len(whole) // 2])
    code, line = refusal(capsys, cut, "--json")
    assert code == 1
    assert f"{cut}:" in line
    assert "cut short" in line


def test_a_broken_line_is_an_error_that_names_it(tmp_path, capsys):
    good = json.dumps({"type": "trade", "symbol": "S", "exchange": "x", "price": 1, "amount": 1,
                       "localTimestamp": "2024-01-01T00:00:00.000000Z"})  # fmt: skip
    broken = tmp_path / "broken.ndjson"
    broken.write_text(f"{good}\n{good}\n{good[:40]}\n{good}\n")
    code, line = refusal(capsys, broken)
    assert (code, f"{broken}:3: " in line) == (1, True)


def test_a_missing_file_is_a_wrong_argument(tmp_path, capsys):
    code, line = refusal(capsys, tmp_path / "missing.ndjson.gz")
    assert (code, "missing.ndjson.gz" in line) == (2, True)


def test_an_empty_file_holds_no_book(tmp_path, capsys):
    empty = tmp_path / "empty.ndjson"
    empty.touch()
    code, line = refusal(capsys, empty)
    assert (code, "empty.ndjson: the file is empty" in line) == (1, True)


@pytest.mark.parametrize("arguments", [["--at", "noon"], ["--depth", "0"], ["--depht", "3"]])
def test_a_wrong_option_is_named(arguments, data_dir, capsys):
    code, line = refusal(capsys, data_dir / "bybit_XRPUSDT_2024-12-01.ndjson.gz", *arguments)
    assert (code, arguments[0] in line) == (2, True)


@pytest.mark.parametrize("time", ["99999999999999999999", "-9223372036854775809", "0001-01-01", "9999-12-31"])
def test_a_time_that_nanoseconds_cannot_name_is_a_wrong_argument_in_one_line(capsys, tmp_path, time):
    assert run(["book", "--at", time, str(tmp_path)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert f"'{time}' is not within the years 1678 to 2261" in errors
    assert len(errors.splitlines()) == 1
