# The server with the demo model. Build from the repository's root:
#
#   docker build --target cpu  --tag softprompt-server:cpu  --build-arg PIP_EXTRA_INDEX_URL=… .
#   docker build --target cuda --tag softprompt-server:cuda .
#
# PyTorch's wheels bring their CUDA libraries along: the `cuda` image needs the driver and the container toolkit of the
# host, no CUDA image below it, and a C compiler, with which Triton builds its launchers at the first start. For `cpu`, name the index that PyTorch's installation page gives for CPU builds.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# For the C module of decode attention, which is optional.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/softprompt
ENV PATH=/opt/softprompt/bin:$PATH
WORKDIR /source
COPY constraints.txt ./

FROM build AS build-cuda
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY prompts_store ./prompts_store
COPY server ./server
COPY softprompt_vllm ./softprompt_vllm
RUN pip install '.[gguf,otel,postgres,redis]' --constraint constraints.txt

FROM build AS build-cpu
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY prompts_store ./prompts_store
COPY server ./server
COPY softprompt_vllm ./softprompt_vllm
RUN pip install '.[gguf,otel,postgres,redis]' --constraint constraints.txt

FROM python:3.11-slim-bookworm AS runtime
# /data holds the database and caches, /models the base models; with both mounted, and /tmp, the root may be read-only.
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /data softprompt \
    && install --directory --owner softprompt --group softprompt /models
COPY docker/entrypoint.sh /usr/local/bin/softprompt-entrypoint
# An address that others reach: the server refuses to start until SOFTPROMPT_ADMIN_KEY (or its _FILE) is set,
# or the database has a key.
ENV PATH=/opt/softprompt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SOFTPROMPT_HOST=0.0.0.0 \
    SOFTPROMPT_PORT=8000 \
    SOFTPROMPT_DATA_DIR=/data \
    SOFTPROMPT_ACCESS_LOG=true \
    HF_HOME=/models
USER 10001:10001
VOLUME ["/data", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"SOFTPROMPT_PORT\"]}/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["softprompt-entrypoint"]

FROM runtime AS cuda
USER root
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/softprompt /opt/softprompt

FROM runtime AS cpu
COPY --from=build-cpu /opt/softprompt /opt/softprompt
