"""What a results file says of the machine."""

from itertools import combinations

import pytest

from benchmarks import measure


@pytest.mark.parametrize(
    ("vendor", "family", "model", "expected"),
    [
        ("AuthenticAMD", "25", "17", "A Chip (Zen 4)"),  # EPYC 9004
        ("AuthenticAMD", "25", "1", "A Chip (Zen 3)"),  # EPYC 7003
        ("AuthenticAMD", "25", "33", "A Chip (Zen 3)"),  # Ryzen 5000
        ("AuthenticAMD", "26", "2", "A Chip (Zen 5)"),  # EPYC 9005
        ("GenuineIntel", "6", "106", "A Chip (Ice Lake)"),
        ("GenuineIntel", "6", "207", "A Chip (Emerald Rapids)"),
        ("GenuineIntel", "6", "1", "A Chip"),
        ("AuthenticAMD", "6", "106", "A Chip"),
        ("", "", "", "A Chip"),
    ],
)
def test_a_processor_s_generation(
    vendor: str, family: str, model: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = {"vendor_id": vendor, "cpu family": family, "model name": "A Chip", "model\t": model}
    monkeypatch.setattr(measure, "cpu_says", says.__getitem__)
    assert measure.cpu_name() == expected


def test_generations_do_not_overlap() -> None:
    for (*kind, first, last, _), (*other, start, end, _) in combinations(measure.GENERATIONS, 2):
        assert first <= last
        assert kind != other or last < start or end < first
