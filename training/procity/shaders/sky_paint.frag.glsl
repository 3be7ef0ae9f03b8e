#version 330
// The whole sky of one condition, as azimuth x elevation.
#include "hash.glsl"
in vec2 q;
out vec4 colour;
uniform vec3 zenith, horizon, sun_glow, sun_direction, cloud_lit, cloud_dark;
uniform float cloud_cover, cloud_edge, overcast, stars, cloud_seed;

void main() {
    float azimuth = (q.x - .5) * 6.2831853, elevation = (q.y - .5) * 3.14159265;
    vec3 d = vec3(cos(elevation) * cos(azimuth), cos(elevation) * sin(azimuth), sin(elevation));
    float height = max(d.z, 0.);
    float towards_sun = max(dot(d, sun_direction), 0.);
    vec3 c = mix(horizon, zenith, 1. - exp(-height * 3.2));
    c += sun_glow * (pow(towards_sun, 4.) * .25 + pow(towards_sun, 24.) * .5 + pow(towards_sun, 300.) * 3.) * mix(1., .4, height);

    // one layer of clouds, bent by a second noise and lit from the sun's side
    vec2 p = d.xy / (height + .12) * 1.15 + cloud_seed * 13.7;
    vec2 bend = vec2(cloud_noise(p * .8), cloud_noise(p * .8 + 5.2));
    float density = cloud_noise(p + bend * .9);
    float mask = smoothstep(1. - cloud_cover, 1. - cloud_cover + cloud_edge, density);
    float lit = clamp((density - cloud_noise(p + bend * .9 + sun_direction.xy * .12)) * 3. + .55, 0., 1.);
    vec3 cloud = mix(cloud_dark, cloud_lit, lit) + sun_glow * .35 * pow(towards_sun, 8.);
    c = mix(c, cloud, mask * smoothstep(.0, .10, d.z) * .95);

    vec3 closed = cloud_dark + (cloud_lit - cloud_dark) * (.35 + .65 * cloud_noise(p * .7)) * (.6 + .4 * height);
    c = mix(c, closed, overcast);
    if (stars > 0.) {
        vec3 cell = floor(d * 170.);
        float star = step(.9975, hash21(cell.xy + cell.z * 3.7));
        c += stars * star * .08 * (1. - mask) * (1. - overcast) * smoothstep(.05, .3, d.z);
    }
    if (d.z < 0.) c = mix(horizon, cloud_dark * .4, min(1., -d.z * 4.));
    colour = vec4(c, 1);
}
