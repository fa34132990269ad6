# Everything that is done to this repository by command. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Where `cargo install` puts programs; a bare shell may not have it on its path.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' $(MAKEFILE_LIST))

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

setup: ## Install what tests and benchmarks need; says what, before it does
	@scripts/setup

run: ## Serve Campus on http://127.0.0.1:8000 (ARGS="--addr .." for flags)
	cargo run --release -- serve $(ARGS)

test: setup ## All tests, on private Redis servers; works on a bare machine
	cargo nextest run --workspace --features campus/mongo,campus/otel
	cargo test --workspace --doc

history: setup ## Check every read of several processes under faults (SECONDS=600, SEED=1)
	scripts/history --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

fmt: ## Format the code
	cargo fmt --all

lint: ## Clippy, with warnings as errors
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --package campus -- -D warnings

doc: ## The documentation, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --document-private-items

instructions: setup ## Compare the instruction counts of Larder's paths with their budgets
	bench/instructions

model: ## Search the protocol exhaustively; each configuration must notice its seeded bugs
	scripts/model

bugs: setup ## Seed a bug for each part of the protocol; a test must notice each
	scripts/bugs

suites: setup ## Other people's checkers against a private Campus; some minutes
	suites/run

pyjwt: setup ## Hold our access tokens against PyJWT, in both directions
	scripts/pyjwt

ci: setup ## What every change must pass
	cargo fmt --all --check
	$(MAKE) lint
	$(MAKE) test
	$(MAKE) doc
	$(MAKE) instructions
	$(MAKE) suites
	$(MAKE) pyjwt

check-all: ci ## ci, and what needs a tool that must be built first
	command -v cargo-deny > /dev/null || cargo install --locked cargo-deny --version 0.20.2
	cargo deny check bans licenses sources
	$(MAKE) schedules

fuzz: ## Random bytes into all that reads what others wrote (SECONDS=60 a target)
	LARDER_FUZZ_SECONDS=$(or $(SECONDS),60) \
		cargo test --package larder --lib fuzzing:: -- --nocapture --test-threads 2

schedules: ## Stamps under all schedules (loom), flights under 40,000 (shuttle); a few minutes
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/scripts/rustc-with-loom \
		cargo test --package larder --lib schedules:: -- --nocapture
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/scripts/rustc-with-shuttle \
		cargo test --package larder --lib schedules:: -- --nocapture

faults: setup ## Break Redis, network and processes, and write docs/faults.md
	bench/faults

bench: setup ## Larder against moka, quick_cache and bare Redis (ROUNDS=21)
	bench/compare --rounds $(or $(ROUNDS),21)

bench-http: setup ## Campus under wrk against the same answer without a cache (ROUNDS=5)
	bench/http --rounds $(or $(ROUNDS),5)

bench-outage: setup ## Campus under wrk while Redis is killed and stopped
	bench/outage

bench-memory: setup ## What campus serve takes at rest
	bench/memory

bench-cold: setup ## Lists and dashboards without a cache, at 20,000 learners (REQUESTS=500)
	bench/cold --requests $(or $(REQUESTS),500)
	bench/cold --requests $(or $(REQUESTS),500) --postgres

bench-writes: setup ## What an invalidation costs, and how fast other nodes hear of it
	bench/writes --rounds $(or $(ROUNDS),7)

nodes: setup ## Two servers on one PostgreSQL and Redis: is a write on one seen on the other? (WRITES=10000)
	bench/nodes --writes $(or $(WRITES),10000)
	bench/nodes --crashes $(or $(CRASHES),100)

redis-cli: ## redis-cli on REDIS_URL
	@scripts/redis cli

redis-keys: ## The keys of this application, found by SCAN
	@scripts/redis keys

redis-clear: ## Delete the keys of this application (asks; CONFIRM=1 does not)
	@CONFIRM=$(CONFIRM) scripts/redis clear
