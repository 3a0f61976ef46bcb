"""The workspace and the report of a study: `python -m stages.tracking.dashboard`, what is asked for on standard input.

What they are is written as JSON in any case, as W&B's server would be given it. They are saved there if that was asked
for and there is a key and a server; the answer, on standard output, says where, or why not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from stages import jsonfile
from stages.tracking.panels import Part, parts
from stages.tracking.run import unreachable

#: Files of what W&B's server is given.
WORKSPACE, REPORT = "wandb-workspace.json", "wandb-report.json"

#: Stands for the owner of the project in what is written without asking a server.
NOBODY = "ENTITY"


def main() -> int:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    asked = json.load(sys.stdin)
    tracking, folder = asked["tracking"], Path(asked["folder"])
    found = parts(asked["columns"])
    entity = tracking["entity"] or NOBODY
    files = {
        WORKSPACE: workspace(found, tracking, entity)
        ._to_model()
        .spec.model_dump_json(by_alias=True, exclude_none=True),
        REPORT: report(found, tracking, entity, known=False)
        ._to_model()
        .spec.model_dump_json(by_alias=True, exclude_none=True),
    }
    for name, text in files.items():
        jsonfile.write(folder / name, json.loads(text), indent=1)
    answer = {"saved": False, "workspace": str(folder / WORKSPACE), "report": str(folder / REPORT)}
    try:
        answer |= _saved(found, tracking)
    except Exception as error:  # whatever the server says
        answer["why"] = " ".join(str(error).split())[:300] or type(error).__name__
    print(json.dumps(answer), file=answers, flush=True)
    return 0


def workspace(found: list[Part], tracking: Mapping[str, Any], entity: str) -> ws.Workspace:
    """A saved view of the project: the runs of this study alone, and a section for each part."""
    return ws.Workspace(
        entity=entity,
        project=tracking["project"],
        name=f"Study {tracking['group']}",
        sections=[ws.Section(name=part.name, panels=part.panels, is_open=True) for part in found],
        runset_settings=ws.RunsetSettings(filters=[expr.Metric("Group") == tracking["group"]]),
        settings=ws.WorkspaceSettings(max_runs=100),
    )


def report(found: list[Part], tracking: Mapping[str, Any], entity: str, *, known: bool) -> wr.Report:
    """A page with the parts below each other, each with the runs that it is about.

    `known`: whether the project is there; a set of runs that names one is looked up on the server.
    """
    owner = {"entity": entity, "project": tracking["project"]} if known else {}
    blocks: list[Any] = []
    for part in found:
        jobs = [f"JobType = '{job}'" for job in part.jobs]
        runs = wr.Runset(name=part.name, filters=f"Group = '{tracking['group']}' and ({' or '.join(jobs)})", **owner)
        blocks += [wr.H2(text=part.name), wr.P(text=part.text), wr.PanelGrid(runsets=[runs], panels=part.panels)]
    return wr.Report(
        entity=entity,
        project=tracking["project"],
        title=f"Study {tracking['group']}",
        description="Does rejuvenating an over-trained checkpoint help what RL makes of it? Numbers are of the store.",
        blocks=[wr.TableOfContents(), *blocks],
        width="fluid",
    )


def _saved(found: list[Part], tracking: Mapping[str, Any]) -> dict[str, Any]:
    """Save both; where they are."""
    if tracking["mode"] != "online":
        return {"why": f"wandb.mode={tracking['mode']}; with wandb.mode=online the same command saves it"}
    why = unreachable()
    if why is not None:
        return {"why": why}
    entity = tracking["entity"] or wandb.Api(timeout=20).default_entity
    page = report(found, tracking, entity, known=True).save()
    view = workspace(found, tracking, entity).save()
    return {"saved": True, "workspace": view.url, "report": page.url}


if __name__ == "__main__":
    sys.exit(main())
