# Every target sets up what it needs: a virtual environment in .venv, made anew only when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test unit lint bench docs wheel clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): setup.cfg pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@for try in 1 2 3; do \
	    $(BIN)/python -m pip install --quiet --retries 5 --editable '.[dev]' && exit 0; \
	    echo "installing failed, trying again ($$try of 3)" >&2; sleep 5; \
	done; exit 1
	@touch $@

demo: $(READY)  ## the main job on the embedded broker, or on BROKER=failover:(tcp://...)
	@$(BIN)/python examples/demo.py $(if $(BROKER),--broker '$(BROKER)')

lint: $(READY)  ## ruff and mypy strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

unit: $(READY)  ## the tests that need neither a container nor the network
	@$(BIN)/pytest -q tests/unit

test: $(READY)  ## all tests; those on real brokers where a Docker engine runs
	@$(BIN)/pytest -q

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis docs/_build

.PHONY: engine images brokers brokers-remove
HARNESS := $(BIN)/python -m stomplistener.testing.containers

engine:  ## a Docker engine: the one that answers, else Debian's is installed and started
	@tests/integration/engine.sh start

images: $(READY) engine  ## the images of the real brokers
	@$(HARNESS) images

brokers: $(READY) engine  ## start the real brokers to play with, and print their URIs
	@$(BIN)/python tests/integration/certificates.py >/dev/null
	@$(HARNESS) start

brokers-remove: $(READY)  ## remove those brokers and their data
	@$(HARNESS) remove --profile cluster
