#version 330
// Opaque geometry into the shadow map: positions only.
in vec3 position;
in vec4 place;
in vec4 look;
uniform mat4 view_projection;

void main() {
    float c = cos(place.w), s = sin(place.w);
    vec3 scaled = position * abs(look.w);
    gl_Position = view_projection * vec4(mat2(c, s, -s, c) * scaled.xy + place.xy, scaled.z + place.z, 1);
}
