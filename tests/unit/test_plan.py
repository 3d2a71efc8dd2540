"""The plan: which jobs a settled study gives."""

from typing import Any

import pytest

from oculard.plan import Candidate, Family, explain, inputs_digest, plan
from oculard.settings import Rule, When
from oculard_models.manifest import Combine

FAMILIES = {
    "systemic": Family(name="systemic", estimator="demo@1.0.0", input_kind="fundus"),
    "glaucoma": Family(name="glaucoma", estimator="hier@2.0.0", input_kind="oct-volume"),
    "faz": Family(
        name="faz",
        estimator="faz@1.0.0",
        input_kind="en-face",
        slabs=("128265", "128269"),
        instead=("flow-volume",),
    ),
}
SUPERFICIAL, DEEP, OUTER = "128265", "128269", "128271"
OP = Rule(modality="OP", families=["systemic"])


def image(number: int, eye: str = "R", **changes: Any) -> Candidate:
    """One photograph."""
    values: dict[str, Any] = {
        "instance_id": number,
        "sop_instance_uid": f"1.{number}",
        "sha256": f"{number:064d}",
        "sender": "topcon",
        "modality": "OP",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.5.1",
        "kind": "fundus",
    }
    return Candidate(eye=eye, **(values | changes))


def test_one_job_for_each_eye() -> None:
    """All photographs of one eye make one job; the eyes stay apart."""
    orders = plan([image(1), image(2, "L"), image(3)], [OP], FAMILIES)

    assert [(order.eye, order.instance_ids) for order in orders] == [("L", (2,)), ("R", (1, 3))]


def test_an_unknown_eye_is_a_job_of_its_own() -> None:
    """An image that does not say its eye joins neither: its job will report that nothing could be said."""
    orders = plan([image(1), image(2, "U")], [OP], FAMILIES)

    assert [(order.eye, order.instance_ids) for order in orders] == [("R", (1,)), ("U", (2,))]


PERSON = {
    "systemic": Family(name="systemic", estimator="demo@2.0.0", input_kind="fundus", combine=Combine.PERSON),
    "glaucoma": FAMILIES["glaucoma"],
}


def test_both_eyes_are_one_job_where_the_family_combines_them() -> None:
    """All photographs of both eyes together; an image of an unknown eye stays apart."""
    orders = plan([image(1), image(2, "L"), image(3), image(4, "U")], [OP], PERSON)

    assert [(order.eye, order.instance_ids) for order in orders] == [("B", (1, 2, 3)), ("U", (4,))]


def test_one_eye_alone_is_an_ordinary_job() -> None:
    """There is nothing to combine, and an unknown eye is never taken for the other one."""
    orders = plan([image(1, "L"), image(2, "U")], [OP], PERSON)

    assert [(order.eye, order.instance_ids) for order in orders] == [("L", (1,)), ("U", (2,))]


def test_another_family_of_the_same_study_keeps_its_eyes_apart() -> None:
    """Combining is the family's, not the study's."""
    volumes = [image(3, kind="oct-volume"), image(4, "L", kind="oct-volume")]
    orders = plan([image(1), image(2, "L"), *volumes], [Rule(families=["systemic", "glaucoma"])], PERSON)

    assert [(order.family, order.eye) for order in orders] == [("glaucoma", "L"), ("glaucoma", "R"), ("systemic", "B")]


def test_the_sooner_eye_takes_the_other_with_it() -> None:
    """One eye now and the other at night make one job now."""
    rules = [
        Rule(families=["systemic"], when=When.NIGHT, priority=7),
        Rule(sender="urgent", families=["systemic"], priority=1),
    ]
    (order,) = plan([image(1, sender="urgent"), image(2, "L")], rules, PERSON)

    assert (order.eye, order.window, order.priority) == ("B", "now", 1)


def test_rules_choose_by_sender_modality_and_class() -> None:
    """A rule's conditions must all hold; an absent one holds for everything."""
    rule = Rule(sender="topcon", modality="OP", sop_class_uid="1.2.3", families=["systemic"])

    assert plan([image(1, sop_class_uid="1.2.3")], [rule], FAMILIES)
    assert not plan([image(1)], [rule], FAMILIES)
    assert not plan([image(1, sop_class_uid="1.2.3", sender="zeiss")], [rule], FAMILIES)
    assert plan([image(1, modality="XC")], [Rule(families=["systemic"])], FAMILIES)


def test_a_family_reads_only_its_own_kind_of_image() -> None:
    """A volume is nothing for a family that reads photographs."""
    both = [Rule(families=["systemic", "glaucoma"])]
    orders = plan([image(1), image(2, kind="oct-volume")], both, FAMILIES)

    assert [(order.family, order.instance_ids) for order in orders] == [("glaucoma", (2,)), ("systemic", (1,))]


def test_the_sooner_and_the_more_urgent_rule_wins() -> None:
    """Two rules that want the same job give one, now rather than at night."""
    rules = [
        Rule(families=["systemic"], when=When.NIGHT, priority=2),
        Rule(sender="topcon", families=["systemic"], when=When.NOW, priority=7),
    ]
    (order,) = plan([image(1)], rules, FAMILIES)

    assert (order.window, order.priority) == ("now", 2)


def test_the_inputs_digest_knows_bytes_but_no_order() -> None:
    """The same images in another order are the same; other bytes are not."""
    assert inputs_digest([image(1), image(2)]) == inputs_digest([image(2), image(1)])
    assert inputs_digest([image(1)]) != inputs_digest([image(1, sha256="f" * 64)])


def slab(number: int, slab: str, eye: str = "R") -> Candidate:
    """One en face image."""
    return image(number, eye, kind="en-face", slab=slab)


def cube(number: int, eye: str = "R") -> Candidate:
    """One flow volume."""
    return image(number, eye, kind="flow-volume")


@pytest.mark.parametrize(
    ("images", "jobs"),
    [
        ([slab(1, DEEP), slab(2, SUPERFICIAL), slab(3, OUTER)], [("R", (2,))]),
        ([slab(1, SUPERFICIAL), slab(2, SUPERFICIAL), cube(3)], [("R", (1, 2))]),
        ([slab(1, OUTER), slab(2, DEEP)], [("R", (2,))]),
        ([slab(1, OUTER), slab(2, ""), cube(3)], [("R", (1, 2))]),
        ([cube(1), cube(2)], [("R", (1, 2))]),
        ([slab(1, SUPERFICIAL), slab(2, DEEP, "L")], [("L", (2,)), ("R", (1,))]),
        ([slab(1, SUPERFICIAL), cube(2, "L")], [("L", (2,)), ("R", (1,))]),
        ([slab(1, DEEP), slab(2, SUPERFICIAL, "U")], [("R", (1,)), ("U", (2,))]),
        ([image(1), image(2, kind="oct-volume"), slab(3, DEEP)], [("R", (3,))]),
        ([image(1), image(2, kind="oct-volume"), image(3, kind="")], []),
    ],
)
def test_of_en_face_images_the_wanted_slab_is_chosen(
    images: list[Candidate], jobs: list[tuple[str, tuple[int, ...]]]
) -> None:
    """Superficial before deep, each eye for itself; without a wanted slab all that came, to be rejected aloud.

    A flow volume counts only where an eye has no slab; a photograph or an OCT volume never does.
    """
    orders = plan(images, [Rule(families=["faz"])], FAMILIES)

    assert [(order.eye, order.instance_ids) for order in orders] == jobs


def test_the_slab_changes_the_inputs() -> None:
    """A wanted slab that comes later is another job than the rejected one."""
    rule = Rule(families=["faz"])
    (before,), (after,) = plan([cube(1)], [rule], FAMILIES), plan([cube(1), slab(2, DEEP)], [rule], FAMILIES)

    assert before.inputs_digest != after.inputs_digest


def alone(candidate: Candidate) -> str:
    """Why an image that is a study by itself has no job."""
    return explain(candidate, [candidate], [OP], FAMILIES)


def test_explain_says_why_an_image_has_no_job() -> None:
    """`trace` answers the question; what has a job needs no explanation."""
    assert alone(image(1)) == ""
    assert "no [[plan]] rule" in alone(image(1, modality="SR"))
    assert "no estimator reads" in alone(image(1, kind=""))
    assert "another kind" in alone(image(1, kind="en-face"))


def test_explain_knows_the_other_slabs() -> None:
    """A deep slab has a job where it is alone, and none beside a superficial one; so has a flow volume."""
    rule, deep, volume = Rule(families=["faz"]), slab(1, DEEP), cube(2)
    study = [deep, volume, slab(3, SUPERFICIAL)]

    assert explain(deep, [deep], [rule], FAMILIES) == ""
    assert "another slab of this eye" in explain(deep, study, [rule], FAMILIES)
    assert "another slab of this eye" in explain(volume, study, [rule], FAMILIES)
    assert explain(study[2], study, [rule], FAMILIES) == ""


OCT = Family(name="glaucoma", estimator="views@1.0.0", input_kind="oct-volume", beside=("oct-layers", "fundus"))
OCT_RULE = Rule(families=["glaucoma"], sop_class_uid="1.2.3")


def volume(number: int, eye: str = "R") -> Candidate:
    """One OCT volume."""
    return image(number, eye, kind="oct-volume", sop_class_uid="1.2.3")


def layers(number: int, eye: str = "U") -> Candidate:
    """A device's layers, whose header as a rule names no eye."""
    return image(number, eye, kind="oct-layers", sop_class_uid="1.2.4")


@pytest.mark.parametrize(
    ("images", "jobs"),
    [
        ([volume(1), layers(2), image(3)], [("R", (1, 2, 3))]),
        ([volume(1), layers(2, "R"), layers(3, "L")], [("R", (1, 2))]),
        ([volume(1), volume(2, "L"), layers(3)], [("L", (2, 3)), ("R", (1, 3))]),
        ([volume(1, "U"), layers(2), image(3, "U")], [("U", (1,))]),
        ([layers(1), image(2)], []),
    ],
)
def test_layers_and_photograph_go_with_their_volume(
    images: list[Candidate], jobs: list[tuple[str, tuple[int, ...]]]
) -> None:
    """Whatever rule matched the volume: what stands beside it comes along, of its eye or of one that is not said."""
    orders = plan(images, [OCT_RULE], {"glaucoma": OCT})

    assert [(order.eye, order.instance_ids) for order in orders] == jobs


def test_layers_that_come_later_change_the_inputs() -> None:
    """They are read instead of ours, so that the job is done again."""
    before, after = (plan(images, [OCT_RULE], {"glaucoma": OCT}) for images in ([volume(1)], [volume(1), layers(2)]))

    assert before[0].inputs_digest != after[0].inputs_digest


def test_explain_says_what_goes_with_a_volume() -> None:
    """Layers have no job of their own: they wait for their volume."""
    families = FAMILIES | {"glaucoma": OCT}

    assert "goes with an OCT volume" in explain(layers(1), [layers(1)], [OCT_RULE], families)
    assert explain(layers(1), [layers(1), volume(2)], [OCT_RULE], families) == ""
    assert "no [[plan]] rule" in explain(image(1, modality="XC"), [], [OCT_RULE], families)
