"""Order in which a claim asks about the inputs of marks."""

from collections.abc import Iterator, Sequence

from feint.ownership.mark import Mark
from feint.ownership.ordinary import OrdinaryInputs

BATCH = 50  # questions of each mark between two looks at the evidence
ORDINARY = 25  # questions by which a suspect of another task is recognised before it is asked the others


def turns(marks: Sequence[Mark], most: int) -> list[list[int]]:
    """Return how many questions of each mark are asked by the end of each turn, of so many questions at most."""
    ends, counts = list[list[int]](), [0] * len(marks)
    while most > 0 and counts != [*map(len, marks)]:
        for i, mark in enumerate(marks):
            more = min(BATCH, len(mark) - counts[i], most)
            counts[i] += more
            most -= more
        ends.append([*counts])
    return ends


def planned(marks: Sequence[Mark], most: int) -> Iterator[tuple[Mark, range]]:
    """Yield marks and rows of their inputs in the order in which a claim asks, of so many questions at most.

    A claim by account chooses as it goes. Here it has the order of the mark.
    """
    others = [mark for mark in marks if mark.method != OrdinaryInputs.method]
    for mark in marks:
        if mark not in others:
            yield mark, range(min(ORDINARY, len(mark), most))
            most -= min(ORDINARY, len(mark), most)
    before = [0] * len(others)
    for after in turns(others, most):
        yield from ((mark, range(start, end)) for mark, start, end in zip(others, before, after, strict=True))
        before = after
