# Two commands: `make reproduce` and `make test`. Each sets up what it needs, given Python, git and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON  ?= python3
VENV    ?= .venv
PROFILE ?= smoke
COHORT  ?=
GROUP   ?=
KEEP    ?=
TESTS   ?= tests

BIN := $(VENV)/bin
RUN := $(BIN)/python -m ecsupport
RUN_OPTIONS := --profile '$(PROFILE)' $(if $(COHORT),--cohort '$(COHORT)')

.PHONY: help reproduce audit test lab lint bench lock refresh clean

help:  ## show this list
	@grep -hE '^[a-z%-]+[a-z0-9 %-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-26s %s\n", $$1, $$2}'

reproduce: $(VENV)/.complete  ## every notebook, table and figure, then report.html  [PROFILE=smoke COHORT=manifest.csv]
	@$(RUN) reproduce $(RUN_OPTIONS)

figure-% table-%: $(VENV)/.complete  ## re-make one item with what it needs, e.g. make table-7  [PROFILE=laptop]
	@$(RUN) item $@ $(RUN_OPTIONS)

audit: $(VENV)/.complete  ## every published number checked against the others: audit.csv, audit.html
	@$(RUN) item audit $(RUN_OPTIONS)

test: $(VENV)/.complete  ## unit tests, a fresh smoke run, then every committed notebook against it
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(TESTS)

lab: $(VENV)/.complete  ## open JupyterLab on the first notebook
	@$(BIN)/jupyter lab notebooks/01_data_split.ipynb

lint: $(VENV)/.complete  ## ruff: style, types on public functions, formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(VENV)/.complete  ## measure against the stated bounds  [GROUP=cohort KEEP=1 stores the measures for the notebooks]
	@$(RUN) bench $(GROUP) $(if $(KEEP),--keep)

refresh: $(VENV)/.complete  ## re-execute the committed notebooks and figures/reference
	@$(RUN) refresh

lock: $(VENV)/.complete  ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --extra dev pyproject.toml -o requirements.lock

clean:  ## remove the environment and everything generated
	rm -rf .venv* store runs .snakemake .ruff_cache .hypothesis
	find figures -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: a venv whose pip installs only uv, checked by hash; uv then installs the lock.
$(VENV)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "This project needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Setting up $(VENV) (about 5 GB, once) ..."
	@$(PYTHON) -m venv --clear $(VENV) || { echo "$(PYTHON) cannot make a venv; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
