"""Train a text detector: compose -> data -> model -> trainer -> fit -> validate -> record.

    python -m runners.train dataset_base_path=PATH/ trainer.max_epochs=20

`--cfg job --resolve` prints the configuration instead of running it.
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ocr.inference import sentence_for_errors
from ocr.lightning_modules.assembly import open_run


@hydra.main(version_base=None, config_path="../configs", config_name="train")
def train(config: DictConfig) -> None:
    """Fit, go back to the best weights, validate them, and leave `run.json` with everything that was seen."""
    with open_run(config, "train", HydraConfig.get().overrides.task) as run:
        run.prepare_data()
        run.trainer.fit(run.module, datamodule=run.data, ckpt_path=config.resume, weights_only=True)
        run.validate_best()
    sys.stdout.write(f"run: {run.folder / 'run.json'}\n")


def main() -> None:
    """Run, and turn expected errors into one sentence and exit code 2."""
    with sentence_for_errors():
        train()


if __name__ == "__main__":
    main()
