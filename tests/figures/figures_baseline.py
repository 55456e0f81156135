"""Small grey pictures of the figures to compare with; run as a script, this makes them anew."""

from pathlib import Path

import numpy as np
from figures_pages import data_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import gaussian_filter

from jepalign.figures import FIGURES, figure

FOLDER = Path(__file__).parent / "baseline"
DOTS_PER_INCH = 40
# Pixels over which ink is smeared: as far as wider tick labels of another typeface move the axes.
BLUR = 2.0


def picture(page: Figure) -> np.ndarray:
    """Return a figure in grey, (rows, columns), 0 black to 255 white, without its text, which takes its room all the same."""
    page.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(page)
    canvas.draw()  # makes the texts of ticks
    for text in page.findobj(Text):
        text.set_alpha(0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].mean(axis=2)


def distance(one: np.ndarray, two: np.ndarray) -> float:
    """Return how much ink two pictures of a shape have in different places after smearing, as a share of all of it."""
    first, second = (255 - gaussian_filter(part, BLUR) for part in (one, two))
    return float(np.abs(first - second).sum() / (first.sum() + second.sum()))


def stored(name: str) -> np.ndarray:
    """Return the picture that is kept of a figure."""
    with Image.open(FOLDER / f"{name}.png") as image:
        return np.asarray(image.convert("L"), dtype=float)


def main() -> None:
    """Write the picture of every figure."""
    FOLDER.mkdir(exist_ok=True)
    for name in FIGURES:
        grey = picture(figure(name).draw(data_of(name)))
        Image.fromarray(np.round(grey).astype(np.uint8)).save(FOLDER / f"{name}.png", optimize=True)
        print(f"wrote {FOLDER / name}.png")


if __name__ == "__main__":
    main()
