# Everything runs in .venv, which `make setup` creates from requirements.txt.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Print each epoch's line as soon as the epoch ends, even if the output is not a terminal.
export PYTHONUNBUFFERED := 1

.PHONY: help setup demo models page repro parallel test lint fresh study everyday suspects compare readme

help:
	@echo "make setup     .venv with all that is needed (6 GB); the others do it first, where it is not there"
	@echo "make demo      the whole pipeline on drawn animals, as the experiment 'demo' (minutes)"
	@echo "make test      the test suite"
	@echo "make models    the released models where the pipelines keep them, so that nothing has to be trained"
	@echo "make page      report.html: the results, and the models on your own photo, in a browser; REVS=\"A B\" compares"
	@echo "make repro     the real thing: dvc repro"
	@echo "make parallel  the same, a training on each GPU, or else on each CPU core; JOBS=2: two at a time"
	@echo "make everyday  the model for everyday use, trained anew (everyday/)"
	@echo "make compare   the experiments side by side; METRIC=accuracy; OVER=train.seed: means over seeds"
	@echo "make fresh     which recorded stages no longer match the code and params"
	@echo "make study     the ablation over seeds (research/ablation); JOBS as above"
	@echo "make suspects  masks that trained models contradict, yours or the dataset's (research/labels)"
	@echo "make lint      ruff"
	@echo "make readme    the README files' tables and the models' cards, anew from the record"

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed; name one with make PYTHON=python3.12")'
	@echo "Installing requirements.txt into $(VENV): 6 GB, some minutes (less: docs/installation.md)"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Ready: . $(VENV)/bin/activate"

# Runs in a copy of the repository and is kept as an experiment; here it writes only demo/.
demo: setup
	@if [ "$$(git rev-parse --is-shallow-repository)" = true ]; then \
	  echo "demo: this is a shallow clone, and DVC keeps experiments beside the whole history: git fetch --unshallow" >&2; exit 1; fi
	@dvc exp remove new-demo >/dev/null 2>&1 || true
	dvc exp run --temp --name new-demo -S data.source=synthetic -S data.num_synthetic=480 -S preprocess.image_size=64
	@dvc exp rename -q -f new-demo demo
	@rm -rf demo && mkdir demo
	@for part in params.yaml dvc.lock metrics plots models; do dvc get -q . $$part --rev demo -o demo/$$part || exit 1; done
	@echo && python -m tools.table demo
	@echo && echo "Drawn animals, not the real dataset: these scores say that the pipeline works, no more."
	@python -m tools.page --root demo
	@echo "Pictures: demo/plots/*.png and *.jpg. The run beside the recorded one: make compare. Into the workspace: dvc exp apply demo"

models: setup
	@python -m tools.models

page: setup
	@python -m tools.page $(REVS)

repro: setup
	dvc repro

parallel: setup
	tools/parallel.sh $(JOBS)

everyday: setup
	dvc repro download
	dvc --cd everyday repro

study: setup
	tools/parallel.sh "$(JOBS)" study

test: setup
	python -m pytest

lint: setup
	ruff check .
	ruff format --check .

fresh: setup
	@python -m tools.fresh

compare: setup
	@python -m tools.compare $(if $(METRIC),--metric "$(METRIC)") $(if $(OVER),--over "$(OVER)")

suspects: setup
	tools/parallel.sh "$(JOBS)" suspects

readme: setup
	python -m tools.table --readme
	python -m tools.cards
	python -m research.ablation.report
	python -m research.labels.report
