"""Draw a city: one call, one photo, which depends on the city and the shot and on nothing drawn before."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from training.procity import camera as optics
from training.procity.camera import Development, direction
from training.procity.conditions import Condition, get_condition, under_roof
from training.procity.gpu import MAX_INSTANCES, VARIANTS, GpuMesh, create_context, set_uniforms, shader_source
from training.procity.targets import SHADOW_SIZE, Targets, Textures
from training.procity.visit import View, Visit, plan_visit

if TYPE_CHECKING:
    from training.procity.atlas import Atlas
    from training.procity.plan import City
    from training.procity.sampler import Shot

SHADOW_REACH = 68.0  # metres from the middle of the shadow map to its edge
SHADOW_DEPTH = 440.0
LAMPS = 24  # the nearest ones light the street
MOVABLE = ("trees", "cars", "people")


class Renderer:
    """Photographs a city from OpenGL, on a graphics card or in software.

    Args:
        atlas: the texture tiles.
        city: the geometry built with that atlas.
        width, height: of the photo in pixels.
        supersampling: samples along each side of a pixel.
    """

    def __init__(self, atlas: Atlas, city: City, width: int = 320, height: int = 240, supersampling: float = 2) -> None:
        self.context = create_context()
        self.city, self.width, self.height = city, width, height
        self.device: str = self.context.info["GL_RENDERER"]
        self.textures = Textures(self.context, atlas)
        self.targets = Targets(self.context, width, height, supersampling)
        self._create_programs()
        single = self.context.buffer(np.array([0, 0, 0, 0, 1, 1, 1, 1], "f4").tobytes())
        self.blocks = [
            (GpuMesh.upload(self.context, block.mesh, single), np.array(block.bounds)) for block in city.blocks
        ]
        self.far = GpuMesh.upload(self.context, city.far, single)
        self.movable: dict[tuple[str, int], GpuMesh] = {}
        for group in MOVABLE:
            for shape, mesh in enumerate(getattr(city, group)):
                rows = self.context.buffer(reserve=32 * MAX_INSTANCES, dynamic=True)
                self.movable[group, shape] = GpuMesh.upload(self.context, mesh, rows)
        self.trees = np.concatenate([np.asarray(block.trees, float).reshape(-1, 7) for block in city.blocks])
        self.lights = np.concatenate([np.asarray(block.lights, float).reshape(-1, 9) for block in city.blocks])
        self._sky_of: Any = None
        self._visits: dict[tuple[int, str], Visit] = {}

    # ---- set-up
    def _create_programs(self) -> None:
        def program(vertex: str, fragment: str) -> Any:
            return self.context.program(shader_source(vertex), shader_source(fragment))

        self.solid_depth = program("depth.vert.glsl", "depth.frag.glsl")
        self.cutout_depth = program("surface.vert.glsl", "depth_cutout.frag.glsl")
        self.surface_programs: dict[tuple[str, ...], Any] = {}
        triangle = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
        self.screen = {}
        for name in ("sky_paint", "sky_draw", "shrink", "develop"):
            pass_ = program("screen.vert.glsl", f"{name}.frag.glsl")
            self.screen[name] = (pass_, self.context.vertex_array(pass_, [(triangle, "2f", "corner")]))

    def _surface_program(self, defines: tuple[str, ...]) -> Any:
        if defines not in self.surface_programs:
            self.surface_programs[defines] = self.context.program(
                shader_source("surface.vert.glsl"), shader_source("surface.frag.glsl", defines)
            )
        return self.surface_programs[defines]

    def _screen_pass(self, name: str, uniforms: dict[str, Any]) -> None:
        program, triangle = self.screen[name]
        set_uniforms(program, uniforms)
        triangle.render()

    # ---- what stands where
    def _visit(self, shot: Shot) -> Visit:
        key = (shot.visit, shot.traffic)
        if key not in self._visits:
            if len(self._visits) > 256:
                self._visits.clear()
            self._visits[key] = plan_visit(self.city, *key)
        return self._visits[key]

    def _place_movables(self, view: View, visit: Visit, dense: bool) -> list[tuple[GpuMesh, int]]:
        """Write the instances near the view; returns (mesh, copies) of those that are there."""
        trees = self.trees[view.sees(self.trees[:, 0], self.trees[:, 1], 140, 12)]
        random = trees[:, 6:7]  # x, y, z, turn, scale, variant, random number
        rows = {
            "trees": (trees[:, 5], np.hstack([trees[:, :4], random, random, random, -trees[:, 4:5]])),
            "cars": _rows(view.cars(visit, dense)),
            "people": _rows(view.people(visit)),
        }
        placed = []
        for (group, shape), mesh in self.movable.items():
            shapes, values = rows[group]
            chosen = values[shapes.astype(int) == shape][:MAX_INSTANCES]
            if len(chosen):
                mesh.instances.write(np.ascontiguousarray(chosen, dtype="f4").tobytes())
                placed.append((mesh, len(chosen)))
        return placed

    def _lamps(self, view: View, condition: Condition) -> dict[str, Any]:
        """The nearest lamps and lit shop windows ahead, as uniforms."""
        lights = self.lights
        ahead, aside = view.ahead_and_aside(lights[:, 0], lights[:, 1])
        near = (ahead > -12) & (np.abs(aside) < np.maximum(ahead, 0) * 0.8 + 12)
        shop_open = (np.floor(lights[:, 8] * 7.3) % 10) / 10 < min(1.0, condition.lit_windows * 2.2)
        lights = lights[near & ((lights[:, 7] < 0.5) | shop_open)]
        ahead, aside = view.ahead_and_aside(lights[:, 0], lights[:, 1])
        lights = lights[np.argsort(np.hypot(ahead - 14, aside), kind="stable")[:LAMPS]]
        places, colours = np.zeros((LAMPS, 4)), np.zeros((LAMPS, 4))
        places[: len(lights), :3], places[: len(lights), 3] = lights[:, :3], lights[:, 7]
        colours[: len(lights), :3] = lights[:, 3:6] * lights[:, 6:7]
        return {"lamp_count": len(lights), "lamp_place": places, "lamp_colour": colours}

    # ---- passes
    def _paint_sky(self, condition: Condition, cloud_seed: float) -> None:
        if (condition, cloud_seed) == self._sky_of:
            return
        self.targets.sky_target.use()
        self.context.disable(self.context.DEPTH_TEST)
        sun = direction(condition.sun_azimuth, condition.sun_elevation)
        self._screen_pass("sky_paint", {**asdict(condition), "sun_direction": sun, "cloud_seed": cloud_seed})
        self.targets.sky.build_mipmaps()
        self._sky_of = (condition, cloud_seed)

    def _draw_shadows(self, shot: Shot, condition: Condition, placed: list[tuple[GpuMesh, int]]) -> np.ndarray:
        """Fill the shadow map, whose texels are fixed to the ground; returns its matrix [4,4]."""
        sun = direction(condition.sun_azimuth, condition.sun_elevation)
        heading = np.radians(round(shot.yaw / 40) * 40)
        centre = np.round(np.array([shot.x, shot.y]) / 6) * 6 + np.array([np.sin(heading), np.cos(heading)]) * 40
        view = optics.look_at(
            np.array([*centre, float(self.city.land.height(*centre))]) + sun * SHADOW_DEPTH / 2,
            -sun,
            (0, 1, 0) if sun[2] > 0.97 else (0, 0, 1),
        )
        texel = 2 * SHADOW_REACH / SHADOW_SIZE
        view[:2, 3] = np.round(view[:2, 3] / texel) * texel
        box = np.diag([1 / SHADOW_REACH, 1 / SHADOW_REACH, -2 / SHADOW_DEPTH, 1.0])
        box[2, 3] = -1.0
        matrix = box @ view
        reach = SHADOW_REACH + 12
        low, high = centre - reach, centre + reach
        near = [
            (mesh, 1)
            for mesh, b in self.blocks
            if b[0] < high[0] and b[2] > low[0] and b[1] < high[1] and b[3] > low[1]
        ]
        self.targets.shadow_target.use()
        self.targets.shadow_target.clear(depth=1.0)
        self.context.enable(self.context.DEPTH_TEST)
        self.textures.albedo.use(0)
        set_uniforms(self.solid_depth, {"view_projection": matrix, "hills": self.city.land.waves})
        set_uniforms(
            self.cutout_depth,
            {
                "view_projection": matrix,
                "leaf_amount": condition.leaf_amount,
                "albedo_tiles": 0,
                "hills": self.city.land.waves,
                "era": float(shot.era),
            },
        )
        for mesh, copies in placed + near:
            mesh.draw(self.context, "SOLID", self.solid_depth, "solid shadow", copies)
            mesh.draw(self.context, "CUTOUTS", self.cutout_depth, "cut-out shadow", copies)
        return matrix

    def _draw_surfaces(
        self, things: list[tuple[GpuMesh, int]], condition: Condition, uniforms: dict[str, Any], mirrored: bool
    ) -> None:
        needs = {
            "SUN": sum(condition.sun_colour) > 0,
            "LAMPS": condition.lamp_power > 0,
            "SNOW": condition.snow > 0,
            "WET": condition.wetness > 0 and not mirrored,
        }
        wanted = tuple(name for name, needed in needs.items() if needed)
        for variant in VARIANTS:
            if mirrored and variant in ("GROUND", "CUTOUTS"):
                continue
            defines = (variant, *wanted)
            program = self._surface_program(defines)
            set_uniforms(program, uniforms)
            for mesh, copies in things:
                mesh.draw(self.context, variant, program, defines, copies)

    def _draw_sky(self, uniforms: dict[str, Any], view_projection: np.ndarray, camera: np.ndarray) -> None:
        self.context.depth_func = "<="
        self._screen_pass(
            "sky_draw", {**uniforms, "inverse_view_projection": np.linalg.inv(view_projection), "camera": camera}
        )
        self.context.depth_func = "<"

    # ---- the photo
    def photo(self, shot: Shot, condition: Condition | None = None) -> np.ndarray:
        """Take a photo: uint8 [height, width, 3].

        Args:
            shot: where, when and with which seeds.
            condition: instead of the one that the shot names (for contact sheets and trials).
        """
        condition = condition or get_condition(shot.condition)
        if shot.covered:
            condition = under_roof(condition)
        visit = self._visit(shot)
        level = float(self.city.land.height(shot.x, shot.y))
        eye = np.array([shot.x, shot.y, level + shot.z], float)
        forward = direction(shot.yaw, shot.pitch)
        view = View(shot.x, shot.y, forward[:2] / np.linalg.norm(forward[:2]))
        view_projection = optics.perspective(shot.fov, self.width / self.height) @ optics.look_at(eye, forward)

        placed = self._place_movables(view, visit, shot.traffic == "heavy")
        self._paint_sky(condition, visit.cloud_seed)
        shadow_matrix = self._draw_shadows(shot, condition, placed)
        seen = [
            (_gap(bounds, eye), number, mesh)
            for number, (mesh, bounds) in enumerate(self.blocks)
            if view.sees_box(bounds)
        ]
        things = placed + [(mesh, 1) for _, _, mesh in sorted(seen, key=lambda s: s[:2])] + [(self.far, 1)]

        lamps = self._lamps(view, condition)
        textures = {
            "albedo_tiles": self.textures.albedo,
            "material_tiles": self.textures.material,
            "height_tiles": self.textures.relief,
            "sky": self.targets.sky,
            "mirror": self.targets.mirror,
            "shadow_map": self.targets.shadow,
        }
        for unit, texture in enumerate(textures.values()):
            texture.use(unit)
        uniforms = {
            **asdict(condition),
            **{name: unit for unit, name in enumerate(textures)},
            **lamps,
            "shadow_matrix": shadow_matrix,
            "camera": eye,
            "window_seed": visit.window_seed,
            "hills": self.city.land.waves,
            "era": float(shot.era),
            "sun_direction": direction(condition.sun_azimuth, condition.sun_elevation),
            "resolution": (float(self.targets.light.width), float(self.targets.light.height)),
        }
        self.context.enable(self.context.DEPTH_TEST)
        if condition.wetness > 0:
            mirror = np.diag([1.0, 1, -1, 1])
            ahead = np.array([shot.x, shot.y]) + view.forward * 14  # the street is mirrored at the level a little ahead
            water = float(self.city.land.height(*ahead))
            mirror[2, 3] = 2 * water
            flipped = view_projection @ mirror
            uniforms["mirror_level"] = water
            self.targets.mirror_target.use()
            self.targets.mirror_target.clear(depth=1.0)
            self._draw_surfaces(
                things, condition, {**uniforms, "view_projection": flipped, "mirrored": 1.0}, mirrored=True
            )
            self._draw_sky(uniforms, flipped, eye * (1, 1, -1) + (0, 0, 2 * water))
        self.targets.scene_target.use()
        self.targets.scene_target.clear(depth=1.0)
        self._draw_surfaces(
            things, condition, {**uniforms, "view_projection": view_projection, "mirrored": 0.0}, mirrored=False
        )
        self._draw_sky(uniforms, view_projection, eye)
        development = Development.draw(shot.seed, shot.camera)
        picture = self._develop(condition, development, lamps, eye, forward, view_projection)
        noise = condition.noise * development.noise
        return optics.degrade(optics.add_noise(picture, noise, development.noise_seed), development)

    def jpeg(self, shot: Shot) -> bytes:
        """Take a photo and encode it with the shot's own JPEG quality."""
        return optics.encode_jpeg(self.photo(shot), Development.draw(shot.seed, shot.camera).quality)

    def _develop(
        self,
        condition: Condition,
        development: Development,
        lamps: dict[str, Any],
        eye: np.ndarray,
        forward: np.ndarray,
        view_projection: np.ndarray,
    ) -> np.ndarray:
        """Bloom chain and camera: linear light -> uint8 [height, width, 3]."""
        self.context.disable(self.context.DEPTH_TEST)
        source = self.targets.light
        for level, target in zip(self.targets.bloom, self.targets.bloom_targets, strict=True):
            target.use()
            source.use(0)
            self._screen_pass("shrink", {"source": 0, "pixel": (1 / source.width, 1 / source.height)})
            source = level
        self.targets.bloom[0].build_mipmaps()
        self.targets.photo_target.use()
        names = ("light", "depth", "bloom_half", "bloom_quarter", "bloom_eighth", "weather")
        textures = (self.targets.light, self.targets.depth, *self.targets.bloom, self.textures.weather)
        for unit, texture in enumerate(textures):
            texture.use(unit)
        self._screen_pass(
            "develop",
            {
                **asdict(condition),
                **{name: unit for unit, name in enumerate(names)},
                **lamps,
                "exposure": condition.exposure * development.exposure,
                "white_balance": development.white_balance,
                "vignette": development.vignette,
                "blur": development.blur,
                "weather_seed": development.weather_seed,
                "pixel": (1 / self.targets.light.width, 1 / self.targets.light.height),
                "near_plane": optics.NEAR_PLANE,
                "far_plane": optics.FAR_PLANE,
                "camera": eye,
                "forward": forward,
                "inverse_view_projection": np.linalg.inv(view_projection),
            },
        )
        pixels = np.frombuffer(self.targets.photo_target.read(components=3), np.uint8)
        return pixels.reshape(self.height, self.width, 3)[::-1]


def _rows(movables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Visit rows -> shapes [n] and instance rows [n,8]."""
    return movables[:, 0], movables[:, 1:]


def _gap(bounds: np.ndarray, eye: np.ndarray) -> float:
    """Squared metres between a rectangle and the camera, for drawing front to back."""
    x0, y0, x1, y1 = bounds
    return max(x0 - eye[0], eye[0] - x1, 0) ** 2 + max(y0 - eye[1], eye[1] - y1, 0) ** 2
