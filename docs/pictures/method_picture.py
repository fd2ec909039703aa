"""The method in one picture: image -> encoder -> [layer] -> gate -> decoder -> two losses."""

from svg import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing

PLAIN, SUPPRESSED, TALL = 60, 175, 60


def method_picture() -> str:
    """The picture as SVG."""
    drawing = Drawing(960, 300, "Class suppression: one class's information is taken away at a layer, two losses train")
    drawing.words((480, 32), "Training: a class is drawn, and its information is taken away", letters=16, bold=True)
    drawing.box((20, PLAIN), (90, TALL), ["image"], GREY)
    drawing.box((150, PLAIN), (120, TALL), ["encoder", "smp, timm, HRNet"], BLUE)
    drawing.box((310, PLAIN), (130, TALL), ["feature layer", "its map"], BLUE)
    drawing.box((580, PLAIN), (140, TALL), ["rest of the network", "decoder, classifier"], BLUE)
    drawing.box((775, PLAIN), (165, TALL), ["loss 1", "all classes"], GREEN)
    drawing.box((60, SUPPRESSED), (170, TALL), ["draw a class z", "sampling, probability p"], ORANGE)
    drawing.box((310, SUPPRESSED), (130, TALL), ["gate", "without class z"], ORANGE)
    drawing.box((580, SUPPRESSED), (140, TALL), ["the same weights", "decoder, classifier"], BLUE)
    drawing.box((775, SUPPRESSED), (165, TALL), ["loss 2", "all classes but z", "+ alpha × p(z)"], GREEN)
    _paths(drawing)
    last = "After training nothing is suppressed: gate and block fold into the network."
    drawing.words((480, 276), last, letters=13, ink=QUIET)
    return drawing.text()


def _paths(drawing: Drawing) -> None:
    upper, lower = PLAIN + TALL / 2, SUPPRESSED + TALL / 2
    for start, end in ((110, 148), (270, 308), (440, 578), (720, 773)):
        drawing.arrow((start, upper), (end, upper))
    for start, end in ((230, 308), (440, 578), (720, 773)):
        drawing.arrow((start, lower), (end, lower))
    drawing.arrow((375, PLAIN + TALL), (375, SUPPRESSED - 2))
    drawing.arrow((65, SUPPRESSED), (65, PLAIN + TALL + 2), dashed=True)
    drawing.words((75, 150), "layer input: the pixels of z are erased", letters=11, anchor="start", ink=QUIET)
    drawing.words((509, upper - 8), "plain path", letters=12, ink=QUIET)
    drawing.words((509, lower - 8), "suppressed path", letters=12, ink=QUIET)
