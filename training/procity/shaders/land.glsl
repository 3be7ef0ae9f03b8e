// The hills of training.procity.land.Land: kx, ky, phase, amplitude.
uniform vec4 hills[3];

float ground_height(vec2 p) {
    float z = 0.;
    for (int i = 0; i < 3; i++) z += hills[i].w * sin(dot(hills[i].xy, p) + hills[i].z);
    return z;
}
