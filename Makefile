# `make demo` and `make test` are all a newcomer needs. PYTHON=python3.12 make test chooses the Python.

ifeq ($(origin PYTHON),undefined)
PYTHON := $(or $(wildcard .venv/bin/python),python3)
else
CHOSEN := --chosen
endif

VENV := .venv/bin
ARGS ?=
SOURCE := pipeline tests tools $(wildcard benchmarks)
# Tests run side by side: more threads in each would only get in each other's way.
TEST_THREADS ?= 1
EXAMPLES ?= 5000
FUZZ_FILES ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test test-long fuzz check format doctor clean

help: ## list all targets
	@echo "usage: make TARGET [PYTHON=python3.12] [ARGS='...']"
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(firstword $(MAKEFILE_LIST)) | awk -F': ' '{ printf "  %-9s %s\n", $$1, $$2 }'

demo: ## the whole chain on made-up CT scans, in a few minutes
	$(call prepare,demo)
	@$(VENV)/unet demo $(ARGS)

test: ## run all tests; ARGS='-k dicom' runs some
	$(call prepare,test)
	@OMP_NUM_THREADS=$(TEST_THREADS) $(VENV)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0 $(ARGS)

test-long: ## 5,000 made-up DICOM series instead of 200; EXAMPLES=1000 makes it fewer
	$(call prepare,test)
	@UNET_EXAMPLES=$(EXAMPLES) $(VENV)/python -m pytest --durations=0 $(wildcard tests/io/test_dicom_propert*.py) $(ARGS)

fuzz: ## damaged DICOM files through the reader; FUZZ_FILES=1000 makes it fewer than 100,000
	$(call prepare,test)
	@$(VENV)/python tests/fuzz/fuzz_dicom.py --files $(FUZZ_FILES) $(ARGS)

check: ## lint, format, strict types, import layers
	$(call prepare,check)
	$(VENV)/ruff check $(SOURCE)
	$(VENV)/ruff format --check $(SOURCE)
	$(VENV)/mypy
	$(VENV)/lint-imports

format: ## put the source into the house format
	$(call prepare,format)
	$(VENV)/ruff check --fix $(SOURCE)
	$(VENV)/ruff format $(SOURCE)

doctor: ## is this machine ready? each problem with its fix
	$(call prepare,doctor)
	@$(VENV)/unet doctor $(ARGS)

clean: ## remove .venv and caches; data, runs and bundles stay
	rm -rf .venv build artifacts *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

define prepare
	@command -v $(PYTHON) >/dev/null || { echo "set-up: there is no $(PYTHON) on this machine. Install Python 3.11 or newer, then type: make $(1)" >&2; exit 2; }
	@$(PYTHON) tools/prepare.py $(1) $(CHOSEN)
endef
