"""Procedural rooms: textured boxes seen from a few viewpoints, traced ray by ray. No file, no city, no network.

A second, unlimited source of training places beside ProCity. Corridors, halls and yards of random boxes with random
textures have parallax, occlusion and lamps like indoor places, and share nothing else with the city; so a backbone that
learns from both leans less on the look of either. Rooms of one *house* share walls, floor, size and textures and differ
in what stands where: they are the confusable ones.

    from training.rooms import RoomMaker
    batch = RoomMaker(seed=0).batch(places=24, photos=4, pixels=112, seed=7)

The idea that images from random programs teach transferable features: Baradad et al., "Learning to See by Looking at
Noise" (NeurIPS 2021). The scenes and their tracing are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

TEXTURE_SIZE = 128  # texels at the finest of the levels
LEVELS = 4  # 128, 64, 32, 16
BOXES = 18  # in every room
ROOMS_PER_HOUSE = 4
SKY_CHANCE = 0.3  # of houses whose rooms are yards without a ceiling


@dataclass(frozen=True)
class RoomBatch:
    """``photos`` [N, 3, pixels, pixels] in [0, 1]; ``labels`` [N] room numbers within the batch."""

    photos: Tensor
    labels: np.ndarray


class RoomMaker:
    """Draws batches of room photos. Equal seeds give equal batches.

    Args:
        seed: of the textures.
        atlases: how many city atlases lend their tiles (doors, windows, shop fronts, murals, floors).
        painted: how many further textures are painted here (shelves, stripes, leaves of colour).
    """

    def __init__(self, seed: int = 0, atlases: int = 2, painted: int = 160) -> None:
        from training.procity.atlas import build_atlas

        pictures = [_paint_texture(np.random.default_rng([seed, 11, i])) for i in range(painted)]
        for i in range(atlases):
            tiles = build_atlas(9000 + seed * 100 + i).albedo[..., :3]
            small = tiles.reshape(len(tiles), TEXTURE_SIZE, 2, TEXTURE_SIZE, 2, 3).mean((2, 4)) / 255
            pictures += list(small[:, ::-1].astype(np.float32))
        levels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
        self.textures = len(levels)
        parts, self.offsets, start = [], [], 0
        for _ in range(LEVELS):
            flat = levels.permute(0, 2, 3, 1).reshape(-1, 3)
            parts.append(flat)
            self.offsets.append(start)
            start += len(flat)
            levels = torch.nn.functional.avg_pool2d(levels, 2)
        self.texels = torch.cat(parts)

    def batch(self, places: int, photos: int, pixels: int, seed: int) -> RoomBatch:
        """``photos`` views of each of ``places`` rooms."""
        rng = np.random.default_rng([seed, 5])
        rooms = [self._house(np.random.default_rng([seed, 6, i])) for i in range(-(-places // ROOMS_PER_HOUSE))]
        scenes = [scene for house in rooms for scene in house][:places]
        views = [_view(scene, rng) for scene in scenes for _ in range(photos)]
        stacked = {key: torch.from_numpy(np.stack([v[key] for v in views]).astype(np.float32)) for key in views[0]}
        return RoomBatch(self._trace(stacked, pixels), np.repeat(np.arange(places), photos))

    def _house(self, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
        """Rooms of one house, as arrays: the shell is box 0, seen from inside."""
        sky = rng.random() < SKY_CHANCE
        if sky:
            size = np.array([rng.uniform(7, 22), rng.uniform(15, 60), rng.uniform(5, 16)])
        else:
            size = np.array([rng.uniform(2.2, 9), rng.uniform(4, 26), rng.uniform(2.3, 4.2)])
        palette = rng.integers(self.textures, size=10)
        shell = rng.integers(self.textures, size=4)
        shell_tint = rng.uniform(0.5, 1.1, (4, 3)) * rng.uniform(0.7, 1.1)
        shell_scale = rng.uniform(0.25, 1.2, 4)
        rooms = []
        for _ in range(ROOMS_PER_HOUSE):
            low, high = np.zeros((BOXES + 1, 3)), np.zeros((BOXES + 1, 3))
            high[0] = size
            texture, tint = rng.choice(palette, (BOXES + 1, 3)), rng.uniform(0.35, 1.15, (BOXES + 1, 3))
            scale = rng.uniform(0.3, 1.3, BOXES + 1)
            texture[0], tint[0], scale[0] = shell[:3], shell_tint[0], shell_scale[0]
            for k in range(1, BOXES + 1):
                low[k], high[k] = _furniture(size, rng, sky)
            rooms.append(
                {
                    "low": low, "high": high, "texture": texture, "tint": tint, "scale": scale, "sky": np.array(sky),
                    "lamps": rng.uniform((0.1, 0.05, 0.7), (0.9, 0.95, 0.97), (4, 3)) * size,
                    "spot": np.array([rng.uniform(0.3, 0.7), rng.uniform(0.03, 0.45), 0]) * size,
                    "turn": np.array(rng.choice([0, np.pi]) + rng.normal(0, 0.45)),
                }
            )  # fmt: skip
        return rooms

    def _trace(self, v: dict[str, Tensor], pixels: int) -> Tensor:
        """Nearest box along each ray, its texture, lamps without shadows, haze by distance."""
        count = len(v["eye"])
        steps = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
        up, right = torch.meshgrid(-steps, steps, indexing="ij")
        plane = torch.stack([right.reshape(-1), torch.ones(pixels**2), up.reshape(-1)], -1)
        lens = torch.stack([v["zoom"] * 4 / 3, torch.ones(count), v["zoom"]], -1)
        rays = torch.einsum(
            "nij,npj->npi", v["frame"], plane[None] * lens[:, None]
        )  # the photo is squeezed to a square
        rays = rays / rays.norm(dim=-1, keepdim=True)
        rays = torch.where(rays.abs() < 1e-5, torch.full_like(rays, 1e-5), rays)
        inverse, eye = 1 / rays, v["eye"][:, None]
        a, b = (v["low"][:, None, 0] - eye) * inverse, (v["high"][:, None, 0] - eye) * inverse
        leave = torch.maximum(a, b)
        nearest, axis = leave.min(-1)
        box = torch.zeros_like(axis)
        for k in range(1, v["low"].shape[1]):
            a, b = (v["low"][:, None, k] - eye) * inverse, (v["high"][:, None, k] - eye) * inverse
            enter, side = torch.minimum(a, b).max(-1)
            hit = (enter > 0.05) & (enter <= torch.maximum(a, b).min(-1).values) & (enter < nearest)
            nearest, axis = torch.where(hit, enter, nearest), torch.where(hit, side, axis)
            box = torch.where(hit, torch.full_like(box, k), box)
        where = eye + rays * nearest[..., None]
        sky = (v["sky"][:, None] > 0.5) & (box == 0) & (axis == 2) & (rays[..., 2] > 0)
        colour = self._texel(v, where, box, axis, nearest, pixels)
        facing = rays.gather(-1, axis[..., None])[..., 0].abs()
        light = v["ambient"][:, None] * (0.7 + 0.3 * facing[..., None])
        for lamp in range(v["lamps"].shape[1]):
            to_lamp = v["lamps"][:, None, lamp] - where
            square = (to_lamp**2).sum(-1)
            towards = to_lamp.gather(-1, axis[..., None])[..., 0].abs() / (square + 0.05).sqrt()
            light = light + v["lamp_colour"][:, None, lamp] * (towards * 4 / (square + 2))[..., None]
        axis_shade = torch.tensor([0.82, 1.0, 0.92])[axis]
        shaded = colour * light * axis_shade[..., None]
        shaded = torch.where(sky[..., None], v["sky_colour"][:, None] * (1.1 - 0.5 * rays[..., 2:3]), shaded)
        clear = torch.exp(-v["haze"][:, None] * nearest)[..., None]
        shaded = shaded * clear + v["haze_colour"][:, None] * (1 - clear)
        exposed = (
            shaded * (0.42 / shaded.mean((1, 2), keepdim=True).clamp(min=1e-3)) ** 0.7 * v["exposure"][:, None, None]
        )
        return (exposed / (1 + 0.35 * exposed)).clamp(0, 1).reshape(count, pixels, pixels, 3).permute(0, 3, 1, 2)

    def _texel(
        self, v: dict[str, Tensor], where: Tensor, box: Tensor, axis: Tensor, distance: Tensor, pixels: int
    ) -> Tensor:
        """Texture colour times tint of every hit, from the level that fits its distance."""
        first = torch.where(axis == 0, where[..., 1], where[..., 0])
        second = torch.where(axis == 2, where[..., 1], -where[..., 2])
        scale = v["scale"].gather(1, box)
        number = v["texture"].flatten(1).gather(1, box * 3 + axis).long()
        level = (torch.log2(distance * scale * TEXTURE_SIZE / pixels * 1.1).clamp(0, LEVELS - 1)).long()
        size = torch.full_like(level, TEXTURE_SIZE) >> level
        u = ((first * scale) % 1 * size).long().clamp(min=0)
        w = ((second * scale) % 1 * size).long().clamp(min=0)
        u, w = torch.minimum(u, size - 1), torch.minimum(w, size - 1)
        index = torch.tensor(self.offsets)[level] + (number * size + w) * size + u
        tint = v["tint"].gather(1, box[..., None].expand(-1, -1, 3))
        return self.texels[index] * tint


def _furniture(size: np.ndarray, rng: np.random.Generator, sky: bool) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a box: a cupboard or pillar by a wall, a flat thing on a wall, a beam, or something standing about."""
    kind, unit = rng.random(), (2.0 if sky else 1.0)
    side = rng.random() < 0.5
    if kind < 0.42:  # along a long wall
        depth, length, height = (
            rng.uniform(0.15, 0.9) * unit,
            rng.uniform(0.3, 2.5) * unit,
            rng.uniform(0.4, 1) * size[2],
        )
        y = rng.uniform(0, max(0.1, size[1] - length))
        x = 0.0 if side else size[0] - depth
        return np.array([x, y, 0]), np.array([x + depth, y + length, height])
    if kind < 0.68:  # on a wall: a door, a window, a picture
        length, height, y = rng.uniform(0.5, 2) * unit, rng.uniform(0.4, 2) * unit, rng.uniform(0, size[1])
        z = rng.choice([0.0, rng.uniform(0.6, 1.6)]) * unit
        x = 0.0 if side else size[0] - 0.06
        return np.array([x, y, z]), np.array([x + 0.06, y + length, min(z + height, size[2])])
    if kind < 0.78:  # across under the ceiling
        y, thickness = rng.uniform(0.1, 1) * size[1], rng.uniform(0.15, 0.5)
        return np.array([0, y, size[2] - thickness]), np.array([size[0], y + thickness, size[2]])
    if kind < 0.88:  # the end wall
        x, width, z = rng.uniform(0, size[0]), rng.uniform(0.5, 2) * unit, rng.choice([0.0, 1.0])
        return np.array([x, size[1] - 0.1, z]), np.array([x + width, size[1], z + rng.uniform(0.6, 2) * unit])
    width, length, height = rng.uniform(0.2, 1, 3) * unit
    x = rng.choice([rng.uniform(0, 0.3), rng.uniform(0.7, 1)]) * size[0]
    y = rng.uniform(0.3, 1) * size[1]
    return np.array([x, y, 0]), np.array([x + width, y + length, height])


def _view(scene: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The room with a camera near its spot and the light of one visit."""
    size = scene["high"][0]
    eye = scene["spot"] + rng.normal(0, 1, 3) * np.minimum(size * 0.06, 0.7)
    eye = np.clip(eye, size * 0.08, size * 0.92)
    eye[2] = np.clip(rng.normal(1.55, 0.12), 0.3, size[2] * 0.9)
    turn, tilt = scene["turn"] + rng.normal(0, 0.13), rng.normal(0.0, 0.05)
    c, s = np.cos(turn), np.sin(turn)
    forward = np.array([s * np.cos(tilt), c * np.cos(tilt), np.sin(tilt)])
    right = np.array([c, -s, 0.0])
    frame = np.stack([right, forward, np.cross(right, forward)], 1)
    keep = {name: scene[name] for name in ("low", "high", "texture", "tint", "scale", "lamps", "sky")}
    low = keep["low"].copy()
    middle = (keep["low"] + keep["high"]) / 2
    in_the_way = np.abs(middle[:, :2] - eye[:2]).max(1) < (keep["high"] - keep["low"])[:, :2].max(1) / 2 + 0.25
    in_the_way[0] = False
    moved = (rng.random(len(low)) < 0.12) & (np.arange(len(low)) > 0)  # visits differ: some things are gone
    low[in_the_way | moved] = keep["high"][in_the_way | moved]
    keep["low"] = low
    dim = rng.random() < 0.3
    haze = rng.exponential(0.2) if rng.random() < 0.7 else rng.uniform(0.2, 1.2)
    warm = np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.45, 1.0)])
    keep |= {
        "eye": eye,
        "frame": frame,
        "zoom": np.array(np.tan(np.radians(rng.uniform(48, 72)) / 2)),
        "ambient": np.array([1, 1, 1]) * rng.uniform(0.05, 0.2) if dim else rng.uniform(0.55, 1.0, 3) * 0.6 + 0.3,
        "lamp_colour": warm * rng.uniform(0, 1.6, (4, 1)) * (rng.random((4, 1)) < 0.7),
        "sky_colour": rng.uniform(0.05, 0.15, 3) if dim else rng.uniform((0.4, 0.5, 0.6), (1.0, 1.0, 1.1)),
        "haze": np.array(haze / size[1]),
        "haze_colour": rng.uniform(0.1, 0.3) * np.ones(3) if dim else rng.uniform(0.45, 0.9) * rng.uniform(0.9, 1, 3),
        "exposure": np.array(np.exp(rng.normal(0, 0.25))),
    }
    return keep


def _paint_texture(rng: np.random.Generator) -> np.ndarray:
    """float32 [128, 128, 3]: flat with grain, stripes, tiles, shelves, overlapping leaves of colour, or panels."""
    size, kind = TEXTURE_SIZE, rng.integers(7)
    base = rng.uniform(0.15, 0.95, 3)
    picture = Image.new("RGB", (size, size), _bytes(base))
    draw = ImageDraw.Draw(picture)

    def colour(spread: float = 0.5) -> tuple[int, ...]:
        return _bytes(np.clip(base + rng.uniform(-spread, spread, 3), 0, 1))

    if kind == 1:
        count, other, upright = int(rng.integers(2, 14)), colour(), rng.random() < 0.5
        for i in range(count):
            a, b = i * size / count, (i + rng.uniform(0.3, 0.6)) * size / count
            draw.rectangle((a, 0, b, size) if upright else (0, a, size, b), fill=other)
    elif kind == 2:
        rows, columns = int(rng.integers(2, 12)), int(rng.integers(2, 12))
        for i in range(rows):
            for j in range(columns):
                box = (
                    j * size / columns + 1,
                    i * size / rows + 1,
                    (j + 1) * size / columns - 1,
                    (i + 1) * size / rows - 1,
                )
                draw.rectangle(box, fill=colour(0.12))
    elif kind == 3:
        for shelf in range(int(rng.integers(2, 6))):
            bottom, x = (shelf + 1) * size // 5, 2.0
            while x < size:
                width, height = rng.uniform(2, 9), rng.uniform(8, 22)
                draw.rectangle((x, bottom - height, x + width, bottom), fill=colour(0.9))
                x += width + rng.choice([0.5, 6.0], p=[0.85, 0.15])
    elif kind == 4:
        for _ in range(int(rng.integers(20, 120))):
            x, y, r = rng.uniform(0, size), rng.uniform(0, size), rng.exponential(9) + 2
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((x - r, y - r * rng.uniform(0.3, 1), x + r, y + r), fill=colour(0.6))
    elif kind == 5:
        inset = rng.uniform(4, 20)
        draw.rectangle((inset, inset, size - inset, size - inset), fill=colour(), outline=colour(), width=3)
        half = rng.uniform(0.3, 0.7) * size
        draw.line((inset, half, size - inset, half), fill=colour(), width=3)
        draw.line((size / 2, inset, size / 2, size - inset), fill=colour(), width=3)
    elif kind == 6:
        for _ in range(int(rng.integers(2, 7))):
            corners = [tuple(rng.uniform(0, size, 2)) for _ in range(3)]
            draw.polygon(corners, fill=colour(0.8))
    coarse = rng.standard_normal((8, 8)).astype(np.float32)
    stains = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    grain = rng.standard_normal((size, size)).astype(np.float32)
    value = 1 + rng.uniform(0, 0.12) * stains + rng.uniform(0, 0.08) * grain
    return np.clip(np.asarray(picture, np.float32) / 255 * value[..., None], 0, 1)


def _bytes(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(255 * c) for c in colour)
