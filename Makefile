# elucidiff: `make demo` trains, samples and reports on real images; `make test` runs the tests.
# Both set up what they need first, in .venv.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test test-slow lint bench clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with everything installed

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## train on real digits, sample, write runs/demo/report.html (about 5 minutes on 2 cores)
	$(BIN)/elucidiff demo

test: setup ## the fast tests
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup ## the slow tests
	$(BIN)/python -m pytest -m slow

lint: setup ## ruff, mypy (strict), import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## side-by-side comparisons; each prints ratios
	$(BIN)/python -m benchmarks.sampler_throughput

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
