# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO ?= demo
LIFE ?= work/life
RELEASED := eight banks are too few to tell how even it is; the rollout looks again
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.PHONY: install demo pictures screenshots test test-slow check lint-deploy format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fraudfl needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade --constraint constraints.txt pip setuptools wheel
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	@if [ -e $(DEMO)/summary.json ]; then echo "$(DEMO)/ holds an earlier demo; remove it to run again"; exit 1; fi
	$(BIN)/fraudfl run configs/quickstart.yaml --workspace $(DEMO)
	@echo
	@echo "Where to look next:"
	@echo "  $(DEMO)/summary.json            every figure of the run"
	@echo "  $(DEMO)/coordinator/phases/     plan, checkpoints, events and the model bundle of each phase"
	@echo "  $(DEMO)/banks/bank-01/          one bank's folder: its data, its ledger, what it was sent"
	@echo "  $(BIN)/fraudfl dashboard -w $(DEMO)    all of it to look at, in a browser on this machine"
	@echo "  $(BIN)/mlflow ui --backend-store-uri sqlite:///$(DEMO)/mlflow.db    runs and model versions"
	@echo "  $(BIN)/fraudfl config show configs/quickstart.yaml        what each bank agreed to"

# The pictures of docs/phases.md, from a run of their own: the pilot's gate holds, is released, and the life goes on.
pictures: install
	@if [ -e $(LIFE) ]; then echo "$(LIFE)/ holds an earlier run; remove it, or set LIFE="; exit 1; fi
	$(BIN)/fraudfl run configs/life.yaml --workspace $(LIFE) || [ $$? -eq 3 ]
	$(BIN)/fraudfl gates release pilot --workspace $(LIFE) --by "Ada Example" --reason "$(RELEASED)"
	$(BIN)/fraudfl run configs/life.yaml --workspace $(LIFE) --resume
	$(BIN)/fraudfl report results --workspace $(LIFE) --out $(LIFE)/report --pictures docs/pictures

# The dashboard's pages as docs/dashboard.md shows them, of the same run, which is made where it is not there.
screenshots: install
	@if [ ! -e $(LIFE)/summary.json ]; then $(MAKE) pictures LIFE=$(LIFE); fi
	$(BIN)/python .ci/screenshots.py --workspace $(LIFE) --out docs/pictures/dashboard

# One process per core; what starts whole deployments comes last, and has the machine to itself.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" --ignore tests/e2e --numprocesses auto --dist loadfile
	$(BIN)/pytest -m "not slow" tests/e2e

test-slow: install
	$(BIN)/pytest -m slow

check: install lint-deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deploy: install
	$(BIN)/python .ci/lint_deploy.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DEMO) work .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
