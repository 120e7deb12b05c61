"""The real lm_eval against a simulated server, on a task of our own: no data set is fetched. See tests/lm_eval.sh."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.local.test_accuracy import aggregated
from tests.local.test_trtllm import Project, assert_green

VERSION = "0.4.13"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-disagg"
LM_EVAL = CACHE / f"lm_eval-{VERSION}"
LIMIT_S = 100
"""Of a task that takes seconds: lm_eval is long at its imports where the machine is busy."""
TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: LLM_MODELS_ROOT/data.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
HERE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.mark.skipif(not (LM_EVAL / "installed").exists(), reason=f"{LM_EVAL} is not there (bash tests/lm_eval.sh)")
def test_the_real_program_takes_the_command_and_its_scores_are_read(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "data.jsonl").write_text("".join(json.dumps({"q": f"say {n}", "a": str(n)}) + "\n" for n in range(4)))
    (tmp_path / "tiny.yaml").write_text(TASK)
    extra = {"custom_config": str(tmp_path / "tiny.yaml"), "limit": 3, "trust_remote_code": False}
    task = {"model_args_extra": "num_concurrent=2,max_retries=1,tokenizer_backend=None", "extra_kwargs": extra}
    # A simulated server answers no question rightly.
    case = aggregated(
        {"tiny": task}, only=True, maximum={"tiny": {"exact_match,none": 0}}, env_var={**HERE, "HF_HOME": str(models)}
    )
    case["timeouts"]["accuracy_s"] = LIMIT_S
    case["slurm"] = {"timeout": sum(case["timeouts"].values())}
    project = Project(tmp_path)
    found = assert_green(project.run(case, f"--disagg-models-root={models}", DISAGG_LM_EVAL=str(LM_EVAL)))
    assert found["disagg_accuracy.accuracy_tiny_exact_match"] == "0"
    assert "accuracy: tiny: 3 of its 4 samples were asked" in found["disagg_lines"]
    (told,) = json.loads((project.rundir("aggr-case").results / "accuracy.json").read_text())
    assert (told["lm_eval_version"], told["scores"][0]["samples"]) == (VERSION, 3)
