# Everything a developer types. `make` alone lists the targets.
SHELL := /bin/bash
ifndef PYTHON
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
endif
# Tests and tools start in half the time with their bytecode kept.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
CONTEXT ?=
ARGS ?=

.PHONY: help setup demo test test-compiled unit unit-decisions unit-others lint cluster cluster-down images crds bench bench-peers profile soak fuzz completion clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv with the package and its locked tools

$(STAMP): pyproject.toml tools/locks/dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (apt-get install python3)"; exit 1; }
	@echo "==> Python environment in $(VENV) ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { echo "    installing python3-venv"; apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); }
	@$(PY) -m pip install -q --disable-pip-version-check -r tools/locks/dev.txt
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP) ## the main job, end to end (CONTEXT=name: on your own cluster; ARGS="--keep --report FILE")
	@$(PY) -m tools.demo $(if $(CONTEXT),--context $(CONTEXT)) $(ARGS)

test: $(STAMP) ## all tests: lint, unit, sidecar, simulator with real SDKs, real Kubernetes node
	@$(PY) -m pytest -n 3 --dist loadscope $(ARGS)

test-compiled: $(STAMP) ## the tests of the proxy on its compiled form, which the image ships
	@$(PY) -m tools.compile tests/sidecar -q -n 3 --dist loadscope $(ARGS)

# Two plain processes, each with half of the work: they import and collect only their own, and send each other nothing.
DECISIONS := tests/unit/controller tests/unit/fleet tests/unit/policy

unit: $(STAMP) ## only the tests without I/O (seconds)
	@$(if $(ARGS),$(PY) -m pytest tests/unit $(ARGS),$(MAKE) --no-print-directory --output-sync -k -j 2 unit-decisions unit-others)

unit-decisions:
	@$(PY) -m pytest $(DECISIONS)

unit-others:
	@$(PY) -m pytest tests/unit $(DECISIONS:%=--ignore=%)

lint: $(STAMP) ## ruff, mypy --strict, layers
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy operator tools bench
	@$(VENV)/bin/lint-imports --no-cache >/dev/null || $(VENV)/bin/lint-imports --no-cache

cluster: $(STAMP) ## a real one-node Kubernetes on this machine
	@$(PY) -m tools.localcluster up

cluster-down: ## end it; nothing stays behind
	@$(or $(wildcard $(PY)),$(PYTHON)) -m tools.localcluster down

images: $(STAMP) ## build the OCI archives
	@$(PY) -m tools.images

crds: $(STAMP) ## regenerate crds/ from the models
	@$(PY) -m claudeops.api.generate crds

bench: $(STAMP) ## the measured figures of bench/README.md
	@$(PY) -m bench $(ARGS)

bench-peers: $(STAMP) ## the same load on LiteLLM and Portkey
	@$(PY) -m bench.peers $(ARGS)

profile: $(STAMP) ## where the microseconds of a request go, stage by stage
	@$(PY) -m bench.stages --profile $(ARGS)

soak: $(STAMP) ## 200,000 mixed requests with faults: flat memory, nothing left behind
	@$(PY) -m bench.soak $(ARGS)

fuzz: $(STAMP) ## ten minutes of hostile bytes on HTTP, JSON and streams, and of storms over the whole path (ARGS="--minutes 60")
	@$(PY) -m tests.fuzz $(ARGS)

completion: ## print the line that switches on shell completion
	@echo 'eval "$$($(CURDIR)/$(VENV)/bin/register-python-argcomplete claudeops)"'

clean: cluster-down ## remove the environment (caches under ~/.cache/claudeops stay)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
