import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import tiny_config, tiny_model
from unet.training.optimizers import Muon, build_optimizers, orthogonalized


def random_matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def stepped(kernel: torch.Tensor, gradients: list[torch.Tensor], **options) -> torch.Tensor:
    parameter = torch.nn.Parameter(kernel.clone())
    optimizer = Muon([parameter], **{"lr": 0.1, "weight_decay": 0.0} | options)
    for gradient in gradients:
        parameter.grad = gradient.clone(memory_format=torch.preserve_format)
        optimizer.step()
    return parameter.detach()


@settings(deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 99), st.floats(1e-6, 1e6))
def test_singular_values_end_near_one(rows: int, columns: int, seed: int, scale: float) -> None:
    # Square random matrices have singular values too small for five iterations; keep away.
    columns += 2 * rows
    matrix = random_matrix(rows, columns, seed)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalized(scale * matrix)
    turned = left.T @ result @ right.T  # diagonal where the singular vectors are kept
    values = turned.diagonal()
    assert (values > 0.6).all() and (values < 1.25).all()
    torch.testing.assert_close(turned, values.diag(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_agrees_with_torchs_on_matrices(shape: tuple[int, int]) -> None:
    start = random_matrix(*shape, seed=1)
    gradients = [random_matrix(*shape, seed=seed) for seed in range(2, 7)]
    theirs = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Muon(
        [theirs], lr=0.1, weight_decay=0.3, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for gradient in gradients:
        theirs.grad = gradient.clone()
        optimizer.step()
    ours = stepped(start, gradients, weight_decay=0.3, dtype=torch.bfloat16)
    moved = (theirs.detach() - start).norm()
    assert (ours - theirs.detach()).norm() < 0.03 * moved  # bf16 rounds to 1/256
    assert moved > 0.1


def test_a_kernel_is_the_matrix_of_its_rows() -> None:
    kernel, gradient = random_matrix(4, 27, 1), random_matrix(4, 27, 2)
    as_kernel = stepped(kernel.view(4, 3, 3, 3), [gradient.view(4, 3, 3, 3)])
    torch.testing.assert_close(as_kernel.flatten(1), stepped(kernel, [gradient]))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_has_one_optimizer_and_only_kernels_decay(optimizer: str) -> None:
    model = tiny_model(downsample="str_conv", upsample="ups")
    config = tiny_config(optimizer=optimizer, weight_decay=0.07, max_lr=0.01)
    *muon, adamw = build_optimizers(model, config)
    assert len(muon) == (optimizer == "muon")
    decay, owner = {}, {}
    for optimizer in (*muon, adamw):
        for group in optimizer.param_groups:
            assert group["lr"] == 0.01
            for parameter in group["params"]:
                assert id(parameter) not in owner
                decay[id(parameter)], owner[id(parameter)] = group["weight_decay"], optimizer
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        kernel = name.endswith("weight") and parameter.ndim == 4
        assert decay[id(parameter)] == (0.07 if kernel else 0), name
        inner = kernel and name not in ("encoder.0.0.weight", "head.weight")
        assert owner[id(parameter)] is (muon[0] if inner and muon else adamw), name
