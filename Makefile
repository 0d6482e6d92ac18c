# make help        what there is
#
# Every target makes the virtual environment that it needs. Choose the Python with PYTHON=...

PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check

# Two stamps, so that the demo need not wait for the tools of development.
RUN = $(VENV)/.installed
DEVELOP = $(VENV)/.installed-for-development

.DEFAULT_GOAL := help
.PHONY: help demo test check lint bench format

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(RUN) ## back up real DICOM twice, lose everything, restore and prove it
	VENV=$(VENV) bash packaging/demo.sh

test: $(DEVELOP) ## all tests (SAFELIGHT_FULL=1 for the full sizes)
	$(VENV)/bin/python -m pytest -n 2

check: lint test ## what every change must pass: format, lint, types, layers, tests

lint: $(DEVELOP) ## format, lint, types and layers, without the tests
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(DEVELOP) ## speed and size, side by side with restic and borg
	$(VENV)/bin/python benchmarks/run.py

format: $(DEVELOP) ## write the code as ruff formats it
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

$(RUN): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python" >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install 'pip>=25.1'
	$(PIP) install --editable '.[agent]'
	@touch $@

$(DEVELOP): $(RUN)
	$(PIP) install --group dev
	@touch $@
