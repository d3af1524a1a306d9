# A server of exported files (.onnx, .xml), without torch. In the folder of the repository:
#     docker build -f docker/cpu.Dockerfile -t centernet-serve .
#     docker run -p 127.0.0.1:8000:8000 -v "$PWD/models:/models:ro" centernet-serve /models/model.onnx
FROM python:3.11-slim
WORKDIR /opt/centernet
COPY runtime runtime
COPY centernet_d2/runtime centernet_d2/runtime
RUN pip install --no-cache-dir "./runtime[onnxruntime,openvino,serve]"
RUN useradd --uid 10001 --create-home server
USER server
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
ENTRYPOINT ["python", "-m", "centernet_d2_runtime.serving", "--host", "0.0.0.0"]
CMD ["/models/model.onnx"]
