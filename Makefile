# Python 3.10 or newer and make are all that is needed; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-all notebooks lab docs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' Makefile

run: .venv/run ## draw pets, train ResNet-101 on them, evaluate it, look into it; results in runs/demo/
	$(BIN)/pets_train demo --run demo --overwrite
	$(BIN)/pets_explain --run runs/demo

test: .venv/dev ## every notebook and the quick tests
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --do_print --timing
	$(BIN)/python -m pytest

test-all: test ## the same, then what is slow
	for nb in $$(grep -rl --include='*.ipynb' '"#| slow' nbs); do $(BIN)/nbdev_test --path $$nb --flags slow --do_print || exit 1; done
	$(BIN)/python -m pytest -m slow -rs

notebooks: .venv/dev ## run every notebook, store its outputs, write README.md
	$(BIN)/nbdev_export
	$(BIN)/python scripts/notebooks.py
	$(BIN)/nbdev_clean
	$(BIN)/python scripts/readme.py

lab: .venv/dev ## open the book in JupyterLab
	$(BIN)/jupyter lab nbs/index.ipynb

docs: .venv/dev ## the docs site in _docs/
	@command -v quarto >/dev/null || { echo "make docs needs Quarto, which is not on this machine. Get it from https://quarto.org/docs/get-started/ and try again." >&2; exit 1; }
	$(BIN)/python scripts/readme.py
	$(BIN)/nbdev_docs

.venv/run: setup.py pyproject.toml settings.ini
	@$(PYTHON) -c 'import sys; sys.version_info >= (3,10) or sys.exit("Python 3.10 or newer is needed; this is "+sys.version.split()[0]+". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@
