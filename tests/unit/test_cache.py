"""The local cache: warm after a restart, harmless when its file is broken."""

import sqlite3

import pytest

from mm_hybrid._core import Cache, CacheError

DAY_NS = 86_400_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def put(cache, *, ts_ns, symbol="BTCUSDT", intensity_a=1.5):
    cache.put_calibration(
        "bybit",
        symbol,
        intensity_a=intensity_a,
        intensity_k=0.2,
        sigma=5.0,
        orders_seen=90,
        seconds_seen=60.5,
        ts_ns=ts_ns,
    )


def test_parameters_are_there_after_a_restart(path):
    with Cache(path) as cache:
        put(cache, ts_ns=1000)
    with Cache(path) as cache:
        found = cache.get_calibration("bybit", "BTCUSDT", DAY_NS, now_ns=2000)
    assert found is not None
    values = (
        found.ts_ns,
        found.intensity_a,
        found.intensity_k,
        found.sigma,
        found.orders_seen,
        found.seconds_seen,
    )
    assert values == (1000, 1.5, 0.2, 5.0, 90, 60.5)


def test_the_newest_parameters_of_the_symbol_are_returned(path):
    with Cache(path) as cache:
        put(cache, ts_ns=2000, intensity_a=2.0)
        put(cache, ts_ns=1000, intensity_a=1.0)
        put(cache, ts_ns=3000, intensity_a=3.0, symbol="ETHUSDT")
        found = cache.get_calibration("bybit", "BTCUSDT", DAY_NS, now_ns=3000)
    assert found.intensity_a == 2.0


def test_parameters_older_than_asked_for_are_not_returned(path):
    with Cache(path) as cache:
        put(cache, ts_ns=1000)
        assert cache.get_calibration("bybit", "BTCUSDT", 999, now_ns=2000) is None
        assert cache.get_calibration("bybit", "BTCUSDT", 1000, now_ns=2000) is not None
        assert cache.get_calibration("bitget", "BTCUSDT", DAY_NS, now_ns=2000) is None


def test_parameters_that_are_no_numbers_are_refused(path):
    with Cache(path) as cache, pytest.raises(ValueError, match="intensity_a"):
        put(cache, ts_ns=1, intensity_a=float("nan"))


def test_a_corrupt_file_is_set_aside_and_said_so(path):
    path.write_bytes(b"this is no database " * 500)
    with Cache(path) as cache:
        assert "corrupt" in cache.warning
        assert cache.errors == 0
        put(cache, ts_ns=1000)
        assert cache.get_calibration("bybit", "BTCUSDT", DAY_NS, now_ns=2000) is not None
    [aside] = path.parent.glob("cache.sqlite.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")


def test_a_file_of_a_newer_version_is_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CacheError, match="newer version"):
        Cache(path)


def test_a_path_that_cannot_be_created_is_one_clear_error(tmp_path):
    with pytest.raises(CacheError, match="nowhere"):
        Cache(tmp_path / "nowhere" / "cache.sqlite")


def test_a_closed_cache_says_so_and_closes_twice(path):
    cache = Cache(path)
    cache.close()
    cache.close()
    with pytest.raises(CacheError, match="closed"):
        cache.latest_snapshot("bybit", "BTCUSDT")


def test_the_file_is_readable_by_any_sqlite_while_open(path):
    with Cache(path) as cache:
        put(cache, ts_ns=1000)
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT symbol, sigma FROM calibration").fetchall() == [("BTCUSDT", 5.0)]
        connection.close()


def test_episodes_of_alarm_are_kept_and_found_by_symbol_and_time(path):
    episode = {
        "kind": "spike",
        "start_ns": 5,
        "end_ns": 9,
        "severity": "high",
        "score": 12.0,
        "threshold": 6.5,
        "mid": None,
        "reason": "move of 12.0 deviations",
    }
    with Cache(path) as cache:
        cache.record_spike("bybit", "BTCUSDT", episode)
        cache.record_spike("bybit", "BTCUSDT", {**episode, "start_ns": 50, "kind": "thin"})
        assert cache.spikes("bybit", "BTCUSDT") == [episode, {**episode, "start_ns": 50, "kind": "thin"}]
        assert [found["kind"] for found in cache.spikes("bybit", "BTCUSDT", 6)] == ["thin"]
        assert cache.spikes("bitget", "BTCUSDT") == []
        with pytest.raises(ValueError, match="`score` is missing"):
            cache.record_spike("bybit", "BTCUSDT", {key: episode[key] for key in episode if key != "score"})


def test_a_cache_without_room_is_refused(path):
    with pytest.raises(ValueError, match="max_mb"):
        Cache(path, max_mb=0)
