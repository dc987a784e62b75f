"""A model repository as Triton parses it: python triton_repository.py FOLDER, whose config.pbtxt is printed as JSON."""

import sys
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

text = (Path(sys.argv[1]) / "config.pbtxt").read_text()
print(json_format.MessageToJson(text_format.Parse(text, model_config_pb2.ModelConfig())))
