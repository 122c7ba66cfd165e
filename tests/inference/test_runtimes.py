"""Every runtime gives torch's answer, for every kind of network and size; what is not to be had is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from made_runs import make_bundle

from pipeline.bundle.bundle import open_bundle
from pipeline.errors import UserError
from pipeline.inference.predictor import Predictor
from pipeline.inference.runtime import onnx_runtime, openvino_runtime
from pipeline.inference.runtime.catalogue import RUNTIMES, started
from pipeline.inference.runtime.choose import SMALL_FLOPS, TOLERANCE, Choice, choose
from pipeline.inference.runtime.converted import GRAPH_FORMAT, Converted
from pipeline.inference.runtime.cuda_graph import Recorded
from pipeline.inference.runtime.onnx_graph import onnx_model
from pipeline.inference.runtime.torch_runtime import HalfPrecision
from pipeline.io.volume import Volume
from pipeline.network.ensemble import Ensemble
from pipeline.network.folded import folded
from pipeline.network.ranges import find_ranges
from pipeline.network.sizes import flops
from pipeline.network.tiling import WholeSlice
from pipeline.network.unet import OriginalUNet

CPU = torch.device("cpu")
OTHERS = [name for name in RUNTIMES if name != "torch"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def network(seed: int = 0, **settings: Any) -> OriginalUNet:
    """As after a training: batch normalisation has seen something."""
    torch.manual_seed(seed)
    made = OriginalUNet(3, 4, **({"width": 4, "depth": 2} | settings))
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.01, 3)
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    return made.eval()


def answers_differ_by(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == torch.float32
    return float((one - other).abs().max() / other.std())


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize(("padding", "output"), [("valid", "centre"), ("valid", "rescale"), ("same", "centre")])
@pytest.mark.parametrize("depth", [1, 3])
def test_each_runtime_answers_as_torch_does(name, normalization, padding, output, depth):
    net = network(normalization=normalization, padding=padding, output=output, depth=depth)
    other = started(name, "fp32", net, CPU, Converted("0" * 64))
    with torch.inference_mode():
        for more in ((0, 0), (8, 24), (0, 0)):  # another size, and back
            image = torch.randn(1, 3, *(net.design.smallest_side + 16 + side for side in more))
            assert answers_differ_by(other(image), net(image)) < 1e-4


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("width", "depth"), [(64, 2), (128, 1)])
def test_with_fewer_products_the_answer_is_the_same(padding, width, depth):
    """Read by both runtimes, though only one gains by it."""
    net = network(width=width, depth=depth, padding=padding, normalization="batch")
    graph = onnx_model(net, fewer_products=True)
    kernels = Counter(tuple(attribute.ints) for attribute in attributes_of(graph) if attribute.name == "kernel_shape")
    assert kernels[1, 1] >= 16 * 3  # at least three of the convolutions are split
    assert kernels[3, 3] < 4 * depth + 2
    for start in (openvino_runtime.start, onnx_runtime.start):
        other = start(net, "fp32", CPU, lambda: graph)
        with torch.inference_mode():
            for more in ((0, 0), (4, 20), (0, 0)):
                image = torch.randn(2, 3, *(net.design.smallest_side + 16 + side for side in more))
                assert answers_differ_by(other(image), net(image)) < 1e-4


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("fewer_products", [False, True])
def test_tiles_and_windows_have_the_whole_images_scores(padding, fewer_products):
    """To the last bit, or a mask in bfloat16 would depend on the tile; also from odd multiples of the stride on."""
    net = network(width=64, depth=2, padding=padding)
    other = openvino_runtime.start(net, "fp32", CPU, lambda: onnx_model(net, fewer_products=fewer_products))
    image = torch.randn(1, 3, 150, 90)
    with torch.inference_mode():
        whole = WholeSlice(other)(image)
        for tile in (76, 100, 124):
            assert torch.equal(WholeSlice(other, tile=tile)(image), whole)
        assert torch.equal(WholeSlice(other)(image, ((20, 132), (12, 80))), whole[..., 20:132, 12:80])


def attributes_of(graph: bytes) -> list[Any]:
    return [attribute for node in onnx.load_from_string(graph).graph.node for attribute in node.attribute]


@pytest.mark.parametrize("name", OTHERS)
def test_images_of_any_size_go_through_tiles_of_it(name):
    net = network(padding="same")
    whole = WholeSlice(net)
    tiled = WholeSlice(started(name, "fp32", net, CPU, Converted("0" * 64)), tile=60)
    image = torch.randn(2, 3, 131, 77)
    with torch.inference_mode():
        assert answers_differ_by(tiled(image), whole(image)) < 1e-4


@pytest.mark.parametrize("name", OTHERS)
def test_members_of_an_ensemble_are_converted_one_by_one(name):
    both = Ensemble([network(seed, normalization="batch") for seed in (1, 2)], "softmax").eval()
    image = torch.randn(1, 3, 60, 60)
    with torch.inference_mode():
        other = started(name, "fp32", both, CPU, Converted("0" * 64))
        assert answers_differ_by(other(image), both(image)) < 1e-4


def eight_bits(net: OriginalUNet, images: list[torch.Tensor]) -> Any:
    return started("openvino", "int8", net, CPU, Converted("0" * 64, ranges=[find_ranges(net, images)]))


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize(("padding", "output"), [("valid", "centre"), ("valid", "rescale"), ("same", "centre")])
@pytest.mark.parametrize("depth", [1, 3])
def test_eight_bits_differ_by_their_rounding(normalization, padding, output, depth):
    net = network(normalization=normalization, padding=padding, output=output, depth=depth)
    images = list(torch.randn(3, 1, 3, net.design.smallest_side + 32, net.design.smallest_side + 16))
    other = eight_bits(net, images)
    with torch.inference_mode():
        for image in (images[0], images[0][..., :-8, :], images[0][..., :-8]):
            difference, scale = other(image) - net(image), net(image).std()
            assert 1e-4 < float(difference.square().mean().sqrt() / scale) < 0.3  # a wrong one: 1


def test_all_but_the_first_and_the_last_convolution_are_computed_in_eight_bits():
    net = network(width=16, depth=2, padding="same", normalization="batch")
    image = torch.randn(1, 3, 64, 64)
    other = eight_bits(net, [image])
    other(image)
    (request,) = other.run._requests._kept.values()
    precisions: dict[str, list[str]] = {}
    for node in request.get_compiled_model().get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        precisions.setdefault(facts["layerType"].astype(str), []).append(facts["runtimePrecision"].astype(str))
    assert sorted(precisions["Convolution"]) == sorted(["f32"] * 2 + ["u8"] * 9)
    assert set(precisions["Deconvolution"]) <= {"u8", "i8"} and precisions["Pooling"] == ["u8"] * 2


def test_a_single_bright_pixel_does_not_coarsen_the_steps():
    net = network(normalization="batch", padding="same")
    image = torch.randn(1, 3, 400, 400)
    plain = find_ranges(net, [image])
    image[..., 60, 60] = 1e4
    bright = find_ranges(net, [image])
    assert bright["encoders.0.2"][1] < 1.2 * plain["encoders.0.2"][1]  # 9 of 160000 pixels see it there; deeper, more do
    assert all(low <= 0 < high for low, high in bright.values())


def test_batch_normalisation_goes_into_the_weights():
    net = network(normalization="batch", dropout=0.5, padding="same")
    plain = folded(net)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in plain.modules())
    image = torch.randn(2, 3, 32, 48)
    with torch.inference_mode():
        assert answers_differ_by(plain(image), net(image)) < 1e-4


def test_bfloat16_differs_by_its_rounding():
    """Also where it is emulated: 8 bits of each number are kept, through 11 layers."""
    net = network(normalization="batch", padding="same")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        half = started("torch", "bf16", net, CPU, Converted("0" * 64))(image)
        reference = net(image)
    difference = float((half - reference).square().mean().sqrt() / reference.std())
    assert 1e-5 < difference < TOLERANCE["bf16"]


def test_the_converted_network_is_kept_and_shared(cache):
    net, converted = network(), Converted("a" * 64)
    first = converted.of(net, "fp32")()
    (kept,) = cache.iterdir()
    other_network = network(seed=9)  # is not asked: the bundle's digest says that it is the same
    assert converted.of(other_network, "fp32")() == first
    assert Converted("b" * 64).of(other_network, "fp32")() != first
    kept.write_bytes(first[:-1] + b"?")  # damaged
    assert converted.of(net, "fp32")() == first
    assert [path for path in cache.iterdir() if path.name.startswith("a")] == [kept]
    assert kept.read_bytes() == first


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNET_CACHE", str(tmp_path / "file" / "cache"))
    net, image = network(), torch.randn(1, 3, 60, 60)
    with torch.inference_mode():
        other = started("onnxruntime", "fp32", net, CPU, Converted("a" * 64))
        assert answers_differ_by(other(image), net(image)) < 1e-4
    assert isinstance(choose(wide(), Converted("a" * 64), device=CPU), Choice)


def wide() -> OriginalUNet:
    """Large enough for a search."""
    net = network(width=16, depth=3)
    assert flops(net.design, 300) > SMALL_FLOPS
    return net


def test_the_fastest_that_is_right_is_chosen_once_and_remembered(cache):
    net = wide()
    choice = choose(net, Converted("a" * 64), device=CPU)
    (file,) = cache.glob("choice-*.json")
    told = json.loads(file.read_text())
    tried = {(row["runtime"], row["precision"]): row for row in told["tried"]}
    right = {key: row for key, row in tried.items() if row["difference"] <= TOLERANCE[key[1]]}
    assert (choice.runtime, choice.precision) == min(right, key=lambda key: right[key]["series_s"])
    assert {name for name, _ in tried} == set(RUNTIMES)
    slowest = max(tried, key=lambda key: tried[key]["series_s"])
    told["choice"] = {"runtime": slowest[0], "precision": slowest[1]}  # to see that the file decides
    file.write_text(json.dumps(told))
    assert choose(net, Converted("a" * 64), device=CPU) == Choice(runtime=slowest[0], precision=slowest[1])
    file.write_text("{")  # a damaged one does not
    assert isinstance(choose(net, Converted("a" * 64), device=CPU), Choice)


def test_a_processor_of_the_same_name_with_other_instructions_is_tried_for_itself(cache, tmp_path, monkeypatch):
    """As virtual machines on one network drive, all named 'Xeon Processor', some without AMX."""
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr("pipeline.inference.runtime.choose.CPU_INFO", info)
    for flags in ("avx512f avx512_bf16 amx_bf16", "avx512f avx512_bf16", "avx512f avx512_bf16"):
        info.write_text(f"processor: 0\nmodel name: Xeon Processor\ncpu MHz: {time.time()}\nflags: {flags}\n\nprocessor: 1\n")
        choose(wide(), Converted("a" * 64), device=CPU)
    assert len(list(cache.glob("choice-*.json"))) == 2


def test_a_wrong_answer_is_never_chosen():
    """The others are given the graph of another network by a cache that somebody else filled."""
    net = wide()
    for fewer_products in (False, True):
        Converted("a" * 64).of(network(seed=5, width=16, depth=3), "fp32", fewer_products=fewer_products)()
    assert choose(net, Converted("a" * 64), device=CPU).runtime == "torch"
    for name in OTHERS:
        with pytest.raises(UserError, match=f"{name} does not give the answer of torch in fp32. Use --runtime torch"):
            choose(net, Converted("a" * 64), device=CPU, runtime=name)


@pytest.mark.parametrize("name", OTHERS)
def test_a_runtime_that_does_not_run_is_refused_with_its_own_words(name, cache):
    """What it is given is no graph, though the cache says so; left to itself, the choice falls on torch."""
    cache.mkdir()
    graph = b"no graph"
    for kind in ("", "-winograd"):
        (cache / f"{'a' * 32}-0{kind}-v{GRAPH_FORMAT}-{hashlib.sha256(graph).hexdigest()}.onnx").write_bytes(graph)
    with pytest.raises(
        UserError, match=rf"on this machine, {name} cannot compute the network \(.{{10,}}\)\. Use --runtime torch"
    ):
        choose(wide(), Converted("a" * 64), device=CPU, runtime=name)
    assert choose(wide(), Converted("a" * 64), device=CPU).runtime == "torch"


def test_a_small_network_is_left_to_torch(cache):
    assert choose(network(), Converted("a" * 64), device=CPU) == Choice(runtime="torch", precision="fp32")
    assert not cache.exists()


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_the_predictor_says_what_computed_the_mask(name, tmp_path):
    bundle = make_bundle(tmp_path, network={"padding": "valid"})
    image = Volume(array=np.random.default_rng(0).normal(0, 1, (41, 37, 3)).astype(np.float32), affine=np.eye(4))
    found = Predictor(open_bundle(bundle.path), runtime=name, precision="fp32").predict(image)
    assert (found.provenance["runtime"], found.provenance["precision"]) == (name, "fp32")
    reference = Predictor(bundle).predict(image)
    assert np.mean(found.labels.array == reference.labels.array) > 0.999


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"runtime": "openvin"}, r"--runtime: 'openvin' is not a runtime \(did you mean openvino\?\)"),
        ({"precision": "fp16"}, r"--precision: 'fp16' is not a precision"),
        ({"precision": "int8"}, r"this bundle was not prepared for int8\. Build it with 'unet bundle build"),
        ({"runtime": "torch", "precision": "int8"}, r"torch computes fp32 and bf16, not int8\. Use --runtime openvino"),
        (
            {"runtime": "onnxruntime", "precision": "bf16"},
            r"onnxruntime computes fp32, not bf16\. Use --runtime torch or openvino",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings, words, tmp_path):
    with pytest.raises(UserError, match=words):
        Predictor(make_bundle(tmp_path), **settings)


def test_a_runtime_that_is_not_installed_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.inference.runtime.catalogue.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"openvino is not installed\. Type: pip install 'unet\[openvino\]'"):
        Predictor(make_bundle(tmp_path), runtime="openvino")


def test_signals_do_no_harm_after_openvino_was_dropped_by_another_thread(tmp_path):
    """As in a service that loads bundles in one thread and lets go of them in others, or loads data in forked processes."""
    program = """
import signal, threading, torch
from pipeline.inference.runtime.catalogue import started
from pipeline.inference.runtime.converted import Converted
from pipeline.network.unet import OriginalUNet
network = OriginalUNet(in_channels=1, out_channels=2, width=4, depth=1).eval()
kept = [started("openvino", "fp32", network, torch.device("cpu"), Converted("a" * 64))]
kept[0](torch.zeros(1, 1, 20, 20))
other = threading.Thread(target=kept.clear)
other.start()
other.join()
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
signal.raise_signal(signal.SIGUSR1)
print(len(seen))
"""
    environment = {**os.environ, "UNET_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_a_recording_answers_as_its_network_whatever_the_size_and_however_many_ask():
    cuda = torch.device("cuda")
    plain = network(width=8).to(cuda)
    recorded = started("torch", "bf16", plain, cuda, Converted("0" * 64))
    assert isinstance(recorded, Recorded)
    sides = [plain.design.smallest_side + more for more in (0, 16, 32, 0, 16, 0)]
    images = [torch.randn(1, 3, side, side, device=cuda) for side in sides for _ in range(3)]
    with torch.inference_mode():
        expected = [HalfPrecision(plain, cuda)(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(recorded, images))
    for answer, right in zip(answers, expected, strict=True):
        assert torch.equal(answer, right)
