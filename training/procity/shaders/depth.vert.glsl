#version 330
// Opaque geometry into the shadow map: positions only.
#include "land.glsl"
in vec3 position;
in vec4 place;
in vec4 look;
uniform mat4 view_projection;

void main() {
    float c = cos(place.w), s = sin(place.w);
    vec3 scaled = position * abs(look.w);
    vec3 world = vec3(mat2(c, s, -s, c) * scaled.xy, scaled.z) + place.xyz;
    if (look.w < 0.) world.z += ground_height(world.xy);
    gl_Position = view_projection * vec4(world, 1);
}
