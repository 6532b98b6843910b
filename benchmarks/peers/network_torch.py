"""PyTorch 2.13.0: the networks as one would write them."""

from collections.abc import Callable

import numpy as np
import torch
from network import Arrays, Ask, layers, serve

Tensors = dict[str, torch.Tensor]
Stack = list[tuple[torch.Tensor, torch.Tensor]]


def _logistic(own: Tensors, code: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return own["base"] + own["weight"][code].sum(1) + number @ own["numbers"]


def _inputs(own: Tensors, code: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return torch.cat((own["table"][code].flatten(1), number), 1)


def _fm(own: Tensors, code: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    whole = _inputs(own, code, number)
    pairs = (whole @ own["project"]).square().sum(1) - (whole.square() @ own["square"])[:, 0]
    return _logistic(own, code, number) + 0.5 * pairs


def _dcn(own: Tensors, code: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    whole = crossed = deep = _inputs(own, code, number)
    for weight, shift in own["cross"]:
        crossed = whole * torch.addmm(shift, crossed, weight) + crossed
    for weight, shift in own["deep"]:
        deep = torch.relu(torch.addmm(shift, deep, weight))
    weight, shift = own["last"][0]
    return torch.addmm(shift, torch.cat((crossed, deep), 1), weight)[:, 0]


MODELS: dict[str, Callable[..., torch.Tensor]] = {"logistic": _logistic, "fm": _fm, "dcn": _dcn}


def build(model: str, arrays: Arrays) -> Ask:
    torch.set_num_threads(1)
    own: dict[str, object] = {name: torch.from_numpy(each) for name, each in arrays.items()}
    for name in ("cross", "deep", "last"):
        own[name] = [(torch.from_numpy(weight), torch.from_numpy(shift)) for weight, shift in layers(arrays, name)]

    def ask(code: np.ndarray, number: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(MODELS[model](own, torch.from_numpy(code), torch.from_numpy(number))).numpy()

    return ask


if __name__ == "__main__":
    serve(build)
