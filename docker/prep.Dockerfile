# greenprep, and the Dask scheduler and workers of compose.yaml: no torch, no compiler, no root.
#   docker build -f docker/prep.Dockerfile -t greenspace-prep .
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY preprocess preprocess
COPY train train
RUN python -m venv /opt/greenspace \
    && /opt/greenspace/bin/pip install --no-cache-dir -c constraints.txt ".[prep]" s3fs

FROM python:3.11.13-slim-bookworm
# rasterio's wheels bring GDAL and PROJ; libexpat is the one library they take from the system.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 green
COPY --from=build /opt/greenspace /opt/greenspace
COPY pipelines /opt/pipelines
ENV PATH=/opt/greenspace/bin:$PATH PYTHONUNBUFFERED=1
USER green
WORKDIR /data
ENTRYPOINT ["tini", "--", "greenprep"]
CMD ["--help"]
