// Cheap hashes and value noise. Everything random inside a shader comes from here, so a photo never depends on time or order.
float hash21(vec2 p) {
    p = fract(p * vec2(.1031, .1030));
    p += dot(p, p.yx + 33.33);
    return fract((p.x + p.y) * p.x * 7.31);
}

float value_noise(vec2 p) {
    vec2 i = floor(p), f = fract(p);
    f = f * f * (3. - 2. * f);
    return mix(mix(hash21(i), hash21(i + vec2(1, 0)), f.x), mix(hash21(i + vec2(0, 1)), hash21(i + vec2(1, 1)), f.x), f.y);
}

float cloud_noise(vec2 p) {
    float amplitude = .5, sum = 0.;
    for (int octave = 0; octave < 5; octave++) {
        sum += amplitude * value_noise(p);
        p = p * 2.03 + vec2(17.1, 9.2);
        amplitude *= .5;
    }
    return sum;
}

// Direction -> coordinates in the sky picture (azimuth, elevation).
vec2 sky_coordinates(vec3 d) {
    return vec2(atan(d.y, d.x) * .15915494 + .5, asin(clamp(d.z, -1., 1.)) * .31830989 + .5);
}

// Whether a building (64 surface seeds each) is scaffolded in an era; era 0 is the database's.
bool has_scaffold(float seed, float era) {
    return hash21(vec2(floor(seed / 64.) * 1.7, era * 11.3 + .5)) < (era > .5 ? .14 : .02);
}
