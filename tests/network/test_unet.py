"""The network against the paper: sizes, parameters, initialisation, gradients, receptive field."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.network.catalogue import build_network
from pipeline.network.sizes import Design, flops, output_side, steps, support
from pipeline.network.undrawn import Undrawn
from pipeline.network.unet import OriginalUNet

# Sides after each operation for 572 in, as figure 1 of the paper has them.
PAPER_SIDES = [570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28, 56, 56, 54, 52, 104, 104, 102, 100]
PAPER_SIDES += [200, 200, 198, 196, 392, 392, 390, 388, 388]


def test_572_in_gives_388_out_with_two_classes():
    with torch.inference_mode():
        assert OriginalUNet(width=2)(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)


def test_every_size_in_the_table_is_the_papers():
    assert [step.side for step in steps(Design(), 572)] == PAPER_SIDES


def test_every_size_in_the_table_is_what_the_network_does():
    network, seen = OriginalUNet(width=2), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 572, 572))
    assert seen == [step.side for step in steps(Design(), 572) if "copy and crop" not in step.operation]


@pytest.mark.parametrize(("classes", "parameters"), [(2, 31_030_658), (1, 31_030_593)])
def test_the_papers_network_has_31_million_parameters(classes, parameters):
    network = OriginalUNet(out_channels=classes)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.design.parameters == parameters


@pytest.mark.parametrize(("side", "giga"), [(572, 300.9), (700, 493.3), (1084, 1359.1)])
def test_flops_of_a_forward_pass(side, giga):
    assert flops(Design(), side) / 1e9 == pytest.approx(giga, abs=0.05)


def test_counted_parameters_hold_for_every_option():
    settings = {"in_channels": 3, "out_channels": 5, "width": 6, "depth": 3, "padding": "same", "normalization": "batch"}
    network = build_network("original", settings)
    assert sum(p.numel() for p in network.parameters()) == network.design.parameters


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = OriginalUNet(width=4)
    network(torch.randn(1, 1, 204, 204)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_weights_start_as_the_paper_says():
    torch.manual_seed(0)
    network = OriginalUNet()
    convolution = network.encoders[0][2]  # 3x3 of 64 channels: N = 576, the paper's own example
    assert convolution.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    up = network.up_convolutions[0]
    assert up.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)
    assert all(m.bias.abs().sum() == 0 for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


def test_signal_keeps_its_size_through_the_untrained_network():
    torch.manual_seed(0)
    network = OriginalUNet(width=16)
    with torch.inference_mode():
        spread = network(torch.randn(1, 1, 252, 252)).std().item()
    assert 0.1 < spread < 10


@pytest.mark.parametrize("pixel", range(16))
def test_receptive_field_measured_by_gradients(pixel):
    """Mean pooling in place of max pooling, so that every pixel of the field counts."""
    torch.manual_seed(0)
    network = OriginalUNet(width=2).double()
    network.pool = nn.AvgPool2d(2)
    for parameter in network.parameters():
        parameter.data.abs_()  # positive weights on positive input: no ReLU cuts anything off
    image = torch.ones(1, 1, 252, 252, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, pixel, 20].backward()
    touched = torch.nonzero(image.grad[0, 0].abs().sum(dim=1)).flatten()
    assert (touched[0].item(), touched[-1].item()) == support(Design(), pixel)


@pytest.mark.parametrize(("side", "near"), [(570, "556 and 572"), (573, "572 and 588"), (100, "188")])
def test_sides_that_do_not_fit_are_refused_with_the_nearest_that_do(side, near):
    with pytest.raises(UserError, match=near):
        OriginalUNet(width=2)(torch.zeros(1, 1, side, 572))
    with pytest.raises(UserError, match=near):
        output_side(Design(), side)


def test_same_padding_keeps_the_size():
    with torch.inference_mode():
        assert OriginalUNet(width=2, padding="same")(torch.zeros(1, 1, 64, 48)).shape == (1, 2, 64, 48)


def test_rescaled_output_has_the_inputs_size():
    with torch.inference_mode():
        assert OriginalUNet(width=2, output="rescale")(torch.zeros(1, 1, 204, 220)).shape == (1, 2, 204, 220)


def test_dropout_acts_at_the_end_of_the_contracting_path_only_in_training():
    torch.manual_seed(0)
    network = OriginalUNet(width=4, dropout=0.5)
    image = torch.randn(1, 1, 188, 188)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_settings_nobody_knows_are_named_with_the_nearest():
    with pytest.raises(UserError, match=r"'widht' is not a setting.*width"):
        build_network("original", {"widht": 3})
    with pytest.raises(UserError, match=r"'orignal' is not a network.*original"):
        build_network("orignal", {})
    with pytest.raises(UserError, match="depth must be 1 to 6, is 9"):
        build_network("original", {"depth": 9})


def test_a_network_for_given_weights_is_built_without_drawing_any():
    """And without torch's compiler, which takes two seconds to import."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    wanted = OriginalUNet(width=8, depth=2, normalization="batch").state_dict()
    torch.set_rng_state(before)
    with Undrawn():
        network = OriginalUNet(width=8, depth=2, normalization="batch")
    assert torch.equal(torch.get_rng_state(), before)
    network.load_state_dict(wanted)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())
    code = (
        "import sys, torch; from pipeline.network.undrawn import Undrawn; from pipeline.network.unet import OriginalUNet\n"
        "with Undrawn(): OriginalUNet(width=8, depth=2)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
