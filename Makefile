# make demo   run the order-check flow
# make dev    open the Dagster UI; what is saved is reloaded
# make test   lint, check types and run the tests
# make lint   only the checks that do not run the code
# make schema write the flow file's schema and its page, after a change of the models
# make bench  run the benchmarks
# make clean  remove what make built; the runs in .dagster stay

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
INSTALLED_BENCH := .venv/.installed-bench
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

demo dev: export DAGSTER_HOME := $(CURDIR)/.dagster

.PHONY: demo dev test lint schema bench clean

demo: $(INSTALLED) .dagster/dagster.yaml
	@$(BIN)/rayflow-dagster run flows/order_check.json

dev: $(INSTALLED) .dagster/dagster.yaml
	@$(BIN)/rayflow-dagster dev -w workspace.yaml

test: lint
	$(BIN)/python -m pytest

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schema: $(INSTALLED)
	$(BIN)/rayflow-dagster schema > schemas/flow.schema.json
	$(BIN)/rayflow-dagster schema --markdown > docs/flow-file.md

bench: $(INSTALLED_BENCH)
	@failed=; for file in $(BENCHMARKS); do \
	    $(BIN)/python $$file || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

clean:
	-@test ! -x $(BIN)/rayflow-dagster || $(BIN)/rayflow-dagster ray stop
	rm -rf .venv build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(None if (3, 11) <= v <= (3, 13) else \
	    "$(PYTHON) is Python %d.%d; this project needs Python 3.11, 3.12 or 3.13. " % v + \
	    "Name one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv; the first time takes a minute or two"
	$(PIP) -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv; the first time takes a minute or two"
	$(PIP) -e '.[dev]'
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv; the first time takes a minute or two"
	$(PIP) -e '.[dev,bench]'
	@touch $(INSTALLED) $(INSTALLED_DEV) $@

.dagster/dagster.yaml: dagster.yaml
	@mkdir -p .dagster
	cp dagster.yaml $@
