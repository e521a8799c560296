"""RenderOptions refuses what cannot be, in one line that says what was expected."""

import pytest

from isp.options import RenderOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"look": "vivid"}, "look is 'vivid'; expected one of neutral, standard"),
        ({"space": "adobe"}, "space is 'adobe'; expected one of srgb"),
        ({"highlights": "blend"}, "highlights is 'blend'; expected one of auto"),
        ({"wb": "auto"}, "wb is 'auto'; expected one of as-shot"),
        ({"wb": "2,1"}, "three positive gains"),
        ({"wb": (2, 1, 1.5)}, "wb is .* expected a text"),
        ({"exposure": "1"}, "exposure is '1'; expected a number"),
        ({"exposure": True}, "exposure is True; expected a number"),
        ({"exposure": 40.0}, "expected stops between -20 and 20"),
        ({"fix_defects": "no"}, "fix_defects is 'no'; expected true or false"),
        ({"temperature": 300.0}, "expected 1500 to 50000 kelvin"),
        ({"tint": 5.0}, "tint is 5.0, but it goes with a temperature"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RenderOptions(**values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"photo\.yaml: unknown key 'exposur'; known keys: look, demosaic"):
        RenderOptions.from_dict({"exposur": 1.0}, "photo.yaml")
