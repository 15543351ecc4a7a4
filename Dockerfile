# elucidiff with a CPU build of PyTorch. For NVIDIA GPUs:
#     docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t elucidiff .
#     docker run --gpus all --shm-size 8g -v "$PWD:/work" elucidiff train pictures --minutes 90
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# g++ is what torch.compile builds with on a CPU.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/elucidiff
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY src src
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" -c constraints.txt torch torchvision \
    && pip install --no-cache-dir ".[onnx,search,evaluate]"

RUN useradd --create-home --uid 1000 somebody
USER somebody
WORKDIR /work
ENTRYPOINT ["elucidiff"]
