# Every target does its own set-up in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two test processes share two cores: one thread each is faster than two threads each.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: demo test test-wheel check bench build clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e ".[prep,train,dev]"
	touch $@

demo: $(VENV)/.ready
	PATH="$(CURDIR)/$(BIN):$$PATH" sh pipelines/demo.sh demo

test: $(VENV)/.ready
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 -q $(ARGS)

# The same tests against the wheel: a second environment that sees the first one's libraries but not our sources.
test-wheel: build
	rm -rf build/wheel-venv build/wheel-tests
	$(PYTHON) -m venv build/wheel-venv
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$(build/wheel-venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/libraries.pth"
	build/wheel-venv/bin/python -m pip --disable-pip-version-check --quiet install --no-deps dist/*.whl
	mkdir -p build/wheel-tests && cp -r tests pipelines pyproject.toml README.md ARCHITECTURE.md CHANGELOG.md build/wheel-tests/
	cd build/wheel-tests && PATH="$(CURDIR)/build/wheel-venv/bin:$$PATH" $(TEST_ENV) \
		../wheel-venv/bin/python -m pytest -n 2 -q -m "not slow"

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

build: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m build --no-isolation --wheel --outdir dist . > /dev/null
	ls dist

clean:
	rm -rf $(VENV) build dist demo
