# Two commands: `make demo` and `make test`. Each sets itself up first, once.
#
# The set-up is a chain of steps. Each leaves a stamp in the environment that is keyed to the files
# which matter to it, so a second `make install` does nothing and an edited pin redoes its step only.

PYTHON ?= python3
VENV ?= .venv
DETECTRON2_SOURCE ?= auto
# Where source git fetches from, if not from the official address: a URL or a local path.
DETECTRON2_REPOSITORY ?=
DEMO ?= points
DEMO_ARGS ?=
PYTEST_ARGS ?=
# What `make benchmarks` measures, how, and what it runs under: UNDER="taskset -c 0,1".
SECTIONS ?=
BENCHMARK_ARGS ?= --short --compare --record
UNDER ?=
PICTURES := $(if $(CENTERNET_D2_TEST_DATA),--images $(CENTERNET_D2_TEST_DATA)/bccd/JPEGImages)
RUFF_PATHS ?= .

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/stamps
DETECTRON2_TOOL := $(wildcard centernet_d2/installation/*.py) tools/install_detectron2.py
DETECTRON2_OPTIONS := --source $(DETECTRON2_SOURCE) \
	$(if $(DETECTRON2_REPOSITORY),--repository "$(DETECTRON2_REPOSITORY)")

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install check demo demo-corner demo-triplet demo-pose demo-box3d test benchmarks lint format types clean distclean FORCE

help:
	@echo "make demo       train the points detector on generated images, score it, draw (minutes)"
	@echo "make demo-corner, make demo-triplet    the same with CornerNet, with triplet CenterNet"
	@echo "make demo-pose  the same with stick figures and their joints"
	@echo "make demo-box3d the same with boxes on a street, placed in space"
	@echo "make test       run the test suite            PYTEST_ARGS='-k peaks -x'"
	@echo "make benchmarks measure, tell what got slower, and write BENCHMARKS.md   SECTIONS=soft_nms"
	@echo "make install    set up $(VENV) only"
	@echo "make check      print versions and devices, try the operators, name what is broken"
	@echo "make lint       ruff: rules and format        make format repairs both"
	@echo "make types      mypy on the pure rooms and the public entry points"
	@echo "make clean      remove build products and caches; distclean removes $(VENV) too"
	@echo
	@echo "PYTHON=python3.12                  another interpreter (3.11 or newer)"
	@echo "VENV=some/folder                   another environment"
	@echo "DETECTRON2_SOURCE=auto|git|pypi    where detectron2 comes from"
	@echo "DETECTRON2_REPOSITORY=URL_OR_PATH  a copy of its repository, for source git"

install: $(STAMPS)/checked

# An existing environment stays, unless another interpreter is asked for by name.
ifneq ($(origin PYTHON),file)
ASKED_PYTHON := FORCE
endif

$(STAMPS)/python: $(ASKED_PYTHON)
	@$(PYTHON) -c '' || { echo "make: '$(PYTHON)' does not run; \
	name a Python, by its path if need be: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: \
	$(PYTHON) is `$(PYTHON) --version 2>&1`, and 3.11 or newer is needed; \
	name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@wanted=`$(PYTHON) -c 'import sys; print(sys.version)'`; \
	if [ "$$wanted" != "`cat $@ 2>/dev/null`" ]; then \
	  if [ -e $(VENV) ] && [ ! -e $(VENV)/pyvenv.cfg ]; then \
	    echo "make: $(VENV) exists and is no Python environment: it stays as it is" >&2; exit 1; \
	  fi; \
	  echo "make: new environment $(VENV) with `$(PYTHON) --version`" && \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && mkdir -p $(STAMPS) && \
	  echo "$$wanted" > $@; \
	fi

# One call for the pair: in two, the second could move the first.
$(STAMPS)/torch: requirements/torch.txt $(STAMPS)/python
	@echo "make: torch and torchvision, the tested pair (some GB, minutes on a slow line)"
	$(PIP) install -r requirements/torch.txt
	@touch $@

$(STAMPS)/package: setup.py pyproject.toml tools/install_package.py $(STAMPS)/torch
	$(BIN)/python tools/install_package.py
	@touch $@

# The stamp's name holds the source, so that asking for another source is another step. What
# detectron2 needs comes with the package, whose edits leave it alone.
$(STAMPS)/detectron2-$(DETECTRON2_SOURCE): $(DETECTRON2_TOOL) | $(STAMPS)/package
	$(BIN)/python tools/install_detectron2.py $(DETECTRON2_OPTIONS)
	@rm -f $(STAMPS)/detectron2-*
	@touch $@

$(STAMPS)/checked: $(STAMPS)/package $(STAMPS)/detectron2-$(DETECTRON2_SOURCE)
	$(BIN)/python -m centernet_d2.check
	@touch $@

check: install
	$(BIN)/python -m centernet_d2.check

demo: install
	$(BIN)/python tools/demo.py $(DEMO) $(DEMO_ARGS)

demo-corner demo-triplet demo-pose demo-box3d: demo-%: install
	$(BIN)/python tools/demo.py $* $(DEMO_ARGS)

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# A process for each section: memory and threads of one do not disturb the next.
benchmarks: install
	@slower=; sections="$(SECTIONS)"; names='print(*(name for name, _ in BENCHMARK_REGISTRY))'; \
	for section in $${sections:-`$(BIN)/python -c "from benchmarks import *; $$names"`}; do \
	  case $$section in runtimes) what="--runtimes --weights bccd $(PICTURES)";; \
	  *) what="--sections $$section";; esac; \
	  $(UNDER) $(BIN)/python tools/benchmark.py $$what $(BENCHMARK_ARGS) || \
	  slower="$$slower $$section"; \
	done; \
	$(BIN)/python tools/make_benchmarks_page.py; \
	[ -z "$$slower" ] || { echo "make: slower than its record, or failed:$$slower" >&2; exit 1; }

lint: install
	$(BIN)/ruff check $(RUFF_PATHS)
	$(BIN)/ruff format --check $(RUFF_PATHS)

format: install
	$(BIN)/ruff check --fix $(RUFF_PATHS)
	$(BIN)/ruff format $(RUFF_PATHS)

# The files are listed in pyproject.toml.
types: install
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
