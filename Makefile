# All commands that a person or CI runs here. `make` alone lists them.
#
# The first target that needs `.venv` creates it, and it is updated when a lock file changes. A stamp in
# it says that one lock file was installed completely. Nothing outside this folder is written, with one
# exception: for root on a Debian without python3-venv, that package is installed.

SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:

ARGS ?=
# More workers than two cores: some tests wait most of their time.
WORKERS ?= 5
SPREAD = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SITE = site
PYTHONS := $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14)
VENV_LIVES := $(shell [ -x .venv/bin/python ] && echo yes)

ifeq ($(shell [ -w . ] && echo yes),)  # a .venv that somebody else made: do without caches
export PYTEST_ADDOPTS := $(PYTEST_ADDOPTS) -p no:cacheprovider
export MYPY_CACHE_DIR := /dev/null
export RUFF_NO_CACHE := true
NO_CACHE := --no-cache
SITE = $$(mktemp -d)
endif

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	echo
	echo '  run, test, test-busy, cover, bench, chaos, fuzz and soak take ARGS="…", as in: make run ARGS="--once"'

.PHONY: run
run: .venv/.installed-sandbox  ## Run everything on this machine: database, Graph simulator, samples
	@exec .venv/bin/python -m sandbox $(ARGS)

.PHONY: install
install: .venv/.installed-dev  ## Make .venv, with the tools for tests and checks

# Bytecode is written even if the shell forbids it: without it every worker compiles the tests again,
# which takes a tenth of the time.
test test-busy cover: export PYTHONDONTWRITEBYTECODE =

.PHONY: test
test: .venv/.installed-dev  ## Run the tests
	@exec .venv/bin/python -m pytest $(SPREAD) $(ARGS)

.PHONY: cover
cover: .venv/.installed-dev  ## Run the tests and show which lines they missed
	@.venv/bin/python -m coverage erase
	.venv/bin/python -m coverage run -m pytest $(SPREAD) $(ARGS)
	.venv/bin/python -m coverage combine --quiet
	exec .venv/bin/python -m coverage report

.PHONY: check
check: lint types laws scripts docs test  ## Run what CI runs: lint, types, import rules, scripts, documentation, tests

.PHONY: test-busy
test-busy: .venv/.installed-dev  ## Run the tests ten times in a row beside four busy processes
	@exec .venv/bin/python -m tests.system.busy $(SPREAD) $(ARGS)

.PHONY: lint
lint: .venv/.installed-dev  ## Check style and format
	@.venv/bin/python -m ruff check
	exec .venv/bin/python -m ruff format --check

.PHONY: types
types: .venv/.installed-dev  ## Check types
	@exec .venv/bin/python -m mypy

.PHONY: laws
laws: .venv/.installed-dev  ## Check the direction of imports
	@exec .venv/bin/lint-imports $(NO_CACHE)

# The tools come from npm (tests/clients/package.json); the service itself needs neither npm nor Node.js.
.PHONY: scripts
scripts:  ## Check the JavaScript of the console and the API page: lint and types
	@tools=tests/clients/node_modules/.bin
	if ! [ -x $$tools/tsc ] || ! [ -x $$tools/biome ] || ! command -v node >/dev/null; then
	    echo 'Skipped the JavaScript checks: install Node.js, then run npm ci --prefix tests/clients.' >&2
	    if [ "$${CI:-}" = true ]; then exit 1; fi
	    exit
	fi
	$$tools/biome lint --config-path=tests/console --error-on-warnings \
	    service/http/static/console/*.js service/http/static/docs/docs.js
	exec $$tools/tsc -p tests/console

.PHONY: docs
docs: .venv/.installed-dev  ## Build the documentation into site/; fails on a broken link or an unlinked page
	@site="$(SITE)"
	rm -rf "$$site"
	.venv/bin/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky \
	    --conf-dir docs . "$$site" $(ARGS)
	echo "The documentation is in $$site/index.html."

.PHONY: format
format: .venv/.installed-dev  ## Format the code, and repair what the linter can repair
	@.venv/bin/python -m ruff check --fix-only
	exec .venv/bin/python -m ruff format

.PHONY: bench
bench: .venv/.installed-bench  ## Run the benchmarks
	@exec .venv/bin/python -m benchmarks $(ARGS)

.PHONY: chaos
chaos: .venv/.installed-dev  ## Break the real processes for ten minutes, and count what was lost
	@exec .venv/bin/python -m tests.system.chaos $(ARGS)

.PHONY: fuzz
fuzz: .venv/.installed-dev  ## Send mutated input for two minutes
	@exec .venv/bin/python -m tests.system.fuzz $(ARGS)

.PHONY: soak
soak: .venv/.installed-dev  ## Run at half of the possible load for ten minutes, and watch memory
	@exec .venv/bin/python -m tests.system.soak $(ARGS)

.PHONY: mutants
mutants: .venv/.installed-dev  ## Remove each defence and check that its test fails
	@exec .venv/bin/python -m tests.system.mutants $(ARGS)

.PHONY: lock
lock: .venv/.installed-dev  ## Write the lock files from pyproject.toml (ARGS=--upgrade for new releases)
	@compile() {
	    .venv/bin/python -m uv pip compile pyproject.toml --quiet --universal \
	        --python-version 3.11 --extra nats --generate-hashes --annotation-style line --no-config \
	        --custom-compile-command 'make lock' $(ARGS) "$$@"
	}
	compile --output-file requirements/serve.txt
	compile --output-file requirements/sandbox.txt --group sandbox -c requirements/serve.txt
	compile --output-file requirements/dev.txt --group dev -c requirements/sandbox.txt
	compile --output-file requirements/bench.txt --group bench -c requirements/dev.txt

.PHONY: clean
clean:  ## Delete everything that was made here: .venv, the sandbox's data, caches
	@rm -f .venv/bin/python
	rm -rf .venv .sandbox .bench .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf .coverage .coverage.* htmlcov site tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A killed install leaves `.unfinished` behind. Then, and if its Python was removed, .venv is made again.
# The lock on `requirements` makes a second `make` wait for the install of the first.
.venv/.installed-%: requirements/%.txt $(if $(VENV_LIVES),,FORCE)
	@say() { printf '%s\n' "$$*" >&2; }
	give_up() { say "$$@"; exit 1; }
	works() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
	has() { "$$python" -c "import $$1" 2>/dev/null; }

	find_python() {
	    for python in $(PYTHONS); do
	        if works "$$python"; then return; fi
	    done
	    give_up 'No Python 3.11 or newer here: install one (python3 and python3-venv on' \
	        'Debian), or name it: make PYTHON=/path/to/python.'
	}

	install_ensurepip() {
	    package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	    if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	        give_up "$$python can't make virtual environments: install $$package" \
	            "(sudo apt-get install $$package), then run make again."
	    fi
	    say "Installing $$package, which $$python needs to make .venv."
	    apt-get -qq update
	    export DEBIAN_FRONTEND=noninteractive
	    apt-get -qq install --no-install-recommends "$$package" >/dev/null
	}

	make_venv() {
	    rm -f .venv/bin/python  # first, so that a kill from here on can't leave it looking whole
	    rm -rf .venv
	    find_python
	    mkdir .venv
	    : > .venv/.unfinished
	    if has ensurepip; then
	        "$$python" -m venv .venv
	    elif has virtualenv; then
	        "$$python" -m virtualenv --quiet .venv
	    elif command -v virtualenv >/dev/null; then
	        virtualenv --quiet --python "$$python" .venv
	    elif command -v uv >/dev/null; then
	        uv venv --quiet --no-cache --seed --allow-existing --python "$$python" .venv
	    else
	        install_ensurepip
	        "$$python" -m venv .venv
	    fi
	}

	exec 9< requirements
	if command -v flock >/dev/null; then flock 9; fi
	if [ -x .venv/bin/python ] && [ $@ -nt $< ]; then exit; fi  # that first one did it
	if [ ! -w . ] || { [ -e .venv ] && [ ! -w .venv ]; }; then
	    give_up "This folder can't be written to, and .venv belongs in it: copy the project to a" \
	        'folder of your own (cp -r), then run make there.'
	fi
	total=$$(grep -c '^[a-z].*==' $<)
	say 'Setting up .venv from $<: about half a minute the first time.'
	python=.venv/bin/python
	if [ -e .venv/.unfinished ] || ! works "$$python" || ! has pip; then
	    say '  1/2 making .venv'
	    make_venv
	fi
	install_packages() {
	    .venv/bin/python -m pip install "$$@" --disable-pip-version-check --no-input \
	        --no-cache-dir --no-deps --require-hashes -r $< || touch .venv/.failed
	}

	say "  2/2 installing $$total packages into it"
	: > .venv/.unfinished
	rm -f .venv/.failed .venv/.complaints
	if [ -t 2 ]; then
	    install_packages --progress-bar off 2> .venv/.complaints | awk -v total="$$total" '
	        /^(Collecting|Requirement already)/ { show("fetched " ++n " of " total) }
	        /^Installing collected/ { show("unpacking them") }
	        END { printf "\n" > "/dev/stderr" }
	        function show(what) { printf "\r      %-30s", what > "/dev/stderr" }'
	else
	    install_packages -qq
	fi
	if [ -e .venv/.failed ] && [ -e .venv/.complaints ]; then cat .venv/.complaints >&2; fi
	if [ -e .venv/.failed ]; then give_up 'The packages could not be installed: see above.'; fi
	touch $@ $(if $(filter dev bench,$*),.venv/.installed-sandbox) $(if $(filter bench,$*),.venv/.installed-dev)
	rm .venv/.unfinished
	say '  .venv is ready.'

.PHONY: FORCE
FORCE:
