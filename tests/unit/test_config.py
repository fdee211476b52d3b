"""A configuration is checked key by key, and a mistake is named before anything starts."""

from pathlib import Path

import pytest

from mm_hybrid.config import load
from mm_hybrid.errors import ConfigError

GOOD = """
[market]
url = "ws://127.0.0.1:8001"
exchange = "bybit"
symbol = "BTCUSDT"

[venue]
name = "bybit"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "session.toml"
    path.write_text(text)
    return path


def test_the_least_configuration_gets_the_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    assert config.advisor.weight == 0, "advice is in shadow unless the user says otherwise"
    assert config.venue.demo, "live means the venue's demo hosts unless the user says otherwise"


@pytest.mark.parametrize(("own", "traded"), [("", "BTCUSDT"), ('symbol = "ETHUSDT"', "ETHUSDT")])
def test_what_is_traded_is_the_market_s_symbol_unless_the_venue_names_its_own(tmp_path, own, traded):
    config = load(written(tmp_path, GOOD + own))
    assert config.trading_venue.symbol == traded


def test_the_readme_s_example_is_a_configuration_that_has_what_a_local_exchange_needs(tmp_path):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("```toml\n")[2].partition("```")[0]
    text = example.replace("[venue]", '[venue]\nurl = "http://127.0.0.1:8100"')
    config = load(written(tmp_path, text))
    assert (config.trading_venue.symbol, config.trading_venue.url) == ("BTCUSDT", "http://127.0.0.1:8100")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + "\n[quoting]\norder_size = 5\n", ["quoting.order_size", "unknown key"]),
        (GOOD + "\n[quoting]\norder_size_quote = -5\n", ["quoting.order_size_quote", "-5", "greater than 0"]),
        (GOOD + "\n[quoting]\norder_size_quote = nan\n", ["quoting.order_size_quote", "nan", "finite"]),
        (GOOD + "\n[advisor]\nweight = 0.9\n", ["advisor.weight", "0.9"]),
        (GOOD.replace('name = "bybit"', 'name = "kraken"'), ["venue.name", "kraken", "bybit"]),
        (GOOD.replace("ws://127.0.0.1:8001", "ws://203.0.113.9:8001"), ["market.url", "unencrypted"]),
        (GOOD.replace("ws://127.0.0.1:8001", "8001"), ["market.url", "ws://host:port"]),
        (GOOD.replace('symbol = "BTCUSDT"', ""), ["market.symbol", "Field required"]),
        (GOOD + "\n[quoting]\norder_size_quote = 20000\n", ["order_size_quote", "max_order_quote"]),
        ("[market\n", ["no valid TOML", "line 1"]),
    ],
)
def test_a_mistake_names_file_key_value_and_reason(tmp_path: Path, text: str, named: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    for part in (str(path), *named):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@api.example.com/v1",
        "https://hunter2@api.example.com/v1",
        "https://api.example.com/v1?token=hunter2",
        "https://api.example.com/v1#hunter2",
        "HTTPS://a:hunter2@b@api.example.com",
        "ftp://hunter2@api.example.com",
        "https:/user:hunter2@api.example.com",
        "user:hunter2@api.example.com/v1",
    ],
)
def test_a_secret_in_the_advisor_s_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"advisor\.base_url") as caught:
        load(written(tmp_path, GOOD + f'\n[advisor]\nbase_url = "{url}"\n'))
    assert "hunter2" not in str(caught.value)
    assert "example.com" in str(caught.value)
    assert "api_key_env" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")
