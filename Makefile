# Everything a newcomer needs; `make` alone lists it. One virtual environment, `.venv`, filled as far as a target needs.
# Which registry pip asks is its own business: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS in the environment,
# or pip's configuration. An index with torch's CPU build saves the CUDA packages of the default build.

PYTHON ?= python3
PORT ?= 8000
# cpu, or gpu for onnxruntime's CUDA build
RUNTIME ?= cpu
IMAGE ?= labelset
# Of `make fuzz`: rows on each path, and where they start.
ROWS ?= 1000000
SEED ?= 1

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# An installation is redone when what it was made from changes.
INSTALLED_FROM := pyproject.toml constraints.txt

NATIVE := model/sparse_softmax/native
LIBRARY := $(NATIVE)/liblabelset.so
LIBRARY_FROM := $(wildcard $(addprefix $(NATIVE)/,*.cpp *.h cuda/* CMakeLists.txt))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run train native fuzz native-arm64 test check bench demo-bundles proto test-image clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.serving-$(RUNTIME) ## install what serving needs (no torch)

setup-dev: .venv/.everything-$(RUNTIME) ## install everything: serving, training, tests

run: setup $(LIBRARY) ## serve the demo bundles, ask them one image and one text (PORT=8000; ONCE=1 stops after the answers)
	@exec $(BIN)/python -m service.demo --port $(PORT) $(if $(ONCE),--once)

train: setup-dev ## fetch real data, train an image and a text model, export them into models/
	$(BIN)/labelset train-and-export --recipe openclipart --recipe attack --models models

native: setup ## build the compiled r-softmax and test it (CUDA=1: with the CUDA kernels)
	$(NATIVE)/build.sh -DLABELSET_WITH_CUDA=$(if $(CUDA),ON,OFF)
	ctest --test-dir $(NATIVE)/build --output-on-failure
	for bundle in bundles/*/*; do $(BIN)/labelset verify $$bundle || exit 1; done

fuzz: $(LIBRARY) ## compare the compiled r-softmax with a reference under sanitizers (ROWS=1000000 SEED=1)
	$(NATIVE)/fuzz/run.sh asan --rows $(ROWS) --seed $(SEED)
	$(NATIVE)/fuzz/run.sh tsan --rows 100000 --seed $(SEED) --threads 4

native-arm64: $(LIBRARY) ## the same for arm64, with a cross compiler and an emulator
	$(NATIVE)/fuzz/run.sh arm64 --rows 100000 --seed $(SEED)

test: setup-dev $(LIBRARY) ## run the tests
	$(BIN)/python -m pytest -n 2

check: setup-dev ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev $(LIBRARY) ## time the op against dense Softmax, a copy and its peers, into runs/ (ten minutes)
	$(BIN)/python -m benchmarks.op --goals --json runs/op.json --plot runs/op.png

demo-bundles: setup-dev ## make the embedded demo bundles again
	$(BIN)/labelset train-and-export --recipe image-demo --recipe text-demo --models bundles

proto: setup-dev ## make the code of the gRPC messages from service/rpc/inference.proto again
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. service/rpc/inference.proto

test-image: ## build the container image, start it, ask for its health, stop it (needs docker)
	docker compose config --quiet
	docker build --tag $(IMAGE) .
	@container=$$(docker run --detach --rm --publish 127.0.0.1:$(PORT):8000 $(IMAGE)); \
	trap 'docker stop "$$container" >/dev/null' EXIT; \
	for _ in $$(seq 60); do \
		if curl --fail --silent --show-error --max-time 3 http://127.0.0.1:$(PORT)/healthz 2>/dev/null; then \
			echo; docker exec "$$container" labelset health >/dev/null && echo "$(IMAGE) is healthy"; exit; \
		fi; \
		sleep 0.5; \
	done; \
	docker logs "$$container"; echo "error: $(IMAGE) did not answer /healthz within 30 seconds" >&2; exit 1

clean: ## remove the environment and caches; models/, runs/ and the data cache stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	rm -rf $(NATIVE)/build $(LIBRARY)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The compiled r-softmax where it can be built: every model runs without it, slower.
$(LIBRARY): $(LIBRARY_FROM)
	@echo 'building the compiled r-softmax (half a minute the first time)'
	@log=$$(mktemp); $(NATIVE)/build.sh >"$$log" 2>&1 || \
		echo "going on $$(test -e $@ && echo with that of an earlier build || echo without it):" \
			"$$(grep -i error "$$log" | head -n 1 || true)"; rm -f "$$log"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "error: this Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# `| .venv/bin/python`: it must be there, but its date, that of the system's Python behind the link, says nothing.
.venv/.serving-$(RUNTIME): $(INSTALLED_FROM) | .venv/bin/python
	@echo 'installing what serving needs into .venv (a minute the first time)'
	@$(INSTALL) '.[$(RUNTIME)]'
	@touch $@

.venv/.everything-$(RUNTIME): $(INSTALLED_FROM) | .venv/bin/python
	@echo 'installing everything into .venv (some minutes the first time)'
	@$(INSTALL) '.[$(RUNTIME),grpc,otel,train,dev]'
	@touch .venv/.serving-$(RUNTIME) $@
