# make demo   the main job on a trained network: build, simulate, compare
# make test   lint, types, tests (minutes)
# make slow   the tests that take longer
# make networks   of those, the field's networks: built, simulated, compiled at full size; in two processes
# Everything is installed into .venv, once.

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/installed
DEMO := build/demo

.PHONY: demo test slow networks lint clean

demo: $(STAMP)
	mkdir -p $(DEMO)
	$(BIN)/shifthw zoo digits -o $(DEMO)/digits.pt
	$(BIN)/python examples/digits_data.py --out $(DEMO) --count 100
	$(BIN)/shifthw build $(DEMO)/digits.pt --board ultra96v2 -o $(DEMO)/ultra96v2
	$(BIN)/shifthw build $(DEMO)/digits.pt --board zc706 -o $(DEMO)/zc706
	$(BIN)/shifthw sim $(DEMO)/zc706 --images $(DEMO)/images.npy --labels $(DEMO)/labels.npy

test: lint
	$(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

networks: $(STAMP)
	$(BIN)/python -m pytest tests/sim/test_architectures.py -k half0 & first=$$!; \
	$(BIN)/python -m pytest tests/sim/test_architectures.py -k half1 && wait $$first

# Type checkers know only packages that lie as they are imported: build/typed links them together so.
lint: $(STAMP)
	$(BIN)/ruff check
	rm -rf build/typed
	mkdir -p build/typed/shifthw build/typed/shifthw_driver
	ln -s $(CURDIR)/shifthw/* $(CURDIR)/boards $(CURDIR)/rtl $(CURDIR)/sim build/typed/shifthw/
	ln -s $(CURDIR)/boards/driver/shifthw_driver/*.py $(CURDIR)/shifthw/registers.py build/typed/shifthw_driver/
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	@echo 'Installing into .venv, once; PyTorch makes it large.'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer must be there as '$(PYTHON)': name another with make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "make: $(PYTHON) must have venv and pip: install python3-venv" >&2; exit 2; }
	@for tool in g++ perl tclsh; do command -v $$tool >/dev/null || \
	  { echo "make: $$tool must be installed, it was not found (needed: a C++ compiler, make, perl, tclsh)" >&2; exit 2; }; done
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
