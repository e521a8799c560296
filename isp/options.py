"""What a user may ask of a render. The file's own statements are in RawMetadata; these override or complete them."""

from __future__ import annotations

from dataclasses import fields
from math import inf
from typing import Any

from isp.dataclass import dataclass

LOOKS = ("neutral", "standard")
WHITE_BALANCES = ("as-shot", "daylight", "grey-world", "shades-of-grey", "grey-edge", "white-patch")
HIGHLIGHTS = ("auto", "clip", "reconstruct", "none")
RUNTIMES = ("auto", "torch", "onnx", "openvino", "kernel")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
DEFAULT_MODEL = "pyramid"
STRONGEST = 10.0  # multiple of the noise that a model is told; none has seen more
# demosaic methods, and what kind of array each treats; isp.stages.demosaic has them, and LibRaw's as "libraw:AHD" ...
DEMOSAICS = {
    "bilinear": "bayer",
    "malvar2004": "bayer",
    "menon2007": "bayer",
    "rcd": "bayer",
    "dlmmse": "bayer",
    "msg": "bayer",
    "xtrans": "x-trans",
    "quad-bayer": "quad-bayer",
}
DEFAULT_DEMOSAICS = {"bayer": "msg", "x-trans": "xtrans", "quad-bayer": "quad-bayer"}
SPACES = ("srgb", "display-p3", "rec2020", "prophoto", "camera")
MOST_UNEVEN = 1000.0  # the largest white-balance gain over the smallest; no light asks for more than some ten
LARGEST_TINT = 300.0  # 0.1 in CIE 1960 u, v from the Planckian locus, where whites end


@dataclass(frozen=True)
class RenderOptions:
    """One render's choices; every default renders the file as it asks to be.

    look: "neutral" is the specification's linear rendering and the output encoding, nothing more; "standard" adds the
        profile's look table and tone curve where the file embeds them, and our filmic curve where it does not.
    demosaic: a name in DEMOSAICS, "libraw:AHD" and the like, or "auto".
    wb: one of WHITE_BALANCES, or gains "R,G,B". temperature (kelvin) and tint, when given, take its place.
    exposure: stops, added to BaselineExposure.
    highlights: "clip" at the smallest channel, "reconstruct", or "none" (unclipped); "auto" clips for the neutral
        look and reconstructs for the standard one.
    space: the primaries and the encoding of the output; "camera" is white-balanced linear camera RGB.
    fix_defects: find and mend hot and dead pixels before demosaicing.
    linear: stop before look, tone and encoding, at scene-linear values in `space` (what EXR files hold).
    model: a network in the place of the demosaic: a shipped name, a folder or a .safetensors file (isp.load_model);
        "auto": DEFAULT_MODEL where it suits the frame (isp.parameters.settled); None: the demosaic.
    strength: times the noise that the model is told: above 1 smoother, below 1 noisier and finer.
    runtime: what runs the model, one of RUNTIMES; "auto" takes the fastest that there is; "kernel" is our own, in int8.
    precision: of the model's arithmetic; "auto" takes int8 where the model has such a form and the kernel runs it;
        where OpenVINO does, int8 too unless the processor multiplies matrices of bfloat16 (AMX), else bfloat16 if the
        processor has it.
    """

    look: str = "standard"
    demosaic: str = "auto"
    wb: str = "as-shot"
    temperature: float | None = None
    tint: float = 0.0
    exposure: float = 0.0
    highlights: str = "auto"
    space: str = "srgb"
    fix_defects: bool = False
    linear: bool = False
    model: str | None = None
    strength: float = 1.0
    runtime: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for f in fields(self):
            expected, allowed = _EXPECTED[f.type]
            value = getattr(self, f.name)
            if not isinstance(value, allowed) or (isinstance(value, bool) and f.type != "bool"):
                raise ValueError(f"{f.name} is {value!r}; expected {expected}")
        for name, known in _CHOICES:
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")
        if self.wb not in WHITE_BALANCES:
            try:
                gains = self.gains()
            except ValueError:
                gains = ()
            if len(gains) != 3 or not all(0 < gain < inf for gain in gains):
                expected = ", ".join(WHITE_BALANCES)
                raise ValueError(f"wb is {self.wb!r}; expected one of {expected}, or three positive gains as 2.1,1,1.6")
            if max(gains) > MOST_UNEVEN * min(gains):
                raise ValueError(f"wb is {self.wb!r}; expected gains within a factor of {MOST_UNEVEN:g} of each other")
        if self.temperature is not None and not 1500 <= self.temperature <= 50000:
            raise ValueError(f"temperature is {self.temperature}; expected 1500 to 50000 kelvin")
        if not -LARGEST_TINT <= self.tint <= LARGEST_TINT:
            raise ValueError(f"tint is {self.tint}; expected -{LARGEST_TINT:g} to {LARGEST_TINT:g}")
        if self.tint and self.temperature is None:
            raise ValueError(f"tint is {self.tint}, but it goes with a temperature, and there is none")
        if not -20 <= self.exposure <= 20:
            raise ValueError(f"exposure is {self.exposure}; expected stops between -20 and 20")
        if not 0 <= self.strength <= STRONGEST:
            raise ValueError(f"strength is {self.strength}; expected 0 to {STRONGEST:g}")
        if self.model not in (None, "auto") and self.demosaic != "auto":
            raise ValueError(
                f"demosaic is {self.demosaic!r}, but model {self.model!r} takes its place; give one of them"
            )
        for name, default in (("strength", 1), ("runtime", "auto"), ("precision", "auto")):
            if self.model is None and (value := getattr(self, name)) != default:
                raise ValueError(f"{name} is {value!r}, but it goes with a model, and there is none")

    def gains(self) -> tuple[float, ...]:
        """The numbers of a white balance given as "R,G,B"; ValueError for a named one."""
        return tuple(float(part) for part in self.wb.split(","))

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "options") -> RenderOptions:
        """From a sidecar's or a config's keys. Raises ValueError, which names the source, for an unknown key (listing
        the known ones) and for a value of the wrong type."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"{source}: unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error


def default_method(kind: str) -> str:
    """The name of the best demosaic for a kind of sensor; "none" for those that need none (monochrome, linear)."""
    return DEFAULT_DEMOSAICS.get(kind, "none")


# annotation of a field: what an error says was expected, and the types that a value may have
_EXPECTED: dict[Any, tuple[str, tuple[type, ...]]] = {
    "str": ("a text", (str,)),
    "str | None": ("a text or null", (str, type(None))),
    "bool": ("true or false", (bool,)),
    "float": ("a number", (int, float)),
    "float | None": ("a number or null", (int, float, type(None))),
}
_CHOICES = (
    ("look", LOOKS),
    ("highlights", HIGHLIGHTS),
    ("space", SPACES),
    ("runtime", RUNTIMES),
    ("precision", PRECISIONS),
)
