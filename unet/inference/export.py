"""Export a trained model as one ONNX file, for programs without torch and this project.

Needs the packages onnx and onnxscript, and onnxruntime to compare.
"""

import warnings
from collections import OrderedDict
from collections.abc import Container
from typing import Any

import torch
from torch import nn

from unet.data.packed import Split
from unet.inference.model_file import is_kernel
from unet.model import UNet

# Both of ONNX 1.13; the exporter's own rise with torch. onnxruntime 1.15 (2023) and 1.32 read it.
OPSET, IR_VERSION = 18, 8
TOLERANCE = 1e-4  # of a probability: another runtime sums in another order

DATASET = "trained on the Oxford-IIIT Pet dataset (CC BY-SA 4.0)"
# What a model was trained on, by the ``source`` of its info.
TRAINED_ON = {
    "official": DATASET,
    "mirror": DATASET,
    "synthetic": "trained on images that the project drew itself",
    "folder": "trained on images of the owner's; their licence is unknown here, ask the owner",
}
UNKNOWN = "trained on unknown images, of unknown licence"


def trained_on(info: dict[str, Any]) -> str:
    """What a model with this ``info`` was trained on, with its licence, to end a sentence."""
    return TRAINED_ON.get(info.get("source"), UNKNOWN)


def about(info: dict[str, Any]) -> dict[str, str]:
    """What a program needs to use the model, as the ONNX file's metadata.

    Args:
        info: from :func:`unet.inference.model_file.load_model`.
    """
    return {
        "image_size": str(info["image_size"]),
        "threshold": repr(info["threshold"]),  # all digits
        "classes": "background,object",
        "depth": str(info["depth"]),
        "multiple": str(2 ** info["depth"]),  # both sides must be multiples of it
        "experiment": str(info.get("experiment", "")),
        "licence": f"weights: {trained_on(info)}; code: MIT",
    }


def to_onnx(model: UNet, info: dict[str, Any], model_sha256: str) -> bytes:
    """The content of an ONNX file.

    Its input ``images`` is float32 (N, 3, H, W), RGB in [0, 1]; its output ``probabilities``
    float32 (N, 1, H, W) in [0, 1]. N is arbitrary, H and W are multiples of ``2 ** depth``. It
    computes in float32; kernels that the model's own file stores as float16 are so stored here.

    Args:
        info: from :func:`unet.inference.model_file.load_model`.
        model_sha256: of the model's own file; an entry of the metadata.
    """
    import onnx  # here: the cards of the models do without it
    import onnxscript

    step = 2**model.depth
    # Minimum 1: torch need not treat a batch or bottleneck of size 1 as a special case.
    count, height, width = (torch.export.Dim(x, min=1) for x in ("batch", "height", "width"))
    probabilities = nn.Sequential(OrderedDict(model=model, sigmoid=nn.Sigmoid())).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter itself; a user cannot fix them
        program = torch.onnx.export(
            probabilities,
            (torch.zeros(2, 3, 2 * step, 3 * step, device=model.pixel_mean.device),),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: count, 2: step * height, 3: step * width},),
            verbose=False,
            optimize=False,  # which would multiply batch normalisation into the kernels
        )
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    proto = program.model_proto
    proto.ir_version = IR_VERSION
    _forget_the_source(proto.graph)
    if info.get("store") == "float16":
        kernels = {f"model.{k}" for k, t in model.state_dict().items() if is_kernel(k, t)}
        _store_float16(proto.graph, kernels)
    onnx.helper.set_model_props(proto, about(info) | {"model_sha256": model_sha256})
    return proto.SerializeToString(deterministic=True)


def _forget_the_source(graph: Any) -> None:
    """Drop the exporter's notes: source lines, and paths of this machine."""
    values = (graph.input, graph.output, graph.value_info, graph.initializer, graph.node)
    for item in (graph, *(item for items in values for item in items)):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def _store_float16(graph: Any, names: Container[str]) -> None:
    """Store these weights as float16; nodes at the start make them float32 again."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = list(graph.node)
    del graph.node[:]
    for tensor in graph.initializer:
        if (name := tensor.name) in names:
            half = numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
            graph.node.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    graph.node.extend(nodes)


def largest_difference(content: bytes, model: UNet, split: Split, *, batch_size: int) -> float:
    """The largest absolute difference between the probabilities of an ONNX file's ``content`` (by
    onnxruntime) and of ``model`` (on the CPU), over all pixels of ``split``; NaN if one is NaN."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    cpu = torch.device("cpu")
    largest = []
    for indices in torch.arange(len(split)).split(batch_size):
        images, _ = split.batch(indices, cpu)
        (found,) = session.run(None, {"images": images.contiguous().numpy()})
        largest.append((torch.from_numpy(found) - model.predict(images)).abs().max())
    return torch.stack(largest).max().item()
