# make test        lint, then every test; a test whose optional part is missing is skipped, and says so
# make test-torch  lint, then the tests that need torch, in an environment of their own with torch
# make demo        runs the main job and shows its result
# make soak        hurts a small site for MINUTES, a fault EVERY so many seconds, planned by a SEED
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# torch is large, and its builds for GPUs are larger: docs/install.md
TORCH      ?= torch==2.13.0
TORCH_VENV ?= .venv-torch

.PHONY: demo test test-torch lint bench soak clean

demo: $(VENV)/installed
	$(BIN)/ssnet demo

test: $(VENV)/installed lint
	$(BIN)/pytest $(PYTEST)

test-torch: $(TORCH_VENV)/installed
	$(call lint,$(TORCH_VENV))
	$(TORCH_VENV)/bin/pytest -m torch --require torch $(PYTEST)

lint: $(VENV)/installed
	$(call lint,$(VENV))

# $(1): the environment
define lint
$(1)/bin/ruff check .
$(1)/bin/ruff format --check .
$(1)/bin/mypy
endef

bench: $(VENV)/installed
	$(BIN)/mdp bench --bare-loop

MINUTES ?= 30
SEED    ?= 1
EVERY   ?= 2

soak: $(VENV)/installed
	$(BIN)/python -W error -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED) --every $(EVERY)

# $(1): what to install besides this project
define install
$(PYTHON) -m venv $(@D)
$(@D)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]' $(1)
touch $@
endef

$(VENV)/installed: setup.cfg pyproject.toml Makefile
	$(call install)

$(TORCH_VENV)/installed: setup.cfg pyproject.toml Makefile
	$(call install,'$(TORCH)')

clean:
	rm -rf $(VENV) $(TORCH_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
