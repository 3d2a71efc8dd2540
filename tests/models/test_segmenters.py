"""Are the segmentation networks the published ones, and do they give one logit a pixel?"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra `lab` (torch)")

from oculard_models.nets.lwbna import Attention, Lwbna, LwbnaClassifier  # noqa: E402  # after the skip
from oculard_models.nets.segmenters import SEGMENTERS, STEP_PX, build_segmenter  # noqa: E402
from oculard_models.nets.sixteen import NetWrong  # noqa: E402
from oculard_models.nets.unet import UNet  # noqa: E402


def sizes(net: torch.nn.Module) -> tuple[int, int]:
    """Return how many numbers are learnt, and how many statistics of batches are kept beside them."""
    learnt = sum(p.numel() for p in net.parameters())
    return learnt, sum(b.numel() for name, b in net.named_buffers() if "running" in name)


def test_lwbna_has_the_published_size():
    """With the three channels of the publication: 2,958,819 in all, 4,608 of them not learnt (Lightweight_AI)."""
    with torch.device("meta"):
        assert sizes(Lwbna(3)) == (2_954_211, 4_608)
        assert sum(sizes(Lwbna(1))) == 2_956_513


def test_lwbna_is_a_tenth_of_the_unet():
    """The published U-Net of five levels has 31 million parameters."""
    with torch.device("meta"):
        assert sum(sizes(Lwbna(1))) * 10 < sum(sizes(UNet()))


def test_small_unet_neither_narrows_nor_attends():
    """The default network has no layer of the patented kind, and its bottleneck is its widest level."""
    with torch.device("meta"):
        net = build_segmenter("small-unet")
    assert not any(isinstance(module, Attention | torch.nn.Linear) for module in net.modules())
    widths = [module.num_features for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert max(widths) == 512
    assert sum(sizes(net)) < 1_100_000


@pytest.mark.parametrize("name", SEGMENTERS)
def test_network_gives_a_logit_a_pixel(name: str):
    """Any multiple of sixteen, wide or high, gives a map of the same size. Only shapes are computed."""
    with torch.device("meta"):
        net = build_segmenter(name).eval()
        assert net(torch.empty(2, 3, 4 * STEP_PX, 6 * STEP_PX)).shape == (2, 1, 4 * STEP_PX, 6 * STEP_PX)


def test_attention_gates_lie_between_half_and_one():
    """The gate is the sigmoid of what is rectified, as published: it never mutes a channel."""
    torch.manual_seed(1)
    x = torch.rand(2, 8, 3, 3) + 0.1
    share = Attention(8)(x) / x
    assert share.min() >= 0.5
    assert share.max() < 1.0


def test_classifier_variant_reads_the_narrowed_map():
    """Encoder, narrowing, mean, one dense layer: images to as many logits as there are classes."""
    with torch.device("meta"):
        assert LwbnaClassifier(4).eval()(torch.empty(2, 3, 64, 64)).shape == (2, 4)
        encoder = sum(p.numel() for p in Lwbna(1).encoder.parameters())
        assert sum(p.numel() for p in LwbnaClassifier(4).encoder.parameters()) == encoder


def test_unknown_network_is_refused():
    """The message names those that there are."""
    with pytest.raises(NetWrong, match="small-unet"):
        build_segmenter("resnet")
