"""Adam with decoupled weight decay (Loshchilov and Hutter 2019) on parameters by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

Moments = dict[str, dict[str, Tensor]]


@torch.no_grad()
def adam_step(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], moments: Moments, lr: float, decay: float
) -> None:
    """One step along `gradients`, in place. What has no gradient stays as it is; what has no moments yet gets them.

    Bit for bit what `torch.optim.AdamW` does. That class takes longer over its lists than over the step where networks
    are small, and its first use loads torch's compiler, which takes more than a second.
    """
    for name in gradients:
        if name not in moments:
            parameter = parameters[name]
            step = torch.zeros((), device=parameter.device)
            zeros = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            moments[name] = {"step": step, **zeros}
    moved = [moments[name] for name in gradients]
    first, second, steps = ([one[key] for one in moved] for key in ("exp_avg", "exp_avg_sq", "step"))
    adamw(
        [parameters[name] for name in gradients], [*gradients.values()], first, second, [], steps, fused=True,
        amsgrad=False, beta1=0.9, beta2=0.999, lr=lr, weight_decay=decay, eps=1e-8, maximize=False,
    )  # fmt: skip
