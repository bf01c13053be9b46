# All that a contributor types. `.venv` is made on first use and again when pyproject.toml or constraints.txt change.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 11434
TEST_ARGS ?=
BENCH ?=
BENCH_ARGS ?=
LOCK_ARGS ?=
LITELLM ?= 1.106.2

# Whatever environment the shell is in, this one is used.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
ifdef VIRTUAL_ENV
PATH := $(subst $(VIRTUAL_ENV)/bin:,,$(PATH))
endif
export PYTHON

BIN := .venv/bin
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
STAMP := .venv/.installed
ifneq ($(shell cat .venv/where 2>/dev/null || pwd),$(shell pwd))
$(shell rm -f $(STAMP))
endif

.PHONY: help serve test check docs bench bench-proxy soak lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/p' Makefile | expand -t 22

serve: $(STAMP)  ## run the server (HOST=127.0.0.1 PORT=11434)
	@$(BIN)/remuda serve --host $(HOST) --port $(PORT)

test: $(STAMP)  ## run every test (TEST_ARGS='-k name')
	@$(BIN)/pytest $(TEST_ARGS)

check: $(STAMP)  ## style, format, types, who imports whom, the documentation's site
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-logo
	@$(MKDOCS) build --strict --site-dir .venv/site

docs: $(STAMP)  ## the documentation as a site, at http://127.0.0.1:8000
	@$(MKDOCS) serve

# LLAMA_SERVER and BATCHED_BENCH, if given, reach it through the environment.
bench: $(STAMP)  ## measure; BENCH=embed, herd or memory: something else (BENCH_ARGS='--help')
	@$(BIN)/python -m benchmarks$(addprefix .,$(BENCH)) $(BENCH_ARGS)

soak: $(STAMP)  ## random load for half an hour, after which nothing may have grown (BENCH_ARGS='--help')
	@$(BIN)/python -m benchmarks.soak $(BENCH_ARGS)

bench-proxy: $(STAMP)  ## measure the proxy against nginx and LiteLLM (BENCH_ARGS='--help')
	@test -e .venv/litellm/$(LITELLM) || { \
		echo 'LiteLLM $(LITELLM), in an environment of its own, once' >&2; \
		$(BIN)/python -m venv --clear .venv/litellm && \
		env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 \
			.venv/litellm/bin/python -m pip install --quiet 'litellm[proxy]==$(LITELLM)' && \
		touch .venv/litellm/$(LITELLM); \
	} || { rm -rf .venv/litellm; echo 'LiteLLM cannot be installed here: measured without it' >&2; }
	@$(BIN)/python -m benchmarks.proxy $(BENCH_ARGS)

lock: $(STAMP)  ## renew constraints.txt after a change of pyproject.toml (LOCK_ARGS=--upgrade)
	@grep -v '^#' constraints.txt > .venv/lock.txt
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
		--all-extras --group dev --no-annotate --no-header $(LOCK_ARGS) --output-file .venv/lock.txt >/dev/null
	@{ printf '%s\n' \
		'# Every version that `make` installs, with the hashes of its files: what remuda, its extras and its' \
		'# dependency groups need on Python 3.11 and newer. Made from pyproject.toml by `make lock`, which keeps' \
		'# the versions that still fit; `make lock LOCK_ARGS=--upgrade` takes the newest. Not edited by hand.'; \
		cat .venv/lock.txt; } > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt
	@rm .venv/lock.txt

clean:  ## remove .venv and everything that tools left
	rm -rf .venv build dist .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@.ci/venv
	@touch $@
