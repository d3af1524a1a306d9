# A server of trained weights on a GPU. torch's wheels bring CUDA; the machine needs NVIDIA's driver and
# its Container Toolkit. In the folder of the repository:
#     docker build -f docker/cuda.Dockerfile -t centernet-serve-cuda .
#     docker run --gpus all -p 127.0.0.1:8000:8000 -v "$PWD/models:/models:ro" centernet-serve-cuda
FROM python:3.11-slim
WORKDIR /opt/centernet
COPY requirements/torch.txt requirements/torch.txt
RUN pip install --no-cache-dir -r requirements/torch.txt
COPY . .
RUN pip install --no-cache-dir ".[serve]"
RUN centernet-d2 install-detectron2 --source pypi
RUN useradd --uid 10001 --create-home server
USER server
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
ENTRYPOINT ["centernet-d2", "serve", "--host", "0.0.0.0", "--device", "cuda"]
CMD ["--weights", "/models/model_final.pth"]
