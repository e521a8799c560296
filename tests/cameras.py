"""Colour of real cameras, for tests: ColorMatrix1/2 and ForwardMatrix1/2 of three public-domain (CC0) profiles."""

import numpy as np

from isp.raw.metadata import RawMetadata


def _matrices(*rows: str) -> list[np.ndarray]:
    return [np.array([float(number) for number in row.split()]).reshape(3, 3) for row in rows]


# name: (CalibrationIlluminant1, 2), [ColorMatrix1, ColorMatrix2, ForwardMatrix1, ForwardMatrix2]
CAMERAS = {
    "Nikon D850": (
        (17, 21),
        _matrices(
            "1.7786 -0.9227 0.0889 -0.8743 1.9399 0.3178 -0.2945 0.3851 0.9895",
            "0.9366 -0.2761 -0.1179 -0.6076 1.3955 0.2370 -0.1839 0.2809 0.7750",
            "0.6361 0.1828 0.1455 0.2392 0.7173 0.0434 0.0033 0.1138 0.7080",
            "0.6464 0.1203 0.1976 0.3066 0.6332 0.0602 0.0001 0.0021 0.8229",
        ),
    ),
    "Fujifilm X-T3": (
        (17, 21),
        _matrices(
            "1.7334 -0.9591 0.2401 -0.4906 1.4996 0.3751 -0.0575 0.1158 0.8334",
            "0.9440 -0.3168 -0.0753 -0.3774 1.1215 0.2893 -0.0958 0.1620 0.6220",
            "0.6760 0.1341 0.1542 0.2746 0.6791 0.0463 0.0002 0.1339 0.6911",
            "0.6208 0.1260 0.2175 0.2708 0.6619 0.0674 0.0001 0.0032 0.8218",
        ),
    ),
    "Sony ILCE-7M4": (
        (17, 23),
        _matrices(
            "0.9917 -0.3606 -0.1054 -0.7486 1.7936 0.3423 -0.0985 0.1588 1.0139",
            "0.5527 -0.1077 -0.0365 -0.5229 1.2534 0.3045 -0.0966 0.1582 0.7379",
            "0.5635 0.1733 0.2275 0.2445 0.6820 0.0734 0.0001 0.1210 0.7040",
            "0.6726 0.1222 0.1695 0.3067 0.6433 0.0500 0.0001 0.0019 0.8231",
        ),
    ),
}
KELVIN = {17: 2850.0, 21: 6500.0, 23: 5000.0}  # of the illuminants above, as the DNG SDK counts them


def camera(name: str, *, forward: bool = False, **fields: object) -> RawMetadata:
    """Metadata of a frame of this camera: its two calibrations, without or with the forward matrices."""
    (first, second), (cm1, cm2, fm1, fm2) = CAMERAS[name]
    known: dict[str, object] = {
        "height": 4,
        "width": 4,
        "calibration_illuminant1": first,
        "calibration_illuminant2": second,
        "color_matrix1": cm1,
        "color_matrix2": cm2,
    }
    if forward:
        known |= {"forward_matrix1": fm1, "forward_matrix2": fm2}
    return RawMetadata(**{**known, **fields})  # type: ignore[arg-type]
