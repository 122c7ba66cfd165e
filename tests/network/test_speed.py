"""Measuring the machine changes nothing for whoever trains afterwards."""

from __future__ import annotations

import torch

from pipeline.network.speed import training_flops_per_s


def test_the_measurement_leaves_random_numbers_and_threads_as_they_were():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    training_flops_per_s.cache_clear()
    first = training_flops_per_s("fp32")
    assert torch.equal(torch.rand(4), wanted)
    assert torch.get_num_threads() == threads
    assert first == training_flops_per_s("fp32") > 1e8  # once a process: two plans of one command agree
