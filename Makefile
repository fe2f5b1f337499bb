# Everything a developer or an operator of one machine does. `make` alone lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
# Further arguments of the server, for example: make run ARGS="--feed-speed 10"
ARGS ?=
# How far the log grows in bench-growth; 20 million events take about 20 GB for some minutes.
EVENTS ?= 20000000
# How long torture lasts in all (soak: an hour). Its seed (a new one if empty), how many servers are on one database, and
# the one setting to be tortured (private, disk, wire or nodes; all if empty).
SECONDS ?= 300
TORTURE_SEED ?=
NODES ?= 3
SETTING ?=

.PHONY: help run test torture bench bench-growth soak fmt lint build setup clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: build ## Build and start the server with its own PostgreSQL (ARGS="…" are passed on; Ctrl-C ends it)
	@exec target/release/daybook serve $(ARGS)

test: ## Check formatting, lints and scripts and run all tests; installs what it misses, leaves nothing behind
	@scripts/setup test
	@scripts/test

torture: ## Kill, freeze, cut off and starve what runs, and check everything (SECONDS=300; TORTURE_SEED=… repeats)
	@scripts/setup test
	@TORTURE_SECONDS=$(SECONDS) TORTURE_SEED=$(TORTURE_SEED) TORTURE_NODES=$(NODES) TORTURE_SETTING=$(SETTING) \
		cargo test --release --locked -p api --test torture -- --ignored --exact torture::torture --nocapture

bench: ## Measure the write path and the whole server; the figures go to target/bench/summary.json
	@scripts/setup
	@cargo bench --locked -p commands --bench write_path
	@cargo bench --locked -p api --bench graphql

bench-growth: ## Measure what an append costs as the log grows to EVENTS events; adds to the same figures
	@scripts/setup
	@cargo bench --locked -p commands --bench growth -- --events $(EVENTS)

soak: SECONDS = 3600
soak: ## Load the server for an hour at half its peak and watch its memory (SECONDS=…); adds to the same figures
	@scripts/setup
	@SECONDS=$(SECONDS) cargo bench --locked -p api --bench soak

fmt: ## Format the code
	@cargo fmt --all

lint: ## Check formatting, lints and shell scripts
	@scripts/setup test
	@scripts/lint

build: ## Build the programs in release
	@scripts/setup
	@cargo build --release --locked --bins

setup: ## Install what building and running need (from Debian's packages)
	@scripts/setup

clean: ## Remove what was built; data folders stay
	@cargo clean
