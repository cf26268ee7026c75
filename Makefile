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

.PHONY: docs
DOCS_READY := $(VENV)/.docs-ready

$(DOCS_READY): $(READY)
	@for try in 1 2 3; do \
	    $(BIN)/python -m pip install --quiet --retries 5 --editable '.[docs]' && exit 0; \
	    echo "installing failed, trying again ($$try of 3)" >&2; sleep 5; \
	done; exit 1
	@touch $@

docs: $(DOCS_READY)  ## the manual, in docs/_build/html
	@$(BIN)/sphinx-build -W -n --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: bench profile
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready

$(BENCH_READY): bench/requirements.txt
	@echo "setting up $(BENCH_VENV) ..."
	@$(PYTHON) -m venv $(BENCH_VENV) && echo '*' > $(BENCH_VENV)/.gitignore
	@for try in 1 2 3; do \
	    $(BENCH_VENV)/bin/python -m pip install --quiet --retries 5 --requirement $< && exit 0; \
	    echo "installing failed, trying again ($$try of 3)" >&2; sleep 5; \
	done; exit 1
	@touch $@

bench: $(BENCH_READY)  ## speed against the peers and the wire; BENCH="--quick --only receive" passes arguments
	@$(BENCH_VENV)/bin/python -m bench $(BENCH)

profile: $(BENCH_READY)  ## where the time of a message goes, in µs a stage
	@$(BENCH_VENV)/bin/python -m bench.profile $(PROFILE)

.PHONY: fuzz fuzz-differential
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready
FUZZ_SECONDS ?= 120

$(FUZZ_READY): setup.cfg fuzz/requirements.txt
	@echo "setting up $(FUZZ_VENV) ..."
	@$(PYTHON) -m venv $(FUZZ_VENV) && echo '*' > $(FUZZ_VENV)/.gitignore
	@for try in 1 2 3; do \
	    $(FUZZ_VENV)/bin/python -m pip install --quiet --retries 5 --requirement fuzz/requirements.txt --editable '.[fuzz]' && \
	        touch $@ && exit 0; \
	    echo "installing failed, trying again ($$try of 3)" >&2; sleep 5; \
	done; \
	echo "NO ATHERIS: hypothesis stands in, which knows of no coverage" >&2; \
	$(FUZZ_VENV)/bin/python -m pip install --quiet --retries 5 --requirement fuzz/requirements.txt --editable . hypothesis

fuzz: $(FUZZ_READY)  ## fuzz decoder and receive path for FUZZ_SECONDS=120, or FUZZ_RUNS=N inputs
	@$(FUZZ_VENV)/bin/python fuzz/run.py $(if $(FUZZ_RUNS),runs $(FUZZ_RUNS),seconds $(FUZZ_SECONDS))

fuzz-differential: $(FUZZ_READY)  ## our decoder against stompest's and stomp.py's, on valid streams
	@$(FUZZ_VENV)/bin/python fuzz/differential.py

.PHONY: torture
torture: $(READY) images  ## producers and consumers against the real brokers under faults; TORTURE="--faults 40 --seed 7"
	@$(BIN)/python tests/torture/run.py $(TORTURE)
