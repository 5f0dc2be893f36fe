# make test   passes every test     make demo   runs the main job and shows its result
# make soak   hurts a small site for MINUTES, with a fault EVERY so many seconds, by the plan of a SEED
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# torch is large: where CI is set, its tests must run, and elsewhere they are skipped without it
comma  := ,
EXTRAS := test$(if $(CI),$(comma)train)
TORCH  := $(if $(CI),torch==2.13.0)

.PHONY: demo test lint bench soak clean

demo: $(VENV)/installed
	$(BIN)/ssnet demo

test: $(VENV)/installed lint
	$(BIN)/pytest $(PYTEST)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/mdp bench --ceiling

MINUTES ?= 30
SEED    ?= 1
EVERY   ?= 2

soak: $(VENV)/installed
	$(BIN)/python -W error -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED) --every $(EVERY)

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]' $(TORCH)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
