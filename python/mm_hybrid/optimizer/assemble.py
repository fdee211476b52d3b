"""Put the optimizer of a session together: the closed form, and an advisor if one is configured."""

from __future__ import annotations

from pydantic import SecretStr

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.optimizer.advisor import AdviceJournal, Advisor
from mm_hybrid.optimizer.base import SpreadOptimizer
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.glft import GlftOptimizer


def assemble(
    quoting: QuotingConfig,
    advising: AdvisorConfig,
    *,
    api_key: SecretStr | str | None,
    journal: AdviceJournal,
    clock: Clock,
) -> tuple[SpreadOptimizer, Advisor | None]:
    """Return the optimizer to quote with and its advisor.

    Offer every moment of the market to the advisor, and close it at the end.

    Without a key the advisor warns once and asks nothing; the closed form quotes alone.

    Raises:
        ConfigError: the advisor's URL or key cannot be used.
    """
    closed_form = GlftOptimizer(quoting)
    if not advising.enabled:
        return closed_form, None
    key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    client = AdvisorClient(advising, key, clock) if key is not None and key.get_secret_value() else None
    advisor = Advisor(advising, client, journal, clock, closed_form=closed_form)
    optimizer = AdvisedOptimizer(closed_form, advisor, max_weight=advising.weight, ttl_s=advising.ttl_s)
    return optimizer, advisor
