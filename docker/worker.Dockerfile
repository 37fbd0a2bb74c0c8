# A worker for CPU, or for CUDA: torch's own index decides (TORCH_INDEX, empty for CUDA builds).
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# The dependencies lie in a layer of their own, so that a change of code does not fetch them again.
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python requirements.py train server > requirements.txt \
    && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" PIP_RETRIES=2 \
       python -m pip install -r requirements.txt -c constraints.txt

# All that .dockerignore lets through: what the wheel is made of.
COPY . .
RUN python -m pip install --no-deps .

# The numbers are fixed: volumes outlive images.
RUN groupadd --gid 10001 normlab \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data normlab \
    && install -d -o normlab -g normlab /data /run/normlab
USER normlab
WORKDIR /data
ENTRYPOINT ["python", "-m"]
CMD ["workers", "--device", "cpu"]
