"""Mirror descent with the potential (1/p) sum |w|^p for torch: the twin of `solvable.optim.mirror_descent`."""

# torch is an extra: where it is missing, the type checker takes this very file for it. The foreach functions are
# private by name although the documentation of torch lists them.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solvable.numerics.validation import number
from solvable.optim.mirror_map import mirror_exponent

try:
    import torch
except ImportError as error:
    raise ImportError(
        "solvable.optim.torch needs torch, which is not installed: pip install '.[torch]' from a checkout"
    ) from error


class MirrorDescent(torch.optim.Optimizer):
    """w <- sign(u)|u|^(1/(p-1)) after u <- u - lr g, with u = sign(w)|w|^(p-1) kept in `state[param]["dual"]`.

    g is the gradient or, with `normalize`, each parameter's gradient over its own q-norm, q = p/(p-1) (a parameter
    whose gradient is 0, or below the smallest normal number, does not move). An entry whose gradient is 0 stays, to the
    last bit. p = 2 is `torch.optim.SGD`, to the last bit, and keeps no state. `lr`, `p` and `normalize` may differ
    between parameter groups; schedulers may change them. After parameters were changed by other means (clipping,
    averages, loading weights) call `resync`.

    `step` checks one sum per parameter, about a tenth of its time on a CPU and one wait for the device on a GPU.

    Raises: ValueError unless p is finite and above 1 and lr is finite and not negative; from `step` RuntimeError for
    sparse or complex gradients and FloatingPointError for parameters that are no longer finite.
    Source: arXiv:2410.14581; the dual state is ours.
    """

    def __init__(self, params: Any, lr: Any, p: Any = 2.0, normalize: bool = False) -> None:
        super().__init__(params, _checked({"lr": lr, "p": p, "normalize": normalize}))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state that may be another optimiser's (`load_state_dict`): what its groups lack has its default."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with lr, p and normalize of their own if given.

        Raises: ValueError for values out of range, as the class does.
        """
        super().add_param_group(_checked(param_group))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; returns what `closure` returns, which is called first if given.

        Raises: RuntimeError for sparse or complex gradients (nothing has moved then); FloatingPointError if a parameter
        is not finite after the step.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [[w for w in group["params"] if w.grad is not None] for group in self.param_groups]
        for w in (w for params in moving for w in params):
            sparse = w.grad.layout != torch.strided
            if sparse or w.grad.is_complex():
                kind = "sparse" if sparse else "complex"
                raise RuntimeError(
                    f"a gradient of shape {tuple(w.shape)} is {kind}; accepted: dense and real gradients"
                )
        for group, params in zip(self.param_groups, moving, strict=True):
            self._move(group, params)
        self._check(moving)
        return loss

    def resync(self) -> None:
        """Forget the dual variables, so that the next step computes them anew from the parameters."""
        for state in self.state.values():
            state.pop("dual", None)

    def _move(self, group: dict[str, Any], params: list[torch.Tensor]) -> None:
        rate, p = float(group["lr"]), float(group["p"])
        if rate == 0:  # what cannot move is left alone: the rounding of the maps would move it a little
            return
        for batch in _batches(params):
            steps = [w.grad for w in batch if w.grad is not None]
            if group["normalize"]:
                steps = [_normalized(gradient, p) for gradient in steps]
            if p == 2:
                torch._foreach_add_(batch, steps, alpha=-rate)
                continue
            dual = [self._dual(w, p) for w in batch]
            torch._foreach_add_(dual, steps, alpha=-rate)
            new = [torch.empty_like(u) for u in dual]
            _signed_power(new, dual, 1 / mirror_exponent(p))
            for w, value, step in zip(batch, new, steps, strict=True):
                # the map of the map is w only up to rounding, or to underflow: what has no gradient stays
                torch.where(step.bool(), value, w, out=w)  # a cast is faster than a comparison with 0

    def _dual(self, w: torch.Tensor, p: float) -> torch.Tensor:
        """The dual variables of w, made at its first step, after `resync`, and when its group got another p."""
        state = self.state[w]
        if "dual" not in state or state.get("p") != p:
            state["p"], state["dual"] = p, torch.empty_like(w, memory_format=torch.preserve_format)
            _signed_power([state["dual"]], [w], mirror_exponent(p))
        return state["dual"]

    def _check(self, moved: list[list[torch.Tensor]]) -> None:
        every = [w for params in moved for w in params]
        # a sum is not finite if an entry is not, and costs one pass; one transfer for all of them
        sums = [w.sum(dtype=torch.promote_types(w.dtype, torch.float32)).double() for w in every]
        if not every or torch.isfinite(torch.stack([each.to(sums[0].device) for each in sums])).all():
            return
        for index, (group, params) in enumerate(zip(self.param_groups, moved, strict=True)):
            for w in params:
                wrong = int((~torch.isfinite(w)).sum())
                if wrong:
                    raise FloatingPointError(
                        f"a parameter of shape {tuple(w.shape)} in group {index} has {wrong} values that are not "
                        f"finite after the step; accepted: finite values, so take a smaller lr (it is "
                        f"{float(group['lr']):g}) or a p further from 1 (it is {float(group['p']):g})"
                    )


def _checked(group: dict[str, Any]) -> dict[str, Any]:
    """The options with p and lr in range, as plain numbers: `torch.load` refuses a checkpoint that holds NumPy's."""
    group = dict(group)
    if "p" in group:
        group["p"] = float(number("p", group["p"], above=1.0))
    if "lr" in group:
        rate = float(number("lr", group["lr"], at_least=0.0))
        group["lr"] = group["lr"] if isinstance(group["lr"], torch.Tensor) else rate
    return group


def _batches(params: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Lists of one device and dtype, for which the foreach functions are fast."""
    batches: dict[Any, list[torch.Tensor]] = {}
    entries = 0
    for w in params:
        entries += w.numel()
        # on a CPU lists that fit in a cache: the step is a tenth faster or more, tiny parameters apart
        batches.setdefault((w.device, w.dtype, entries // 2**18 if w.device.type == "cpu" else 0), []).append(w)
    return list(batches.values())


def _normalized(gradient: torch.Tensor, p: float) -> torch.Tensor:
    """gradient / ||gradient||_q, q = p/(p-1), as `solvable.optim.mirror_descent.normalized`; it never waits for a GPU.

    Scaled by the largest entry first, so that no power overflows or loses the norm to underflow.
    """
    if gradient.numel() == 0:
        return gradient
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    largest = wide.abs().max()
    # a gradient of 0, or below the smallest normal number (which XLA on a CPU takes for 0 too), becomes 0
    scaled = wide / torch.where(largest < torch.finfo(wide.dtype).tiny, torch.inf, largest)
    q, sizes = 1 + 1 / mirror_exponent(p), scaled.abs()
    powers = torch.empty_like(sizes)
    _signed_power([powers], [sizes], q)
    # the norm of what is scaled is at least 1, but for a gradient of 0
    return scaled.div_(powers.sum().pow_(1 / q).clamp_min_(1)).to(gradient.dtype)


def _signed_power(out: list[torch.Tensor], x: list[torch.Tensor], exponent: float) -> None:
    """out <- sign(x)|x|^exponent, in place and without a temporary; 16-bit entries go through float32."""
    if x[0].element_size() < 4:
        wide = [entry.float() for entry in x]
        powers = [torch.empty_like(entry) for entry in wide]
        _signed_power(powers, wide, exponent)
        torch._foreach_copy_(out, powers)
        return
    torch._foreach_copy_(out, x)
    whole = round(exponent)
    if exponent == whole and whole <= 16:
        # squares and products along the binary digits of an odd power, which keeps the sign
        for digit in bin(whole - 1 + whole % 2)[3:]:
            torch._foreach_mul_(out, out)
            if digit == "1":
                torch._foreach_mul_(out, x)
        if whole % 2 == 0:
            torch._foreach_abs_(out)
            torch._foreach_mul_(out, x)
        return
    # x |x|^(exponent - 1) needs no sign; the clamp keeps 0 * inf out
    torch._foreach_abs_(out)
    torch._foreach_clamp_min_(out, torch.finfo(out[0].dtype).tiny)
    if exponent == 0.5:
        torch._foreach_sqrt_(out)
        torch._foreach_reciprocal_(out)
    elif exponent == 1.5:
        torch._foreach_sqrt_(out)
    else:
        torch._foreach_pow_(out, exponent - 1)
    torch._foreach_mul_(out, x)
