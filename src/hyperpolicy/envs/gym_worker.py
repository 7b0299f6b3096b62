"""A process that steps Gymnasium environments for another one: `python -m` this module."""

import os
import sys

from hyperpolicy.envs.gym_worlds import Crew, pack, unpack
from hyperpolicy.envs.registry import read
from hyperpolicy.errors import HyperpolicyError


def main() -> None:
    """Answer commands until there are no more."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    crew: Crew
    while (message := unpack(sys.stdin.buffer)) is not None:
        command, arrays, more = message
        try:
            if command == "open":
                crew = Crew(read(more[0]), int(more[1]))
                found = {}
            else:
                crew.tell(command, **arrays)
                found = crew.wait()
            reply.write(pack("done", found))
        except HyperpolicyError as error:
            reply.write(pack("refused", {}, str(error)))
        reply.flush()


if __name__ == "__main__":
    main()
