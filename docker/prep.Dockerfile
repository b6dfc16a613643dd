# greenprep with `watch` and `serve`, and the Dask scheduler and workers of compose.yaml: no torch, no compiler, no root.
#   docker build -f docker/prep.Dockerfile -t greenspace-prep .
# Debian's Python gets Debian's security updates: build again to have them.
ARG BASE=debian:12.11-slim
FROM ${BASE} AS wheel
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY preprocess preprocess
COPY train train
RUN python3 -m venv /tmp/venv && /tmp/venv/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 green
# What the package needs is a layer of its own, which a change of our sources does not touch.
COPY pyproject.toml constraints.txt docker/requirements.py /tmp/
RUN python3 -m venv /opt/greenspace \
    && python3 /tmp/requirements.py /tmp/pyproject.toml prep service > /tmp/requirements.txt \
    && /opt/greenspace/bin/pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt s3fs
COPY --from=wheel /wheel /wheel
RUN /opt/greenspace/bin/pip install --no-cache-dir --no-deps /wheel/*.whl
COPY pipelines /opt/pipelines
ENV PATH=/opt/greenspace/bin:$PATH PYTHONUNBUFFERED=1
USER green
WORKDIR /data
ENTRYPOINT ["tini", "--", "greenprep"]
CMD ["--help"]
