# setup demo test test-slurm test-docker test-web judge-mcp bench serve docs.
# Each target calls setup, which is instant when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?=
# All gates on rendered receipts with the shipped weights, unless told otherwise (DATA, weights, size: BENCH_ARGS).
BENCH_ARGS ?= --size 320 --images 40 --checkpoint ocr/models/pretrained/tiny-synthetic.ckpt model=tiny
DEMO_ARGS := $(if $(DATA),--data $(DATA),)

.PHONY: setup demo test test-slurm test-docker test-web judge-mcp lint bench serve docs

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@sh scripts/install_turbojpeg.sh
	@touch $(STAMP)

demo: setup
	@$(BIN)/agent-tools demo $(DEMO_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread per test process: two processes on two cores, each with its own pool, would fight for them.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not web'

# The jobs that run in SLURM, in a SLURM of one node made for them; as root, which also installs it where it is missing.
test-slurm: setup
	bash scripts/slurm_node.sh $(BIN)/python -m pytest -m slurm tests/agent_tools/jobs/test_slurm.py

# Images and containers, in a Docker engine made for them; as root, which also installs it where it is missing.
test-docker: setup
	bash scripts/docker_engine.sh $(BIN)/python -m pytest -m docker tests/agent_tools/workspace/containers/test_containers_for_real.py

# The web page of the handbook in a headless Chromium; as root, this also installs it where it is missing.
test-web: setup
	@sh scripts/install_chromium.sh
	$(BIN)/python -m pytest -m web tests/agent_tools/test_site_in_browser.py

# Judges of MCP servers that nobody here wrote, and ten thousand calls of our own; needs npm and a network once.
judge-mcp: setup
	bash scripts/judge_mcp.sh $(BIN)/python

bench: setup
	$(BIN)/agent-tools bench gates $(BENCH_ARGS)

serve: setup
	$(BIN)/agent-tools serve

docs: setup
	$(BIN)/agent-tools docs render
	$(BIN)/agent-tools docs check
	$(BIN)/agent-tools docs build
