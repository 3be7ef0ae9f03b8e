"""The textures a city is drawn with, and the pictures it is drawn into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.procity.gpu import upload_tiles, weather_picture

if TYPE_CHECKING:
    from training.procity.atlas import Atlas

SHADOW_SIZE = 1280  # texels
SKY_SIZE = (640, 320)  # azimuth, elevation


class Textures:
    """The atlas and the rain and snow picture on the card."""

    def __init__(self, context: Any, atlas: Atlas) -> None:
        import moderngl as gl

        self.albedo = upload_tiles(context, atlas.albedo)
        self.material = upload_tiles(context, atlas.material)
        self.relief = upload_tiles(context, atlas.height)
        self.albedo.filter = (gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR)
        self.albedo.anisotropy = 1.0
        self.material.filter = self.relief.filter = (gl.LINEAR_MIPMAP_NEAREST, gl.LINEAR)
        picture = weather_picture()
        self.weather = context.texture(picture.shape[:2], 3, picture.tobytes())
        self.weather.build_mipmaps()
        self.weather.filter = (gl.LINEAR_MIPMAP_NEAREST, gl.LINEAR)


class Targets:
    """Framebuffers of all passes and the textures behind them; light is kept in half floats until it is developed.

    Args:
        context: of moderngl.
        width, height: of the photo in pixels.
        supersampling: samples along each side of a pixel.
    """

    def __init__(self, context: Any, width: int, height: int, supersampling: float) -> None:
        import moderngl as gl

        def floats(wide: int, high: int) -> Any:
            texture = context.texture((wide, high), 4, dtype="f2")
            texture.repeat_x = texture.repeat_y = False
            return texture

        samples = int(width * supersampling), int(height * supersampling)
        self.light = floats(*samples)
        self.depth = context.depth_texture(samples)
        self.depth.compare_func = ""
        self.depth.filter = (gl.NEAREST, gl.NEAREST)
        self.depth.repeat_x = self.depth.repeat_y = False
        self.scene_target = context.framebuffer([self.light], self.depth)

        self.mirror = floats(width, height)
        self.mirror_target = context.framebuffer([self.mirror], context.depth_renderbuffer((width, height)))

        self.shadow = context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self.shadow.compare_func = "<="
        self.shadow.filter = (gl.LINEAR, gl.LINEAR)
        self.shadow.repeat_x = self.shadow.repeat_y = False
        self.shadow_target = context.framebuffer([], self.shadow)

        self.sky = floats(*SKY_SIZE)
        self.sky.repeat_x = True
        self.sky.filter = (gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR)
        self.sky_target = context.framebuffer([self.sky])

        self.bloom = [floats(width // k, height // k) for k in (2, 4, 8)]
        self.bloom_targets = [context.framebuffer([level]) for level in self.bloom]
        self.photo_target = context.framebuffer([context.texture((width, height), 3)])
