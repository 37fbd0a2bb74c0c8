# The API, the relay and the reaper. torch is not installed here: the inspector answers what needs it.
# compose.yaml names the base image and its digest: docker compose build
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# The dependencies are in a separate layer, so that a change of the code does not download them again.
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python requirements.py server study tracing > requirements.txt \
    && python -m pip install -r requirements.txt -c constraints.txt

# Everything that .dockerignore does not exclude: the contents of the wheel.
COPY . .
RUN python -m pip install --no-deps .

# The ids are fixed, because volumes outlive images.
RUN groupadd --gid 10001 normlab \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data normlab \
    && install -d -o normlab -g normlab /data /run/normlab
USER normlab
WORKDIR /data
EXPOSE 8642
CMD ["python", "-m", "api"]
