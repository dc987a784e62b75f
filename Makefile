# Each target sets up what it needs in .venv, from the pinned locks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo quick test check bench fuzz load docs tables lock clean

help:   # this list
	@sed -En 's/^([a-z]+):[^#]*# (.*)/\1\t\2/p' Makefile | expand -t 8

demo: $(VENV)/demo   # train a victim on digits, defend it, steal it, and write a report: a minute
	$(BIN)/feint demo

quick: $(VENV)/dev   # the tests while you work: those that take more than a second or two are left out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

test: $(VENV)/dev   # all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 30

check: $(VENV)/dev   # style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/bench   # speed beside other libraries
	$(BIN)/python -m benchmarks.speed

fuzz: $(VENV)/dev $(VENV)/fuzz   # millions of cases, in minutes: results/fuzz.json
	$(BIN)/python -m tests.fuzz

load: $(VENV)/dev $(VENV)/mlserver   # the gateway under load and faults, 20 minutes; needs wrk and redis-server
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.load

docs: $(VENV)/dev   # the pages, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

tables: $(VENV)/dev   # the tables in README, README.zh and docs, from the rows in results/ and from the code
	$(BIN)/python -m docs.tables

# Each stamp stands for one lock, installed. torch comes first, alone: where a CPU build is at hand pip takes it.
$(VENV)/demo $(VENV)/dev $(VENV)/bench: $(VENV)/%: lock/%.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r lock/$*.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/fuzz: lock/fuzz.txt $(VENV)/dev   # atheris has no build for some systems: there hypothesis fuzzes alone
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@ || echo "no atheris for this system"

# Clients and servers of other people, each in an environment of its own that all checkouts share (lock/environment.sh):
# the tests that talk to them are skipped without.
$(VENV)/interop $(VENV)/mlserver $(VENV)/kserve $(VENV)/openvino $(VENV)/triton: $(VENV)/%: lock/%.txt lock/environment.sh
	mkdir -p $(VENV) && rm -rf $@
	room=$$(PYTHON=$(PYTHON) lock/environment.sh $*) && ln -s "$$room" $@

# Models of other people: of their packages only the files are used.
$(VENV)/strangers: lock/strangers.txt lock/environment.sh
	mkdir -p $(VENV) && rm -rf $@
	room=$$(PYTHON=$(PYTHON) lock/environment.sh strangers --no-deps) && ln -s "$$room" $@

# Gateways without torch: what the container file installs, and the one on Ray Serve. Their packages are shared as well;
# this checkout's own source stands before them on the path of an environment that is made here.
$(VENV)/serve $(VENV)/ray-serve: $(VENV)/%: lock/%.txt lock/environment.sh
	mkdir -p $(VENV) && rm -rf $@
	room=$$(PYTHON=$(PYTHON) lock/environment.sh $* --no-deps) && $(PYTHON) -m venv --without-pip $@ \
	    && printf '%s\n' "$(CURDIR)/src" "$$room"/lib/python*/site-packages > "$$(echo $@/lib/python*/site-packages)/feint.pth" \
	    || (rm -rf $@; exit 1)
	touch $@

lock:   # resolve anew, each lock in an environment of its own
	for name in demo dev bench serve ray-serve interop mlserver kserve openvino triton strangers fuzz; do $(PYTHON) lock/resolve.py $$name || exit 1; done

clean:   # remove .venv and the built pages
	rm -rf $(VENV) docs/_build docs/reference/api
