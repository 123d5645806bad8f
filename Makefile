# Two commands: `make reproduce` and `make test`. Each sets up what it needs, given Python, git and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON  ?= python3
PROFILE ?=
COHORT  ?=
METHODS ?=
JOBS    ?= 0
N       ?= 3
TRAIN   ?=
FRESH   ?=
ALLOW_EXTRA ?=
GROUP   ?=
KEEP    ?=
TO      ?=
TESTS   ?= tests

# What a person gives is taken as it stands and reaches the shell through the environment, so that a space, quote, `$`,
# `#` or brace in a path is just a character. TESTS alone is pasted: pytest's arguments, quoted as in a shell.
$(foreach name,PYTHON PROFILE COHORT METHODS JOBS TRAIN FRESH N ALLOW_EXTRA GROUP KEEP TO TESTS,$(eval override $(name) := $$(value $(name))))
export PYTHON PROFILE COHORT METHODS JOBS TRAIN FRESH N ALLOW_EXTRA GROUP KEEP TO

START := "$${PYTHON/\#~\//$$HOME/}"
IN := $(START) workflow/environment.py
RUN := $(IN) -m ecsupport
OWN := ECSUPPORT_METHODS="$${METHODS:+$$(realpath "$$METHODS" 2>/dev/null || echo "$$METHODS")}"
EXTRA := $$([ "$$ALLOW_EXTRA" != 1 ] || echo --allow-extra)
TRAINED := --jobs="$$JOBS" $$([ "$$TRAIN" != 1 ] || echo --train) $$([ "$$FRESH" != 1 ] || echo --fresh)
RUN_OPTIONS := --profile="$$PROFILE" --cohort="$$COHORT" --methods="$$METHODS" $(TRAINED) $(EXTRA)

.PHONY: help reproduce check audit test test-slow verify lab lint bench lock refresh bundle clean .venv supported

help:  ## show this list
	@grep -hE '^[a-z.%-]+[a-z0-9 %-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-26s %s\n", $$1, $$2}'

reproduce: supported  ## every notebook, table and figure, then report.html  [PROFILE=smoke COHORT=manifest.csv METHODS=mine.py JOBS=2 TRAIN=1 FRESH=1]
	@$(RUN) reproduce $(RUN_OPTIONS)

figure-%: supported  ## re-make one figure with what it needs, e.g. make figure-5  [PROFILE=laptop]
	@$(RUN) item $@ $(RUN_OPTIONS)

table-%: supported  ## the same for a table
	@$(RUN) item $@ $(RUN_OPTIONS)

check: supported  ## every mistake in your own manifest and pictures  [COHORT=manifest.csv ALLOW_EXTRA=1]
	@$(RUN) check --pixels $(EXTRA) -- "$$COHORT"

audit: supported  ## every published number checked against the others: audit.csv, audit.html
	@$(RUN) item audit $(RUN_OPTIONS)

test: supported  ## unit tests, a fresh smoke run, then every committed notebook  [METHODS=mine.py: what your methods must keep]
	@$(OWN) $(IN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-slow: supported  ## what takes long or needs root: a Slurm cluster of its own, the profile paper in miniature, a whole bundle
	@$(IN) -m pytest tests/slow

verify: supported  ## train some archived jobs anew and compare with the archive  [N=3 PROFILE=laptop]
	@$(RUN) verify --number="$$N" --profile="$$PROFILE"

lab: supported  ## open JupyterLab on the first notebook
	@$(OWN) $(IN) -m jupyterlab notebooks/01_data_split.ipynb

lint: supported  ## ruff: style, types on public functions, formatting
	@$(IN) -m ruff check . && $(IN) -m ruff format --check .

bench: supported  ## measure against the stated bounds  [GROUP=cohort KEEP=1 stores the measures for the notebooks]
	@$(RUN) bench "$$GROUP" $$([ "$$KEEP" != 1 ] || echo --keep)

refresh: supported  ## re-execute the committed notebooks and figures/reference
	@$(RUN) refresh

lock: supported  ## resolve requirements.lock anew from pyproject.toml
	@$(IN) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --extra dev --extra slurm pyproject.toml -o requirements.lock

bundle: supported  ## all that a machine without internet needs, and what installs it there  [TO=folder]
	@$(IN) workflow/bundle.py "$$TO"

.venv: supported  ## the environment alone
	@$(IN) --version

clean: supported  ## remove the environments and everything generated
	@$(IN) clean

supported:
	@$(START) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "This project needs Python 3.11, 3.12 or 3.13; $$PYTHON is $$($(START) --version 2>&1). Name another: make PYTHON=python3.12 ..."; exit 2; }
