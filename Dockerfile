# handpipe without a GPU:
#   docker build -t handpipe .
#   docker run --rm -v "$PWD:/data" -v handpipe-cache:/cache handpipe run my-session
FROM python:3.11-slim-bookworm

# What OpenCV and MediaPipe load.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libegl1 libgles2 libglib2.0-0

WORKDIR /handpipe
COPY . .
RUN python3.11 -m venv .venv && .venv/bin/pip install -q -e . --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu

# MediaPipe's hand model is kept in the cache.
ENV XDG_CACHE_HOME=/cache
WORKDIR /data
ENTRYPOINT ["/handpipe/.venv/bin/handpipe"]
