# Two commands: `make demo` and `make test`. Both make .venv on first use and need python3 (3.11 or newer) and pip only.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
CORPUS ?= ../shared/corpus
STARTER_OUT ?= runs/starter

.PHONY: demo test check slow services fuzz screens bench-environments bench-step starter wheel schema clean

demo: $(VENV)/.installed
	@$(BIN)/postil demo

test: $(VENV)/.installed-dev
	@$(PYTEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow --timeout 3600

# PostgreSQL, Chromium and Chinese glyphs for the tests, installed where they are missing (Debian, as root). The tests
# start a server and a browser of their own.
services: $(BIN)/python
	$(BIN)/python -m tools.services install

# Twenty thousand broken files, read as `postil check` reads, at most half an hour (tools/fuzz); then 500 random kills
# of runs, supervisor, zygote and web, at most an hour (tools/crash.py), and 500 aimed at steps, checkpoints and resuming,
# minutes (tools/crash_training.py).
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tools.fuzz
	$(BIN)/python -m tools.crash --kills 500
	$(BIN)/python -m tools.crash_training --kills 500

# Pictures of every page, in both languages and themes, narrow and wide (tools/screens.py).
screens: $(VENV)/.installed-dev
	$(BIN)/python -m tools.screens docs/screens

# TRL and LLaMA-Factory in environments of their own, under build/bench (benchmarks/environments.py).
bench-environments: $(VENV)/.installed
	$(BIN)/python -m benchmarks.environments

# The headline against both and against transformers' Trainer: an hour and more on two cores that do nothing else.
ARMS := plain,plain_dynamic,trl,trl_tuned,llamafactory,llamafactory_packed,postil,postil_recomputed
bench-step: bench-environments
	$(BIN)/python -m benchmarks.step --benchmark B1 --arms $(ARMS) --json build/bench/B1.json
	$(BIN)/python -m benchmarks.step --benchmark B2 --arms $(ARMS) --json build/bench/B2.json

# The starter base model, from the corpus to the exported weights: hours. See tools/starter.
starter: $(VENV)/.installed-dev
	$(BIN)/python -m tools.starter --corpus $(CORPUS) --out $(STARTER_OUT)

wheel: $(VENV)/.installed
	$(PIP) wheel . --no-deps --wheel-dir dist

schema: $(VENV)/.installed
	$(BIN)/python -m tools.config_schema
	$(BIN)/python -m tools.problem_tables

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Postil needs Python 3.11 or newer. If you have one: make demo PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is too old: Postil needs Python 3.11 or newer. Name another: make demo PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Postil and what it needs (PyTorch, transformers, peft ...) into $(VENV). This takes some minutes, once."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need (pytest, ruff, mypy ...)."
	@$(INSTALL) --editable ".[dev]"
	@touch $@
