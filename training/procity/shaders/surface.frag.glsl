#version 330
// One source, compiled once for every combination in use. The software renderer executes every branch, so what a material or a
// condition does not need is left out by the preprocessor:
//   FACADES (walls with windows, shop fronts)  GROUND (road, pavement, markings)  CARS  CUTOUTS (leaves, railings)  THINGS (the rest)
//   SUN (direct light)  LAMPS (street lamps are on)  SNOW  WET
#include "surface_kinds.glsl"
#include "hash.glsl"
#include "land.glsl"
uniform sampler2DArray albedo_tiles, material_tiles, height_tiles;
uniform sampler2D sky, mirror;
uniform sampler2DShadow shadow_map;
uniform mat4 shadow_matrix;
uniform vec3 camera, sun_direction, sun_colour, ambient_up, ambient_side, ambient_down, fog_colour, fog_sun;
uniform float fog_density, wetness, snow, lit_windows, lamp_power, season, shadow_radius, soft_sky, mirrored, mirror_level, window_seed, era;
uniform vec2 resolution;
uniform int lamp_count;
uniform vec4 lamp_place[24];    // xyz, 1 for a shop window
uniform vec4 lamp_colour[24];
in vec3 world;
in vec3 world_normal;
in vec2 tile;
flat in float tile_layer;
flat in vec3 surface_tint;
flat in float surface_seed;
flat in int kind;
flat in float instance_random;
out vec4 colour;

vec3 to_linear(vec3 c) {
    return c * c * (c * .305 + .695);
}

void main() {
    if (mirrored > .5 && world.z < mirror_level + .02) discard;
    float above_ground = world.z - ground_height(world.xy);
    vec2 at_tile = tile;
    vec3 own_tint = surface_tint;
#if defined(THINGS)
    if (kind == SIGN && era > .5 && hash21(vec2(surface_seed * .37, era * 7.1)) < .55)   // another shop, another sign
        at_tile.y += .125 * floor(1. + 7. * hash21(vec2(surface_seed, era)));
#endif
#if defined(FACADES)
    float building = floor(surface_seed / 64.);
    if (kind == FACADE && era > .5 && hash21(vec2(building * 1.3, era * 3.7)) < .35) {   // repainted
        float q = hash21(vec2(building, era * 5.3));
        vec3 paint = q < .3 ? vec3(.86, .74, .56) : (q < .55 ? vec3(.80, .82, .84) : (q < .8 ? vec3(.74, .52, .42) : vec3(.62, .70, .66)));
        own_tint = mix(own_tint, paint, .8);
    }
#endif
    vec4 texel = texture(albedo_tiles, vec3(at_tile, tile_layer));
#ifdef CUTOUTS
    if (texel.a < .5) discard;
#endif
    vec3 to_camera = camera - world;
    float distance_here = length(to_camera);
    to_camera /= distance_here;
    vec3 face = normalize(world_normal);
#if defined(GROUND) || defined(CARS) || defined(CUTOUTS) || defined(THINGS)
    bool two_sided = !(kind == GENERIC || kind == SIGN || kind == ROOF || kind == LEAF);
    if (two_sided && dot(face, to_camera) < 0.) face = -face;
#endif
    vec3 N = face;
    float tinted = (kind == LEAF || kind == CUT_OUT || kind == SCAFFOLD) ? 1. : texel.a;
    vec3 albedo = to_linear(texel.rgb) * mix(vec3(1), to_linear(own_tint), tinted);
    vec3 emitted = vec3(0);
    float sun_relief = 1.;

#ifdef FACADES
    vec2 cell = floor(tile), inside = fract(tile);   // one cell is one window
    vec4 material = texture(material_tiles, vec3(tile, tile_layer));
    vec3 along = vec3(-N.y, N.x, 0);
    vec2 bump = (material.ba - .5) * 2.;
    float glass = material.r;
    float window_random = hash21(cell + vec2(surface_seed * 1.37, surface_seed * .71) + window_seed);
    float blind_random = hash21(cell + vec2(surface_seed, 3.1));
    float length_random = hash21(cell * 1.7 + vec2(surface_seed, 9.7));
    float shade_random = hash21(cell + vec2(7.7, surface_seed));
    bool behind_blind = blind_random < .38 && inside.y > .25 + .5 * length_random;
    if (kind == FACADE && glass > .3) {   // blinds and curtains differ in every window
        if (behind_blind) {
            float slats = .75 + .25 * sin(inside.y * 260.);
            albedo = mix(albedo, vec3(.52, .50, .45) * mix(vec3(1), vec3(.8, .75, .6), shade_random) * slats, .85);
            glass *= .25;
        }
        albedo *= .5 + shade_random * 1.2;
    }
    float share = kind == SHOP ? min(1., lit_windows * 2.2) : lit_windows;
    float switched_on = step(1. - share, window_random);
    vec3 bulb = mix(vec3(1., .56, .22), vec3(1., .84, .58), length_random);
    if (shade_random > .9) bulb = vec3(.65, .82, 1.);
    if (kind == SHOP) bulb = mix(vec3(1., .80, .52), vec3(.92, .96, 1.), step(.6, length_random));
    vec3 brightness = kind == SHOP ? 1.5 * (.35 + 2.2 * albedo / (albedo + .2)) : vec3((.55 + .8 * blind_random) * (.55 + .6 * inside.y));
    emitted = material.g * switched_on * bulb * (behind_blind ? .45 : 1.) * brightness * .9 * smoothstep(0., .05, lit_windows);
    N = normalize(N + (along * bump.x + vec3(0, 0, 1) * bump.y) * .9);
#ifdef SNOW
    albedo = mix(albedo, vec3(.86), smoothstep(.25, .6, bump.y) * snow * .9);   // on the sills
#endif
#ifdef SUN
    // four steps through the height map: the sun's shadow in window recesses
    vec3 light_in_wall = vec3(dot(sun_direction, along), sun_direction.z, dot(sun_direction, face));
    float height_here = textureLod(height_tiles, vec3(tile, tile_layer), 0.).r;
    vec2 slope = light_in_wall.xy / max(light_in_wall.z, .12) / 3.;
    int steps = (light_in_wall.z > .02 && distance_here < 50.) ? 4 : 0;
    for (int i = 1; i <= steps; i++) {
        float travelled = float(i) * .11;
        float height_there = textureLod(height_tiles, vec3(tile + clamp(slope * travelled * .8, -.3, .3), tile_layer), 0.).r;
        if (height_there > height_here + travelled + .02) sun_relief = .12;
    }
#endif
    albedo *= .72 + .28 * smoothstep(0., 3., above_ground);   // dirt near the street
    albedo *= .86 + .24 * value_noise(vec2(dot(world.xy, along.xy) * .7 + surface_seed, world.z * .25));
#endif

#ifdef THINGS
    if (kind == GENERIC) {
        albedo *= .75 + .25 * smoothstep(0., 2.5, above_ground);
        albedo *= .88 + .2 * value_noise(world.xy * .6 + world.z * .3);
    }
#endif

#ifdef GROUND
    if (kind == ROAD) {   // patches and cracks
        float patches = value_noise(world.xy * .13) * .6 + value_noise(world.xy * .6) * .4;
        albedo *= .95 + .6 * patches;
        float crack = abs(value_noise(world.xy * .35 + 3.) - .5);
        albedo *= mix(.6, 1., smoothstep(0., .018, crack));
    }
    if (kind == MARKING) {   // worn paint
        float wear = value_noise(world.xy * 3.) * .6 + value_noise(world.xy * 11.) * .4;
        albedo = mix(vec3(.075), albedo * .8, smoothstep(.2, .5, wear));
    }
    if (kind == WALK && surface_tint.x > .99 && surface_tint.y > .99 && surface_tint.x < 1.01) {
        albedo *= .82 + .3 * value_noise(world.xy * .3);
        if (season > 1.5 && season < 2.5) {   // fallen leaves
            float leaves = value_noise(world.xy * 6.) * value_noise(world.xy * .45 + 9.);
            if (leaves > .38) albedo = mix(albedo, mix(vec3(.35, .2, .04), vec3(.3, .1, .02), value_noise(world.xy * 9.)), .75);
        }
    }
#endif

#ifdef CUTOUTS
    if (kind == LEAF) {
        float q = fract(instance_random * 7.31 + .13);
        vec3 leaf;
        if (season < .5) leaf = vec3(.26, .40, .09);
        else if (season < 1.5) leaf = mix(vec3(.13, .23, .05), vec3(.20, .30, .07), q);
        else leaf = q < .4 ? vec3(.62, .40, .06) : (q < .75 ? vec3(.58, .22, .04) : vec3(.40, .34, .08));
        albedo *= leaf * 1.6 * (.8 + .4 * fract(surface_seed * .37));
    }
#endif

#ifdef SNOW
    {
        float uneven = value_noise(world.xy * 1.3 + world.z) * .5 + value_noise(world.xy * 5.) * .3;
        float cover = smoothstep(.35, .75, N.z + uneven * .35 - .1);
        if (kind == LEAF) cover = smoothstep(-.15, .5, N.z + uneven * .4);
        if (kind == ROAD || kind == MARKING) {   // wheels have opened it
            float tracks = value_noise(world.xy * .35) * .7 + value_noise(world.xy * 2.1) * .4;
            cover *= smoothstep(.30, .62, tracks + .12 * snow);
        }
        if (kind == WATER) cover *= .25;
        if (kind == PEDESTRIAN) cover *= .25;
        if (kind == CAR_SHADOW) cover *= .35;
        if (kind == LAMP || kind == TAIL_LIGHT || kind == SIGN) cover = 0.;
        if (kind == CAR_GLASS) cover *= .6;
        albedo = mix(albedo, vec3(.84, .86, .90) * (.9 + .12 * uneven), cover * snow);
    }
#endif

#ifdef WET
#ifdef GROUND
    float puddle = smoothstep(.42, .62, value_noise(world.xy * .33) * .65 + value_noise(world.xy * 1.1) * .35);
    float gloss = wetness * mix(kind == WALK ? .22 : .38, .95, puddle);
    albedo *= mix(1., .42, wetness);
#else
    albedo *= mix(1., .72, wetness);
#endif
#endif

    // the sun's shadow; with a closed sky the same map, taken from the zenith with a wide filter, is soft sky occlusion
    float towards_sun = dot(N, sun_direction);
    if (kind == LEAF) towards_sun = abs(towards_sun) * .6 + .35;
    float unshadowed = 1.;
    vec4 in_shadow_map = shadow_matrix * vec4(world + face * .06, 1);
    vec3 at = in_shadow_map.xyz * .5 + .5;
    if (all(lessThan(abs(in_shadow_map.xy), vec2(.98)))) {
        float turn = hash21(gl_FragCoord.xy) * 6.283;
        vec2 a = vec2(cos(turn), sin(turn)) * shadow_radius, b = vec2(-a.y, a.x);
        float z = at.z - .0012;
        unshadowed = (texture(shadow_map, vec3(at.xy + a, z)) + texture(shadow_map, vec3(at.xy - a * .7, z))
                    + texture(shadow_map, vec3(at.xy + b * .85, z)) + texture(shadow_map, vec3(at.xy - b * .5, z))) * .25;
    }
    float direct = unshadowed * (1. - soft_sky);
    vec3 received = mix(ambient_side, N.z > 0. ? ambient_up : ambient_down, abs(N.z)) * mix(1., .55 + .45 * unshadowed, soft_sky);
    received += sun_colour * max(towards_sun, 0.) * sun_relief * direct;
#ifdef CUTOUTS
    if (kind == LEAF) received += sun_colour * .25 * direct * pow(max(dot(-to_camera, sun_direction), 0.), 2.);   // shines through
#endif
#ifdef LAMPS
    for (int i = 0; i < lamp_count; i++) {
        vec3 d = lamp_place[i].xyz - world;
        float square = dot(d, d);
        if (square < 420.) {
            float inverse = inversesqrt(square);
            float downwards = lamp_place[i].w > .5 ? .7 : clamp(.25 + d.z * inverse, 0., 1.);
            float facing = kind == LEAF ? .5 : max(dot(N, d) * inverse, 0.);
            received += lamp_colour[i].rgb * (facing * downwards * lamp_power / (square + 1.5) * max(0., 1. - square / 420.));
        }
    }
#endif
    vec3 c = albedo * received;

#if defined(FACADES) || defined(CARS)
    {   // window panes and car paint mirror the sky, or a plain wall where the houses opposite would be
        vec3 pane = face;
        float base = .10, strength = 1.;
#ifdef FACADES
        pane = normalize(face + vec3(hash21(cell + surface_seed) - .5, hash21(cell + surface_seed + 5.) - .5, hash21(cell + surface_seed + 2.) - .5) * .07);
        strength = glass;
#else
        if (kind == CAR) base = .04;
#endif
        vec3 R = reflect(-to_camera, pane);
        float fresnel = mix(base, 1., pow(1. - max(dot(pane, to_camera), 0.), 5.)) * strength;
        vec3 seen = textureLod(sky, sky_coordinates(normalize(vec3(R.xy, max(R.z, .02)))), 2.).rgb;
        float open_sky = smoothstep(.10, .42, R.z + (value_noise(R.xy * 14.) - .5) * .12);
        vec3 wall = (ambient_side * .28 + sun_colour * .10 * (1. - soft_sky)) * vec3(.62, .55, .48) * (.6 + .7 * value_noise(R.xy * 22.));
        seen = mix(R.z < 0. ? ambient_side * .12 : wall, seen, open_sky);
        c = c * (1. - fresnel) + seen * fresnel;
        float sun_in_mirror = max(dot(R, sun_direction), 0.);
#ifdef FACADES
        c += sun_colour * pow(sun_in_mirror, 400.) * 6. * direct * glass;
#else
        c += sun_colour * pow(sun_in_mirror, kind == CAR ? 90. : 400.) * (kind == CAR ? 1.5 : 6.) * direct;
#endif
    }
#endif

#ifdef GROUND
    if (kind == WATER) {   // ripples that mirror the sky, or a plain wall where the houses are
        vec2 wave = vec2(value_noise(world.xy * vec2(1.1, 2.3)), value_noise(world.yx * vec2(1.7, .9) + 31.)) - .5;
        vec3 surface = normalize(vec3(wave * .16 + (vec2(value_noise(world.xy * 6.), value_noise(world.xy * 6. + 17.)) - .5) * .07, 1.));
        vec3 R = reflect(-to_camera, surface);
        float fresnel = .03 + .97 * pow(1. - max(dot(surface, to_camera), 0.), 5.);
        vec3 seen = textureLod(sky, sky_coordinates(normalize(vec3(R.xy, max(R.z, .02)))), 1.).rgb;
        vec3 walls = ambient_side * .30 * vec3(.62, .55, .48) * (.7 + .6 * value_noise(R.xy * 9.));
        seen = mix(walls, seen, smoothstep(.22, .55, R.z));
        c = mix(c, seen, min(fresnel * 1.3, .95));
        c += sun_colour * pow(max(dot(R, sun_direction), 0.), 180.) * 1.5 * direct;
    }
#endif
#if defined(GROUND) && defined(WET)
    if (kind != WATER) {   // the mirrored street, rougher where it is less wet
        vec2 on_screen = gl_FragCoord.xy / resolution;
        float rough = (1. - gloss) * .05 + .006;
        vec2 ripple = vec2(value_noise(world.xy * 5.) - .5, value_noise(world.xy * 5. + 40.) - .5) * vec2(.6, 2.5) * rough;
        float fresnel = clamp((.05 + .95 * pow(1. - max(to_camera.z, 0.), 5.)) * gloss * 1.25, 0., .9);
        vec3 seen = textureLod(mirror, on_screen + ripple, 0.).rgb * 2.;
        seen += textureLod(mirror, on_screen + ripple * 2. + vec2(0, .5 * rough), 0.).rgb;
        seen += textureLod(mirror, on_screen - ripple + vec2(0, -.4 * rough), 0.).rgb;
        c = mix(c, seen * .25, fresnel);
    }
#endif

#if defined(THINGS) && defined(LAMPS)
    if (kind == LAMP) emitted = surface_tint * 6. * lamp_power;
    if (kind == TAIL_LIGHT) emitted = vec3(1., .03, .01) * .9;
    if (kind == SIGN) emitted = albedo * step(.35, fract(surface_seed * .377)) * 1.6 * lamp_power;
#endif
    c += emitted;
    float clear_air = exp(-fog_density * distance_here - fog_density * fog_density * distance_here * distance_here * .35);
    float into_sun = pow(max(dot(-to_camera, sun_direction), 0.), 6.);
    colour = vec4(min(mix(fog_colour + fog_sun * into_sun, c, clear_air), vec3(60.)), clear_air);
}
