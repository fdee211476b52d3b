"""Every formula reproduces its vectors: one test per group and case of the file given by ``--vectors``."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mm_hybrid import models

Compute = Callable[[dict[str, Any], str | None], dict[str, Any]]


def attributes(result: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(result, name) for name in names}


def glft_closed_form(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    renamed = {"A": "intensity_a", "k": "intensity_k", "mu": "drift"}
    quotes = models.glft_closed_form(**{renamed.get(name, name): value for name, value in inp.items()})
    return attributes(quotes, "c1", "c2", "half_spread", "skew_per_unit", "delta_bid", "delta_ask")


def weighted_mid(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    return attributes(
        models.weighted_mid(**inp), "mid", "imbalance", "imbalance_signed", "weighted_mid", "spread_bps"
    )


def ewma_vol(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    return {"sigma": models.ewma_vol(**inp)}


def as_quotes(inp: dict[str, Any], variant: str | None) -> dict[str, Any]:
    return models.as_reservation(**inp) if variant == "infinite" else models.as_quotes(**inp)


def ofi(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    events = models.ofi(**inp)
    return {"events": events, "total": sum(events)}


def vpin(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    return {"vpin": models.vpin(**inp)}


def exact_bounded(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    renamed = {"A": "intensity_a", "k": "intensity_k", "mu": "drift", "Q": "max_lots", "T": "horizon_s"}
    quotes = models.exact_quotes(**{renamed.get(name, name): value for name, value in inp.items()})
    return {
        **quotes,
        "eig_min": quotes["eigenvalue"],
        "ce_rate": quotes["best_rate"],
        "q_lots": quotes["lots"],
    }


def seed_pnl(inp: dict[str, Any], variant: str | None) -> dict[str, Any]:
    renamed = {"A": "intensity_a", "k": "intensity_k", "hold": "hold_s", "timeout": "timeout_s"}
    arguments = {renamed.get(name, name): value for name, value in inp.items()}
    by_variant: dict[str | None, Callable[..., dict[str, float]]] = {
        "linear": models.seed_pnl_linear,
        "toxic": models.seed_pnl_toxic,
        "renewal": models.seed_pnl_renewal,
    }
    best = by_variant[variant](**arguments)
    return {
        **best,
        "delta_opt": best["delta"],
        "p_loss_at_opt": best.get("p_loss"),
        "mean_hold_s": best["hold_s"],
        "lambda_per_s": best["fills_per_s"],
    }


def ak_fit(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    fits = models.fit_intensity(edges=inp["edges"], counts=inp["counts"], seconds=inp["T_s"])
    renamed = {"intensity_a": "A", "intensity_k": "k", "se_log_a": "se_logA", "se_k": "se_k"}
    return {
        method: None if line is None else {renamed[name]: value for name, value in line.items()}
        for method, line in fits.items()
    }


def microprice_markov(inp: dict[str, Any], _variant: str | None) -> dict[str, Any]:
    got = models.microprice_markov(stay=inp["Q"], jump=inp["R"], moves=inp["K"], land=inp["T"])
    return {"g1": got["g1"], "B": got["b"], "g6": got["g6"], "g_limit": got["limit"]}


def same_names(function: Callable[..., dict[str, Any]]) -> Compute:
    """A function whose arguments and results are named as in the file."""
    return lambda inp, _variant: function(**inp)


GROUPS: dict[str, Compute] = {
    "ak_fit": ak_fit,
    "as_quotes": as_quotes,
    "cusum": same_names(models.cusum),
    "ewma_vol": ewma_vol,
    "exact_bounded": exact_bounded,
    "glft_closed_form": glft_closed_form,
    "hampel": same_names(models.hampel),
    "lee_mykland": same_names(models.lee_mykland),
    "microprice_markov": microprice_markov,
    "ofi": ofi,
    "seed_pnl": seed_pnl,
    "vol_estimators": same_names(models.vol_estimators),
    "vpin": vpin,
    "weighted_mid": weighted_mid,
}


@dataclass(frozen=True)
class Case:
    group: str
    id: str
    variant: str | None
    input: dict[str, Any]
    expected: dict[str, Any]
    tolerance: dict[str, float]


def read_cases(path: Path) -> list[Case]:
    if not path.is_file():
        raise pytest.UsageError(f"--vectors {path}: no such file")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema") != "mm-model-vectors/1":
        raise pytest.UsageError(
            f"--vectors {path}: schema {content.get('schema')!r}, not 'mm-model-vectors/1'"
        )
    return [
        Case(
            group,
            case["id"],
            case.get("variant"),
            case["input"],
            case["expected"],
            content["tolerances"][group],
        )
        for group, cases in content["groups"].items()
        for case in cases
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = read_cases(metafunc.config.getoption("--vectors"))
    metafunc.parametrize("case", cases, ids=[f"{case.group}-{case.id}" for case in cases])


def assert_close(got: Any, expected: Any, tolerance: dict[str, float], where: str) -> None:
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_close(got[name], value, tolerance, f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            assert_close(g, e, tolerance, f"{where}[{i}]")
    elif expected is None or isinstance(expected, bool):
        assert got is expected or got == expected, where
    else:
        assert got is not None, where
        allowed = tolerance["atol"] + tolerance["rtol"] * abs(expected)
        assert abs(got - expected) <= allowed, f"{where}: {got!r}, expected {expected!r} within {allowed:.3g}"


def test_vectors(case: Case) -> None:
    compute = GROUPS.get(case.group)
    if compute is None:
        pytest.skip(f"group {case.group} is not built yet")
    assert_close(compute(case.input, case.variant), case.expected, case.tolerance, case.group)
