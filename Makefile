# make demo   run the order-check flow
# make dev    open the Dagster UI; what is saved is reloaded
# make test   lint, check types and run the tests
# make test-fast  only the tests that take little: no Ray, no server, no fleet of processes
# make lint   only the checks that do not run the code
# make schema write the flow file's schema and its page, after a change of the models
# make pictures  draw the flows of the pages, after a change of one
# make bench  run the benchmarks
# make clean  remove what make built; the runs in .dagster stay

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# More processes than cores: most of a test's time is waiting for the processes that it starts.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --durations 25
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

demo dev: export DAGSTER_HOME := $(CURDIR)/.dagster

.PHONY: demo dev test test-fast lint schema pictures bench clean

demo: $(INSTALLED) .dagster/dagster.yaml
	@$(BIN)/rayflow-dagster run flows/order_check.json

dev: $(INSTALLED) .dagster/dagster.yaml
	@$(BIN)/rayflow-dagster dev -w workspace.yaml

test: lint
	$(PYTEST)

test-fast: $(INSTALLED_DEV)
	$(PYTEST) -m "not ray and not e2e and not slow"

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schema: $(INSTALLED)
	$(BIN)/rayflow-dagster schema > schemas/flow.schema.json
	$(BIN)/rayflow-dagster schema --markdown > docs/flow-file.md

pictures: $(INSTALLED_DEV)
	$(BIN)/python tests/docs_pictures.py

bench: $(INSTALLED_BENCH)
	@failed=; for file in $(BENCHMARKS); do \
	    $(BIN)/python $$file || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

clean:
	-@test ! -x $(BIN)/rayflow-dagster || $(BIN)/rayflow-dagster ray stop
	rm -rf .venv .venv-* build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(None if (3, 11) <= v <= (3, 13) else \
	    "$(PYTHON) is Python %d.%d; this project needs Python 3.11, 3.12 or 3.13. " % v + \
	    "Name one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time takes a minute or two"
	$(PIP) -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time takes a minute or two"
	$(PIP) -e '.[dev]'
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time takes a minute or two"
	$(PIP) -e '.[dev,bench]'
	@touch $(INSTALLED) $(INSTALLED_DEV) $@

.dagster/dagster.yaml: dagster.yaml
	@mkdir -p -m 700 .dagster
	cp dagster.yaml $@
