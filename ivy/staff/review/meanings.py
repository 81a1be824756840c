"""What the state of a mail means, told once: in the legend of the review. The names of states are those of `State`."""

from dataclasses import dataclass

from notifications.models import State

MEANS = {
    State.PENDING: "It goes out with the next look, or at its next try; not while notifications are halted.",
    State.CLAIMED: "It is about to be handed over. Should the worker die, it is owed again.",
    State.SENDING: "There is no way back from here. Should the worker die now, it was perhaps delivered.",
    State.SENT: "The server said yes. Ivy can't know whether somebody has read it.",
    State.UNCERTAIN: "The connection broke after the text was handed over. Ivy does not send it again by itself:"
    " somebody finds out, or orders it.",
    State.HELD: "The breaker stopped it. It goes out when somebody approves it or resets the breaker, if it is still"
    " true.",
    State.FAILED: "The server refused it, all tries were used up, or there is no usable address: the customer was"
    " not told.",
    State.SUPPRESSED: "The balance recovered first, another mail tells of it, or somebody said no.",
}


@dataclass(frozen=True)
class Meaning:
    """A state as pages call it, as commands and files do, and what it means."""

    words: str
    name: str
    means: str


def legend() -> list[Meaning]:
    """All states, in the order of a mail's life."""
    return [Meaning(str(state.label), state.value, means) for state, means in MEANS.items()]
