# Two commands set a fresh machine up: `make demo` and `make test`. They need Python 3.11 to 3.13, pip and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
CORES ?= 2
# Where a container forbids bytecode, every process compiles torch again. So the environments below may write bytecode.
unexport PYTHONDONTWRITEBYTECODE
# The modules of a cluster set these variables. Each of them puts other packages into the environments below, or installs
# packages into another place.
unexport PYTHONPATH PYTHONHOME PYTHONUSERBASE PYTHONSTARTUP PYTHONSAFEPATH PYTHONPLATLIBDIR
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_PYTHON PIP_CONSTRAINT PIP_REQUIREMENT
unexport UV_TARGET UV_PREFIX UV_SYSTEM_PYTHON UV_PYTHON UV_CONSTRAINT UV_OVERRIDE UV_PROJECT_ENVIRONMENT
export PYTHONNOUSERSITE := 1
export UV_LINK_MODE ?= copy

FULL := .venv/ready
LIGHT := .venv-light/ready
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"
RUN_LIGHT := PATH="$(CURDIR)/.venv-light/bin:$$PATH"

.PHONY: help install demo test test-workflow test-large test-slurm test-faults test-fuzz test-browser evidence lint format lock schema clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

install: $(FULL)  ## Create the environment in .venv

demo: $(FULL)  ## Make small benchmarks and run them from video files to Tables 1-4 (5 to 12 minutes on 2 cores)
	@$(RUN) GO_ON_WITH="make demo" python -m pipeline demo --cores $(CORES)

test: $(FULL)  ## Test every part and one whole workflow; reads ../shared/data if that exists, and never uses the network
	@$(RUN) python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-workflow: $(FULL)  ## Run the small workflow after each change of docs/reruns.md, after kills and after full disks
	@$(RUN) python -m pytest -m workflow -n $(CORES) --dist loadfile --no-loadscope-reorder

test-large: $(FULL)  ## Build every model of open_clip, and encode a video with large ones (minutes, 8 GB of memory)
	@$(RUN) python -m pytest -m large tests/test_library_models.py tests/test_own_encoders.py

test-slurm: $(FULL)  ## Run a part of the demo on a real Slurm of one node (root on Debian; installs munge and Slurm by apt)
	@$(RUN) python -m pytest -m slurm -s -rs tests/test_slurm.py

test-faults: $(FULL)  ## Compare kills, full disks and damaged files at every stage with docs/faults.md (WRITE=1 writes the page)
	@$(RUN) WRITE=$(WRITE) python -m pytest -m faults -n $(CORES) -rs tests/test_faults.py

test-fuzz: $(FULL)  ## Give ten thousand damaged files to every parser (FUZZ=N: another number)
	@$(RUN) FUZZ=$(or $(FUZZ),10000) python -m pytest -m fuzz -n $(CORES) -s -rs tests/test_fuzz.py tests/test_caffe2_file.py

test-browser: $(FULL)  ## Test pages in a real Chromium (root on Debian installs it by apt); pictures in results/screenshots
	@$(RUN) SCREENSHOTS=results/screenshots python -m pytest -m browser -s -rs tests/test_browser.py tests/test_browser_serve.py

evidence: $(LIGHT)  ## Score the released TR-DETR predictions beside the paper's tables (EVIDENCE_FROM=DIR: local copies)
	@$(RUN_LIGHT) GO_ON_WITH="make evidence$(if $(EVIDENCE_FROM), EVIDENCE_FROM=$(EVIDENCE_FROM))" snakemake --cores $(CORES) --quiet rules host reason $(if $(EVIDENCE_FROM),--config 'acquire={local: ["$(abspath $(EVIDENCE_FROM))"]}') -- evidence
	@$(RUN_LIGHT) python -m pipeline show results/tables/evidence.json

lint: $(FULL)  ## Run ruff, ruff format, mypy, snakefmt, snakemake --lint
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy pipeline
	@$(RUN) snakefmt --check workflow
	@$(RUN) snakemake --lint

format: $(FULL)  ## Format the code with ruff and snakefmt
	@$(RUN) ruff check --fix -q . ; $(RUN) ruff format -q . ; $(RUN) snakefmt workflow

schema: $(LIGHT)  ## Write workflow/schemas/config.schema.json from the typed config
	@$(RUN_LIGHT) python -m pipeline schema > workflow/schemas/config.schema.json

COMPILE = .venv/bin/uv pip compile pyproject.toml --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --annotation-style line --custom-compile-command "make lock" --quiet
lock: $(FULL)  ## Resolve locks and workflow/envs again from pyproject.toml (keeps what still fits)
	$(COMPILE) --extra extract --extra train --extra serve --extra dev -o requirements/full.lock
	$(COMPILE) -c requirements/full.lock -o requirements/light.lock
	.venv/bin/python requirements/envs.py

clean:  ## Remove the environments; results/ stays
	rm -rf .venv .venv-light

# One recipe for both environments. uv installs five times faster than pip and checks the same hashes.
# --clear: an interrupted installation, perhaps by another Python, would leave a mixture of packages.
define install
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed, found " + sys.version.split()[0] + " -> make PYTHON=python3.12 ...")'
	@echo "Installing $(1) from $(2) ($(3)); this happens once."
	@$(PYTHON) -m venv --clear $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@$(1)/bin/uv pip install --quiet --python $(1)/bin/python --require-hashes -r $(2)
	@touch $(1)/ready
endef

$(FULL): requirements/full.lock requirements/bootstrap.lock
	$(call install,.venv,requirements/full.lock,about 3 GB to fetch)

$(LIGHT): requirements/light.lock requirements/bootstrap.lock
	$(call install,.venv-light,requirements/light.lock,about 80 MB to fetch)
