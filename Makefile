# Needs python3 (3.11 or newer, with venv) and make; everything else is created here.
PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export MPLBACKEND = Agg

PY := .venv/bin/python
ENV := .venv/.stamp
PIN := constraints.txt
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := -m pytest -q -n $(JOBS) --timeout 900
# pip first (dependency groups need 25.1), torch in the same step so that its pin decides the build.
FIRST := pip torch hatchling editables

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow test-matrix lint format types docs site-check audit bench clean distclean
.SECONDARY:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

env: $(ENV)  ## create the development environment in .venv

$(ENV): constraints.txt pyproject.toml
	@echo "creating the environment in .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install -qq -c $(PIN) $(FIRST)
	@$(PY) -m pip install -qq -c $(PIN) --no-build-isolation -e '.[all]' --group dev
	@touch $@

demo: $(ENV)  ## run the main job on real data; pictures go to build/demo
	@mkdir -p build/demo
	@SKVAE_DEMO_DIR='$(CURDIR)/build/demo' $(PY) docs/examples/plot_quickstart.py

test: $(ENV)  ## run the tests and the doctests
	$(ONE_THREAD) $(PY) $(PYTEST) $(PYTEST_ARGS)

test-slow: $(ENV)  ## run the tests marked slow
	$(ONE_THREAD) $(PY) $(PYTEST) -m 'slow and not gpu' $(PYTEST_ARGS)

# One environment per supported minor release of scikit-learn. Only torch keeps its pin; the older
# releases get companions of their own time.
SK17 := 'scikit-learn==1.7.*' 'numpy<2.3' 'scipy<1.16' 'pandas<3'
SK18 := 'scikit-learn==1.8.*' 'numpy<2.4'
SK19 := 'scikit-learn==1.9.*'

.venv-sk%/.stamp: constraints.txt pyproject.toml
	@echo "creating the environment in .venv-sk$*"
	@$(PYTHON) -m venv .venv-sk$*
	@grep -E '^(torch|pip)==' $(PIN) > .venv-sk$*/pins.txt
	@.venv-sk$*/bin/python -m pip install -qq -c .venv-sk$*/pins.txt $(FIRST)
	@.venv-sk$*/bin/python -m pip install -qq -c .venv-sk$*/pins.txt --no-build-isolation \
		-e '.[all]' --group test $(SK$*)
	@touch $@

matrix-%: .venv-sk%/.stamp
	@.venv-sk$*/bin/python -c 'import sklearn; print("scikit-learn", sklearn.__version__)'
	$(ONE_THREAD) .venv-sk$*/bin/python $(PYTEST) $(PYTEST_ARGS) \
		tests/test_common.py tests/test_sklearn_own_checks.py

test-matrix: matrix-17 matrix-18 matrix-19  ## run the estimator checks on scikit-learn 1.7, 1.8 and 1.9

lint: $(ENV)  ## check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(ENV)  ## mend style and formatting
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(ENV)  ## check types
	$(PY) -m mypy

docs: $(ENV)  ## build the site into docs/_build/html; warnings are errors
	$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# A browser is needed: CHROMIUM=/path/to/chromium where it is not found.
.venv-site/.stamp:
	@$(PYTHON) -m venv .venv-site
	@.venv-site/bin/python -m pip install -qq playwright
	@touch $@

site-check: docs .venv-site/.stamp  ## open every page of the site in headless Chromium
	.venv-site/bin/python docs/check_site.py docs/_build/html --pictures build/site

audit:  ## look up the pins among known weaknesses (asks the network)
	@test -d .venv-audit || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install -qq pip-audit
	.venv-audit/bin/python -m pip_audit --strict --disable-pip --no-deps -r $(PIN)

bench:  ## list the benchmarks
	@ls benchmarks/*.py >/dev/null 2>&1 || echo "no benchmarks yet"
	@for f in $(wildcard benchmarks/[!_]*.py); do \
		printf '%s\n    %s\n' "$(PY) $$f" "$$(sed -n '1s/^"*\([^"]*\)"*$$/\1/p' $$f)"; done

clean:  ## remove what was built, keep the environments
	rm -rf build dist docs/_build docs/gallery docs/generated
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find skvae tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## remove the environments too
	rm -rf .venv .venv-audit .venv-sk17 .venv-sk18 .venv-sk19 .venv-site
