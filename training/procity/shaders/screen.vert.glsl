#version 330
in vec2 corner;
out vec2 q;   // 0..1 across the picture

void main() {
    q = corner * .5 + .5;
    gl_Position = vec4(corner, .99999, 1);
}
