# Everything a person does with this repository. Each target sets up what it needs.
# Needed beforehand: Python 3.11 or newer with its venv module, make, a C compiler.

# The distribution's own interpreter where it will do (it is the fastest: docs/performance.md), else
# the first of PATH
WILL_DO := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell /usr/bin/python3 -c '$(WILL_DO)' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CODE := src tests benchmarks docs
CRASH_ROUNDS ?= 200
BENCH_ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test slow crash lint types fmt docs bench coverage lock clean
.DELETE_ON_ERROR:

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

setup: $(RUNTIME) ## make .venv with the pinned dependencies and .venv/bin/tideover

run: $(RUNTIME) ## serve example.com from ./var and print what to try next
	$(BIN)/tideover serve --try var --log-format text

test: $(DEV) ## run all tests but the slow ones
	$(BIN)/pytest -m "not slow" $(PYTEST_ARGS)

slow: $(DEV) ## run the slow tests: volume, soak
	$(BIN)/pytest -m slow --timeout 1800 $(PYTEST_ARGS)

crash: $(DEV) ## kill -9 the daemon under load, CRASH_ROUNDS times, and account for each message
	TIDEOVER_CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/pytest tests/crash --timeout 3600 -s $(PYTEST_ARGS)

lint: $(DEV) ## style, layers between the packages, generated documents up to date
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

types: $(DEV) ## check the types
	$(BIN)/mypy

fmt: $(DEV) ## format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

docs: $(DEV) ## write the generated documents anew
	$(BIN)/python docs/generate.py

bench: $(DEV) ## measure feeds, signatures, many domains, passing through, us beside Postfix (as root, with postfix; BENCH_ARGS=--quick)
	$(BIN)/python benchmarks/feed.py $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python benchmarks/dkim.py $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python benchmarks/domains.py $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python benchmarks/pass_through.py $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python benchmarks/trap.py $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

coverage: $(DEV) ## run the tests with branch coverage
	$(BIN)/pytest -m "not slow" --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

lock: ## pin the newest dependencies anew (requirements*.in -> requirements*.txt)
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools
	for f in requirements requirements-dev; do build/lock/bin/pip-compile --quiet --upgrade \
		--generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file $$f.txt $$f.in || exit 1; done

clean: ## remove what the other targets made, but not ./var with its mail
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# --no-build-isolation: hatchling comes pinned from the requirements, nothing else is downloaded
$(RUNTIME): requirements.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.txt
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	$(PIP) install --quiet --require-hashes -r requirements-dev.txt
	@touch $@
