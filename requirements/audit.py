"""Known vulnerabilities of every locked package, as pip-audit finds them: `make audit`.

The first service that answers is asked: PyPI, then OSV. One that knows nothing of a vulnerability that everybody knows
(`KNOWN`) counts as none, since a mirror of PyPI may answer without its advisories. advisories.toml has those that are
passed over. Ends with 1 if a package is vulnerable or if nothing was audited; `--optional` passes in the second case.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).parent
PASSED_OVER = LOCKS / "advisories.toml"

#: A release with a vulnerability that every service has known for years.
KNOWN = "jinja2==2.11.2"

#: Seconds for an answer, and for all of them.
ANSWER, ALL = 10, 600


class NotAudited(Exception):
    """Why a service said nothing."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="known vulnerabilities of the locked packages")
    parser.add_argument("--optional", action="store_true", help="pass where no service answers")
    parser.add_argument("--osv-url", metavar="URL", help="ask this service, which answers as OSV does, and no other")
    options = parser.parse_args(arguments)
    services = [["osv", "--osv-url", options.osv_url]] if options.osv_url else [["pypi"], ["osv"]]
    ignored = passed_over(date.today())
    why = []
    for service in services:
        try:
            if not any(found(asked(service, [KNOWN], seconds=3 * ANSWER))):
                raise NotAudited(f"it names no vulnerability of {KNOWN}, which has some")
            reports = [asked(service, pins, ignored, seconds=ALL) for pins in rounds()]
        except NotAudited as error:
            why.append(f"{service[0]}: {error}")
        else:
            return said(reports, ignored)
    print(f"not audited: {'; '.join(why)}")
    return 0 if options.optional else 1


def said(reports: Sequence[Any], ignored: Sequence[str]) -> int:
    """Print what is vulnerable, and what nobody knows; 1 if there is something vulnerable."""
    packages = [each for report in reports for each in report["dependencies"]]
    for each in packages:
        if "skip_reason" in each:
            print(f"not audited: {each['name']}: {each['skip_reason']}")
    vulnerable = [line for report in reports for line in found(report)]
    print("\n".join(vulnerable), end="\n" if vulnerable else "")
    print(f"{len(packages)} packages audited, {len(vulnerable)} advisories, {len(ignored)} passed over")
    return 1 if vulnerable else 0


def found(report: Any) -> Iterator[str]:
    """A line an advisory."""
    for each in report["dependencies"]:
        for one in each.get("vulns", ()):
            fixed = f"fixed in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "not fixed"
            yield f"{each['name']} {each['version']}: {', '.join([one['id'], *one['aliases']])}: {fixed}"


def asked(service: Sequence[str], pins: Sequence[str], ignored: Sequence[str] = (), *, seconds: float) -> Any:
    """pip-audit's report on these packages."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "wanted.txt", Path(folder) / "report.json"
        wanted.write_text("\n".join(pins))
        try:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--timeout", str(ANSWER)),
                    *("--no-deps", "--disable-pip", "--requirement", str(wanted), "--cache-dir", folder),
                    *("--format", "json", "--output", str(report), "--vulnerability-service", *service),
                    *(part for each in ignored for part in ("--ignore-vuln", each)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise NotAudited(f"no answer within {seconds:.0f} s") from None
        if not report.exists():
            last = (done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1]
            raise NotAudited(textwrap.shorten(last, 160, placeholder="..."))
        return json.loads(report.read_text())


def rounds() -> list[list[str]]:
    """Every locked package and version; pip-audit takes one version of a package at a time."""
    versions: dict[str, list[str]] = {}
    for lock in sorted(LOCKS.glob("*.txt")):
        for name, version in re.findall(r"^([\w.-]+)==([^\s+]+)", lock.read_text(), re.MULTILINE):
            known = versions.setdefault(name, [])
            if version not in known:
                known.append(version)
    most = max(map(len, versions.values()), default=0)
    return [[f"{name}=={each[i]}" for name, each in versions.items() if i < len(each)] for i in range(most)]


def passed_over(today: date) -> list[str]:
    """The advisories of advisories.toml whose day has not come."""
    ignored = []
    for name, entry in tomllib.loads(PASSED_OVER.read_text()).items():
        match entry:
            case {"reason": str(reason), "until": date() as until} if reason.strip():
                if today < until:
                    ignored.append(name)
                else:
                    print(f"{PASSED_OVER.name}: {name} was passed over until {until}: {reason}")
            case _:
                raise SystemExit(f"{PASSED_OVER.name}: {name} needs a reason (a text) and until (a day)")
    return ignored


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
