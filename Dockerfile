# The `warmroute` binary on a slim Debian, run by a user without rights. The embedded model is inside the binary.
#
# No BuildKit features, so every builder takes it. Where no image registry can be reached, scripts/base-image.sh makes
# local stand-ins for the two images.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# What decides the dependencies, around empty crates: this layer, and with it the long build of all dependencies below, is
# made anew only when a manifest or the lock file changes.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN find crates -type f ! -name Cargo.toml -delete \
 && for crate in crates/*; do mkdir -p "$crate/src" && touch "$crate/src/lib.rs"; done \
 && echo 'fn main() {}' > crates/cli/src/main.rs && rm crates/cli/src/lib.rs

FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY --from=manifests /build .
RUN cargo build --profile dist --locked --bin warmroute
COPY . .
# Copied files keep their times, which are older than the empty crates just built.
RUN find crates -name '*.rs' -exec touch {} + && cargo build --profile dist --locked --bin warmroute

FROM ${BASE_IMAGE}
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/warmroute warmroute
COPY --from=build /build/target/dist/warmroute /usr/local/bin/warmroute
USER warmroute
WORKDIR /var/lib/warmroute
ENTRYPOINT ["warmroute"]
CMD ["--help"]
