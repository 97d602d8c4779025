# Every target makes .venv by itself when it is missing or older than pyproject.toml and constraints.txt.

PYTHON ?= python3
STAMP := .venv/.made
BIN := .venv/bin

.PHONY: demo test lint

demo: $(STAMP)
	$(BIN)/echoreel demo demo-out --force

test: lint
	$(BIN)/pytest -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $@
