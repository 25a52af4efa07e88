# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CASE ?= demo
# with bytecode, whatever the environment says: rewriting the tests' assertions takes seconds a worker
TEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
CHECKED := --jaxtyping-packages=impindiff,beartype.beartype
FLOORS := $(addprefix tests/,grid operators fields implicit steppers)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow pages lint types docs dist validate benchmarks evidence clean

# CASE=smoke is the same job in about a minute; see examples/ for others.
demo: $(VENV)/.core
	$(BIN)/impindiff run advection_diffusion_steady --config examples/$(CASE).yaml

# Those of the lower floors check the shapes and types of what every function is given and returns.
test: $(VENV)/.test
	$(TEST) $(CHECKED) -m "not slow and not wrong_types" $(FLOORS)
	$(TEST) -n 0 -m wrong_types $$(grep -rl --include='*.py' mark.wrong_types $(FLOORS))
	$(TEST) -m "not slow" --ignore tests/documents $(FLOORS:%=--ignore=%)

# What takes longest, and further instances of what `make test` shows.
test-slow: $(VENV)/.test
	$(TEST) $(CHECKED) -m "slow and not wrong_types" $(FLOORS)
	$(TEST) -m slow --ignore tests/documents $(FLOORS:%=--ignore=%)

# Every command, file and example of the documentation, as its reader runs it.
pages: $(VENV)/.test
	$(TEST) tests/documents

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/.dev
	$(BIN)/pyright

# The site, in site/: warnings and broken links are errors.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# Wheel and sdist, in dist/.
dist: $(VENV)/.dev
	$(BIN)/python -m build --outdir dist .

validate: $(VENV)/.core
	$(BIN)/python validation/operators.py
	$(BIN)/python validation/operators_in_space.py
	$(BIN)/python validation/coordinates.py
	$(BIN)/python validation/domains.py
	$(BIN)/python validation/steppers.py
	$(BIN)/python validation/burgers.py
	$(BIN)/python validation/gradient.py
	$(BIN)/python validation/flow.py
	$(BIN)/python validation/derivatives.py BackwardEuler  # the whole table takes hours
	$(BIN)/python validation/scaling.py
	$(BIN)/python validation/calibration.py
	$(BIN)/python validation/vapor_infiltration.py

# One table of ratios, added to docs/results/history.jsonl; NAME.py of benchmarks/ runs alone too.
benchmarks: $(VENV)/.core
	$(BIN)/python benchmarks/run.py

# Redoes every comparison of docs/evidence/claims.md.
evidence: $(VENV)/.test
	$(BIN)/python tools/make_evidence.py

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) site dist .pytest_cache .ruff_cache
