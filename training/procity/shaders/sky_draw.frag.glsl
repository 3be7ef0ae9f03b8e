#version 330
// The sky behind everything, with the fog in front of it.
#include "hash.glsl"
in vec2 q;
out vec4 colour;
uniform sampler2D sky;
uniform mat4 inverse_view_projection;
uniform vec3 camera, fog_colour, fog_sun, sun_direction;
uniform float fog_on_sky;

void main() {
    vec4 far_point = inverse_view_projection * vec4(q * 2. - 1., 1., 1.);
    vec3 d = normalize(far_point.xyz / far_point.w - camera);
    vec3 c = textureLod(sky, sky_coordinates(d), 0.).rgb;
    float fog = fog_on_sky * exp(-max(d.z, 0.) * mix(7., 1.5, fog_on_sky));
    float towards_sun = pow(max(dot(d, sun_direction), 0.), 6.);
    colour = vec4(mix(c, fog_colour + fog_sun * towards_sun, fog), 1. - fog);
}
