# Thin on purpose: each target is one readable command.

.DEFAULT_GOAL := help
.PHONY: help run test lint fmt sql clients bench

help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

run: ## Builds and starts a server with a PostgreSQL of its own
	tools/need-postgresql
	cargo run --locked --bin chancery -- serve

test: ## Runs the tests
	tools/need-postgresql
	cargo test --workspace --locked

lint: ## Checks format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## Formats the code
	cargo fmt --all

sql: ## Records what the checked queries are checked against, after a change of schema or query
	tools/need-postgresql
	tools/record-queries

clients: ## Lets unmodified client SDKs talk through the server
	tools/need-postgresql
	cargo build --locked --bin chancery
	tests/clients/run

bench: ## Measures the server beside Synapse and writes docs/performance.md
	tools/need-postgresql
	tests/bench/run
