"""The OpenGL side: a context without a window, shader programs from files, meshes cut up by material."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import UsageError

SHADERS = Path(__file__).parent / "shaders"
HOW_TO_INSTALL = (
    "run `apt-get install libegl1 libgl1-mesa-dri libglx-mesa0` and `pip install moderngl` "
    "(Mesa's software renderer is enough)"
)

# Which surfaces (integers of mesh.Surface) a compiled variant of the surface shader serves; in drawing order.
VARIANTS: dict[str, tuple[int, ...]] = {
    "FACADES": (1, 10),
    "GROUND": (2, 7, 14, 16),
    "CARS": (4, 11),
    "THINGS": (0, 5, 6, 8, 9, 13, 15, 18),
    "CUTOUTS": (3, 12, 17),
}
NO_SOLID_SHADOW = (
    2,
    3,
    12,
    14,
    15,
    16,
    17,
)  # flat on the ground, or drawn into the shadow map with their cut-out shape
VERTEX_FORMAT = (
    ("3f", "position"),
    ("3f", "normal"),
    ("2f", "uv"),
    ("1f", "layer"),
    ("3f", "tint"),
    ("1f", "seed"),
    ("1f", "surface"),
)
INSTANCE_FORMAT = (("4f", "place"), ("4f", "look"))
SURFACE_COLUMN = 13
MAX_INSTANCES = 512
SKIP = {"1f": "4x", "2f": "8x", "3f": "12x", "4f": "16x"}


def create_context() -> Any:
    """An OpenGL 3.3 context through EGL; UsageError says what to install when there is none."""
    try:
        import moderngl
    except ImportError as error:
        raise UsageError(f"the city is drawn with moderngl, which is not installed: {HOW_TO_INSTALL}") from error
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as error:  # moderngl raises plain Exceptions
        raise UsageError(f"no OpenGL 3.3 through EGL on this machine ({error}): {HOW_TO_INSTALL}") from error


def shader_source(name: str, defines: tuple[str, ...] = ()) -> str:
    """The text of a shader file with its includes pasted in and `#define`s after the version line."""
    text = (SHADERS / name).read_text(encoding="utf-8")
    text = re.sub(r'#include "([\w.]+)"', lambda found: (SHADERS / found[1]).read_text(encoding="utf-8"), text)
    version, rest = text.split("\n", 1)
    return "\n".join([version, *(f"#define {name} 1" for name in defines), rest])


def set_uniforms(program: Any, values: dict[str, Any]) -> None:
    """Write the uniforms that this program has; names it has not are passed over (each variant uses its own part)."""
    for name, value in values.items():
        if name not in program:
            continue
        if isinstance(value, np.ndarray) and value.ndim == 2:
            matrix = value.T if value.shape == (4, 4) else value
            program[name].write(np.ascontiguousarray(matrix, dtype="f4").tobytes())
        elif isinstance(value, np.ndarray | tuple | list):
            program[name].value = tuple(float(v) for v in value)
        else:
            program[name].value = value


def _quads_to_indexed(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Six vertices a quad (0 1 2 0 2 3) -> four, and uint32 indices."""
    corners = triangles.reshape(-1, 6, triangles.shape[1])[:, [0, 1, 2, 5]]
    indices = np.arange(len(corners))[:, None] * 4 + np.array([0, 1, 2, 0, 2, 3])
    return corners.reshape(-1, triangles.shape[1]).astype("f4"), indices.astype("u4")


@dataclass
class GpuMesh:
    """One mesh on the card: its vertices by shader variant, and once more, positions only, for shadows."""

    instances: Any  # buffer, one row of place and look for each copy
    vertices: dict[str, Any] = field(default_factory=dict)
    indices: dict[str, Any] = field(default_factory=dict)
    arrays: dict[Any, Any] = field(default_factory=dict)  # vertex arrays, made when first drawn

    @classmethod
    def upload(cls, context: Any, mesh: np.ndarray, instances: Any) -> GpuMesh:
        """mesh float32 [V,14], made of quads of six vertices."""
        result = cls(instances)
        surfaces = mesh[:, SURFACE_COLUMN].round().astype(int)
        parts = {name: mesh[np.isin(surfaces, kinds)] for name, kinds in VARIANTS.items()}
        parts["SOLID"] = mesh[~np.isin(surfaces, NO_SOLID_SHADOW)][:, :3]
        for name, part in parts.items():
            if len(part):
                corners, indices = _quads_to_indexed(part)
                result.vertices[name] = context.buffer(corners.tobytes())
                result.indices[name] = context.buffer(indices.tobytes())
        return result

    def draw(self, context: Any, part: str, program: Any, key: Any, copies: int) -> None:
        """Draw one part with a program; `key` names the program."""
        if part not in self.vertices:
            return
        if (part, key) not in self.arrays:
            fields = VERTEX_FORMAT[:1] if part == "SOLID" else VERTEX_FORMAT
            content = [
                (self.vertices[part], *_layout(fields, program)),
                (self.instances, *_layout(INSTANCE_FORMAT, program, per_instance=True)),
            ]
            self.arrays[part, key] = context.vertex_array(program, content, index_buffer=self.indices[part])
        self.arrays[part, key].render(instances=copies)


def _layout(fields: tuple[tuple[str, str], ...], program: Any, per_instance: bool = False) -> list[str]:
    """moderngl's buffer format with the attributes that the compiler threw out as padding."""
    layout = " ".join(kind if name in program else SKIP[kind] for kind, name in fields)
    return [layout + ("/i" if per_instance else ""), *(name for _, name in fields if name in program)]


def upload_tiles(context: Any, tiles: np.ndarray) -> Any:
    """uint8 [L,H,W] or [L,H,W,C] -> a texture array with mip levels."""
    layers, height, width = tiles.shape[:3]
    channels = tiles.shape[3] if tiles.ndim == 4 else 1
    texture = context.texture_array((width, height, layers), channels, np.ascontiguousarray(tiles).tobytes())
    texture.build_mipmaps()
    return texture


def weather_picture(size: int = 512) -> np.ndarray:
    """uint8 [S,S,3], repeating: long rain streaks, short ones, snow flakes."""
    random = np.random.default_rng(5)
    picture = np.zeros((size, size, 3), np.float32)
    for channel, (count, longest) in enumerate(((260, 60), (420, 34))):
        for _ in range(count):
            x, y = random.integers(0, size, 2)
            steps = np.arange(int(longest * random.uniform(0.5, 1.2)))
            streak = random.uniform(0.25, 1) * np.sin(np.linspace(0, np.pi, len(steps)))
            rows, columns = (y + steps) % size, (x + (steps * 0.12).astype(int)) % size
            picture[rows, columns, channel] = np.maximum(picture[rows, columns, channel], streak)
    rows, columns = np.mgrid[0:9, 0:9] - 4
    for _ in range(330):
        x, y = random.integers(0, size, 2)
        radius = random.uniform(0.9, 2.6)
        flake = np.exp(-(columns**2 + rows**2) / radius**2) * random.uniform(0.4, 1)
        at = ((y + rows) % size, (x + columns) % size, 2)
        picture[at] = np.maximum(picture[at], flake)
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)
