# The two commands are `make demo` and `make test`; both make .venv and install what they need.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
    --constraint constraints.txt
# pip would compile on one core. A library's file for another Python cannot be compiled.
COMPILE := $(BIN)/python -m compileall -qq -j 0 .venv/lib || true
SOURCES := pyproject.toml constraints.txt

# The tests run in several processes, a file in one of them, the longest first. They and the nodes
# that they start have one thread each, and find the project's modules compiled. They wait for peers
# and timers two fifths of their time, so three of them keep two cores busy.
JOBS ?= 3
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= \
    $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test suite test-fast test-soak test-postgresql ohif fuzz lint sbom audit pictures labels acceptance canary bench precision clean

demo: .venv/.installed
	$(BIN)/ichnode demo $(if $(CT),--ct "$(CT)")

test: lint suite  # `make --jobs 2 test` runs both at a time

suite: .venv/.installed-test
	$(PYTEST)

test-fast: .venv/.installed-test  # for the hand: no peers, no networks, no real data
	$(PYTEST) -m "not (peer or data or networks or slow or soak)"

test-soak: .venv/.installed-test  # by hand: what takes minutes each
	$(PYTEST) -m soak

test-postgresql: .venv/.installed-test  # by hand: nodes on PostgreSQL, where they stand on SQLite else
	$(PYTEST) --postgresql -m "not (sqlite or soak)" tests/node

ohif: var/ohif/package/dist/index.html  # the viewer OHIF for its tests, 50 MB by npm
var/ohif/package/dist/index.html: Makefile
	mkdir -p var/ohif
	cd var/ohif && npm pack --silent @ohif/app@3.13.2 && tar -xzf ohif-app-*.tgz && rm ohif-app-*.tgz
	touch $@

DOORS := pdus association header archive pixels volume report attributes adt query commitment mllp \
    acknowledgement webhook mail stow web medium settings
DOOR ?= $(DOORS)
MINUTES ?= 60
fuzz: .venv/.installed-test  # by hand: hostile input for each DOOR; GUIDED=1 takes ichnode[fuzz]
	$(if $(GUIDED),$(PIP) --editable ".[fuzz]")
	set -e; for door in $(DOOR); do $(BIN)/python -m \
	    $(if $(GUIDED),tests.fuzz.guided $$door var/fuzz/$$door -max_total_time=$$(($(MINUTES) * 60)), \
	    tests.fuzz.replay $$door tests/fuzz/corpus/$$door --minutes $(MINUTES) --keep var/fuzz/$$door); \
	done

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

sbom: .venv/.installed-test  # what is installed, with versions and licences: var/sbom.json
	mkdir -p var
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file var/sbom.json $(BIN)/python

audit: .venv/.installed-test  # by hand, where its service can be reached: known vulnerabilities
	$(PIP) pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps

pictures: .venv/.installed-test  # docs/*.png, of phantoms
	$(BIN)/python -m tests.pictures

labels: .venv/.installed-test  # the figures in docs/archive.md, of the labeller of reports
	$(BIN)/python -m tests.label_table

STUDIES ?= 100
acceptance: .venv/.installed-test  # by hand: an archive found, read, labelled, adjudicated, reported
	$(BIN)/python -m tests.acceptance --studies $(STUDIES)

canary: .venv/.installed-test  # node/canary/phantom.npz, the head that the node sends to itself
	$(BIN)/python -m training.phantoms.canary

bench: .venv/.installed
	$(BIN)/ichnode bench

precision: .venv/.installed  # half an hour on two cores
	$(BIN)/python -m training.precision

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python $(SOURCES)
	@echo "installing ichnode into .venv (torch with CUDA is 5 GB: this takes minutes)"
	$(PIP) --editable .
	$(COMPILE)
	touch $@

.venv/.installed-test: .venv/bin/python $(SOURCES)
	@echo "installing ichnode and what its tests need into .venv (torch with CUDA is 5 GB: minutes)"
	$(PIP) --editable ".[test]"
	$(COMPILE)
	touch $@ .venv/.installed

clean:
	rm -rf .venv var build *.egg-info
