# `make claims` and `make test` need Python 3.11+ and make; everything else they fetch.
PYTHON ?= python3
# More options for pytest: make claims ARGS="-k renormalization --seeds 8"
ARGS ?=

bin := .venv/bin
# Values must not depend on the number of threads, and two workers with one thread each
# beat one worker with two.
export OMP_NUM_THREADS := 1

# All of claims/ but the claims themselves.
machinery := $(filter-out claims/test_%.py claims/__pycache__/, \
    $(wildcard claims/*.py claims/*/))

.PHONY: claims nightly test bench lint docs lock clean

claims: .venv/.installed ## Train what is missing, decide every claim, write the report
	$(bin)/pytest claims/ -n auto $(ARGS)

nightly: .venv/.installed ## Gather evidence for a night: make nightly ARGS="--budget 30"
	$(bin)/python -m claims nightly $(ARGS)

# Some tests take a minute, most none: whoever is done first takes from the other.
test: .venv/.installed ## Test the library, the fixtures, the reports and the rules
	$(bin)/pytest --doctest-modules -n auto --dist worksteal lmc fixtures reports \
	    docs/tests docs/catalogue.py $(machinery) $(ARGS)

bench: .venv/.installed ## Measure ratios of speed
	$(bin)/python -m lmc.benchmarks.library $(ARGS)
	$(bin)/python -m fixtures.benchmarks $(ARGS)

lint: .venv/.installed ## Check style and types
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

docs: .venv/.docs ## Build the site, docs/out/index.html
	$(bin)/sphinx-build -W --keep-going -q -b html docs docs/out

lock: .venv/.installed ## Pin all packages, with hashes, to what is newest now
	$(bin)/pip install --quiet uv
	$(bin)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command "make lock" --constraint constraints.txt \
	    --output-file requirements.lock

clean: ## Remove the virtual environment and the report, not the trained networks
	rm -rf .venv reports/out docs/out docs/generated

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + \
	    ": make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(bin)/pip install --quiet --upgrade pip
	$(bin)/pip install --quiet -c constraints.txt -e '.[suite,remote,lint]'
	touch $@

.venv/.docs: .venv/.installed
	$(bin)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@
