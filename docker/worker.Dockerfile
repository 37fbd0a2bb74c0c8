# A worker for CPU or CUDA. TORCH_INDEX selects the torch build; it is empty for CUDA.
# compose.yaml names the base image and its digest: docker compose build
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# The dependencies are in a separate layer, so that a change of the code does not download them again.
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python requirements.py train server tracing > requirements.txt \
    && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" PIP_RETRIES=2 \
       python -m pip install -r requirements.txt -c constraints.txt

# Everything that .dockerignore does not exclude: the contents of the wheel.
COPY . .
RUN python -m pip install --no-deps .

# The ids are fixed, because volumes outlive images.
RUN groupadd --gid 10001 normlab \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data normlab \
    && install -d -o normlab -g normlab /data /run/normlab
USER normlab
WORKDIR /data
ENTRYPOINT ["python", "-m"]
CMD ["workers", "--device", "cpu"]
