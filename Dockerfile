# syntax=docker/dockerfile:1

# The same Debian release builds and runs it, so that the C library is the same.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# Symbols stay, for backtraces; the rest of the debug information would double the image.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --package bellbuoy \
    && install -D target/release/bellbuoy /out/bellbuoy \
    && install -d /out/data

# The C library, certificates and time zones, and neither a shell nor a package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bellbuoy" \
      org.opencontainers.image.description="Delivers a container registry's events to those who asked to hear of them, and loses none" \
      org.opencontainers.image.source="https://github.com/bellbuoy/bellbuoy" \
      org.opencontainers.image.documentation="https://github.com/bellbuoy/bellbuoy/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/bellbuoy /usr/local/bin/bellbuoy
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/bellbuoy
USER 65532:65532
WORKDIR /var/lib/bellbuoy
VOLUME ["/var/lib/bellbuoy"]
ENV BELLBUOY_LISTEN=0.0.0.0:8080 \
    BELLBUOY_DATA_DIR=/var/lib/bellbuoy
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/bellbuoy", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bellbuoy"]
CMD ["serve"]
