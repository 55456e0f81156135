# Every target makes its own environment; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ROOMS := src/jepalign theory linear_models simulations figures
# In a strict editable install a new file appears only after installing again: the list of files is part of the recipe.
FILES := $(VENV)/.files
INSTALL := pyproject.toml constraints.txt $(FILES)

.DEFAULT_GOAL := help
.PHONY: help report test lint bench torture stress browser peer simulate mutate clean .FORCE

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("jepalign needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

.FORCE:
$(FILES): .FORCE | $(BIN)/python
	@find $(ROOMS) -type f ! -name '*.pyc' ! -name '.*' | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(VENV)/.report: $(INSTALL)
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(INSTALL)
	$(PIP) install -q -c constraints.txt -e '.[torch,test]'
	@touch $@ $(VENV)/.report

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install -q -c constraints.txt -e '.[torch,test,dev]'
	@touch $@

report: $(VENV)/.report  ## build/report: the article as a page and a PDF, the derivations as .tex, the figures
	$(BIN)/jepalign report --out build/report

# A file in one process, so that its fixtures are made once, and one thread for each of the two: their arrays are small.
test: $(VENV)/.test  ## every test (installs torch)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev  ## ruff and pyright, strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install -q -c constraints.txt -e '.[torch,test,bench]'
	@touch $@

bench: $(VENV)/.bench  ## build/bench: seconds, ratios of closed forms to integrators, of ensembles to loops (minutes, an idle machine)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python -m pytest benchmarks/test_closed_forms.py -p no:xdist --benchmark-only
	$(BIN)/python benchmarks/solvers.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/ensembles.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recording.py

torture: $(VENV)/.test  ## build/bench/torture.md: every trajectory against fifty digits over the whole range (minutes)
	$(BIN)/python benchmarks/torture.py

stress: $(VENV)/.test  ## diagnose a million rows of 1024 dimensions in 3 GB, and a thousand damaged files (minutes, 8 GB of disk)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/damaged_files.py 1000 1
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/large_files.py 1000000 1024 3 build/large
	rm -r build/large

$(VENV)/.browser: $(VENV)/.report
	$(PIP) install -q -c constraints.txt -e '.[browser]'
	@touch $@

browser: $(VENV)/.browser report  ## look at the report in a headless Chromium, on a phone and at a desk (needs chromium and chromedriver)
	$(BIN)/python benchmarks/browser.py build/report/index.html

# lightly asks for torchvision, which its losses do not use: it comes without what it asks for.
peer: $(VENV)/.test  ## the sampled losses against pytorch-metric-learning and lightly
	$(PIP) install -q -c constraints.txt -e '.[torch,test,peer]'
	$(PIP) install -q --no-deps lightly==1.6.0
	$(BIN)/python peers/losses.py

simulate: $(VENV)/.test  ## repeat the committed experiments at paper scale
	$(BIN)/jepalign simulate --scale paper --out simulations/measurements

# The modules are mutated in place and restored: start from a clean tree. What is done is kept: a second call goes on.
mutate: $(VENV)/.dev  ## mutation testing of the calculus and the proofs (an hour or two)
	$(PIP) install -q -c constraints.txt -e '.[torch,test,mutation]'
	@mkdir -p build
	test -f build/mutation.sqlite || $(BIN)/cosmic-ray init mutation.toml build/mutation.sqlite
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cosmic-ray exec mutation.toml build/mutation.sqlite
	$(BIN)/cr-report --surviving-only --show-diff build/mutation.sqlite > build/mutation.txt
	@echo "wrote build/mutation.txt: the mutants that survived"
	$(BIN)/cr-rate --fail-over 10 build/mutation.sqlite

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
