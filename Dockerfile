# Daybook with PostgreSQL's server programs: embedded mode by default, an outside server with DATABASE_URL.
#
#   docker build -t daybook .
#   docker run -p 127.0.0.1:8080:8080 -v daybook:/var/lib/daybook daybook

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins \
    && install -D -t /out target/release/daybook target/release/replay-tool

FROM debian:12-slim
# Debian would make and start a cluster of its own with the package.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl postgresql-common \
    && printf 'create_main_cluster = false\n' >> /etc/postgresql-common/createcluster.conf \
    && apt-get install --yes --no-install-recommends postgresql-15 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/daybook daybook \
    && install --directory --owner daybook --group daybook --mode 700 /var/lib/daybook
COPY --from=build /out/ /usr/local/bin/
USER daybook
WORKDIR /var/lib/daybook
ENV DAYBOOK_DATA_DIR=/var/lib/daybook \
    DAYBOOK_LISTEN=0.0.0.0:8080 \
    DAYBOOK_LOG_FORMAT=json
VOLUME /var/lib/daybook
EXPOSE 8080
# Ends in seconds, but a shutdown in order is worth waiting for: docker stop --time 30
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["daybook"]
CMD ["serve"]
