# The workshop's commands. Each does what it needs first, and nothing twice.
#
#   make lab     set up, build the default world, open JupyterLab on the start page
#   make test    set up and run all tests but those that take minutes each (make test TEST_ARGS="-m slow": those)
#   make grade   grade a folder and write its report: make grade SUBMISSIONS=folder OUT=book.duckdb (without SUBMISSIONS: a
#                sample cohort of 24 learners who hand in the labs SAMPLE)
#   make dagster set up Dagster, for the notebook in which your retry policy of lab 3.1 runs on it
#   make build   build modules/, labs/, solutions/ and what else is generated from curriculum/ (what changed)
#   make contract   every topic's contract, whole, on five seeds: an hour or so (make contract TOPICS="3.1 3.2" SEEDS=20)
#   make bench   measure, and print ratios (make bench BENCH="overhead memory" for parts of it)
#   make lock    compile requirements*.txt anew from pyproject.toml

VENV := .venv
BIN := $(VENV)/bin
OUT ?= graded/book.duckdb
SAMPLE ?= 3.3,3.5,3.6,5.3
SEEDS ?= 5
TOPICS ?= $(shell $(BIN)/python -c "from workshop.topics import syllabus; print(*(t.id for t in syllabus().topics if t.exists))")
LAB_ARGS ?=

# A run without bytecode files pays two to four times as much for every import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lab test contract grade build bench lock setup dagster
.DELETE_ON_ERROR:

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml .ci/setup.sh .ci/overrides.json
	bash .ci/setup.sh runtime $(VENV)

$(VENV)/installed-tests: $(VENV)/installed requirements-test.txt
	bash .ci/setup.sh tests $(VENV)

$(VENV)/installed-dagster: $(VENV)/installed requirements-dagster.txt
	bash .ci/setup.sh dagster $(VENV)

lab: setup
	$(BIN)/python -m workshop world practice-7 --scale 0.05
	@$(BIN)/jupyter trust START_HERE.ipynb modules/*/*.ipynb >/dev/null # else what they show is shown without its style
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS) START_HERE.ipynb

dagster: $(VENV)/installed-dagster
	@echo "Dagster is there. Open modules/03_orchestration/01_retries_and_alerts_on_dagster.ipynb (make lab opens JupyterLab)."

test: $(VENV)/installed-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TEST_ARGS)

contract: $(VENV)/installed-tests
	@for topic in $(TOPICS); do \
	  echo "Topic $$topic"; $(BIN)/python -m grader.contract $$topic --seeds $(SEEDS) --jobs 2 || failed="$$failed $$topic"; \
	done; \
	[ -z "$$failed" ] || { echo "The contract does not hold for$$failed"; exit 1; }

grade: SUBMISSIONS ?= $(dir $(OUT))submissions
grade: setup
	@bash .ci/setup.sh sandbox $(VENV)
ifeq ($(origin SUBMISSIONS),undefined)
	$(BIN)/python -m grader sample --out "$(dir $(OUT))submissions" --only "$(SAMPLE)"
endif
	$(BIN)/python -m grader cohort "$(SUBMISSIONS)" --out "$(OUT)"
	$(BIN)/python -m grader alike "$(OUT)" "$(SUBMISSIONS)"
	$(BIN)/python -m grader report "$(OUT)"

build: setup
	$(BIN)/python -m workshop build

bench: $(VENV)/installed-tests
	$(BIN)/python -m tests.bench $(BENCH)

lock: setup
	$(BIN)/python -m pip install -q uv
	bash .ci/lock.sh $(BIN)/uv
