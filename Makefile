# elucidiff: `make demo` trains, samples and reports on real images; `make test` runs the tests.
# Both set up what they need first, in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The augmentation of Karras et al. 2022, App. F.2, with the probability of their CIFAR-10 runs.
AUGMENT := --augment.p 0.12 --augment.xflip 1e8 --augment.yflip 1 --augment.scale 1 --augment.rotate-frac 1 \
	--augment.aniso 1 --augment.translate-frac 1

.PHONY: help setup demo test test-slow coverage lint docs bench pictures clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with everything installed

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "elucidiff needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## train on real digits, sample, write runs/demo/report.html (about 4 minutes on 2 cores)
	$(BIN)/elucidiff demo

test: setup ## the fast tests, two at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-slow: setup ## the slow tests, two at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2

# Left out are tests that limit the size of files or the time of a step: both count what the measurement itself takes.
UNMEASURED := full_disk or file_size_limit or cost_more_than_they_say
coverage: setup ## the fast tests once more, measured: 90% of the branches of src have to be taken
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -m "not slow" -k "not ($(UNMEASURED))" -n 2 -q
	-$(BIN)/coverage combine -q
	$(BIN)/coverage report --sort=cover
	$(BIN)/coverage json -q -o .coverage.json
	@$(BIN)/python -c 'import json; share = json.load(open(".coverage.json"))["totals"]["percent_branches_covered"]; print(f"branches: {share:.1f}%, at least 90%"); raise SystemExit(share < 90)'

lint: setup ## ruff, mypy (strict), import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup ## build the site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup ## side-by-side comparisons; each prints ratios
	$(BIN)/python -m benchmarks.sampler_throughput
	$(BIN)/python -m benchmarks.training_throughput
	$(BIN)/python -m benchmarks.training_profile

pictures: setup ## make the pictures of README and docs again (an hour and a half, and `make demo` before)
	$(BIN)/elucidiff train fashion-mnist --run-dir runs/fashion-mnist-90 --duration-images 307200 --max-minutes None $(AUGMENT)
	$(BIN)/elucidiff sample runs/fashion-mnist-90/model --seeds 0-99 --labels 0-9 --grid --out runs/fashion-mnist-90/grid
	cp runs/fashion-mnist-90/grid/grid.png docs/images/fashion-mnist.png
	$(BIN)/elucidiff figure loss-per-sigma runs/fashion-mnist-90/model --out runs/fashion-mnist-90/loss-per-sigma.png
	cp runs/fashion-mnist-90/loss-per-sigma.png docs/images/
	$(BIN)/python -m benchmarks.restored_picture runs/fashion-mnist-90/model
	cp runs/demo/figures/grid.png docs/images/digits.png
	$(BIN)/elucidiff figure curvature --out docs/images/design-space/curvature.png
	$(BIN)/elucidiff figure steps --steps karras:rho=3 karras:rho=7 --out docs/images/design-space/steps.png
	rm -f docs/images/design-space/*.svg docs/images/design-space/*.npz
	EXPLORE_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q -n 0 tests/web/test_browser.py

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
