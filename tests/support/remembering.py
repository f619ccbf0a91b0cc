"""A network that computes each batch once: the same batch gets the same answer again, at once."""

from hashlib import sha256

from models.preprocess import Array
from models.runtime import Predictor


def remembering(network: Predictor) -> Predictor:
    """Return the network with a memory of its answers, told apart by every bit of the batch."""
    answers: dict[tuple[bytes, tuple[int, ...]], tuple[Array, ...]] = {}

    def answer(batch: Array) -> tuple[Array, ...]:
        key = sha256(batch.tobytes()).digest(), batch.shape
        if key not in answers:
            answers[key] = network(batch)
        return tuple(each.copy() for each in answers[key])

    return answer
