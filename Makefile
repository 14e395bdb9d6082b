# Each target is one or two readable commands.

.DEFAULT_GOAL := help
.PHONY: help run test lint deps fmt sql clients interop bench soak fuzz

help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

run: ## Builds and starts a server with a managed PostgreSQL
	tools/need-postgresql
	cargo run --locked --bin chancery -- serve

test: ## Runs the tests
	tools/need-postgresql
	cargo test --workspace --locked

lint: ## Checks format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

deps: ## Checks the dependencies: none unused, none banned, licences, sources
	cargo fetch --locked --quiet
	$$(tools/need-cargo-tool cargo-machete) --skip-target-dir
	$$(tools/need-cargo-tool cargo-deny) --log-level error --offline check --hide-inclusion-graph bans licenses sources

fmt: ## Formats the code
	cargo fmt --all

sql: ## Records the checked queries (src/storage/.sqlx) after a change of schema or query
	tools/need-postgresql
	tools/record-queries

clients: ## Runs the tests with unmodified client SDKs
	tools/need-postgresql
	cargo build --locked --bin chancery
	tests/clients/run

interop: ## Runs the tests with a real Synapse
	tools/need-postgresql
	cargo build --locked --bin chancery
	tests/peers/run

bench: ## Measures the server and Synapse, and writes docs/performance.md
	tools/need-postgresql
	tests/bench/run

soak: ## Runs random clients against one process and two for an hour, see docs/testing.md
	tools/need-postgresql
	CHANCERY_SOAK_SECONDS=$${CHANCERY_SOAK_SECONDS:-3600} CHANCERY_SOAK_SEED=$${CHANCERY_SOAK_SEED:-$$(date +%s)} \
		cargo test --locked -p server --test it process::model -- --nocapture

fuzz: ## Fuzzes what strangers can send, an hour for each target, see docs/testing.md
	tools/fuzz
