# A worker for IPUs: the supervisor has its own Python, the job process uses the SDK's Python 3.8.
# The base image is under the Graphcore Container License Agreement.
# compose.yaml names the base image and its digest: docker compose build
ARG IPU_IMAGE
FROM ${IPU_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_PYTHON_INSTALL_DIR=/opt/python
WORKDIR /app
COPY pyproject.toml constraints.txt docker/requirements.py docker/job-python-ipu ./

# Ubuntu 20.04 has no Python 3.11, so uv installs a standalone build. It needs no torch, because it only supervises.
RUN python3 -m pip install uv \
    && python3 -m uv venv --seed --python 3.11 /opt/supervisor \
    && /opt/supervisor/bin/python requirements.py server tracing > requirements.txt \
    && /opt/supervisor/bin/python -m pip install -r requirements.txt -c constraints.txt

# The SDK's Python keeps torch 2.0.1, because PopTorch is built for it.
RUN install -m 755 job-python-ipu /usr/local/bin/job-python-ipu \
    && /opt/supervisor/bin/python requirements.py train | grep -v '^torch' > requirements-job.txt \
    && echo 'torch==2.0.1' > constraints-job.txt && echo 'numpy<2' >> constraints-job.txt \
    && /usr/local/bin/job-python-ipu -m pip install -r requirements-job.txt -c constraints-job.txt

# Everything that .dockerignore does not exclude: the contents of the wheel.
COPY . .
RUN /opt/supervisor/bin/python -m pip install --no-deps . \
    && /usr/local/bin/job-python-ipu -m pip install --no-deps .

RUN groupadd --gid 10001 normlab \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data normlab \
    && install -d -o normlab -g normlab /data /run/normlab /var/cache/poptorch
ENV NORMLAB_JOB_PYTHON_IPU=/usr/local/bin/job-python-ipu POPTORCH_CACHE_DIR=/var/cache/poptorch
USER normlab
WORKDIR /data
ENTRYPOINT ["/opt/supervisor/bin/python", "-m"]
CMD ["workers", "--device", "ipu"]
