# Everything a developer or an operator of one machine does. `make` alone lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
# Further arguments of the server, for example: make run ARGS="--feed-speed 10"
ARGS ?=

.PHONY: help run test bench fmt lint build setup clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: build ## Build and start the server with its own PostgreSQL (ARGS="…" are passed on; Ctrl-C ends it)
	@exec target/release/daybook serve $(ARGS)

test: ## Check formatting, lints and scripts and run all tests; installs what it misses, leaves nothing behind
	@scripts/setup test
	@scripts/test

bench: ## Measure the write path; the figures go to target/bench/summary.json
	@scripts/setup
	@cargo bench --locked -p commands --bench write_path

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
