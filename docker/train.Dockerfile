# greentrain on a CUDA machine; the Triton scan needs no build step, mamba-ssm is not installed.
#   docker build -f docker/train.Dockerfile -t greenspace-train .
#   docker run --gpus all -v "$PWD/data:/data" greenspace-train fit /data/city.zarr --out /data/run
FROM nvidia/cuda:12.6.3-runtime-ubuntu24.04
# gcc: Triton compiles a small launcher at first use.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libexpat1 python3 python3-dev python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && userdel --remove ubuntu \
    && useradd --create-home --uid 1000 green
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY preprocess preprocess
COPY train train
# rasterio, of the prep extra, is for `greentrain predict`.
RUN python3 -m venv /opt/greenspace \
    && /opt/greenspace/bin/pip install --no-cache-dir -c constraints.txt ".[train]" rasterio
ENV PATH=/opt/greenspace/bin:$PATH PYTHONUNBUFFERED=1
USER green
WORKDIR /data
ENTRYPOINT ["tini", "--", "greentrain"]
CMD ["--help"]
