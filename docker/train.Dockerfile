# greentrain: on a GPU by the CUDA libraries that PyPI's torch brings along, the card's driver comes from the host.
# The Triton scan needs no build step; mamba-ssm is not installed.
#   docker build -f docker/train.Dockerfile -t greenspace-train .
#   docker run --gpus all -v "$PWD/data:/data" greenspace-train fit /data/city.zarr --out /data/run
# Without a GPU, a fifth of the size: --build-arg TORCH=torch==2.13.0+cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
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
# A compiler and Python's headers: Triton builds a small launcher at first use, greentrain its scan for the processor.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 green
COPY pyproject.toml constraints.txt docker/requirements.py /tmp/
ARG TORCH=
ARG TORCH_INDEX=
# rasterio, of the prep extra, is for `greentrain predict`.
RUN python3 -m venv /opt/greenspace \
    && python3 /tmp/requirements.py /tmp/pyproject.toml train > /tmp/requirements.txt \
    && if [ -n "$TORCH" ]; then /opt/greenspace/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"; fi \
    && /opt/greenspace/bin/pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt rasterio s3fs
COPY --from=wheel /wheel /wheel
RUN /opt/greenspace/bin/pip install --no-cache-dir --no-deps /wheel/*.whl
# What the NVIDIA runtime of the host is asked to mount.
ENV PATH=/opt/greenspace/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER green
WORKDIR /data
ENTRYPOINT ["tini", "--", "greentrain"]
CMD ["--help"]
