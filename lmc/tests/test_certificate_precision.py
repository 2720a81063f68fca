"""The certificate is in float64, on the CPU, whatever the model casts to."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc import CertificateError, Permutation, certify, discover
from lmc.tests.networks import Layers, normal, randomized
from lmc.tests.symmetries import without


class LlamaNorm(Layers):
    """A norm in float32, back in the dtype of its input (Llama); its sum is rounded."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, x):
        h = F.silu(self.first(x))
        wide = h.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.last(wide.type_as(h))


class ClipNorm(Layers):
    """LayerNorm that casts its input alone (CLIP)."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        h = self.first(x)
        return self.last(F.relu(self.norm(h.type(torch.float32)).type(h.dtype)))


class WideSoftmax(Layers):
    """A softmax that is told its dtype."""

    def forward(self, x):
        h = self.first(x)
        return self.last(F.softmax(h, dim=-1, dtype=torch.float32).to(h.dtype))


class Bytes(Layers):
    """Takes bytes."""

    def forward(self, x):
        return self.last(F.relu(self.first(x.float() / 255)))


class Created(Layers):
    """Makes and holds tensors of float32, which matrices do not promote."""

    def __init__(self):
        super().__init__()
        self.mixing = torch.linspace(0, 1, 16).reshape(4, 4)

    def forward(self, x):
        x = x @ self.mixing @ torch.eye(4) @ torch.full((4, 4), 0.3)
        x = x @ torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 4, dtype=torch.float32)
        return self.last(F.relu(self.first(x)))


class Halved(Layers):
    """Computes in float16 throughout, which the certificate sees through."""

    def forward(self, x):
        return self.last(F.relu(self.first(x)).half().float())


class Branching(Layers):
    """Casts inside a branch of torch.cond."""

    def forward(self, x):
        x = torch.cond(x.sum() > 9, torch.sin, self.wide, (x,))
        return self.last(F.relu(self.first(x)))

    @staticmethod
    def wide(x):
        return x.float().exp().type_as(x)


CASTING = [LlamaNorm, ClipNorm, WideSoftmax, Bytes, Created, Halved, Branching]


def casting(make: type[Layers]) -> tuple[nn.Module, Tensor]:
    """A model with its input."""
    x = normal(3, 4).float()
    x = (x.abs() * 100).byte() if make is Bytes else x
    return randomized(make()), x


@pytest.mark.parametrize("make", CASTING)
def test_certificate_is_in_float64_where_the_model_casts(make):
    """The hidden units are found, and rounding is that of float64."""
    model, x = casting(make)
    symmetry = discover(model, x)
    sizes = {name: group.size for name, group in symmetry.groups.items()}
    assert sizes == {"first": model.first.out_features}
    assert symmetry.certificate.relative_difference < 1e-14
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("make", CASTING)
@pytest.mark.parametrize("site", [("first.weight", 0), ("last.weight", 1)])
def test_wrong_symmetry_is_caught_behind_a_cast(make, site):
    """A wrong group changes the function there as well."""
    model, x = casting(make)
    wrong = without(discover(model, x), "first", site)
    with pytest.raises(CertificateError, match="groups first changes output 0"):
        certify(wrong, model, model.state_dict(), x)
    assert torch.get_default_dtype() == torch.float32


def test_small_errors_are_caught_behind_a_cast():
    """1e-8 of a unit's weight: more than is allowed, less than float32 rounds."""
    model, x = casting(LlamaNorm)
    symmetry = discover(model, x)
    state = {name: value.double() for name, value in model.state_dict().items()}
    apply = Permutation.apply

    def nearly(self, network):
        permuted = apply(self, network)
        permuted["first.bias"] = permuted["first.bias"] * (1 + 1e-8)
        return permuted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Permutation, "apply", nearly)
        with pytest.raises(CertificateError, match=r"relative \d\.\de-0[89]"):
            certify(symmetry, model, state, x)


@torch.library.custom_op("lmc_tests::scaled", mutates_args=())
def scaled(x: Tensor, factor: float) -> Tensor:
    """A kernel for float32 alone."""
    if x.dtype != torch.float32:
        raise NotImplementedError(f'"scaled" not implemented for {x.dtype}')
    return x * factor


scaled.register_fake(lambda x, factor: torch.empty_like(x))


class Coarse(Layers):
    """The logits of two layers come out of a kernel that has no float64."""

    def forward(self, x):
        return scaled(self.last(F.relu(self.first(x))), 0.5)


def test_what_has_no_float64_runs_in_the_dtype_of_the_model():
    """The certificate names it and allows for its rounding, which is all there is."""
    model, x = randomized(Coarse()), normal(3, 4).float()
    symmetry = discover(model, x)
    assert {name: group.size for name, group in symmetry.groups.items()} == {"first": 6}
    assert symmetry.certificate.coarse == ("lmc_tests::scaled",)
    assert symmetry.certificate.relative_difference < 2e-7
    wrong = without(symmetry, "first", ("first.bias", 0))
    with pytest.raises(CertificateError, match=r"output 0 .*\(allowed 3e-04\)"):
        certify(wrong, model, model.state_dict(), x)


def test_what_fails_in_the_dtype_of_the_model_too_is_an_error():
    """A shape that does not fit is not a matter of precision."""
    model = randomized(Layers())
    symmetry = discover(model, torch.zeros(2, 4))
    assert symmetry.certificate.coarse == ()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        certify(symmetry, model, model.state_dict(), torch.zeros(2, 5))


class Away(Tensor):
    """A tensor on a device that no operation reaches, and that can only be moved."""

    @staticmethod
    def __new__(cls, inner):
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device="meta"
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return Away(args[0].inner)
        assert func._schema.name in ("aten::to", "aten::_to_copy"), f"{func} before"
        said = [*args[1:], *(kwargs or {}).values()]
        assert torch.device("cpu") in said
        return args[0].inner.to(*(v for v in said if isinstance(v, torch.dtype)))


class Tokens(nn.Module):
    """Takes int tokens and a bool mask, has an int buffer and a constant."""

    def __init__(self, device: str = "cpu"):
        super().__init__()
        self.embedding, self.first = nn.Embedding(9, 4), nn.Linear(4, 6)
        self.last, self.device = nn.Linear(6, 3), torch.device(device)
        self.register_buffer("shift", torch.tensor([1, 2, 0, 3, 1]))
        self.constant = torch.ones(4)

    def forward(self, tokens, mask):
        x = self.embedding(tokens + self.shift) * mask.unsqueeze(-1) * self.constant
        x = x + torch.arange(4, device=self.device)
        return self.last(F.relu(self.first(x)).mean(1))


def test_certificate_is_on_the_cpu():
    """Parameters, int buffers, tokens, masks, constants and what the model makes."""
    tokens, mask = torch.arange(10).reshape(2, 5) % 6, torch.ones(2, 5) > 0
    model = randomized(Tokens())
    symmetry, state = discover(model, tokens, mask), model.state_dict()
    assert {"first", "embedding"} >= set(symmetry.groups)
    away = randomized(Tokens("meta"))
    away.constant = Away(model.constant)
    certificate = certify(
        symmetry,
        away,
        {name: Away(value) for name, value in state.items()},
        *(Away(tokens), Away(mask)),
    )
    assert certificate == certify(symmetry, model, state, tokens, mask)
