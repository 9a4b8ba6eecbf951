"""The small world: pictures of the grammar's sentences, drawn exactly, and the small models trained on them.

It stands in for what the paper needs and a laptop lacks: ImageNet, Stable Diffusion, CLIP. The method does not know it, except
where a stand-in is chosen by scale.
"""
