# `make help` lists the recipes, with the ## line above each recipe as its description.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
AUDIT := .venv-audit
EXTRAS := train,server,local,slurm,tracing,study,test,chart,docs,dev
SEED ?= 7
FAULTS ?= 100
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check audit sbom pin check-pins docs format bench bench-norms bench-threads bench-diagnostics \
	bench-calibration bench-api bench-page pictures bench-studies bench-scale bench-events bench-plugins bench-packs bench-stream \
	bench-zoo drill mlflow \
	test-compose test-cuda test-jupyter test-py38 test-zoo \
	reproduce constraints hooks clean

## Show this list.
help:
	@awk '/^## /{d = substr($$0, 4); next} \
	      /^[a-z0-9-]+:/ && d {sub(/:.*/, "", $$1); printf "  make %-17s %s\n", $$1, d} {d = ""}' \
	      $(MAKEFILE_LIST)

## Create .venv with all dependencies (PYTHON=python3.11 chooses the interpreter).
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "normlab's stack needs Python 3.11 or newer; choose it with: make install PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --quiet -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

## Start the stack, train eight small jobs, print the table (about 3 minutes).
demo: install
	$(VENV)/bin/normlab demo

## Run every test (ARGS='-k lease' passes options on to pytest).
test: install
	$(PY) -m pytest $(ARGS)

## Check lint rules, formatting, types and import rules.
check: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

$(AUDIT)/.installed:
	"$(PYTHON)" -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

## Check the pinned packages for known vulnerabilities (says so if no service answers).
audit: $(AUDIT)/.installed
	$(AUDIT)/bin/python .ci/audit.py $(AUDIT)/bin/pip-audit constraints.txt

## List all packages of .venv with versions, licences and hashes, in dist/sbom.json (CycloneDX).
sbom: install $(AUDIT)/.installed
	@mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-format JSON --output-file dist/sbom.json $(PY)

## Pin the base images of the containers by the digests that their tags have now.
pin: install
	$(PY) docker/pin.py

## Check before a release that all base images have a digest.
check-pins: install
	$(PY) docker/pin.py --check

## Build the documentation as a site in .site/, with strict links.
docs: install
	$(PY) docs/reference.py
	$(VENV)/bin/zensical build --strict --clean

## Let ruff fix what it can.
format: install
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

## Measure latency, throughput and memory against the promised values; results go to .bench/.
bench: install
	$(PY) -m benchmarks

## Measure every normalizer against native batch norm.
bench-norms: install
	$(PY) -m benchmarks.norms

## Compare updates of small batches with a plain PyTorch loop.
bench-small-batches: install
	$(PY) -m benchmarks.small_batches

## Compare the number of threads that a job chooses with every power of two.
bench-threads: install
	$(PY) -m benchmarks.threads

## Measure the cost of each diagnostic.
bench-diagnostics: install
	$(PY) -m benchmarks.diagnostics

## Simulate how often decisions err, by the shape of the differences (about ten minutes).
bench-calibration: install
	$(PY) -m benchmarks.calibration

## Compare jobs that train networks of timm with timm's own loop, from memory and from files, in .venv-zoo.
bench-zoo: install
	tests/zoo/run --python -m benchmarks.timm_loop
	tests/zoo/run --python -m benchmarks.timm_stream

## Compare the API with an MLflow server on the same machine.
bench-api: install
	$(PY) -m benchmarks.api_peer

## Measure the pages with 100,000 jobs and 100 curves of 100,000 points (needs Chromium).
bench-page: install
	$(PY) -m benchmarks.page

## Take the pictures of pages, terminal and notebook, in docs/images/pages (needs Chromium).
pictures: install
	tests/jupyter/run --python -m docs.pictures

## Measure the requests of the largest study's owner (target: no answer takes more than 2 s).
bench-studies: install
	$(PY) -m benchmarks.large_study

## Measure 1,000,000 jobs and 1 billion points against 10,000 jobs, and 200 workers (30 minutes, 35 GB).
bench-scale: install
	$(PY) -m benchmarks.scale $(ARGS)

## Measure how long an event takes to reach 500 readers of one API.
bench-events: install
	$(PY) -m benchmarks.event_streams $(ARGS)

## Measure the cost of plugins: a layer on the engine, the start of a stack, a submission.
bench-plugins: install
	$(PY) -m benchmarks.plugins

## Compare a pack of runs with the same runs one after another, with vmap and, if installed, HFTA (5 minutes).
bench-packs: install
	$(PY) -m benchmarks.packs $(ARGS)

## Measure streamed data: memory with 100,000 pictures, speed compared with a bare loader (3 minutes).
bench-stream: install
	$(PY) -m benchmarks.stream

## Install an MLflow server into .bench/, for bench-api and the export test (about a minute).
mlflow: install
	$(PY) -m benchmarks.peer_mlflow

## Inject random faults and check that no job is lost or run twice (SEED=7 FAULTS=100; BUCKET=1: files in a bucket).
drill: install
	$(PY) -m tests.drill --seed $(SEED) --faults $(FAULTS) $(if $(BUCKET),--bucket)

## Build the images, start the compose stack, submit a job from the host (skips without Docker).
test-compose: install
	$(PY) -m pytest -m docker tests/compose $(ARGS)

## Run the tests of library, adapters and job processes on Python 3.8 with torch 2.0.1 (skips without them).
test-py38:
	tests/py38/run $(ARGS)

## Run the tests of timm's, torchvision's and transformers' networks, in .venv-zoo (200 MB in addition to .venv).
test-zoo: install
	tests/zoo/run $(ARGS)

## Run the notebooks of the documentation in Jupyter, in .venv-jupyter (60 MB in addition to .venv).
test-jupyter: install
	tests/jupyter/run $(ARGS)

## Run the tests of layers, trainings and the CUDA adapter on an NVIDIA GPU (skips without one).
test-cuda: install
	@if $(PY) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	  NORMLAB_TEST_DEVICE=cuda $(PY) -m pytest -k 'not compiled and not fused' tests/norms \
	    tests/normlab/training tests/accelerators/test_cuda.py \
	    tests/accelerators/test_cuda_training.py \
	    tests/accelerators/test_cuda_packs_training.py $(ARGS); \
	else echo "skipped: torch sees no GPU here"; fi

## Run every claim of the papers as a study and write docs/claims.md (three quarters of an hour on 2 cores).
reproduce: install
	$(VENV)/bin/normlab reproduce --all --page docs/claims.md

## Write constraints.txt with the installed versions.
constraints: install
	@{ echo '# Every package that the project is tested with, on Python 3.11: `make constraints` writes this file.'; \
	  $(PY) -m pip freeze --exclude-editable --exclude normlab | sed 's/+cpu//; s/$$/ ; python_version == "3.11"/'; } > constraints.txt

## Make git run `make check` before each commit.
hooks:
	@printf '#!/bin/sh\nexec make check\n' > "$$(git rev-parse --git-path hooks)/pre-commit"
	@chmod +x "$$(git rev-parse --git-path hooks)/pre-commit"

## Delete everything that was built or measured here, except .venv.
clean:
	rm -rf .bench .site .cache docs/reference .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
