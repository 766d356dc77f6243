# docker build -t sidecar . && docker run -p 8080:8080 -e UPSTREAM_BASE_URL=http://models.example/v1 sidecar
#
# For linux/amd64 and linux/arm64. Everything that is installed is locked with hashes, and nothing is
# compiled but bytecode; the same base then gives the same files:
#   --build-arg BASE=docker.io/library/python:3.11-slim-bookworm@sha256:…

# The CPython that CI runs the tests with.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Dependencies first: they change less often than the sidecar.
COPY .ci/locks/build.txt .ci/locks/image.txt ./
RUN python -m venv --without-pip /opt/sidecar \
    && python -m pip install --no-deps --require-hashes -r build.txt \
    && python -m pip --python /opt/sidecar/bin/python install --no-deps --require-hashes -r image.txt
COPY pyproject.toml README.md ./
COPY config config
COPY sidecar sidecar
# Nothing can be compiled later: the file system is read-only. Bytecode that is not compared with its
# source has no time of the build in it; pip's own has (-f: all of it anew).
RUN python -m hatchling build -t wheel -d dist \
    && python -m pip --python /opt/sidecar/bin/python install --no-deps --no-index dist/*.whl \
    && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/sidecar/lib \
    && install -D -m 644 config/sidecar.yaml /etc/sidecar/sidecar.yaml

FROM ${BASE}
# Nothing is installed in a container. The standard library's bytecode is not in the slim images, and
# without it every health check would compile what it needs.
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip setuptools wheel \
    && python -m compileall -q -f --invalidation-mode unchecked-hash \
       -x '/(ensurepip|idlelib|lib2to3|site-packages|tests?|turtledemo)/' /usr/local/lib/python3.*
COPY --from=build /opt/sidecar /opt/sidecar
# Mount a file of your own over it, or a folder over /etc/sidecar.
COPY --from=build /etc/sidecar /etc/sidecar

# From outside the container its loopback cannot be reached; these two override the file.
# `sidecar health` reads the second one too.
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_LISTEN=0.0.0.0:8080 \
    SIDECAR_ADMIN=0.0.0.0:9090
EXPOSE 8080 9090
# A number, so that Kubernetes can tell that it is not root's (runAsNonRoot).
USER 65532:65532
WORKDIR /

# The command itself gives up after 5 s, and says why.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["sidecar", "health"]
# No shell between: SIGTERM goes to the process that drains.
ENTRYPOINT ["sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.yaml"]

ARG BASE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sidecar" \
      org.opencontainers.image.description="A reverse proxy that strips reasoning and tool calls from language-model event streams." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
