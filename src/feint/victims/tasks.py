"""Models that are no classifiers: what they are, and what can be done about them."""

from feint.errors import BadInput
from feint.victims.raw import RawModel

REMEDIES = {
    "regression": "to measure it, return ranges of its value as classes from a function: package.module:function",
    "multi-label classification": "name one label at a time: a function that returns its score, as two classes",
    "detection": "measure the classifier of its crops, from a function: package.module:function",
    "detection or of sequences": "measure one crop or position, from a function: package.module:function",
    "segmentation": "return one class for each image from a function: package.module:function",
    "pose estimation": "return one class for each image from a function: package.module:function",
    "token classification or generation": "return one class for each text from a function: package.module:function",
    "texts and columns together": "hold the columns fixed in a function that takes the texts: package.module:function",
    "streams, with a state from call to call": "begin from the first state in a function: package.module:function",
    "embedding": "put the classifier behind it, and name both as one model",
    "clustering": "wrap it in a function that returns the cluster as label: package.module:function",
    "outlier detection": "wrap it in a function that returns 0 or 1 as label: package.module:function",
}
BOXES = {"boxes", "bboxes", "detection_boxes", "pred_boxes"}


def refuse_task(raw: RawModel, task: str | None) -> None:
    """Raise `BadInput` for a model with a task other than classification."""
    if task is not None:
        raise BadInput(
            f"{raw.place}, a model of {task}", "a classifier: one of K classes for each input",
            REMEDIES.get(task, "wrap it in a function that returns labels: package.module:function"),
        )  # fmt: skip


def task_of(raw: RawModel) -> str | None:
    """Return the task of a model that is no classifier, by its metadata or the shapes of its outputs, or None."""
    if raw.metadata.task is not None:
        return raw.metadata.task
    if BOXES & {spec.name.lower() for spec in raw.outputs}:
        return "detection"
    if _carries_state(raw):
        return "streams, with a state from call to call"
    ranks = {len(spec.shape) for spec in raw.outputs if spec.shape and tuple(spec.shape[2:]) != (1, 1)}
    if not ranks or min(ranks) < 3:
        return None
    if ranks == {4}:
        return "segmentation"
    return "detection or of sequences" if _takes_images(raw) else "token classification or generation"


def _takes_images(raw: RawModel) -> bool:
    return any(len(spec.shape) == 4 for spec in raw.inputs)


def _carries_state(raw: RawModel) -> bool:
    """Return whether one of several inputs comes back as an output, like h as hn: the state of a recurrent model."""
    return len(raw.inputs) > 1 and any(
        output.name.startswith(state.name) and len(output.shape) == len(state.shape) > 2
        for state in raw.inputs
        for output in raw.outputs
    )
