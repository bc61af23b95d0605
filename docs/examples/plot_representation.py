"""
===============
Representations
===============

What a table looks like in few numbers, and what each of these numbers means: a map of digits
that can be read backwards, latents as strips of images, and the columns of a table that move
together.  Only data that ship with scikit-learn.
"""

# %%
# A map of digits
# ---------------
# Two latents, asked to keep neighbours together.  Half of the digits make the map; the picture
# shows the other half, which it has not seen.  The labels are only used for the colours.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from skvae import VAETransformer
from skvae.plotting import (
    LatentDisplay,
    ReconstructionDisplay,
    SensitivityDisplay,
    TraversalDisplay,
)

X, y = load_digits(return_X_y=True)
X_map, X_new, y_map, y_new = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)

map_ = VAETransformer(n_components=2, penalty="neighbors", random_state=0).fit(X_map)
codes, new_codes = map_.transform(X_map), map_.transform(X_new)

right = KNeighborsClassifier(5).fit(codes, y_map).score(new_codes, y_new)
display = LatentDisplay.from_estimator(
    map_,
    X_new,
    y_new,
    name=f"Unseen digits, of which their five neighbours tell {right:.1%} right",
)

# %%
# The same map, read backwards
# ----------------------------
# ``inverse_transform`` gives an image for every point of the plane.  Where no digit lies near, the
# model guesses; there the images fade.

n_across, gap = 24, 2
low, high = codes.min(0), codes.max(0)
step = (high[0] - low[0]) / (n_across - 1)
across = np.arange(low[0], high[0] + step / 2, step)
down = np.arange(high[1], low[1] - step / 2, -step)
plane = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
images = map_.inverse_transform(plane).reshape(len(down), len(across), 8, 8).clip(0, 16)
distance = NearestNeighbors(n_neighbors=1).fit(codes).kneighbors(plane)[0]
images *= np.where(distance < 0.8 * step, 1.0, 0.12).reshape(*images.shape[:2], 1, 1)

tiles = np.pad(images, ((0, 0), (0, 0), (gap, 0), (gap, 0)))
picture = tiles.swapaxes(1, 2).reshape(len(down) * (8 + gap), -1)
figure, ax = plt.subplots(figsize=(7.0, 0.3 + 7.0 * len(down) / n_across), layout="constrained")
ax.imshow(picture, cmap="gray_r", vmin=0, vmax=16)
ax.set_title(
    "Every image is decoded from the point of the map where it stands",
    loc="left", fontsize="medium",
)  # fmt: skip
ax.set_axis_off()

# %%
# What each latent does
# ---------------------
# Eight latents keep more than two.  Each strip moves one of them through the range of the
# digits' codes, the others as in the first digit of the table.

vae = VAETransformer(n_components=8, random_state=0).fit(X_map)
strips = TraversalDisplay.from_estimator(
    vae, X_map, start=X[:1], image_shape=(8, 8), name="Digits"
)

# %%
# And what the eight keep, of digits that the model has not seen.

pairs = ReconstructionDisplay.from_estimator(vae, X_new, image_shape=(8, 8), name="Digits, unseen")

# %%
# A table
# -------
# Thirty measurements of cell nuclei hang together in a few ways.  ``components_`` says which:
# the mean change of each column per unit of each latent, as loadings do for a linear model.  The
# picture has it in standard deviations of the columns.

table = load_breast_cancer(as_frame=True)
cells = VAETransformer(n_components=4, random_state=0).fit(table.data)
print(cells.components_.shape)
sensitivities = SensitivityDisplay.from_estimator(cells, name="Cell nuclei")

# %%
# A derivative is one number; the whole curve is the row that ``inverse_transform`` gives while
# one latent moves, in the column's own units.

curves = TraversalDisplay.from_estimator(cells, table.data, name="Cell nuclei")

# %%
# The codes know the diagnosis without having been told.

diagnosis = table.target.map(dict(enumerate(table.target_names))).rename("diagnosis")
both = LatentDisplay.from_estimator(cells, table.data, diagnosis, name="Cell nuclei")

# %%
# What four numbers keep of thirty, column by column.

kept = ReconstructionDisplay.from_estimator(cells, table.data, name="Cell nuclei")
