# What can be done here: `make help`. Everything is installed into .venv and nothing outside this folder is changed.

VENV := .venv
BIN := $(VENV)/bin
PREFERRED := python3.12 python3.11 python3.10 python3.13 python3
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
# Up to Python 3.12 the synthesizer of the demo's data set comes ready-made; on 3.13 it has to be compiled.
PYTHON ?= $(shell for python in $(PREFERRED); do $$python -c "$(USABLE)" 2>/dev/null && echo $$python && break; done)
BEGAN := $(shell date +%s)
took = echo "$(1): $$(( $$(date +%s) - $$began )) s"

# TensorFlow's start-up notes would bury the lines that matter; what goes wrong comes as a Python error anyway.
TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_CPP_MIN_LOG_LEVEL
# Packages are compiled at their first use (see below). Where that must not be kept, every start takes ten seconds more.
unexport PYTHONDONTWRITEBYTECODE

# Tests run in a process for each core, which would otherwise compute with a thread for each core, too.
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest --durations=10 --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Where the real Spleeter gets an environment of its own, when something first asks for it.
MUSCOMP_SPLEETER_ENV ?= $(CURDIR)/.venv-spleeter
export MUSCOMP_SPLEETER_ENV
export SONG

.PHONY: help setup demo test test-all fuzz check docs benchmark lab site clean

help: ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/packages-installed ## install everything the notebooks need into .venv

demo: ## run all notebooks on a small data set into demo/; SONG=path separates that song as well
	@if [ -n "$$SONG" ] && [ ! -f "$$SONG" ]; then echo "SONG=$$SONG is not there. Check the path." >&2; exit 2; fi
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python batch/run.py all -f batch/params/demo.yaml -p root demo --name demo $(if $(SONG),--also-song "$$SONG")
	@echo "make demo, with setup: $$(( $$(date +%s) - $(BEGAN) )) s"

test: $(VENV)/tools-installed ## run the tests: every package, a browser, a Slurm job
	@$(PYTEST) -m "not full"

# Many of these tests wait for browsers and clusters: one process more than there are cores keeps the cores busy.
test-all: $(VENV)/tools-installed ## the rest: Colab's image, all of Slurm and the browser, the real Spleeter, the wheel
	@$(PYTEST) -m full --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))

fuzz: $(VENV)/tools-installed ## try odd files, tables and settings for longer: twenty times as many as the tests do
	@MUSCOMP_FUZZ=20 $(BIN)/python -m pytest tests/*/test_fuzz.py --durations=20

check: $(VENV)/tools-installed ## check style, format, and that notebooks carry no outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

docs: $(VENV)/packages-installed ## put the results of the benchmarks into the tables of README.md and docs/
	@$(BIN)/python benchmarks/tables.py

benchmark: $(VENV)/tools-installed ## measure how fast songs are separated, beside the real Spleeter (half an hour)
	@$(BIN)/python benchmarks/separation.py

lab: $(VENV)/tools-installed ## open the notebooks in JupyterLab, with their data in muscomp_root/
	@MUSCOMP_ROOT="$(CURDIR)/muscomp_root" $(BIN)/python -m jupyterlab notebooks

site: $(VENV)/packages-installed ## open a web page that separates songs, at http://127.0.0.1:8000
	@$(BIN)/muscomp serve

clean: ## remove .venv, .venv-spleeter, demo/ and caches; muscomp_root/ stays
	rm -rf $(VENV) .venv-spleeter demo build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each step leaves an empty file when it is through. A step that was broken off, or whose list of packages has changed
# since, is done again. Python compiles what is used at its first use (--no-compile): compiling all takes half a minute.

$(VENV)/made:
	@if ! "$(PYTHON)" -c "$(USABLE)"; then \
	  echo "No usable Python (PYTHON=$(PYTHON)). Mus-Comp needs Python 3.10 to 3.13 with its venv module" >&2; \
	  echo "(Debian and Ubuntu: package python3-venv). To use a certain one: make setup PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi
	@began=$$(date +%s); echo "Making $(VENV) with $$("$(PYTHON)" --version) ..."; \
	"$(PYTHON)" -m venv --clear $(VENV) && $(call took,environment)
	@touch $@

$(VENV)/packages-installed: $(VENV)/made requirements.txt requirements-synthesis.txt pyproject.toml
	@began=$$(date +%s); echo "Installing the packages of requirements.txt (TensorFlow is large: some minutes) ..."; \
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -r requirements.txt && $(call took,packages)
	@began=$$(date +%s); \
	if ! $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-synthesis.txt; then \
	  echo "The synthesizer (requirements-synthesis.txt) could not be installed. Ready-made packages exist for Python" >&2; \
	  echo "3.10 to 3.12; elsewhere it is compiled, which takes a C++ compiler (Debian and Ubuntu: package g++). Install" >&2; \
	  echo "one of these, then: make clean setup PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; $(call took,synthesizer)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/tools-installed: $(VENV)/packages-installed requirements-dev.txt requirements-effects.txt requirements-export.txt requirements-hosting.txt
	@began=$$(date +%s); echo "Installing the packages of requirements-dev.txt ..."; \
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -r requirements-dev.txt && $(call took,tools)
	@touch $@
