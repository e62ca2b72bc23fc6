# make demo: the main job, from nothing to its report.  make test: every test but those of make test-cluster (a Ray cluster of several nodes) and make systems.  make check: format, lint, types, imports.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RAY_NEXT := $(VENV)-ray-next

.PHONY: demo systems test test-cluster test-ray-next check format bench docs clean

demo: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" ./jobs/vlqr.yaml --profile demo

systems: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/systems/run_systems.py $(ONLY)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m systems tests/systems

test: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not cluster and not systems'

test-cluster: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/cluster

test-ray-next:  # the newest Ray, beyond the tested line of pyproject.toml, in an environment of its own
	test -x $(RAY_NEXT)/bin/python || $(PYTHON) -m venv $(RAY_NEXT)
	$(RAY_NEXT)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(RAY_NEXT)/bin/python -m pip install --quiet --editable . --group dev
	$(RAY_NEXT)/bin/python -m pip install --quiet --upgrade 'ray[data,default,train,tune]'
	$(RAY_NEXT)/bin/python -c 'import ray; print("Ray", ray.__version__)'
	PATH="$(abspath $(RAY_NEXT)/bin):$$PATH" $(RAY_NEXT)/bin/python -m pytest tests/platform/train/test_ray_internals.py
	PATH="$(abspath $(RAY_NEXT)/bin):$$PATH" $(RAY_NEXT)/bin/python -m pytest -m ray

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	-$(BIN)/python -m pip install --quiet --group bench  # what only benchmarks compare with; left out without a network
	$(BIN)/python tests/bench/bench.py $(ONLY)

docs: $(READY)
	$(BIN)/python docs/make_degradations.py $(ONLY)
	$(BIN)/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # to build/site

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --no-compile --editable . --group dev
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib  # as pip does, on all cores; some packages contain files for other Pythons
	$(BIN)/python -c 'import cv2' || { echo 'OpenCV needs libGL: Debian and Ubuntu: apt-get install libgl1 libglib2.0-0'; exit 1; }
	touch $(READY)

clean:
	rm -rf $(VENV) $(RAY_NEXT) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
