# Every target does its own set-up, and writes only inside this folder and the temporary folder.
# PYTHON picks the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := .cache/bench
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) \* 3 / 2)

# Without compiled files Airflow takes twice as long to start, and pip's and uv's caches belong in the clone.
unexport PYTHONDONTWRITEBYTECODE
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

UV := $(shell command -v uv 2>/dev/null || echo .cache/bootstrap/bin/uv)
BOOTSTRAP := $(filter .cache/bootstrap/bin/uv,$(UV))

.PHONY: help setup demo ui test test-faults matrix mutants bench figures docs dist lint format e2e screenshots constraints clean
.DEFAULT_GOAL := help

help: ## what there is to run
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make the virtual environment, pinned by constraints.txt

# pip's --target works where ensurepip, and so "python -m venv", is missing (Debian without python3-venv).
.cache/bootstrap/bin/uv:
	@mkdir -p .cache
	@echo "Getting uv from PyPI ..."
	@$(PYTHON) -m pip install --quiet --root-user-action=ignore --target .cache/bootstrap 'uv>=0.8'

$(STAMP): pyproject.toml constraints.txt | $(BOOTSTRAP)
	@echo "Making $(VENV) ..."
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## provision a source with a real Airflow against the emulator, and show what happened
	@$(BIN)/python scripts/demo.py

ui: setup ## a real Airflow to click through, with the example DAGs and the emulator, until Ctrl-C
	@$(BIN)/python scripts/ui.py

# Many tests wait for a server or a process, so there are more workers than cores.
test: setup ## unit and integration tests, several at a time
	@$(BIN)/python -m pytest -m "not e2e" -n $(WORKERS) --dist loadgroup

e2e: setup ## tests with a real Airflow scheduler and triggerer
	@$(BIN)/python -m pytest -m e2e tests/e2e

screenshots: setup ## take the pictures in docs/images anew, from a real Airflow in a real browser
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -m e2e tests/e2e/test_browser.py

# CELLS picks some, by their names in noxfile.py; the README's table is written when all are run.
matrix: setup ## the tests on each supported Airflow, on several Pythons, and on the lowest versions; writes README's table
	@PATH="$(dir $(realpath $(UV))):$$PATH" $(BIN)/nox $(addprefix -s ,$(CELLS))

test-faults: setup ## 20,000 calls, 5,000 rollouts and 1,000 waits under faults, against the server's own record; writes docs/reliability.md
	@$(BIN)/python -m scripts.test_faults

# SAMPLE and SEED choose the tool's mutants: make mutants SAMPLE=50 SEED=7
mutants: setup ## break the client in one way at a time, and show that the tests notice; writes docs/reliability.md
	@$(BIN)/python scripts/mutants.py
	@$(BIN)/python -m scripts.mutation_score $(addprefix --sample ,$(SAMPLE)) $(addprefix --seed ,$(SEED))

# What we are measured against has many dependencies, which need not fit those of the tests.
$(BENCH)/.installed: pyproject.toml | $(BOOTSTRAP)
	@echo "Making $(BENCH) ..."
	@test -x $(BENCH)/bin/python || $(UV) venv --quiet --python $(PYTHON) $(BENCH)
	@$(UV) pip install --quiet --python $(BENCH)/bin/python --compile-bytecode -e '.[emulator]' \
	  $$(grep '^apache-airflow==' constraints.txt) apache-airflow-providers-http apache-airflow-providers-dbt-cloud apache-airflow-providers-databricks \
	  apache-airflow-providers-airbyte
	@touch $@

bench: $(BENCH)/.installed ## measure against stated limits and other providers, and write docs/performance.md
	@$(BENCH)/bin/python -m benchmarks.run --document docs/performance.md

figures: setup $(BENCH)/.installed ## measure what waiting costs, and write it into docs/waiting.md
	@$(BENCH)/bin/python benchmarks/waiting.py --document docs/waiting.md
	@COMMS_MINING_FIGURES=docs/waiting.md $(BIN)/python -m pytest -q -m e2e tests/e2e -k two_hundred

docs: setup ## build the documents into .cache/site, and check them: code blocks, links, tables
	@$(BIN)/python scripts/docs_tables.py
	@$(BIN)/python scripts/api_reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean
	@$(BIN)/python -m pytest -q tests/docs
	@echo "The documents are in .cache/site: open .cache/site/index.html, or run $(BIN)/mkdocs serve"

dist: setup ## build wheel and sdist twice, compare and check them, and run a DAG with the wheel alone
	@$(BIN)/python scripts/dist.py

lint: setup ## ruff, mypy --strict, import-linter, codespell, prose, zizmor
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/python scripts/prose.py
	@$(BIN)/zizmor --offline --quiet .github

format: setup ## let ruff put the code in shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

constraints: | $(BOOTSTRAP) ## pin the development environment anew
	@$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --no-emit-index-url --no-header --no-annotate --quiet -o constraints.txt

clean: ## remove all that the targets made
	rm -rf $(VENV) .cache .nox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
