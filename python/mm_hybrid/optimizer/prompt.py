"""What an advisor is asked: numbers and closed enums only, the same bytes for the same market.

Nothing a stranger can write reaches the prompt: no symbol, no date, no news, no text of the exchange. There are two
profiles. ``exogenous`` leaves inventory out too: it depends on earlier advice, and with it no recorded answer could be
replayed under another strategy. ``seed`` tells what the article behind this project told, inventory included, with the
units and sides it left open; it is for comparison.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from mm_hybrid.models import UsualTouch
from mm_hybrid.optimizer.advice import AdviceReply
from mm_hybrid.types import Features

CONTRACT = "mmh-advice/1"
MAX_REPLY_TOKENS = 200

ResponseFormat = Literal["json_schema", "json_object", "none"]

PromptProfile = Literal["exogenous", "seed"]

PROMPT_VERSIONS: dict[PromptProfile, str] = {"exogenous": "exogenous/1", "seed": "seed/1"}
"""Name and version of each profile; another text or another field is another version."""

INVENTORY_BUCKET = 0.25
"""Inventory is told in these fractions of its limit, so that every fill does not make another question."""

PRICE_TOLERANCE = 1e-4
"""Share of a price that four decimals may lose, one basis point; with more it gets more digits."""

QUANTITY_TOLERANCE = 1e-3
"""The same for a quantity."""

_LEAST = 1e-15  # what is smaller is told as 0

_EXOGENOUS_TEXT = (
    "You advise a market maker on how far from the mid price to quote. You receive one JSON object of "
    "market measurements; every name carries its unit, null means not yet known. base_bid_half_bps and "
    "base_ask_half_bps are the half-spreads a calibrated model would use, before inventory is considered; "
    "floor_half_bps is the least that covers costs. Return one JSON object and nothing else, with exactly "
    "these fields: recommended_bid_spread_bps and recommended_ask_spread_bps (half-spreads in basis "
    "points of mid, each side separately, close to the base unless the measurements speak against it, "
    "never beyond three times the base), position_limit (0 to 1, fraction of the allowed position), "
    "confidence (0 to 1), anomaly (one of none, spike, thin_book, one_sided, data_fault), reasoning (one "
    "sentence of at most 200 characters)."
)

_SEED_TEXT = (
    "You advise a market maker on how far from the mid price to quote. You receive one JSON object; every name carries "
    "its unit, null means not yet known; base means the traded coin, quote the currency it is priced in. "
    "base_bid_half_bps and base_ask_half_bps are the half-spreads a calibrated model would use, before inventory is "
    "considered; floor_half_bps is the least that covers costs; inv_frac is the signed inventory as a fraction of "
    "inventory_limit_base. Analyse price pattern, anomalies and risk. Return one JSON object and nothing else, with "
    "exactly these fields: recommended_bid_spread_bps and recommended_ask_spread_bps (half-spreads in basis points of "
    "mid, each side separately, never beyond three times the base), position_limit (absolute cap, base units, at most "
    "inventory_limit_base), confidence (0 to 1), anomaly (one of none, spike, thin_book, one_sided, data_fault), "
    "reasoning (one sentence of at most 200 characters)."
)

SYSTEM_TEXTS: dict[PromptProfile, str] = {"exogenous": _EXOGENOUS_TEXT, "seed": _SEED_TEXT}

_REASONING_MODELS = re.compile(r"(^|/)(o\d|gpt-[5-9])")
_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "title",
    "description",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderProfile:
    """How one family of models wants its parameters named.

    Attributes:
        response_format: how the reply's shape is asked for.
        max_tokens_name: name of the limit on the reply's length.
        temperature: sent as it is; ``None`` leaves it out.
    """

    response_format: ResponseFormat = "json_schema"
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: float | None = 0.0


def profile_for(model: str, response_format: ResponseFormat = "json_schema") -> ProviderProfile:
    """Return the parameter dialect of a model by its name; reasoning families refuse two usual names."""
    if _REASONING_MODELS.search(model):
        return ProviderProfile(
            response_format=response_format, max_tokens_name="max_completion_tokens", temperature=None
        )
    return ProviderProfile(response_format=response_format)


class Anchors(NamedTuple):
    """What the model would quote, told to the advisor so that it need not guess the scale; bps of mid."""

    bid_half_bps: float
    ask_half_bps: float
    floor_half_bps: float


class Inventory(NamedTuple):
    """Signed position and its limit, base units; only the profile ``seed`` tells them."""

    qty_base: float = 0.0
    limit_base: float = 0.0

    @property
    def bucket(self) -> float:
        """Inventory over its limit in steps of :data:`INVENTORY_BUCKET`, -1..1."""
        if self.limit_base <= 0:
            return 0.0
        share = min(max(self.qty_base / self.limit_base, -1.0), 1.0)
        return round(share / INVENTORY_BUCKET) * INVENTORY_BUCKET


class PromptBuilder:
    """Turns features into the user message; what a moment is compared with is remembered in the core."""

    def __init__(self, profile: PromptProfile = "exogenous") -> None:
        self.profile: PromptProfile = profile
        self._usual = UsualTouch()

    def observe(self, features: Features) -> tuple[float, float | None, float | None]:
        """Take note of a moment; call it with every one, it keeps few.

        Returns:
            Mid index, best bid and best ask quantity in multiples of the usual.
        """
        return self._usual.observe(
            features.timestamp_ns, features.mid_price, features.best_bid_qty, features.best_ask_qty
        )

    def user_text(self, features: Features, anchors: Anchors, inventory: Inventory = Inventory()) -> str:  # noqa: B008
        """Return the user message: one canonical JSON object, sorted keys, plain decimals, no whitespace."""
        mid_index, bid_qty_rel, ask_qty_rel = self.observe(features)
        common: dict[str, str | bool | float | None] = {
            "contract": CONTRACT,
            "asset": "A1",
            "market_spread_bps": features.spread_bps,
            "imbalance_l5": features.imbalance,
            "depth_bid_quote": features.depth_bid_quote,
            "depth_ask_quote": features.depth_ask_quote,
            "depth_complete": features.depth_covered_pct >= 10.0,
            "sigma_1m_bps": features.volatility_1m_bps,
            "ret_10s_bps": features.return_10s_bps,
            "ret_60s_bps": features.return_60s_bps,
            "trade_imb_60s": features.trade_imbalance_60s,
            "spike": features.spike,
            "base_bid_half_bps": anchors.bid_half_bps,
            "base_ask_half_bps": anchors.ask_half_bps,
            "floor_half_bps": anchors.floor_half_bps,
        }
        if self.profile == "seed":
            return canonical(
                {
                    **common,
                    "mid_price_quote": features.mid_price,
                    "bid_volume_base": features.best_bid_qty,
                    "ask_volume_base": features.best_ask_qty,
                    "inv_frac": inventory.bucket,
                    "inventory_limit_base": inventory.limit_base,
                    "risk_frac": abs(inventory.bucket),
                }
            )
        return canonical(
            {
                **common,
                "mid_index": mid_index,
                "bid_qty_rel": bid_qty_rel,
                "ask_qty_rel": ask_qty_rel,
            }
        )


def canonical(fields: dict[str, str | bool | float | None]) -> str:
    """Return flat fields as JSON whose bytes depend on the values alone: sorted keys, four decimals.

    A price or a quantity that four decimals would lose has six significant digits. What is no finite number is
    ``null``.
    """

    def text(name: str, value: str | bool | float | None) -> str:
        if isinstance(value, (str, bool)) or value is None:
            return json.dumps(value)
        return _decimals(value, _tolerance(name)) if math.isfinite(value) else "null"

    return "{" + ",".join(f'"{name}":{text(name, value)}' for name, value in sorted(fields.items())) + "}"


def _tolerance(name: str) -> float | None:
    """Return how much of itself a field may lose to rounding; ``None`` for one that is no price and no quantity."""
    if name == "mid_price_quote":
        return PRICE_TOLERANCE
    return QUANTITY_TOLERANCE if name.endswith(("_base", "_quote")) else None


def _decimals(value: float, tolerance: float | None) -> str:
    fixed = f"{value:.4f}"
    if tolerance is not None and abs(value) >= _LEAST:
        # Decided on what would be written, so that reading and writing again gives the same.
        exact = Decimal(f"{value:.6g}")
        if abs(Decimal(fixed) - exact) > Decimal(tolerance) * abs(exact):
            return f"{exact:f}"
    return "0.0000" if fixed == "-0.0000" else fixed


def chat_request(
    model: str, user_text: str, profile: ProviderProfile, prompt: PromptProfile = "exogenous"
) -> dict[str, Any]:
    """Return the body of a chat-completion request.

    Source: OpenAI API reference, Create chat completion.
    """
    request: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM_TEXTS[prompt]},
            {"role": "user", "content": user_text},
        ],
        profile.max_tokens_name: MAX_REPLY_TOKENS,
        "stream": False,
    }
    if profile.temperature is not None:
        request["temperature"] = profile.temperature
    if profile.response_format == "json_schema":
        schema = {"name": "advice", "strict": True, "schema": wire_schema()}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif profile.response_format == "json_object":
        request["response_format"] = {"type": "json_object"}
    return request


def wire_body(request: Mapping[str, Any]) -> bytes:
    """Return a request as it is sent, byte for byte."""
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@functools.cache
def wire_schema() -> dict[str, Any]:
    """Return the reply's JSON schema in the subset that strict modes take: every field required, no bounds.

    Bounds are checked here, after the reply came: vendors disagree on which of them a schema may carry.

    Source: OpenAI guide, Structured Outputs, supported schemas.
    """
    full = AdviceReply.model_json_schema()
    definitions = full.get("$defs", {})

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return {key: value for key, value in node.items() if key not in _BOUNDS}

    properties = {name: plain(node) for name, node in full["properties"].items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
