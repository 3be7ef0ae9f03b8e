"""ProCity: a procedural city that can be photographed.

`atlas.build_atlas` paints the texture layers, `plan.build_city` lays out streets, buildings and furniture as triangle
meshes that use those layers. Both are pure NumPy and Pillow and depend on nothing but their seeds.
"""
