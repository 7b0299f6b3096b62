# Every target makes .venv itself: the locked versions on Python 3.11 and 3.12, pyproject's ranges elsewhere.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test slow lint type bench page docs
demo: $(INSTALLED)
	$(BIN)/hyperpolicy demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

slow: $(INSTALLED)
	$(BIN)/python -m pytest -q -m slow

page: $(INSTALLED)
	$(BIN)/hyperpolicy page --out site

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo docs/_build/html/index.html

lint: $(INSTALLED)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

type: $(INSTALLED)
	$(BIN)/mypy

bench: $(INSTALLED)
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

$(INSTALLED): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	case "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" in \
	  3.11|3.12) $(BIN)/python -m pip install -q -r requirements.lock && \
	    $(BIN)/python -m pip install -q --no-deps --no-build-isolation -e . ;; \
	  *) $(BIN)/python -m pip install -q -e '.[dev]' ;; \
	esac
	touch $@
