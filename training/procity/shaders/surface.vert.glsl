#version 330
#include "surface_kinds.glsl"
#include "land.glsl"
#include "hash.glsl"
in vec3 position;
in vec3 normal;
in vec2 uv;
in float layer;
in vec3 tint;
in float seed;
in float surface;
in vec4 place;   // of this instance: x, y, z, turn in radians
in vec4 look;    // of this instance: colour (or three random numbers), scale
uniform mat4 view_projection;
uniform float leaf_amount, era;
out vec3 world;
out vec3 world_normal;
out vec2 tile;
flat out float tile_layer;
flat out vec3 surface_tint;
flat out float surface_seed;
flat out int kind;
flat out float instance_random;

void main() {
    float c = cos(place.w), s = sin(place.w);
    mat2 turn = mat2(c, s, -s, c);
    vec3 scaled = position * abs(look.w);
    world = vec3(turn * scaled.xy, scaled.z) + place.xyz;
    if (look.w < 0.) world.z += ground_height(world.xy);   // stands on the ground below each vertex
    world_normal = vec3(turn * normal.xy, normal.z);
    tile = uv;
    tile_layer = layer;
    surface_seed = seed;
    kind = int(surface + .5);
    instance_random = look.x;
    surface_tint = kind == CAR ? look.rgb : tint;
    gl_Position = view_projection * vec4(world, 1);
    if (kind == LEAF && fract(seed * .618 + look.y) > leaf_amount) gl_Position = vec4(2, 2, 2, 1);   // a fallen leaf
    if (kind == SCAFFOLD && !has_scaffold(seed, era)) gl_Position = vec4(2, 2, 2, 1);
}
