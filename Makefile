# Everything runs in .venv, which the first target makes from requirements.txt.
PYTHON ?= python3
METRIC ?= iou
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup demo repro test lint compare readme

help:
	@echo "make demo      the whole pipeline on embedded data, as the experiment 'demo' (minutes)"
	@echo "make test      the test suite"
	@echo "make repro     the real thing: dvc repro"
	@echo "make compare   the experiments side by side; METRIC=accuracy for another score"
	@echo "make lint      ruff"
	@echo "make readme    the README's tables, anew from metrics/"

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

demo: setup
	python -m tools.demo

repro: setup
	dvc repro

test: setup
	python -m pytest

lint: setup
	ruff check .
	ruff format --check .

compare: setup
	python -m tools.compare $(METRIC)

readme: setup
	python -m tools.readme
