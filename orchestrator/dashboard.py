"""The verb `dashboard`: a study in W&B. Runs for whatever has none yet, its tables, a workspace and a report.

The workspace and the report are kept on W&B's server, so they can only be made where there is one; what they would be
is written beside the study's tables either way.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from launch import tracking
from launch.escape import inline
from launch.tracking import Recorder
from orchestrator import page, permission, report, results, summary_run
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.refusal import ConfigError
from orchestrator.summary_run import PATIENCE, say
from stages.tracking import names

#: What the processes that it starts import.
PACKAGES = ("wandb", "wandb_workspaces")

#: Seconds until the server has to have taken the workspace and the report.
SAVED = 120.0


def verb(study: Study, command: Command) -> int:
    """Record what is not recorded yet, and make the dashboard. 1 if that was to be online, and is not."""
    if study.experiment.tracked is None:
        raise ConfigError(["wandb.mode=disabled: a dashboard is in W&B; allowed: offline, online"])
    if (refused := permission.unwritable(study.store.root)) is not None:
        raise ConfigError([refused])
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError([f"dashboard: not installed: {', '.join(missing)}; pip install -e '.[wandb]'"])
    try:
        runs, errors = _record(study)
        made = _make(study)
    except OSError as error:
        raise ConfigError([f"store={study.store.root}: cannot be written: {error.strerror}"]) from None
    offline = sorted(str(run["folder"]) for run in runs if run["mode"] == "offline")
    errors += [made["error"]] if "error" in made else []
    if command.as_json:
        print(json.dumps({"runs": runs, **made, "errors": errors}))
    else:
        _show(study, runs, offline, made, errors)
    asked = study.experiment.tracking.mode == "online"
    return FAILED if errors or (asked and not made.get("saved")) else DONE


def _show(
    study: Study, runs: list[dict[str, Any]], offline: list[str], made: dict[str, Any], errors: list[str]
) -> None:
    lines = [f"{len(runs)} runs recorded of what had none, of the variants and of the study"]
    if offline:
        place = shlex.quote(str(study.store.root))
        lines.append(f"offline; upload with  cd {place} && wandb sync -n 1 {names.FOLDER}/offline-run-*")
    lines += [f"{what}: {made[what]}" for what in ("workspace", "report") if what in made]
    lines += [f"not on a server: {made['why']}"] if made.get("why") else []
    for line in lines:
        print(inline(line))
    for error in errors:
        say(f"error: {error}")


def _record(study: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """Make the runs of published nodes that have none, of the variants and of the study."""
    root, found = study.store.root, []
    reads = [str(each.root) for each in study.store.reads]
    messages = [
        {
            "do": "backfill",
            "store": str(root),
            "reads": reads,
            "folder": str(folder),
            "tracking": study.experiment.tracked,
        }
        for node in study.graph.nodes.values()
        if (folder := study.store.find(node.stage, node.fingerprint)) is not None
        and not names.logs(root, names.of_node(root, node.fingerprint))
    ]
    messages += [*summary_run.of_variants(study), summary_run.of_study(study, results.read(study))]
    recorder, errors = Recorder(root), []
    say(f"recording {len(messages)} runs in W&B")
    for message in messages:
        answer = recorder.ask(PATIENCE, **message)
        if "error" in answer:
            errors.append(answer["error"])
        else:
            found.append(answer)
    recorder.close(PATIENCE)
    return found, list(dict.fromkeys(errors))


def _make(study: Study) -> dict[str, Any]:
    """Have the workspace and the report made, by a process that may load W&B."""
    experiment, folder = study.experiment, study.reports
    page.make_folder(folder)
    asked = {
        "folder": str(folder),
        "tracking": experiment.tracked,
        "columns": list(report.columns_of(experiment)),
        "study": names.of_study(study.store.root, experiment.name),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stages.tracking.dashboard"],
            input=json.dumps(asked),
            stdout=subprocess.PIPE,
            text=True,
            timeout=SAVED,
            cwd=Path(__file__).parent.parent,
            env=tracking.environment(study.store.root),
        )
    except subprocess.TimeoutExpired:
        return {"error": f"W&B's server did not take the dashboard within {SAVED:.0f} s"}
    if done.returncode != 0:
        return {"error": "the dashboard could not be made"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found
