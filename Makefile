.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
DEMO := build/demo
BUNDLE ?= $(DEMO)/bundle
SCENARIO ?= tests/load/mixed.toml
PROTOCOL ?= global-time
SEEDS ?= 0
KILLS ?= 1000
# Of build/ml/dataset in build/evaluate/ml-dataset: names alone, and most datasets would have the same.
FOUND = build/evaluate/$(subst /,-,$(patsubst build/%,%,$(patsubst /%,%,$(DATASET:/=))))/$(PROTOCOL)
# Cold users are those of global time: the same runs know as little of them.
ASKED = $(PROTOCOL)$(if $(filter global-time,$(PROTOCOL)),$(comma)cold-users)
comma := ,
CPP := $(wildcard server/tanager_server/*/*.cpp server/tanager_server/*/*.h)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(VENV)/.complete  ## build .venv with everything, at the pinned versions

demo: setup  ## export a sample bundle to int8, serve it, and ask it four things
	$(BIN)/python examples/demo.py $(DEMO)

serve: setup  ## serve the demo's bundle until Ctrl-C
	$(BIN)/tanager-server --bundle $(BUNDLE) --log.format text

test: setup  ## run every test
	$(BIN)/pytest

bench: setup $(VENV)/.bench  ## Tanager beside other servers and itself, about 15 minutes: make bench BUNDLE=DIR
	$(BIN)/python -m tests.bench.comparison $(BUNDLE)

chaos: setup  ## kill -9 a server that is written to, and look for what is lost: make chaos KILLS=1000 [BUNDLE=DIR]
	$(BIN)/python -m tests.bench.chaos $(if $(filter command,$(origin BUNDLE)),$(BUNDLE)) --kills $(KILLS)

load: setup  ## serve a bundle, load it, write build/load/report.html: make load BUNDLE=DIR SCENARIO=FILE
	$(BIN)/python -m tests.bench.run_scenario $(BUNDLE) $(SCENARIO)

evaluate: setup  ## train, measure beside tuned baselines, write report.html: make evaluate DATASET=DIR PROTOCOL=leave-one-out SEEDS="0 1"
	for seed in $(SEEDS); do \
	  $(BIN)/tanager-export train $(DATASET) $(FOUND)/run-$$seed --protocol $(PROTOCOL) --hold-out --seed $$seed $(TRAIN) || exit 1; done
	$(BIN)/tanager-export evaluate $(DATASET) $(SEEDS:%=--model $(FOUND)/run-%) --protocol $(ASKED) \
	  --report $(FOUND)/report.html --output $(FOUND)/figures.json $(EVALUATE)

lint: setup  ## ruff and clang-format: errors, style, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

type: setup  ## mypy, strict
	$(BIN)/mypy

proto: setup  ## generate client/tanager/v1 from protos
	protos/generate.sh client

proto-check: setup  ## the contract: lint, no breaking change, generated code is fresh
	protos/check.sh

lock: setup  ## write the versions in .venv to constraints.txt
	$(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu$$//' | grep -vE '^(pip|wheel)==' > constraints.txt

$(VENV)/.complete: pyproject.toml setup.py constraints.txt $(CPP)
	$(PYTHON) -m venv $(VENV)
	TANAGER_COMPILE=1 $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.complete
	TANAGER_COMPILE=1 $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

.PHONY: help setup demo serve test bench chaos load evaluate lint type proto proto-check lock
