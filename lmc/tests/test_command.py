"""The command line: what it writes, and that nothing is written when it refuses."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import lmc
from lmc.command import checkpoints, main
from lmc.discovery import discover
from lmc.interpolation import average, interpolate
from lmc.models import VGG
from lmc.permutation import Permutation

SHAPE = ["--input-shape", "3,8,8"]
PLAN = {"plan": [6, "M", 8], "classes": 3, "in_channels": 3}
MODEL = ["--model", "lmc.models:VGG", "--model-args", json.dumps(PLAN), *SHAPE]
NORMED = {**PLAN, "norm": "bn"}
WITH_NORM = ["--model", "lmc.models:VGG", "--model-args", json.dumps(NORMED), *SHAPE]


def network(seed, **options):
    """A small VGG's state dict; biases and running statistics are random too."""
    torch.manual_seed(seed)
    model = VGG(**{**PLAN, **options})
    for name, tensor in model.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, std=0.1)
    return model.state_dict()


@pytest.fixture
def files(tmp_path):
    """Two networks, one with metadata, in a folder of their own."""
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(network(0), a, metadata={"trained-by": "me", "format": "pt"})
    save_file(network(1), b, metadata={"trained-by": "you"})
    return a, b


@pytest.fixture
def folder(tmp_path):
    """Twelve images in three classes."""
    generator = torch.Generator().manual_seed(0)
    for label in range(3):
        (tmp_path / "images" / f"class{label}").mkdir(parents=True)
        for number in range(4):
            pixels = torch.randint(0, 256, (9, 10, 3), generator=generator)
            image = Image.fromarray(pixels.to(torch.uint8).numpy())
            image.save(tmp_path / "images" / f"class{label}" / f"{number}.png")
    return tmp_path / "images"


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def refused(capsys, tmp_path, *arguments):
    """The error of a command that must fail, with code 2, and leave no file behind."""
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before
    return err.splitlines()[-1]


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_symmetry(capsys):
    """Groups and certificate of a model by its name."""
    spec = ["lmc.models:VGG", "--model-args", json.dumps(PLAN), *SHAPE]
    code, out, _ = run(capsys, "symmetry", *spec, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["groups"] == 2 and found["units"] == 14
    assert [row["size"] for row in found["rows"]] == [6, 8]
    code, out, _ = run(capsys, "symmetry", *spec)
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["group", "size"]


def test_match_recovers_a_shuffled_copy(capsys, tmp_path, files):
    """A permuted copy comes back bit for bit, in its dtype and with its metadata."""
    model = VGG(**PLAN).eval()
    symmetry = discover(model, torch.zeros(2, 3, 8, 8))
    own = load_file(files[0])
    generator = torch.Generator().manual_seed(3)
    shuffled = Permutation.random(symmetry, generator).apply(own)
    save_file(shuffled, tmp_path / "s.safetensors", metadata={"trained-by": "them"})
    out = tmp_path / "m.safetensors"
    code, text, _ = run(
        *(capsys, "match", files[0], tmp_path / "s.safetensors", *MODEL),
        *("--out", out, "--json"),
    )
    assert code == 0
    found = load_file(out)
    assert all(torch.equal(found[name], value) for name, value in own.items())
    assert metadata(out)["trained-by"] == "them"
    assert metadata(out)["lmc-matched-to"] == "a.safetensors"
    summary = json.loads(text)
    assert summary["distance"] == 0 < summary["distance before"]
    assert all(row["cosine before"] < row["after"] for row in summary["rows"][:2])
    assert summary["rows"][-1]["after"] == pytest.approx(1)


class Tied(nn.Module):
    """Two layers that share one weight, which has two names."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(8, 4), nn.Linear(8, 4)
        self.again.weight = self.first.weight
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = x.mean((1, 2))
        return self.last(torch.relu(self.first(x)) * torch.relu(self.again(x.flip(0))))


def test_match_counts_a_tensor_with_two_names_once(capsys, tmp_path):
    """In the distance, before and after."""
    states = []
    for name, seed in (("a", 0), ("b", 1)):
        torch.manual_seed(seed)
        state = {key: value.clone() for key, value in Tied().state_dict().items()}
        save_file(state, tmp_path / f"{name}.safetensors")
        states.append(state)
    out = tmp_path / "m.safetensors"
    code, text, _ = run(
        *(capsys, "match", tmp_path / "a.safetensors", tmp_path / "b.safetensors"),
        *("--model", "lmc.tests.test_command:Tied", *SHAPE, "--out", out, "--json"),
    )
    assert code == 0
    summary = json.loads(text)
    for key, b in (("distance before", states[1]), ("distance", load_file(out))):
        squares = sum(
            float((value.double() - b[name].double()).square().sum())
            for name, value in states[0].items()
            if name != "again.weight"
        )
        assert summary[key] ** 2 == pytest.approx(squares, rel=1e-6)


def test_match_keeps_dtypes(capsys, tmp_path):
    """Networks in half precision are matched in float32 and written in half."""
    for name, seed in (("a", 0), ("b", 1)):
        state = {key: value.half() for key, value in network(seed).items()}
        save_file(state, tmp_path / name)
    code, _, _ = run(
        *(capsys, "match", tmp_path / "a", tmp_path / "b", *MODEL),
        *("--out", tmp_path / "m"),
    )
    assert code == 0
    found = load_file(tmp_path / "m")
    assert {value.dtype for value in found.values()} == {torch.float16}
    values = torch.cat([value.flatten().sort().values for value in found.values()])
    before = load_file(tmp_path / "b")
    same = torch.cat([before[name].flatten().sort().values for name in found])
    assert torch.equal(values, same)


@pytest.mark.parametrize("method", ["activations", "straight-through"])
def test_match_by_data(capsys, tmp_path, files, folder, method):
    """Methods that need images take them from a folder."""
    out = tmp_path / "m"
    arguments = ["match", *files, *MODEL, "--method", method, "--out", out]
    code, text, _ = run(capsys, *arguments, "--data", folder)
    assert code == 0
    assert f"method           {method}" in text
    assert set(load_file(out)) == set(load_file(files[1]))


def test_merge_without_matching_is_the_average(capsys, tmp_path, files):
    """Three networks as they are."""
    third = tmp_path / "c.safetensors"
    save_file(network(2), third)
    out = tmp_path / "m"
    arguments = ["merge", *files, third, *MODEL, "--method", "none", "--out", out]
    code, _, _ = run(capsys, *arguments)
    assert code == 0
    states = [load_file(path) for path in (*files, third)]
    for name, value in load_file(out).items():
        torch.testing.assert_close(value, sum(s[name] for s in states) / 3)
    assert metadata(out)["trained-by"] == "me"
    assert metadata(out)["lmc-merged"] == "a.safetensors b.safetensors c.safetensors"


@pytest.mark.parametrize(
    "many", ["reference", "sequential", "iterative", "cycle-consistent"]
)
def test_merge_of_copies_is_the_network(capsys, tmp_path, files, many):
    """Shuffled copies of one network merge to a network of the same function."""
    model = VGG(**PLAN).eval()
    symmetry = discover(model, torch.zeros(2, 3, 8, 8))
    own = load_file(files[0])
    generator = torch.Generator().manual_seed(4)
    copies = []
    for number in range(3):
        copies.append(tmp_path / f"copy{number}")
        save_file(Permutation.random(symmetry, generator).apply(own), copies[number])
    out = tmp_path / "m"
    code, _, _ = run(capsys, "merge", *copies, *MODEL, "--many", many, "--out", out)
    assert code == 0
    x = torch.randn(4, 3, 8, 8, generator=generator)
    model.load_state_dict(load_file(files[0]))
    expected = model(x)
    model.load_state_dict(load_file(out))
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("method", ["repair", "rescale", "rescale-average", "reshift"])
def test_merge_and_renormalize(capsys, tmp_path, files, folder, method):
    """The merged network has the goal statistics; the table lists all networks."""
    out = tmp_path / "m"
    code, text, _ = run(
        *(capsys, "merge", *files, *MODEL, "--method", "none", "--out", out),
        *("--renormalize", method, "--data", folder, "--json"),
    )
    assert code == 0
    plain = average([load_file(path) for path in files])
    found = load_file(out)
    changed = {name for name in plain if not torch.allclose(plain[name], found[name])}
    assert "features.0.weight" in changed or method == "reshift"
    assert changed
    told = json.loads(text)
    assert told["networks"] == {"1": str(files[0]), "2": str(files[1])}
    assert told["renormalization"] == method
    assert [row["network"] for row in told["rows"]] == [
        *("network 1", "network 2", "average without matching", "matched average"),
        *("merged", "ensemble"),
    ]


def test_merge_says_what_it_was_worth(capsys, tmp_path, files, folder):
    """Random networks guess: a warning, with the classes and how images are read."""
    code, text, err = run(
        *(capsys, "merge", *files, *MODEL, "--out", tmp_path / "m", "--data", folder)
    )
    assert code == 0
    assert "renormalization           rescale" in text  # by itself
    assert "classes by their logits: 0 class0, 1 class1, 2 class2" in err
    assert "cropped to (8, 8), mean (0.485, 0.456, 0.406), std (0.229, " in err
    assert "warning: network 1 is no better than guessing: accuracy " in err


def reverse(symmetry, a, b, batches, generator):
    """A matcher of one's own: all groups backwards."""
    still = Permutation.identity(symmetry).indices
    return Permutation(symmetry, {name: own.flip(0) for name, own in still.items()})


def test_a_matcher_of_ones_own(capsys, tmp_path, files):
    """Named by its module."""
    spec = "lmc.tests.test_command:reverse"
    arguments = ["match", *files, *MODEL, "--method", spec, "--out", tmp_path / "m"]
    assert run(capsys, *arguments)[0] == 0
    found, own = load_file(tmp_path / "m"), load_file(files[1])
    assert torch.equal(found["features.0.bias"], own["features.0.bias"].flip(0))


def squared_error(outputs, targets):
    """A metric: how far the first output is from the class's number."""
    return (outputs[:, 0] - targets).square().mean()


METRIC = ["--metric", "lmc.tests.test_command:squared_error"]


def test_metric(capsys, tmp_path, files, folder):
    """For what is no classifier: there is no accuracy then."""
    plot = tmp_path / "curve.png"
    code, text, _ = run(
        *(capsys, "barrier", *files, *MODEL, "--data", folder, *METRIC, "--json"),
        *("--plot", plot),
    )
    assert code == 0 and plot.exists()
    found = json.loads(text)
    model, labels = VGG(**PLAN).eval(), torch.arange(3).repeat_interleave(4)
    model.load_state_dict(load_file(files[0]))
    expected = squared_error(model(images_of(folder)), labels).item()
    assert found["rows"][0] == {"lambda": 0.0, "loss": pytest.approx(expected)}
    losses = [row["loss"] for row in found["rows"]]
    over = [
        y - losses[0] - n / 10 * (losses[-1] - losses[0]) for n, y in enumerate(losses)
    ]
    assert found["barrier of the metric"] == pytest.approx(max(over), abs=1e-9)
    merge = ["merge", *files, *MODEL, "--data", folder, *METRIC]
    code, text, _ = run(capsys, *merge, "--out", tmp_path / "m", "--json")
    assert code == 0
    assert json.loads(text)["rows"][0]["accuracy"] is None


def test_barrier_of_batch_norm(capsys, tmp_path, folder):
    """Without reset a warning says what to do; with it the midpoint is reset."""
    states = [network(seed, norm="bn") for seed in (0, 1)]
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, state in zip(paths, states, strict=True):
        save_file(state, path)
    arguments = ["barrier", *paths, *WITH_NORM, "--data", folder, "--json"]
    _, plain, err = run(capsys, *arguments)
    assert "warning: the model has BatchNorm" in err
    assert "pass --renormalize reset" in err
    code, text, err = run(capsys, *arguments, "--renormalize", "reset")
    assert code == 0 and "BatchNorm" not in err
    found, plain = json.loads(text), json.loads(plain)
    images = images_of(folder)
    model = VGG(**NORMED).eval()
    graph = lmc.trace(model, images[:2])
    middle = lmc.reset(graph, interpolate(*states, 0.5), [(images, None)])
    model.load_state_dict(middle)
    labels = torch.arange(3).repeat_interleave(4)
    loss = nn.functional.cross_entropy(model(images), labels).item()
    assert found["rows"][5]["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["rows"][0] == plain["rows"][0] and found["rows"][5] != plain["rows"][5]


@pytest.mark.parametrize("wrapper", ["module._orig_mod.", "_orig_mod.module."])
def test_wrappers_in_any_order_are_taken_off(tmp_path, wrapper):
    state = {f"{wrapper}{name}": value for name, value in network(0).items()}
    torch.save(state, tmp_path / "w.pt")
    assert checkpoints.read(tmp_path / "w.pt").state.keys() == network(0).keys()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--batch-size", "0"], "--batch-size 0: take at least one"),
        (["--std", "0,1,1"], "--std 0.0,1.0,1.0: give deviations above 0"),
        (["--device", "meta"], "--device meta: "),
    ],
)
def test_options_that_can_not_be_are_refused(
    capsys, tmp_path, files, folder, given, said
):
    command = ["barrier", *files, *MODEL, "--data", folder, *given]
    assert said in refused(capsys, tmp_path, *command)


def test_a_merge_without_images_says_how_to_reset(capsys, tmp_path):
    """By this command's options, not by those of the function."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for seed, path in enumerate(paths):
        save_file(network(seed, norm="bn"), path)
    out = ["--out", tmp_path / "merged"]
    code, _, err = run(capsys, "merge", *paths, *WITH_NORM, *out)
    assert code == 0
    assert "pass --data FOLDER and --renormalize reset" in err
    assert "batches" not in err


def test_symmetry_is_kept(capsys, tmp_path, files):
    """In a file, from which it is read the next time; not for another model."""
    kept, out = tmp_path / "symmetry", ["--out", tmp_path / "m", "--force"]
    arguments = ["match", *files, *MODEL, *out, "--symmetry", kept]
    _, first, err = run(capsys, *arguments, "--json")
    assert "discovering" in err and kept.exists()
    _, second, err = run(capsys, *arguments, "--json")
    assert "discovering" not in err and "reading" in err
    assert first == second
    spec = ["lmc.models:VGG", "--model-args", json.dumps(NORMED), *SHAPE]
    error = refused(capsys, tmp_path, "symmetry", *spec, "--symmetry", kept)
    assert "of another architecture" in error


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_output_of_torch_save(capsys, tmp_path, files, suffix):
    """The suffix says the format."""
    out = tmp_path / f"m{suffix}"
    assert run(capsys, "match", *files, *MODEL, "--out", out)[0] == 0
    found = torch.load(out, weights_only=True)
    assert set(found) == set(load_file(files[1]))


def test_shards_and_wrappers(capsys, tmp_path, files):
    """An index of shards, and the names that DataParallel gives."""
    own = load_file(files[1])
    halves = [dict(list(own.items())[part::2]) for part in range(2)]
    places = {}
    for number, half in enumerate(halves):
        wrapped = {f"module.{name}": value for name, value in half.items()}
        save_file(wrapped, tmp_path / f"part{number}.safetensors")
        places |= dict.fromkeys(wrapped, f"part{number}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    out = ["--out", tmp_path / "m", "--force"]
    arguments = ["match", files[0], index, *MODEL, "--method", "none", *out]
    assert run(capsys, *arguments)[0] == 0
    found = load_file(tmp_path / "m")
    assert all(torch.equal(found[name], value) for name, value in own.items())
    (tmp_path / "part1.safetensors").unlink()
    error = refused(capsys, tmp_path, *arguments)
    assert "names part1.safetensors, which is not beside it" in error
    index.write_text(json.dumps({"weight_map": {"other": "part0.safetensors"}}))
    assert "names other, which no shard holds" in refused(capsys, tmp_path, *arguments)
    index.write_text("[]")
    assert "no index of shards" in refused(capsys, tmp_path, *arguments)


def test_mixed_dtypes(capsys, tmp_path, files):
    """Each file's own is kept: the merge has the first one's."""
    half = {name: value.half() for name, value in network(1).items()}
    save_file(half, files[1])
    assert run(capsys, "merge", *files, *MODEL, "--out", tmp_path / "m")[0] == 0
    found = load_file(tmp_path / "m")
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_merge_and_reset(capsys, tmp_path, folder):
    """Running statistics are those of the images."""
    for name, seed in (("a", 0), ("b", 1)):
        save_file(network(seed, norm="bn"), tmp_path / name)
    code, _, _ = run(
        *(capsys, "merge", tmp_path / "a", tmp_path / "b", *WITH_NORM),
        *("--renormalize", "reset", "--data", folder, "--out", tmp_path / "m"),
    )
    assert code == 0
    model = VGG(**NORMED)
    model.load_state_dict(load_file(tmp_path / "m"))
    seen = []
    norm = model.eval().features[1]
    norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    images = images_of(folder)
    model(images)
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(
        norm.running_var, seen[0].var((0, 2, 3), correction=0), rtol=0.02, atol=0
    )


def images_of(folder):
    """All images as the command reads them: short side to 8, centre, ImageNet's mean.

    Written with torchvision's functions on their own.
    """
    from torchvision.transforms import functional as F

    images = []
    for path in sorted(folder.rglob("*.png")):
        image = F.center_crop(F.resize(Image.open(path), 8), [8, 8])
        images.append(
            F.normalize(
                F.to_tensor(image), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            )
        )
    return torch.stack(images)


def test_barrier(capsys, tmp_path, files, folder):
    """The curve is that of the networks between; the plot is a picture."""
    plot = tmp_path / "curve.png"
    code, text, _ = run(
        *(capsys, "barrier", *files, *MODEL, "--data", folder),
        *("--plot", plot, "--json"),
    )
    assert code == 0
    found = json.loads(text)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [row["lambda"] for row in found["rows"]] == [n / 10 for n in range(11)]
    images = images_of(folder)
    labels = torch.arange(3).repeat_interleave(4)
    model = VGG(**PLAN).eval()
    a, b = (load_file(path) for path in files)
    losses = []
    for lam in (0.0, 0.5, 1.0):
        model.load_state_dict(interpolate(a, b, lam))
        losses.append(nn.functional.cross_entropy(model(images), labels).item())
    rows = found["rows"]
    assert [rows[n]["loss"] for n in (0, 5, 10)] == pytest.approx(losses, rel=1e-5)
    assert found["loss barrier, nats"] >= losses[1] - (losses[0] + losses[2]) / 2 - 1e-6


def test_barrier_after_matching(capsys, files, folder):
    """Of a network and itself permuted it is zero."""
    state = load_file(files[0])
    model = VGG(**PLAN).eval()
    symmetry = discover(model, torch.zeros(2, 3, 8, 8))
    generator = torch.Generator().manual_seed(5)
    save_file(Permutation.random(symmetry, generator).apply(state), files[1])
    arguments = ["barrier", *files, *MODEL, "--data", folder, "--json"]
    code, text, _ = run(capsys, *arguments, "--match", "weights")
    assert code == 0
    assert json.loads(text)["loss barrier, nats"] == pytest.approx(0, abs=1e-5)


def broken(state, change):
    """A copy of a state dict with one change."""
    state = dict(state)
    change(state)
    return state


BROKEN = {
    "keys": (
        lambda s: s.update(extra=torch.zeros(1)),
        "are not of one architecture: extra in one of them only",
    ),
    "shapes": (
        lambda s: s.update({"classifier.bias": torch.zeros(4)}),
        "classifier.bias has shape (3,) in ",
    ),
    "nan": (
        lambda s: s.update({"classifier.bias": torch.full((3,), torch.nan)}),
        "classifier.bias has values that are NaN or infinite",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_files_that_do_not_go_together(capsys, tmp_path, files, kind):
    """Other names, other shapes, and NaN."""
    change, message = BROKEN[kind]
    save_file(broken(network(1), change), files[1])
    arguments = ["match", *files, *MODEL, "--out", tmp_path / "m"]
    assert message in refused(capsys, tmp_path, *arguments)


def test_files_that_do_not_fit_the_model(capsys, tmp_path, files):
    """Other names or shapes than the model's."""
    out = ["--out", tmp_path / "m"]
    error = refused(capsys, tmp_path, "match", *files, *WITH_NORM, *out)
    assert "does not fit the model: features.1.bias" in error
    wider = json.dumps({**PLAN, "classes": 4})
    model = ["--model", "lmc.models:VGG", "--model-args", wider, *SHAPE]
    error = refused(capsys, tmp_path, "match", *files, *model, *out)
    assert "classifier.weight has shape (3, 8), the model has (4, 8)" in error


class Evil:
    """What runs code when it is loaded as a pickle."""

    def __reduce__(self):
        return (print, ("code was run",))


def test_pickles(capsys, tmp_path, files):
    """One of plain tensors is read; one that would run code is not."""
    torch.save({"state_dict": network(1)}, files[1])
    out = tmp_path / "m"
    assert run(capsys, "match", *files, *MODEL, "--out", out)[0] == 0
    out.unlink()
    for name, holds in (("evil", {"a": Evil()}), ("list", [torch.zeros(1)])):
        torch.save(holds, files[1])
        error = refused(capsys, tmp_path, "match", *files, *MODEL, "--out", out)
        assert "code was run" not in error
        expected = {"evil": "may run code is not loaded", "list": "no state dict"}
        assert expected[name] in error
    files[1].write_bytes(b"nothing of the kind")
    error = refused(capsys, tmp_path, "match", *files, *MODEL, "--out", out)
    assert "neither safetensors nor" in error


SPECS = {
    "nowhere:Net": "module 'nowhere' cannot be imported: ModuleNotFoundError",
    "lmc.models:Nothing": "module 'lmc.models' has no 'Nothing'",
    "lmc.models:__name__": "is a str: name a class or a function",
    "builtins:dict": "returns a dict, not a torch.nn.Module",
    "resnet19": "torchvision has no such model",
    "lmc.models:MLP": "unexpected keyword argument 'plan'",
}


@pytest.mark.parametrize("spec", SPECS)
def test_specs_that_give_no_model(capsys, tmp_path, files, spec):
    """Each says what is wrong with it."""
    model = ["--model", spec, *MODEL[2:]]
    out = ["--out", tmp_path / "m"]
    assert SPECS[spec] in refused(capsys, tmp_path, "match", *files, *model, *out)


OPTIONS = {
    "no JSON": (["--model-args", "{"], "--model-args is no JSON"),
    "no object": (["--model-args", "3"], "is a JSON object of keyword arguments"),
    "shape": (["--input-shape", "3,x"], "--input-shape 3,x: give sizes with commas"),
    "small": (["--input-shape", "4,8,8"], "VGG does not run on the example inputs"),
    "device": (["--device", "nowhere"], "--device nowhere:"),
    "folder": (["--out", "/nowhere/m"], "/nowhere: no such folder"),
    "data": (["--method", "activations"], "matching by activations needs images"),
    "method": (["--method", "best"], "--method best: choose none, weights, activat"),
    "function": (
        ["--method", "lmc.models:best"],
        "--method lmc.models:best: module 'lmc.models' has no 'best'",
    ),
    "images": (["--data", "/nowhere"], "--data /nowhere: no such folder"),
    "mean": (["--data", ".", "--mean", "0.5"], "--mean and --std have 1 and 3 values"),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_that_cannot_be(capsys, tmp_path, files, kind):
    """Each says which option and what to do."""
    options, message = OPTIONS[kind]
    arguments = ["match", *files, *MODEL, "--out", tmp_path / "m", *options]
    assert message in refused(capsys, tmp_path, *arguments)


def test_input_shape_is_needed(capsys, tmp_path):
    """A model of one's own has no shape to assume."""
    error = refused(capsys, tmp_path, "symmetry", "lmc.models:VGG")
    assert "--input-shape is needed" in error


def test_missing_file(capsys, tmp_path, files):
    """It is named."""
    arguments = ["match", files[0], tmp_path / "none", *MODEL, "--out", tmp_path / "m"]
    assert f"{tmp_path / 'none'}: no such file" in refused(capsys, tmp_path, *arguments)


def test_output_is_not_overwritten(capsys, tmp_path, files):
    """Neither an input, ever, nor another file without --force."""
    error = refused(capsys, tmp_path, "match", *files, *MODEL, "--out", files[1])
    assert "is one of the inputs" in error
    other = tmp_path / "other"
    other.write_text("precious")
    error = refused(capsys, tmp_path, "match", *files, *MODEL, "--out", other)
    assert "exists: choose another file, or pass --force" in error
    assert other.read_text() == "precious"
    assert run(capsys, "match", *files, *MODEL, "--out", other, "--force")[0] == 0
    assert set(load_file(other)) == set(network(0))


def test_data_that_does_not_fit(capsys, tmp_path, files, folder):
    """Wrong number of classes, too few images, no classes at all."""
    barrier = ["barrier", *files, *MODEL, "--data"]
    error = refused(capsys, tmp_path, *barrier, folder, "--samples", 13)
    assert "has only 12 images" in error
    error = refused(capsys, tmp_path, *barrier, folder, "--samples", 0)
    assert "--samples 0: take at least one" in error
    (tmp_path / "empty").mkdir()
    error = refused(capsys, tmp_path, *barrier, tmp_path / "empty")
    assert "one folder of images for each class" in error
    (folder / "class0").rename(tmp_path / "class0")
    assert "has 2 classes, the model 3 logits" in refused(
        capsys, tmp_path, *barrier, folder
    )


def test_merge_needs_two_files_and_data_to_renormalize(capsys, tmp_path, files):
    """Said before anything is read."""
    out = ["--out", tmp_path / "m"]
    assert "give at least two files" in refused(
        capsys, tmp_path, "merge", files[0], *MODEL, *out
    )
    arguments = ["merge", *files, *MODEL, *out, "--renormalize", "rescale"]
    assert "pass --data FOLDER" in refused(capsys, tmp_path, *arguments)


def test_data_is_asked_for_before_discovery(capsys, tmp_path, files):
    """Which may take minutes."""
    arguments = ["match", *files, *MODEL, "--out", tmp_path / "m"]
    run(capsys, *arguments, "--method", "activations")
    code, _, err = run(capsys, *arguments, "--method", "activations")
    assert code == 2 and "pass --data FOLDER" in err and "discovering" not in err


def test_truncated_image(capsys, tmp_path, files, folder):
    """The file is named."""
    path = folder / "class1" / "2.png"
    path.write_bytes(path.read_bytes()[:60])
    error = refused(capsys, tmp_path, "barrier", *files, *MODEL, "--data", folder)
    assert str(path) in error


def test_interruption(capsys, tmp_path, files, monkeypatch):
    """One line, and the code of a process that ctrl-C ended."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lmc.command.job.discover", interrupted)
    code, out, err = run(capsys, "match", *files, *MODEL, "--out", tmp_path / "m")
    assert code == 130 and out == ""
    assert err.splitlines()[-1] == "lmc match: error: interrupted"


@pytest.mark.parametrize(
    "redirect, message",
    [("> /dev/full", "No space left on device"), ("| true", "the pipe is closed")],
)
def test_output_that_cannot_be_written(redirect, message):
    """One line each, and no traceback at the end."""
    spec = f"lmc.models:VGG --model-args '{json.dumps(PLAN)}' {' '.join(SHAPE)}"
    command = f"set -o pipefail; {sys.executable} -m lmc symmetry {spec} {redirect}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    last = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert len(last) == 1 and message in last[0]


def test_version(capsys):
    """That of the distribution."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"lmc {lmc.__version__}\n"


def test_interrupted_write_leaves_nothing(tmp_path):
    """The file appears whole or not at all, and what was there stays."""
    path = tmp_path / "m"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), checkpoints.whole(path) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    assert path.read_text() == "before"


def test_as_a_program(tmp_path, files):
    """``python -m lmc`` has the exit codes of ``main``."""
    command = [sys.executable, "-m", "lmc", "match", *files, *MODEL]
    done = subprocess.run(
        [*command, "--out", tmp_path / "m"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m").exists()
    failed = subprocess.run(
        [*command, "--out", tmp_path / "m"], capture_output=True, text=True
    )
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("lmc match: error: ")
    assert failed.stdout == ""
