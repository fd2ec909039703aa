"""The method in one picture: image -> encoder -> [layer] -> gate -> decoder -> two losses."""

from svg import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing


def method_picture() -> str:
    """The picture as SVG."""
    drawing = Drawing(960, 300, "Class suppression: one class's information is taken away at a layer, two losses train")
    drawing.box(20, 60, 90, 60, ["image"], GREY)
    drawing.box(150, 60, 120, 60, ["encoder", "smp, timm, HRNet"], BLUE)
    drawing.box(310, 60, 130, 60, ["feature layer", "map A"], BLUE)
    drawing.box(580, 60, 140, 60, ["rest of the network", "decoder, classifier"], BLUE)
    drawing.box(580, 175, 140, 60, ["the same weights", "decoder, classifier"], BLUE)
    drawing.box(310, 175, 130, 60, ["gate", "without class z"], ORANGE)
    drawing.box(775, 60, 165, 60, ["loss 1", "all classes"], GREEN)
    drawing.box(775, 175, 165, 60, ["loss 2", "all classes but z", "+ alpha x p(z)"], GREEN)
    drawing.box(60, 175, 170, 60, ["draw a class z", "sampling strategy, probability p"], ORANGE, size=13)
    drawing.arrow((110, 90), (148, 90))
    drawing.arrow((270, 90), (308, 90))
    drawing.arrow((440, 90), (578, 90))
    drawing.arrow((720, 90), (773, 90))
    drawing.arrow((375, 120), (375, 173))
    drawing.arrow((440, 205), (578, 205))
    drawing.arrow((720, 205), (773, 205))
    drawing.arrow((230, 205), (308, 205))
    drawing.arrow((65, 175), (65, 122), dashed=True)
    drawing.words(75, 150, "layer input: the pixels of z are erased", size=11, anchor="start", ink=QUIET)
    drawing.words(509, 82, "plain path", size=12, ink=QUIET)
    drawing.words(509, 197, "suppressed path", size=12, ink=QUIET)
    drawing.words(
        480, 32, "Training: a class is drawn, and its information is taken away at a layer", size=16, bold=True
    )
    drawing.words(
        480, 276, "After training nothing is suppressed: gate and block fold into the network.", size=13, ink=QUIET
    )
    return drawing.text()
