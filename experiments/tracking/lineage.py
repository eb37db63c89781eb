"""What a run was made from and what it made, as MLflow's own entities: data sets as inputs, networks as logged models.

Neither holds data: a data set is known by its signature, a model by the training that made it; both are in the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    Param,
)
from mlflow.exceptions import MlflowException

from experiments.sweep.tasks import DataSource, SweepTask, Training, own_training
from experiments.tracking.experiment import MirroredExperiment
from experiments.tracking.sync_state import MirroredRun

CONTEXT = "mlflow.data.context"  # the tag of an input that says what it is for
MODEL_TYPE = "EDM"
UNKNOWN_TO_SERVER = "ENDPOINT_NOT_FOUND"
UNNAMEABLE = re.compile(r"[/:.%\"']+")  # characters that a logged model's name cannot have


def dataset_input(data: DataSource, context: str) -> DatasetInput:
    """Return a data set as an input of a run. context: what for, such as "training"."""
    image = f"uint8, {data.channels} x {data.resolution} x {data.resolution}"
    columns = {"image": image} | ({"class": f"one of {data.num_classes}"} if data.num_classes else {})
    schema = {"mlflow_colspec": [{"name": name, "type": kind} for name, kind in columns.items()]}
    profile = {"num_rows": sum(data.sizes.values()), **data.sizes}
    entity = Dataset(
        data.config.title,
        data.signature,
        "local",
        json.dumps({"uri": f"data/{data.signature}"}),  # in the store
        json.dumps(schema),
        json.dumps(profile),
    )
    return DatasetInput(entity, [InputTag(CONTEXT, context)])


class Lineage:
    """Records inputs and models of the runs of an experiment; each of them once, however often it is told to."""

    def __init__(self, experiment: MirroredExperiment) -> None:
        self.client, self.experiment = experiment.client, experiment

    def record_inputs(self, run: MirroredRun, task: SweepTask, models: Sequence[str] = ()) -> None:
        """Record the data set and the models that a task used: a server knows a data set again, but not a model."""
        data = own_training(task).data
        new: list[LoggedModelInput] = []
        if models:
            inputs = self.client.get_run(run.run_id).inputs
            known = [used.model_id for used in inputs.model_inputs] if inputs is not None else []
            new = [LoggedModelInput(model) for model in models if model not in known]
        self.client.log_inputs(run.run_id, [dataset_input(data, task.kind)], new)

    def record_model(self, run: MirroredRun, training: Training, name: str, parameters: Sequence[Param]) -> str | None:
        """Return the model that the run of a finished training has made; records it where there is none.

        None where the server is older than MLflow 3 and has no logged models.
        """
        if run.model is None:
            try:
                run.model = self._recorded(run, training, name, parameters)
            except MlflowException as error:
                if error.error_code != UNKNOWN_TO_SERVER:
                    raise
        return run.model

    def _recorded(self, run: MirroredRun, training: Training, name: str, parameters: Sequence[Param]) -> str:
        source = f"source_run_id = '{run.run_id}'"  # made already, where the answer was lost
        found = self.client.search_logged_models([self.experiment.id], source, max_results=1)
        model = found[0] if found else self._made(run, training, name, parameters)
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
        return model.model_id

    def _made(self, run: MirroredRun, training: Training, name: str, parameters: Sequence[Param]) -> LoggedModel:
        folder = f"{training.store_kind}/{training.signature}"
        return self.client.create_logged_model(
            self.experiment.id,
            UNNAMEABLE.sub("-", name),
            run.run_id,
            {"edm.signature": training.signature, "edm.folder": folder},  # the weights are there, in the store
            {parameter.key: parameter.value for parameter in parameters},
            MODEL_TYPE,
        )
