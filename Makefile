.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
BUNDLE ?= build/demo/bundle

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup: $(VENV)/.complete  ## build .venv with everything, at the pinned versions

$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## export the sample dataset to int8, serve it, ask it four things
	$(BIN)/python demo.py

test: setup  ## run every test
	$(BIN)/pytest

lint: setup  ## ruff: errors, style, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup  ## mypy, strict
	$(BIN)/mypy

proto: setup  ## generate client/tanager/v1 from protos
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=client --pyi_out=client --grpc_python_out=client protos/tanager/v1/*.proto

proto-check: setup  ## the contract: lint, no breaking change, generated code is fresh
	PATH="$(CURDIR)/$(BIN):$$PATH" protos/check.sh

.PHONY: help setup demo test lint type proto proto-check
