"""onnxruntime 1.32.0, in an environment of its own: the networks as graphs, all its optimisations on."""

import numpy as np
import onnx
import onnxruntime
from network import Arrays, Ask, layers, serve
from onnx import TensorProto, helper, numpy_helper


class _Graph:
    """A graph in the making: every call adds a node and gives the name of what it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []

    def put(self, array: np.ndarray) -> str:
        name = f"held{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def __call__(self, operator: str, *given: str, **how: object) -> str:
        name = f"made{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(given), [name], **how))
        return name

    def layer(self, x: str, weight: np.ndarray, shift: np.ndarray) -> str:
        return self("Gemm", x, self.put(weight), self.put(shift))


def _logistic(graph: _Graph, arrays: Arrays) -> str:
    one = graph.put(np.array([1], np.int64))
    codes = graph("ReduceSum", graph("Gather", graph.put(arrays["weight"]), "code"), one, keepdims=1)
    numbers = graph("MatMul", "number", graph.put(arrays["numbers"][:, None]))
    return graph("Add", graph("Add", codes, numbers), graph.put(np.float32(arrays["base"]).reshape(1)))


def _inputs(graph: _Graph, arrays: Arrays) -> str:
    width = arrays["code"].shape[1] * arrays["table"].shape[1]
    vectors = graph("Gather", graph.put(arrays["table"]), "code")
    return graph("Concat", graph("Reshape", vectors, graph.put(np.array([-1, width]))), "number", axis=1)


def _fm(graph: _Graph, arrays: Arrays) -> str:
    whole, one = _inputs(graph, arrays), graph.put(np.array([1], np.int64))
    total = graph("MatMul", whole, graph.put(arrays["project"]))
    squares = graph("MatMul", graph("Mul", whole, whole), graph.put(arrays["square"]))
    pairs = graph("Sub", graph("ReduceSum", graph("Mul", total, total), one, keepdims=1), squares)
    half = graph("Mul", pairs, graph.put(np.array([0.5], np.float32)))
    return graph("Add", _logistic(graph, arrays), half)


def _dcn(graph: _Graph, arrays: Arrays) -> str:
    whole = crossed = deep = _inputs(graph, arrays)
    for weight, shift in layers(arrays, "cross"):
        crossed = graph("Add", graph("Mul", whole, graph.layer(crossed, weight, shift)), crossed)
    for weight, shift in layers(arrays, "deep"):
        deep = graph("Relu", graph.layer(deep, weight, shift))
    return graph.layer(graph("Concat", crossed, deep, axis=1), *layers(arrays, "last")[0])


MODELS = {"logistic": _logistic, "fm": _fm, "dcn": _dcn}


def build(model: str, arrays: Arrays) -> Ask:
    graph = _Graph()
    made = graph("Sigmoid", MODELS[model](graph, arrays))
    inputs = [
        helper.make_tensor_value_info("code", TensorProto.INT64, [None, arrays["code"].shape[1]]),
        helper.make_tensor_value_info("number", TensorProto.FLOAT, [None, arrays["number"].shape[1]]),
    ]
    out = helper.make_tensor_value_info(made, TensorProto.FLOAT, None)
    whole = helper.make_model(
        helper.make_graph(graph.nodes, model, inputs, [out], graph.held),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def ask(code: np.ndarray, number: np.ndarray) -> np.ndarray:
        return session.run(None, {"code": code, "number": number})[0].reshape(-1)

    return ask


if __name__ == "__main__":
    serve(build)
