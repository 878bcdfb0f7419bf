ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What is installed changes seldom, the code often: the packages are a layer of their own. Stand-ins for the project's
# files are enough to install what pyproject.toml asks for.
FROM ${PYTHON_IMAGE} AS packages
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt ./
# cpu, or gpu for onnxruntime's CUDA build
ARG RUNTIME=cpu
RUN python -m venv /opt/venv \
    && touch README.md labelset.py \
    && pip install --constraint constraints.txt --editable ".[${RUNTIME},grpc]"

# The compiled r-softmax. Where it cannot be built (another distribution, no headers) the image does without, and GET
# /models says so: every model runs on the function that it carries, slower.
FROM ${PYTHON_IMAGE} AS native
WORKDIR /native
# hadolint ignore=DL3008
RUN { apt-get update && apt-get install --yes --no-install-recommends cmake g++ make; } \
    || echo "notice: no compiler" && rm -rf /var/lib/apt/lists/*
COPY model/sparse_softmax/native .
RUN mkdir /built && { ./build.sh && mv liblabelset.so /built/; } || echo "notice: an image without the compiled r-softmax"

FROM packages AS serving-files
COPY . .
COPY --from=native /built/ model/sparse_softmax/native/
# Editable: the code stays in /app beside the embedded bundles, as in a checkout.
RUN pip install --no-deps --editable .

FROM packages AS training-files
# An index with torch's CPU build saves the CUDA packages of the default one.
ARG PIP_EXTRA_INDEX_URL
RUN pip install --constraint constraints.txt --editable ".[train]"
COPY . .
RUN pip install --no-deps --editable .

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --create-home labelset
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["labelset"]

# docker build --target train: trains, evaluates and exports into /app/models.
FROM runtime AS train
USER root
RUN install --directory --mode 1777 /cache
# Whoever calls may be another user, without a home here.
ENV HOME=/tmp USER=labelset LABELSET_CACHE=/cache
COPY --from=training-files /opt/venv /opt/venv
COPY --from=training-files /app /app
USER 1000:1000
CMD ["train-and-export", "--help"]

# The default: serves, without torch.
FROM runtime AS serve
COPY --from=serving-files /opt/venv /opt/venv
COPY --from=serving-files /app /app
# 8001 for gRPC, with LABELSET_GRPC_PORT=8001.
EXPOSE 8000 8001
# Reads LABELSET_PORT and LABELSET_TLS_CERTIFICATE as the service does: set them as variables, not as options of `serve`.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["labelset", "health"]
CMD ["serve", "--host", "0.0.0.0"]
