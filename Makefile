# make quick       the quick tests, in less than a minute: no real processes, no ROOT; no lint
# make test        lint, then every test but those on Slurm; PARALLEL= runs one test at a time
# make test-slurm  the tests on a real Slurm; SLURM_PARALLEL= runs one test at a time
# make test-torch  lint, then the tests that need torch, in an environment of their own with torch
# make docs        builds the site of docs/ in site/, in an environment of its own
# make demo        runs the main job and shows its result
# make simulate    runs SEEDS simulated sites, with faults, from the seed FIRST
# make install-slurm  installs Slurm with apt-get (as root, or by sudo) for the tests that need it
# make install-tools  the same for Prometheus, Chromium and systemd
# make install-larcv  builds real LArCVs for the tests: LArCV3; LArCV1 and LArCV2 if LARCV1_SOURCE and
#                  LARCV2_SOURCE name their checkouts or bare repositories
# make install-caffe  builds a pycaffe in the user's cache, once, for the tests that need it
# make soak        runs a small site for MINUTES, with a fault EVERY so many seconds, from a SEED
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# torch is large, and its builds for GPUs are larger: docs/install.md
TORCH      ?= torch==2.13.0
TORCH_VENV ?= .venv-torch
DOCS_VENV  ?= .venv-docs

# The tests wait for half of the time: three at a time keep two cores busy. `worksteal` gives each
# process whole files as far as it can, so that what the tests of a file share is made once.
PARALLEL ?= -n 3 --dist worksteal
# The tests on Slurm wait nearly all the time. Each process has a Slurm of its own.
SLURM_PARALLEL ?= -n 2 --dist loadfile

# the tests start thousands of processes, and each of them would compile this project again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo quick test test-slurm test-torch docs venv lint bench simulate soak install-slurm \
	install-tools install-caffe install-larcv clean

demo: $(VENV)/installed
	$(BIN)/ssnet demo

quick: $(VENV)/installed
	$(BIN)/pytest -m "not slow" --durations 5 --durations-min 2 $(PYTEST)

# Slurm's tests would disturb the others, and be disturbed; numpy would start threads for all cores in
# each of the hundreds of processes that the tests start
test: $(VENV)/installed lint
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) --without Slurm --durations 15 $(PYTEST)

test-slurm: $(VENV)/installed
	$(BIN)/pytest tests/slurm $(SLURM_PARALLEL) --durations 15 $(PYTEST)

# threads of torch that wait for a core keep another one busy
test-torch: $(TORCH_VENV)/installed
	$(call lint,$(TORCH_VENV))
	OMP_NUM_THREADS=1 $(TORCH_VENV)/bin/pytest -m torch --require torch $(PYTEST)

# a warning, such as one of a broken link, fails it; the variable silences a note of mkdocs-material
docs: $(DOCS_VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

venv: $(VENV)/installed

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

SEEDS ?= 1000
FIRST ?= 0

simulate: $(VENV)/installed
	$(BIN)/python -m benches.simulate --seeds $(SEEDS) --first $(FIRST)

install-slurm:
	tests/slurm/site.sh install

install-tools:
	tests/support/install_tools.sh

install-larcv: $(VENV)/installed
	PYTHON=$(BIN)/python tests/support/build_larcv.sh larcv3
	[ -z "$$LARCV1_SOURCE" ] || PYTHON=$(BIN)/python tests/support/build_larcv.sh larcv1
	[ -z "$$LARCV2_SOURCE" ] || PYTHON=$(BIN)/python tests/support/build_larcv.sh larcv2

# two minutes of one core, the first time; the other steps of .ci/run come first at the processors
install-caffe: $(VENV)/installed
	PYTHON=$(BIN)/python nice -n 15 tests/support/build_caffe.sh

MINUTES ?= 30
SEED    ?= 1
EVERY   ?= 2

soak: $(VENV)/installed
	$(BIN)/python -W error -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED) --every $(EVERY)

# $(1): the extra; $(2): what to install besides this project
define install
$(PYTHON) -m venv $(@D)
$(@D)/bin/pip install --quiet --disable-pip-version-check --editable '.[$(1)]' $(2)
touch $@
endef

$(VENV)/installed: setup.cfg pyproject.toml Makefile
	$(call install,test)

$(TORCH_VENV)/installed: setup.cfg pyproject.toml Makefile
	$(call install,test,'$(TORCH)')

$(DOCS_VENV)/installed: setup.cfg pyproject.toml Makefile
	$(call install,docs)

clean:
	rm -rf $(VENV) $(TORCH_VENV) $(DOCS_VENV) site build dist *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis
