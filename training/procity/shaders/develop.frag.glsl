#version 330
// From linear light to a photo: occlusion, bloom, halos round lamps, rain and flakes, exposure, tone curve, vignette.
#include "hash.glsl"
in vec2 q;
out vec4 colour;
uniform sampler2D light, depth, bloom_half, bloom_quarter, bloom_eighth, weather;
uniform vec2 pixel;
uniform float exposure, auto_exposure, bloom, vignette, rain, flakes, weather_seed, occlusion, saturation, blur, halo, near_plane, far_plane;
uniform vec3 white_balance, camera, forward, drop_colour;
uniform mat4 inverse_view_projection;
uniform int lamp_count;
uniform vec4 lamp_place[24];
uniform vec4 lamp_colour[24];

float metres(vec2 at) {
    float z = textureLod(depth, at, 0.).r * 2. - 1.;
    return 2. * near_plane * far_plane / (far_plane + near_plane - z * (far_plane - near_plane));
}

vec3 tone_curve(vec3 x) {   // the usual fit of the ACES film curve
    return clamp((x * (2.51 * x + .03)) / (x * (2.43 * x + .59) + .14), 0., 1.);
}

void main() {
    float distance_here = metres(q);

    // screen-space occlusion: nine samples on a turned spiral
    float sum = 0.;
    float turn = fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(.06711056, .00583715)))) * 6.283;
    float reach = clamp(.9 / distance_here, .006, .12);
    for (int i = 0; i < 9; i++) {
        float a = turn + float(i) * 2.4, r = reach * sqrt((float(i) + .7) / 9.);
        float nearer = distance_here - metres(q + vec2(cos(a) * .75, sin(a)) * r);
        sum += clamp(nearer * 2.2 - .06, 0., 1.) * smoothstep(2.2, .6, nearer);
    }
    float clear_air = textureLod(light, q, 0.).a;
    float open = 1. - occlusion * sum / 9. * smoothstep(120., 20., distance_here) * clear_air;

    vec3 glow = textureLod(bloom_half, q, 0.).rgb * .45 + textureLod(bloom_quarter, q, 0.).rgb * .35 + textureLod(bloom_eighth, q, 0.).rgb * .2;
    float mean = dot(textureLod(bloom_half, vec2(.5, .45), 6.).rgb, vec3(.3, .5, .2));
    float gain = exposure * pow(.42 / max(mean, .02), auto_exposure);

    // light scattered by the air round each lamp, integrated along the view ray
    vec3 scattered = vec3(0);
    if (halo > 0.) {
        vec4 far_point = inverse_view_projection * vec4(q * 2. - 1., 1., 1.);
        vec3 ray = normalize(far_point.xyz / far_point.w - camera);
        float ray_length = distance_here / max(.3, dot(ray, forward));
        for (int i = 0; i < lamp_count; i++) {
            if (lamp_place[i].w > .5) continue;   // shop windows have no halo
            vec3 v = lamp_place[i].xyz - camera;
            float along = dot(v, ray);
            float beside = sqrt(max(dot(v, v) - along * along, .04));
            float integral = (atan((ray_length - along) / beside) + atan(along / beside)) / beside;
            scattered += lamp_colour[i].rgb * integral * exp(-.012 * length(v));
        }
        scattered *= halo;
    }

    float drops = 0., snow = 0.;
    vec2 shift = weather_seed * vec2(.37, .71);
    if (rain > 0.) {
        drops = textureLod(weather, q * vec2(1.1, .8) + shift, 0.).r;
        drops += .7 * textureLod(weather, q * vec2(2.1, 1.5) + weather_seed * vec2(.91, .13), 1.).g;
    }
    if (flakes > 0.) {
        vec2 p = q * vec2(1., .75);
        snow = textureLod(weather, p * .9 + shift, 0.).b;
        snow += textureLod(weather, p * 2. + weather_seed * vec2(.17, .31), 1.).b * .8;
        snow += textureLod(weather, p * 3.6 + weather_seed * vec2(.57, .11), 2.).b * .6;
    }

    vec3 sum_of_four = vec3(0);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            vec2 offset = (vec2(i, j) - .5) * pixel * (1. + blur);
            vec3 c = mix(textureLod(light, q + offset, 0.).rgb * open, glow, bloom) + scattered;
            c = mix(c, drop_colour, clamp(drops * rain, 0., .55));
            c = mix(c, drop_colour * 1.6, clamp(snow * flakes, 0., .92));
            sum_of_four += tone_curve(c * gain * white_balance);
        }
    vec3 c = sum_of_four * .25;
    c *= 1. - vignette * dot(q - .5, q - .5) * 1.6;
    c = mix(vec3(dot(c, vec3(.3, .59, .11))), c, saturation);
    colour = vec4(pow(max(c, 0.), vec3(1. / 2.2)), 1);
}
