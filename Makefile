# Every target does its own set-up in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NEXT := .venv-next
PYTHON_NEXT ?= $(shell sh .ci/newest-python.sh)
NEXT_EXTRAS ?= prep,test
NEXT_TESTS ?= tests/prep tests/schemas
# Two test processes share two cores: one thread each is faster than two threads each.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: demo docs torture mutate coverage test test-next test-wheel check bench gpu gpu-kit build release clean

# What a user needs. pip shows its progress: the first time, this is most of what `make demo` takes.
$(VENV)/.user: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): 94 packages, 0.5 GB to fetch, 2.1 GB on the disk, minutes the first time."
	@echo "Where pip finds only a CUDA build of torch, that is 3 GB to fetch and 6 GB on the disk."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt -e ".[prep,train]"
	touch $@

# What tests and checks need beside it.
$(VENV)/.ready: $(VENV)/.user
	$(PIP) install -c constraints.txt -e ".[prep,train,dev]"
	touch $@

demo: $(VENV)/.user
	PATH="$(CURDIR)/$(BIN):$$PATH" sh pipelines/demo.sh demo

test: $(VENV)/.ready
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 -q $(ARGS)

# greenprep and greenschemas on the newest Python found, with the newest libraries that it takes; then the same store from
# both environments, byte for byte. With torch, which may be 3 GB to fetch there:
# make test-next NEXT_EXTRAS=prep,train,test NEXT_TESTS=tests
test-next: $(VENV)/.ready
	@if [ -z "$(PYTHON_NEXT)" ]; then echo "test-next: skipped, no Python newer than 3.11 is installed here"; else \
		set -e; echo "test-next: $$($(PYTHON_NEXT) --version), extras $(NEXT_EXTRAS)"; \
		rm -rf $(NEXT); $(PYTHON_NEXT) -m venv $(NEXT); \
		$(NEXT)/bin/python -m pip --disable-pip-version-check --quiet install -e ".[$(NEXT_EXTRAS)]"; \
		$(NEXT)/bin/python -m pip list --format=freeze | grep -E '^(dask|numcodecs|numpy|rasterio|torch|xarray|zarr)='; \
		OTHER_PYTHON="$(CURDIR)/$(BIN)/python" $(TEST_ENV) \
			$(NEXT)/bin/python -m pytest -n 2 -q -m "not slow" $(NEXT_TESTS) $(ARGS); fi

# Commands killed, power cut, disks full, files mutated: an hour or two; less by ARGS="--seed 7 --kills 2 --fuzz 1000".
torture: $(VENV)/.ready
	cd tests && $(TEST_ENV) ../$(BIN)/python -m support.campaign $(ARGS)

# Changes one by one what computes (MODULES) and sees which of them its tests (MODULE_TESTS) do not notice: hours for all.
MODULES ?= greenprep/split/grow.py greenprep/split/deal.py
MODULE_TESTS ?= tests/prep/test_split.py
mutate: $(VENV)/.ready
	rm -rf build/mutate && mkdir -p build/mutate
	cp -r schemas/greenschemas preprocess/greenprep train/greentrain tests build/mutate/
	printf '[pytest]\npythonpath = tests\naddopts = --import-mode=importlib -q\nfilterwarnings = error\nmarkers =\n    slow: slow\n' > build/mutate/pytest.ini
	{ printf '[mutmut]\npaths_to_mutate =\n'; printf '    %s\n' $(MODULES); printf 'tests_dir =\n'; printf '    %s\n' $(MODULE_TESTS); \
		printf 'also_copy =\n'; printf '    %s\n' greenschemas greenprep greentrain tests pytest.ini; } > build/mutate/setup.cfg
	cd build/mutate && PATH="$(CURDIR)/$(BIN):$$PATH" $(TEST_ENV) mutmut run && PATH="$(CURDIR)/$(BIN):$$PATH" mutmut results

# Lines and branches that the tests reach, by package, in the commands and workers that they start, too; what only a GPU
# runs is left out. A test that lets no file grow lets coverage's own not grow either.
coverage: $(VENV)/.ready
	$(BIN)/coverage erase
	$(TEST_ENV) $(BIN)/coverage run -m pytest -q --timeout 1200 \
		--deselect tests/schemas/test_files.py::test_a_full_disk_is_told_with_the_path $(ARGS)
	$(BIN)/coverage combine -q
	for package in greenschemas greenprep greentrain; do $(BIN)/coverage report --include "*/$$package/*" | tail -1; done

# Tests against the wheel, those that open each page, kernel and command once: what a wheel can lack is a file. The second
# environment sees the first one's libraries but not our sources. All of them: make test-wheel WHEEL_TESTS=tests
WHEEL_TESTS ?= tests/schemas --ignore=tests/schemas/test_pages_run.py \
	tests/prep/test_clean_report.py tests/prep/test_init.py tests/prep/test_pipeline.py tests/prep/test_store.py \
	tests/train/test_cli_maps.py tests/train/test_cli_train.py tests/train/test_compare.py tests/train/test_mistakes.py \
	tests/train/test_run_report.py tests/train/test_scan_cpu.py
test-wheel: build
	rm -rf build/wheel-venv build/wheel-tests
	$(PYTHON) -m venv build/wheel-venv
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$(build/wheel-venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/libraries.pth"
	build/wheel-venv/bin/python -m pip --disable-pip-version-check --quiet install --no-deps dist/*.whl
	mkdir -p build/wheel-tests/train && cp train/README.md build/wheel-tests/train/
	cp -r tests pipelines docs pyproject.toml mkdocs.yml *.md build/wheel-tests/
	cd build/wheel-tests && PATH="$(CURDIR)/build/wheel-venv/bin:$$PATH" $(TEST_ENV) \
		../wheel-venv/bin/python -m pytest -n 2 -q -m "not slow" $(WHEEL_TESTS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports
	sh .ci/audit.sh $(BIN)/pip-audit

# docs/ as a site in build/site; a link or a name that leads nowhere ends it.
docs: $(VENV)/.ready
	$(BIN)/zensical build --clean --strict

bench: $(VENV)/.ready
	for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

# On a machine with an NVIDIA card: make gpu STORE=city.zarr, minutes. For one without a network: make gpu-kit STORE=city.zarr
# HAVE=scipy,scikit-learn,numba,tensorstore (what is there beside torch, Triton and numpy).
gpu: $(VENV)/.user
	$(BIN)/python tests/gpu/check.py $(if $(STORE),--store $(STORE)) $(ARGS)

gpu-kit: $(VENV)/.ready
	$(BIN)/python tests/gpu/pack.py $(STORE) $(if $(HAVE),--have $(HAVE)) $(ARGS)

build: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m build --no-isolation --wheel --outdir dist . > /dev/null
	ls dist

# What a release consists of, in dist/: the sources, a wheel made from them, both looked over, and a list of all that
# `pip install "greenspace[prep,train]"` brought into a new environment (CycloneDX). CONTRIBUTING says what to do with them.
RELEASE := build/release-venv
release:
	rm -rf dist $(RELEASE) && mkdir -p build
	$(PYTHON) -m venv build/release-tools
	build/release-tools/bin/python -m pip --disable-pip-version-check --quiet install build cyclonedx-bom twine
	build/release-tools/bin/python -m build --outdir dist . > build/release.log
	build/release-tools/bin/twine check --strict dist/*
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt "$$(ls dist/*.whl)[prep,train]"
	$(RELEASE)/bin/greenprep --version && $(RELEASE)/bin/greentrain --version
	build/release-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file "$$(ls dist/*.whl | sed 's/-py3.*//').cdx.json" $(RELEASE)/bin/python
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

clean:
	rm -rf $(VENV) $(NEXT) build dist demo
