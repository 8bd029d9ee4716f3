# A CPU image of the server, with the demo model. Build from the repository's root:
#
#   docker build --tag softprompt-server .
#
# PyTorch comes from wherever pip looks. On Linux its default build carries CUDA; for the smaller CPU build, pass the index
# that PyTorch's installation page names:  --build-arg PIP_EXTRA_INDEX_URL=…

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# For the C module of decode attention, which is optional.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/softprompt
ENV PATH=/opt/softprompt/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY prompts_store ./prompts_store
COPY server ./server
RUN pip install . --constraint constraints.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /data softprompt
COPY --from=build /opt/softprompt /opt/softprompt
COPY docker/entrypoint.sh /usr/local/bin/softprompt-entrypoint
# An address that others reach: the server refuses to start until SOFTPROMPT_ADMIN_KEY (or its _FILE) is set,
# or the database has a key.
ENV PATH=/opt/softprompt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SOFTPROMPT_HOST=0.0.0.0 \
    SOFTPROMPT_PORT=8000 \
    SOFTPROMPT_DATA_DIR=/data \
    HF_HOME=/data/huggingface
USER softprompt
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD python -c "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"SOFTPROMPT_PORT\"]}/ready', timeout=4)"
STOPSIGNAL SIGTERM
ENTRYPOINT ["softprompt-entrypoint"]
