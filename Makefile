# make run | test | check | e2e | clean. Everything is set up on first use; python3 with venv, and make, are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tests/e2e needs real peers (make e2e); tests/benchmarks are scripts.
TESTS := $(filter-out tests.e2e tests.benchmarks,$(patsubst tests/%/__init__.py,tests.%,$(sort $(wildcard tests/*/__init__.py)))) \
         $(patsubst tests/%.py,tests.%,$(sort $(wildcard tests/test_*.py)))
JOBS ?= 2

.PHONY: run test lint types check e2e clean

$(VENV)/run.ready: setup.cfg pyproject.toml
	@echo "Setting up $(VENV) ..."
	@# What a system without python3-venv, or with another Python meanwhile, has left there is of no use.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@# Whoever runs the daemon may not be able to write Twisted's list of plugins.
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

$(VENV)/test.ready: $(VENV)/run.ready
	@echo "Setting up what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/lint.ready: $(VENV)/test.ready
	@echo "Setting up what the checks need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

# A sink for any mail, on 127.0.0.1:2525, with all its state under run/.
run: $(VENV)/run.ready
	@sh docs/examples/run-sink

test: $(VENV)/test.ready
	$(BIN)/python -m twisted.trial --reporter=text --jobs=$(JOBS) $(TESTS)

lint: $(VENV)/lint.ready
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: $(VENV)/lint.ready
	$(BIN)/mypy

check: lint types test

# As root on Debian: installs the peers and runs the tests against them.
e2e: $(VENV)/test.ready
	PYTHON=$(BIN)/python sh tests/e2e/setup
	$(BIN)/python -m twisted.trial --reporter=text tests.e2e

clean:
	rm -rf $(VENV) run build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
