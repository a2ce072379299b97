"""A repository whose trainer takes no time: the real command lines, processes and run files, without the model.

Its behaviour is read from the overrides, so that a test says what should go wrong: `standin.fail=yes`,
`standin.fail_with=FILE` (once that exists), `standin.refuse=yes`, `standin.hang=FILE` (with `standin.hang_with=FILE`:
once that exists), `standin.silent=yes`, `standin.hash=other`, `standin.weights=other`. With `batch_size=32` it is twice
as fast, with `batch_size=4` half as fast; a replayed stage takes no time in the warm epochs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.agent_tools.records.build import epoch, run_file

SCRIPT = '''
"""Writes a run file from a template and the overrides."""
import hashlib, json, os, subprocess, sys, time
from pathlib import Path

arguments = [a for a in sys.argv[1:] if "=" in a]
given = dict(a.lstrip("+").split("=", 1) for a in arguments)
if "--cfg" in sys.argv:
    if "batch_sise" in given:
        sys.exit("In 'train': Could not override 'batch_sise'. Key 'batch_sise' is not in struct")
    print("datasets:\\n  val_dataset:\\n    config:\\n      cache_config:\\n        cache_images: true")
    sys.exit(0)
print("MALLOC:", os.environ.get("MALLOC_TOP_PAD_"), "PYTHONPATH:", os.environ.get("PYTHONPATH"))
if given.get("standin.fail") or Path(given.get("standin.fail_with", "/nonexistent")).exists():
    print("RuntimeError: the batch is on fire", file=sys.stderr)
    sys.exit(3)
if given.get("standin.refuse"):
    sys.exit("error: checkpoint x.ckpt does not exist; give another path")
if given.get("standin.hang") and Path(given.get("standin.hang_with", "/")).exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(given["standin.hang"]).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)
if given.get("standin.silent"):
    sys.exit(0)
if "cache_dir" in given:
    Path(given["cache_dir"]).mkdir(parents=True)
    (Path(given["cache_dir"]) / "images.bin").write_bytes(b"x" * 100)
run = json.loads(Path("template.json").read_text())
folder = Path(given["output_dir"].strip("'")) / given["run_id"]
folder.mkdir(parents=True)
plain = [a for a in arguments if not a.startswith(("preset=", "standin.", "replay=", "batch_size=", "threads="))]
speed = float(len(plain)) * {"32": 2.0, "4": 0.5}.get(given.get("batch_size"), 1.0)
training = given.get("trainer.limit_val_batches") == "0"
passes = int(given["trainer.max_epochs"] if training else given.get("passes", 2))
replayed = [name for name in given.get("replay", "").strip("[]").split(",") if name]
epochs = []
for number in range(passes):
    seconds = (20.0 if number == 0 else 10.0) / speed
    stages = {"wait": 0.25 * seconds, "forward": 0.5 * seconds, "post": 0.125 * seconds, "loss": 0.001 * seconds}
    if number:
        for name in replayed:
            seconds -= stages.pop("wait" if name == "loader" else name)
    one = dict(run["epochs"][0], epoch=number, seconds=seconds, stages=stages)
    one["cpu"] = {name: value * (2 if name == "forward" else 1) for name, value in stages.items()}
    one["metrics"] = {"icdar_hmean": float(given.get("standin.metric", 0.8)), "cleval_hmean": 0.9}
    if training:
        one.update(phase="train", metrics={"loss": 1.0})
    epochs.append(one)
if training:
    run["datasets"]["train"] = dict(run["datasets"]["val"], name="training receipts")
if given.get("timeline") == "true":
    spans = [("wait", 0.0, 0.2), ("forward", 0.2, 0.5), ("post", 0.7, 0.1)]
    run["timeline"] = [
        {"stage": stage, "batch": batch, "start": batch + start, "seconds": length}
        for batch in range(3) for stage, start, length in spans
    ]
annotation = given.get("datasets.val_dataset.config.annotation_path", "").strip("'")
if annotation:
    run["datasets"]["val"]["images"] = len(json.loads(Path(annotation).read_text())["images"])
run["datasets"]["val"]["content_hash"] = given.get("standin.hash", "d" * 64)
checkpoint = given.get("checkpoint", "").strip("'")
if checkpoint:
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    run["checkpoints"] = {"loaded": {"path": checkpoint, "sha256": given.get("standin.weights", digest)}}
run.update(id=given["run_id"], kind=KIND, argv=sys.argv, overrides=arguments, epochs=epochs)
run["config"] = {"passes": passes, "trainer": {"max_epochs": 1}}
(folder / "run.json").write_text(json.dumps(run))
print("run:", folder / "run.json")
'''


def build_repository(root: Path, images: int = 6) -> Path:
    """Write the stand-in trainer and a data folder with `images` annotated names into `root`; return the data."""
    for package, module, kind in (("ocr", "cli", "evaluate"), ("runners", "train", "train")):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
        (root / package / f"{module}.py").write_text(SCRIPT.replace("KIND", repr(kind)))
    (root / "template.json").write_text(run_file(epochs=[epoch(0)]).model_dump_json())
    data = root / "data" / "my receipts"
    (data / "jsons").mkdir(parents=True)
    words: dict[str, Any] = {"1": {"points": [[0, 0], [9, 0], [9, 9], [0, 9]]}}
    entries = {f"{number:02d}.jpg": {"words": words} for number in reversed(range(images))}
    (data / "jsons" / "val.json").write_text(json.dumps({"images": entries}))
    return data
