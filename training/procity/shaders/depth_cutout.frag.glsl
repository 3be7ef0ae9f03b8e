#version 330
// Leaves and railings into the shadow map.
uniform sampler2DArray albedo_tiles;
in vec2 tile;
flat in float tile_layer;

void main() {
    if (texture(albedo_tiles, vec3(tile, tile_layer)).a < .5) discard;
}
