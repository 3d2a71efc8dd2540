"""Are the sixteen the networks of the release, and do local weights begin them and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra `lab` (torch)")

from oculard_models.nets.sixteen import NETS, SIXTEEN, NetWrong, Separate, build  # noqa: E402  # after the skip

# Weights and moving averages of Keras's applications with a head of one unit: ../shared/MODELS.md, section 8.
KERAS = {
    "densenet-121": 7_038_529,
    "densenet-169": 12_644_545,
    "densenet-201": 18_323_905,
    "inception-v3": 21_804_833,
    "inception-resnet-v2": 54_338_273,
    "xception": 20_863_529,
    "mobilenet": 3_229_889,
    "mobilenet-v2": 2_259_265,
    "efficientnet-b0": 4_050_852,
    "efficientnet-b1": 6_576_520,
    "efficientnet-b2": 7_769_978,
    "efficientnet-b3": 10_785_072,
    "efficientnet-b4": 17_675_616,
    "efficientnet-b5": 28_515_576,
    "efficientnet-b6": 40_962_448,
    "efficientnet-b7": 64_100_248,
}


def test_sixteen_are_those_of_the_release():
    """There are sixteen, and each has the size that Keras gives it."""
    assert set(SIXTEEN) == set(KERAS)
    assert len(SIXTEEN) == 16


@pytest.mark.parametrize("name", NETS)
def test_network_gives_one_number_a_head(name: str):
    """At its own size and at its least, any number of images gives images x heads. Only shapes are computed."""
    with torch.device("meta"):
        net = build(name, ("sex", "age", "sbp")).eval()
        for size_px in (NETS[name].size_px, NETS[name].least_px):
            assert net(torch.empty(2, 3, size_px, size_px)).shape == (2, 3)


@pytest.mark.parametrize("name", SIXTEEN)
def test_network_is_as_large_as_in_keras(name: str):
    """Weights and moving averages differ from Keras's by less than one in a thousand: it is the same architecture."""
    with torch.device("meta"):
        net = build(name, ("sex",))
    count = sum(value.numel() for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked"))

    assert count == pytest.approx(KERAS[name], rel=1e-3)


def test_unknown_network_is_named():
    """A name that there is not is refused with those that there are."""
    with pytest.raises(NetWrong, match=r"resnet-50.*efficientnet-b7"):
        build("resnet-50", ("sex",))


def test_network_without_heads_is_refused():
    """A network must say something."""
    with pytest.raises(NetWrong, match="at least one head"):
        build("mobilenet", ())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_initial_weights_begin_the_trunk(suffix: str, tmp_path: Path):
    """Weights of a net with another head are taken, but for the head."""
    from safetensors.torch import save_file

    first, path = build("mobilenet", ("a",) * 5), tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(first.state_dict(), path)

    second = build("mobilenet", ("sex",), initial=path)

    assert torch.equal(second.conv_stem.weight, first.conv_stem.weight)
    assert second.classifier.weight.shape[0] == 1


def test_initial_weights_of_another_network_are_refused(tmp_path: Path):
    """What does not fit is refused with the first tensor that is missing."""
    path = tmp_path / "weights.pt"
    torch.save(build("oculard-small", ("sex",)).state_dict(), path)

    with pytest.raises(NetWrong, match=r"does not fit `mobilenet`.*blocks"):
        build("mobilenet", ("sex",), initial=path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_broken_initial_weights_are_refused(content: bytes, suffix: str, tmp_path: Path):
    """A file that is no weights is refused by its name."""
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)

    with pytest.raises(NetWrong, match="weights"):
        build("oculard-small", ("sex",), initial=path)


def test_missing_initial_weights_are_named(tmp_path: Path):
    """A path to nothing is refused."""
    with pytest.raises(NetWrong, match="there are no weights at"):
        build("oculard-small", ("sex",), initial=tmp_path / "nothing.pt")


def test_separate_networks_stand_side_by_side():
    """Several nets of one head answer as one net of several."""
    nets = [build("oculard-small", (name,)).eval() for name in ("sex", "age")]
    images = torch.rand(2, 3, 48, 48)

    together = Separate(nets).eval()(images)

    assert torch.equal(together, torch.cat([net(images) for net in nets], dim=1))
