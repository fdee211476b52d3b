"""Put the optimizer of a session together: the configured model, its fallbacks, and an advisor if there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from mm_hybrid._core import __version__
from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.optimizer import custom
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.avellaneda import AvellanedaStoikov
from mm_hybrid.optimizer.base import Model, SpreadOptimizer
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.budget import price_of
from mm_hybrid.optimizer.cassette import FORMAT, Cassette, Header, Recorder, Replay
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.exact import ExactBounded
from mm_hybrid.optimizer.fallback import Fallback
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.optimizer.ledger import Ledger
from mm_hybrid.optimizer.prompt import CONTRACT, PROMPT_VERSIONS
from mm_hybrid.optimizer.question import AdviceJournal
from mm_hybrid.optimizer.seed_pnl import SeedPnl

LEDGER_FILE = "advice-spend.sqlite"
"""Name of the ledger of what advice has cost, in a session's output folder."""

MODELS: dict[str, Callable[[QuotingConfig], Model]] = {
    "glft": GlftOptimizer,
    "avellaneda_stoikov": AvellanedaStoikov,
    "exact": ExactBounded,
    "seed_pnl": SeedPnl,
}
"""Models by the names ``quoting.optimizer`` takes."""


class OptimizerJournal(AdviceJournal, Protocol):
    """Where advice and changes of basis are recorded."""

    def state(self, what: str, value: str, detail: str = "") -> object:
        """Record a change of state."""
        ...


def model_of(quoting: QuotingConfig) -> Model:
    """Return the model a configuration names.

    Raises:
        ConfigError: a class of the user's own is missing. StrategyError: it cannot be made.
    """
    made_by = MODELS.get(quoting.optimizer)
    return custom.load(quoting.optimizer, quoting) if made_by is None else made_by(quoting)


def assemble(
    quoting: QuotingConfig,
    advising: AdvisorConfig,
    *,
    api_key: SecretStr | str | None,
    journal: OptimizerJournal,
    clock: Clock,
    folder: Path | None = None,
) -> tuple[SpreadOptimizer, Advisor | None]:
    """Return the optimizer to quote with and its advisor.

    Offer every moment of the market to the advisor, and close it at the end.

    Without a key the advisor warns once and asks nothing; the model quotes alone.

    Args:
        quoting: names the model.
        advising: the advisor.
        api_key: its key; ``None`` when there is none.
        journal: where outcomes and changes of basis are recorded.
        clock: cadence and budget run on it.
        folder: where the ledger of what advice has cost is kept, unless the configuration names its file; ``None``
            keeps it in memory.

    Raises:
        ConfigError: the model, the advisor's URL or key, or the cassette cannot be used.
    """

    def tell(basis: str, reason: str) -> None:
        journal.state("quotes:basis", basis, reason)

    model = Fallback(model_of(quoting), quoting, tell)
    if not advising.enabled:
        return AdvisedOptimizer(model, None), None
    key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    client, recorder, replay = None, None, None
    if advising.cassette_mode in {"replay", "replay_strict"} and advising.cassette is not None:
        replay = Replay(Cassette.read(advising.cassette), pass_id=advising.cassette_pass)
    elif key is not None and key.get_secret_value():
        client = AdvisorClient(advising, key, clock)
        if advising.cassette_mode == "record" and advising.cassette is not None:
            recorder = Recorder(
                advising.cassette, header_of(advising, clock.now_ns()), pass_id=advising.cassette_pass
            )
    spend_file = advising.spend_file or (None if folder is None else folder / LEDGER_FILE)
    ledger = Ledger(None if replay else spend_file, now_ns=clock.now_ns())
    advisor = Advisor(
        advising, client, journal, clock, model=model, ledger=ledger, recorder=recorder, replay=replay
    )
    return AdvisedOptimizer(model, advisor, max_weight=advising.weight, ttl_s=advising.ttl_s), advisor


def header_of(advising: AdvisorConfig, now_ns: int) -> Header:
    """Return the first line of a cassette recorded with this configuration."""
    price = price_of(advising)
    return Header(
        format=FORMAT,
        contract=CONTRACT,
        prompt=PROMPT_VERSIONS[advising.prompt],
        model=advising.model,
        base_url=advising.base_url,
        response_format=advising.response_format,
        price_in_usd_per_mtok=None if price is None else price.in_usd_per_mtok,
        price_out_usd_per_mtok=None if price is None else price.out_usd_per_mtok,
        code_version=__version__,
        created_ns=now_ns,
    )
