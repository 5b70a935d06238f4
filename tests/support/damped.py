"""The method whose pixels a second way can compute, and the fastest: of tests that are about numbers or many runs."""

import spaceeye_stac as se

DAMPED = se.Settings(method="damped")
BY_DAMPED = ("--method", "damped")
