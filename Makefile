# Every target sets up what it needs: virtual environments in the tree, made anew only when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.test-ready
DOCS_READY := $(VENV)/.docs-ready
BENCH_READY := .venv-bench/.ready
BENCH_DJANGO_READY := .venv-bench-django/.ready
FUZZ_READY := .venv-fuzz/.ready
HARNESS := $(BIN)/python -m stomplistener.testing.containers
VALE := .vale/bin/vale
FUZZ_SECONDS ?= 120
STRESS_MINUTES ?= 10
BROKER_SETS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo harness flask django asyncio twisted feeds test unit integration coverage interpreters free-threaded many lint vale engine browser images brokers brokers-remove conformance outages torture soak docs docs-check docs-pictures wheel bench profile fuzz fuzz-differential clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

demo:  ## the main job on the embedded broker, or on BROKER=failover:(tcp://...)
	@PYTHONPATH=. $(PYTHON) examples/demo.py $(if $(BROKER),--broker '$(BROKER)')

harness: $(TEST_READY)  ## the tests of the example application; HARNESS_OPTIONS="--stomp-brokers embedded" passes arguments
	@$(BIN)/pytest -q examples/harness $(HARNESS_OPTIONS)

flask: $(TEST_READY)  ## the shop in Flask under gunicorn, with its worker; FLASK_STOMP_URL=tcp://... names a broker
	@$(BIN)/python examples/flask/open_shop.py

django: $(TEST_READY)  ## a Django project with worker and outbox; STOMP_URL and PGHOST choose broker and PostgreSQL
	@$(BIN)/python examples/django/show.py

asyncio: $(TEST_READY)  ## a kitchen on asyncio
	@$(BIN)/python examples/asyncio/kitchen.py

twisted: $(TEST_READY)  ## a bakery on Twisted
	@$(BIN)/python examples/twisted/bakery.py

feeds: $(TEST_READY)  ## public feeds, recorded and shown on a page, until Ctrl-C; FEEDS="--port 0" passes arguments
	@$(BIN)/python examples/feeds/live.py $(FEEDS)

test: unit integration  ## all tests; PYTEST="-x -k tls" passes arguments

integration: $(TEST_READY)  ## the tests on real brokers, where a Docker engine runs
	@# Several sets of brokers: much of a test on a real broker is waiting for it. A set takes 2 GB of memory.
	@$(BIN)/pytest -q -rs -n $(BROKER_SETS) $(PYTEST) tests/integration

unit: $(TEST_READY)  ## the tests that need neither a container nor the network
	@# More at once than there are cores: most of them wait for one another's threads, not for the processor. With nice,
	@# they give way to the tests on real brokers, which may run beside them and must be in time.
	@nice -n 5 $(BIN)/pytest -q -rs -n 4 --dist worksteal --junitxml=.interpreters/report-unit.xml $(PYTEST) tests/unit

coverage: $(TEST_READY)  ## branch coverage of protocol, failover and _engine by the unit tests, at least 95 %
	@rm -f .coverage .coverage.*
	@$(BIN)/pytest -q -n 4 --dist worksteal --cov --cov-report= $(PYTEST) $(addprefix tests/unit/,protocol failover \
	    engine client applications brokers hostile)
	@$(BIN)/coverage report

interpreters:  ## the unit tests on every Python that is supported; INTERPRETERS="--core --only 3.14" passes arguments
	@$(PYTHON) tests/interpreters/interpreters.py $(INTERPRETERS)

free-threaded:  ## the same on a CPython without the global lock, then a stress of STRESS_MINUTES=10
	@$(PYTHON) tests/interpreters/interpreters.py --only 3.13t
	@.interpreters/venv-3.13t/bin/python tests/interpreters/stress.py --minutes $(STRESS_MINUTES)
	@.interpreters/venv-3.13t/bin/python tests/interpreters/stress.py --scaling

many: $(TEST_READY)  ## 2,000 connections in one process, one send on each; MANY="--rounds 1" passes arguments
	@$(BIN)/python tests/soak/many_connections.py $(MANY)

lint: $(READY) vale  ## ruff, codespell, vale and mypy strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/towncrier build --draft --version next >/dev/null
	@$(BIN)/mypy

vale: $(VALE)  ## the words and sentences of the manual and of docstrings, by the rules in .vale; needs Go, which builds it
	@if [ -x $(VALE) ]; then $(VALE) --output line --glob '!docs/_build/*' README.md CONTRIBUTING.md docs stomplistener; \
	else echo "NO VALE: the words were not looked at" >&2; fi

# Version 3.15.2 is the last one whose modules are all published by version.
$(VALE):
	@command -v go >/dev/null || { echo "NO VALE: there is no Go to build it with" >&2; exit 0; }; \
	echo "building vale ..."; for try in 1 2 3; do \
	    if GOBIN=$(CURDIR)/$(@D) go install github.com/errata-ai/vale/v3/cmd/vale@v3.15.2; then break; fi; \
	    echo "vale: go install failed, try $$try of 3" >&2; sleep $$((5 * try)); \
	done

engine:  ## a Docker engine: the one that answers, else Debian's is installed and started
	@tests/integration/engine.sh start

browser:  ## a Chromium, as root Debian's is installed: a test looks at the page of the Django admin
	@# With a font as wide as most readers have it: Debian only recommends it beside Chromium, and pages look too narrow without.
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s chromium fonts-liberation >/dev/null 2>&1; then \
	    for try in 1 2 3 4 5; do \
	        if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	            apt-get install -y -qq --no-install-recommends chromium fonts-liberation; } >/dev/null 2>&1; \
	        then break; fi; \
	        echo "browser: apt-get failed, try $$try of 5" >&2; sleep $$((5 * try)); \
	    done; \
	fi; command -v chromium || { echo "browser: install Chromium" >&2; exit 1; }

images: $(TEST_READY) engine  ## the images of the real brokers
	@$(HARNESS) images

brokers: $(TEST_READY) engine  ## start the real brokers to play with, and print their URIs
	@$(BIN)/python tests/integration/certificates.py >/dev/null
	@$(HARNESS) start

brokers-remove: $(TEST_READY)  ## remove those brokers and their data
	@$(HARNESS) remove --profile cluster

conformance: images  ## what each real broker does, in every version: the suite behind the page of that name
	@$(BIN)/pytest -q tests/integration/test_conformance_*.py

outages: images  ## how long each outage of the real brokers takes: the table in the manual
	@STOMPLISTENER_OUTAGES=write $(BIN)/pytest -q tests/integration/test_faults.py -k 'not manual'

torture: images  ## the real brokers under faults; TORTURE="--faults 40 --seed 7" passes arguments
	@$(BIN)/python tests/torture/run.py $(TORTURE)

soak: $(TEST_READY)  ## one connection under an uneven load, and what grows; SOAK="30" are minutes
	@$(BIN)/python tests/soak/soak.py $(SOAK)

docs: $(DOCS_READY)  ## the manual, in docs/_build/html
	@# All pages anew: Sphinx drops the index entries of the others from the search.
	@$(BIN)/sphinx-build -E -W -n --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-check: docs browser  ## what looks wrong in a browser: pages too wide, names that break, small text in figures
	@$(BIN)/python docs/look.py --no-pictures

docs-pictures: docs browser  ## the same with a picture of each page, narrow and wide, light and dark
	@$(BIN)/python docs/look.py $(PAGES)

wheel: $(READY)  ## build the package, install it with every extra elsewhere, and run the examples with that
	@$(BIN)/python tests/packaging/check.py

bench: $(BENCH_READY) $(BENCH_DJANGO_READY)  ## speed against the peers and the wire; BENCH="--quick --only receive" passes arguments
	@.venv-bench/bin/python -m bench $(BENCH)

profile: $(BENCH_READY)  ## where the time of a message goes, in µs a stage
	@.venv-bench/bin/python -m bench.profile $(PROFILE)

fuzz: $(FUZZ_READY)  ## fuzz decoder and receive path for FUZZ_SECONDS=120, or FUZZ_RUNS=N inputs
	@.venv-fuzz/bin/python fuzz/run.py $(if $(FUZZ_RUNS),runs $(FUZZ_RUNS),seconds $(FUZZ_SECONDS))

fuzz-differential: $(FUZZ_READY)  ## our decoder against stompest's and stomp.py's, on valid streams
	@.venv-fuzz/bin/python fuzz/differential.py

clean:  ## remove what the targets made
	rm -rf .venv .venv-bench .venv-bench-django .venv-fuzz .vale/bin .interpreters build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* docs/_build

# Environments. A registry's hiccup must not cost a run: three tries, each of pip's downloads with its own.
# $(call venv,DIRECTORY) makes one; $(call install,DIRECTORY,WHAT) installs into it.
define venv
	@echo "setting up $(1) ..."
	@$(PYTHON) -m venv $(1)
endef
define install
	@for try in 1 2 3; do \
	    $(1)/bin/python -m pip install --quiet --retries 5 $(2) && exit 0; \
	    echo "installing failed, trying again ($$try of 3)" >&2; sleep 5; \
	done; exit 1
endef

# What the tests use, and no more; linters and builders come with what needs them.
$(TEST_READY): setup.cfg pyproject.toml
	$(call venv,$(VENV))
	$(call install,$(VENV),--editable '.[test]')
	@touch $@

$(READY): $(TEST_READY)
	$(call install,$(VENV),--editable '.[dev]')
	@touch $@

$(DOCS_READY): $(READY)
	$(call install,$(VENV),--editable '.[docs]')
	@touch $@

$(BENCH_READY): bench/requirements.txt
	$(call venv,.venv-bench)
	$(call install,.venv-bench,--requirement bench/requirements.txt)
	@touch $@

# Of their own, since they need another stomp.py than the one that the figures are about.
$(BENCH_DJANGO_READY): bench/requirements-django.txt
	$(call venv,.venv-bench-django)
	$(call install,.venv-bench-django,--requirement bench/requirements-django.txt)
	@touch $@

$(FUZZ_READY): fuzz/requirements.txt setup.cfg
	$(call venv,.venv-fuzz)
	$(call install,.venv-fuzz,--requirement fuzz/requirements.txt --editable .)
	@# Where atheris has no package, hypothesis stands in, which knows of no coverage.
	@.venv-fuzz/bin/python -m pip install --quiet --retries 5 --editable '.[fuzz]' || echo "NO ATHERIS" >&2
	@touch $@
