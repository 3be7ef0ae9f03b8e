#version 330
// Half the size, 3x3 mean, for the bloom. Level 0 is named: an implicit level would read what an earlier photo left behind.
in vec2 q;
out vec4 colour;
uniform sampler2D source;
uniform vec2 pixel;

void main() {
    vec3 sum = vec3(0);
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++) sum += min(textureLod(source, q + vec2(i, j) * pixel, 0.).rgb, vec3(12.));
    colour = vec4(sum / 9., 1);
}
