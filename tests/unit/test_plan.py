"""The plan: which jobs a settled study gives."""

from typing import Any

from oculard.plan import Candidate, Family, explain, inputs_digest, plan
from oculard.settings import Rule, When
from oculard_models.manifest import Combine

FAMILIES = {
    "systemic": Family(name="systemic", estimator="demo@1.0.0", input_kind="fundus"),
    "glaucoma": Family(name="glaucoma", estimator="hier@2.0.0", input_kind="oct-volume"),
}
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


def test_explain_says_why_an_image_has_no_job() -> None:
    """`trace` answers the question; what has a job needs no explanation."""
    assert explain(image(1), [OP], FAMILIES) == ""
    assert "no [[plan]] rule" in explain(image(1, modality="SR"), [OP], FAMILIES)
    assert "no estimator reads" in explain(image(1, kind=""), [OP], FAMILIES)
    assert "another kind" in explain(image(1, kind="en-face"), [OP], FAMILIES)
