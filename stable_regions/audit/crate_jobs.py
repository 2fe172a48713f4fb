"""What a Provenance Run Crate says of a run's jobs: tools, steps, actions, what they passed on.

A tool is a script, a step a rule that calls it, an action a job. What a script reads, makes and is
told goes by the names that the script itself uses.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from stable_regions.audit.manifest import CODE, Job

AGENT = "#agent"
DONE = "http://schema.org/CompletedActionStatus"
# How an environment was set up, and what says so.
PIP = "https://pip.pypa.io/en/stable/reference/requirements-file-format/"
CONDA = (
    "https://conda.io/projects/conda/en/latest/user-guide/tasks/manage-environments.html"
    "#create-env-file-manually"
)
# What a job took: name, what defines it, unit.
WALL = ("wall time", "https://w3id.org/ro/terms/nf-trace#realTime", "SEC")
USED = {
    "cpu_s": ("processor time", "https://man7.org/linux/man-pages/man2/getrusage.2.html", "SEC"),
    "peak_mb": (
        "peak memory", "https://man7.org/linux/man-pages/man5/proc_pid_status.5.html", "MegaBYTE",
    ),
}  # fmt: skip


def context(crate: ROCrate, identity: str, kind: str | list[str], /, **properties: Any) -> Any:
    """Add an entity that is no file."""
    return crate.add(ContextEntity(crate, identity, properties={"@type": kind, **properties}))


def refer(identities: Iterable[str]) -> Any:
    """References to entities, each once; one alone is no list."""
    some = [{"@id": one} for one in dict.fromkeys(identities)]
    return some[0] if len(some) == 1 else some


class Things:
    """The entities behind the paths of a manifest; what is no file of the crate gets one here."""

    def __init__(self, crate: ROCrate, manifest: Mapping[str, Any]) -> None:
        self._crate = crate
        self._hashes: dict[str, str] = {  # of what a job made beside, and no other read, too
            file["path"]: file["sha256"]
            for job in manifest["jobs"]
            for part in ("input", "output")
            for file in job[part]["files"]
        }
        self._identities: dict[str, str] = {}

    def place(self, path: str, identity: str) -> None:
        """A path is that of a file of the crate."""
        self._identities[path] = identity

    def add(self, path: str, facts: Mapping[str, Any]) -> str:
        """Add what lies outside of the crate: known by its hash, hence a value too."""
        known = {"name": path, "value": self._hashes[path], "sha256": self._hashes[path]}
        kind = ["CreativeWork", "PropertyValue"]
        self._identities[path] = context(self._crate, f"#{path}", kind, **{**known, **facts}).id
        return self._identities[path]

    def of(self, path: str) -> str:
        """The entity of a path."""
        return self._identities.get(path) or self.add(path, {})


class Parameters:
    """The formal parameters of the scripts and of the workflow, and what stood for each."""

    def __init__(self, crate: ROCrate) -> None:
        self._crate = crate
        self._examples: dict[str, dict[str, None]] = {}

    def use(self, identity: str, description: str, example: str) -> str:
        """Note that a thing stood for a parameter, which is made when it is first used."""
        if identity not in self._examples:
            context(
                self._crate, identity, "FormalParameter",
                name=identity.removeprefix("#"), description=description,
            )  # fmt: skip
        self._examples.setdefault(identity, {})[example] = None
        return identity

    def finish(self) -> None:
        """Tell parameters and things of each other, and parameters of what kind things are."""
        stood: dict[str, list[str]] = {}
        for identity, examples in self._examples.items():
            kinds = {
                "File" if "File" in self._crate.get(example).type else "PropertyValue"
                for example in examples
            }
            parameter = self._crate.get(identity)
            parameter["additionalType"] = sorted(kinds) if len(kinds) > 1 else kinds.pop()
            parameter["workExample"] = refer(examples)
            for example in examples:
                stood.setdefault(example, []).append(identity)
        for example, identities in stood.items():
            self._crate.get(example)["exampleOfWork"] = refer(identities)


def _names(files: Mapping[str, Any], unnamed: str) -> Iterator[tuple[str, str]]:
    """The path of each file of a job, and what its script calls it."""
    called: dict[int, str] = {}
    for name, (start, stop) in files["names"].items():
        for place in range(start, start + 1 if stop is None else stop):
            called.setdefault(place, name)
    for place, file in enumerate(files["files"]):
        yield file["path"], called.get(place, unnamed)


def _rules(jobs: list[Job], makers: Mapping[str, int | None]) -> list[str]:
    """The rules of a run, each after those whose outputs it reads where that can be."""
    before: dict[str, set[str]] = {job["rule"]: set() for job in jobs}
    for job in jobs:
        for file in job["input"]["files"]:
            maker = makers.get(file["path"])
            if maker is not None and jobs[maker]["rule"] != job["rule"]:
                before[job["rule"]].add(jobs[maker]["rule"])
    ordered: list[str] = []
    left = list(before)
    while left:
        ready = next((rule for rule in left if before[rule] <= set(ordered)), left[0])
        left.remove(ready)
        ordered.append(ready)
    return ordered


def _usage(crate: ROCrate, number: int, job: Job) -> Iterator[str]:
    """What a job took, as far as its record says."""
    began, ended = (datetime.fromisoformat(job[key]) for key in ("started", "ended"))
    measured = [(*WALL, round((ended - began).total_seconds(), 3))]
    measured += [(*USED[key], value) for key, value in job.get("usage", {}).items()]
    for name, definition, unit, value in measured:
        yield context(
            crate, f"#job/{number}/{name.replace(' ', '-')}", "PropertyValue", name=name,
            propertyID=definition, unitCode=f"https://qudt.org/vocab/unit/{unit}", value=str(value),
        ).id  # fmt: skip


def _build_files(crate: ROCrate) -> dict[str | None, str]:
    """The file that a job's environment was made from, by the hash in the job's record.

    None stands for a job that ran in the Python of Snakemake, which the lock sets up.
    """
    context(crate, PIP, "WebPage", name="Requirements File Format", url=PIP)
    context(crate, CONDA, "WebPage", name="Conda environment file", url=CONDA)
    lock = crate.get(f"{CODE}/requirements.lock")
    lock["conformsTo"] = {"@id": PIP}
    files: dict[str | None, str] = {None: lock.id}
    for file in list(crate.data_entities):
        if Path(file.id).parent == Path(CODE, "envs") and file.id.endswith(".yaml"):
            file["conformsTo"] = {"@id": CONDA}
            files[file["sha256"]] = file.id
    return files


class _Run:
    """The tools, steps and actions of a run, as they are added to a crate."""

    def __init__(self, crate: ROCrate, things: Things, manifest: Mapping[str, Any]) -> None:
        self.crate, self.things = crate, things
        self.jobs: list[Job] = manifest["jobs"]
        self.machines = manifest["machines"]
        self.files = list(manifest["files"])
        self.makers: dict[str, int | None] = {
            path: entry["job"]
            for part in ("files", "inputs")
            for path, entry in manifest[part].items()
        }
        self.parameters = Parameters(crate)
        self.tools: dict[str, Any] = {}  # by script
        # by script: its inputs and its outputs, and what it is passed from which other's output
        self.asked: dict[str, dict[str, dict[str, None]]] = {}
        self.passed: dict[str, dict[tuple[str, str], None]] = {}
        self.made_as: dict[str, str] = {}  # by path: the parameter of the script that made it
        self.values: dict[tuple[str, str], str] = {}  # by parameter and what it was
        self.connections: dict[tuple[str, str], str] = {}

    def _files(self, job: Job, part: str, verb: str) -> Iterator[tuple[str, str, str]]:
        """Path, entity and parameter of each input or output of a job."""
        script = job["script"]
        for path, name in _names(job[part], part):
            what = f"what {script} {verb}" + ("" if name == part else f" as its {name}")
            thing = self.things.of(path)
            parameter = self.parameters.use(f"#{script}/{part}/{name}", what, thing)
            self.asked[script][part][parameter] = None
            yield path, thing, parameter

    def _params(self, job: Job) -> Iterator[str]:
        """The values of a job's parameters: those that many jobs share are there once."""
        script = job["script"]
        for name, value in job["params"].items():
            parameter = f"#{script}/params/{name}"
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if (parameter, text) not in self.values:
                identity = f"#value/{script}/{name}/{len(self.values)}"
                entry = context(self.crate, identity, "PropertyValue", name=name, value=text)
                self.values[parameter, text] = entry.id
            entry = self.values[parameter, text]
            self.parameters.use(parameter, f"the parameter {name} of {script}", entry)
            self.asked[script]["input"][parameter] = None
            yield entry

    def add_action(self, number: int, job: Job) -> str:
        """Add what a job did, and that the workflow started it."""
        script, machine = job["script"], self.machines[job["machine"]]
        if script not in self.tools:
            found = self.crate.get(f"{CODE}/{script}")
            self.tools[script] = found or context(self.crate, f"#{script}", "SoftwareSourceCode")
            self.asked[script], self.passed[script] = {"input": {}, "output": {}}, {}
        left, objects = [], []
        for path, thing, parameter in self._files(job, "output", "makes"):
            left.append(thing)
            self.made_as[path] = parameter
        for path, thing, parameter in self._files(job, "input", "reads"):
            objects.append(thing)
            if path in self.made_as:
                self.passed[script][self.made_as[path], parameter] = None
        first = job["output"]["files"][0]["path"]
        action = context(
            self.crate, f"#job/{number}", "CreateAction", name=f"{job['rule']}: {first}",
            description=f"{job['threads']} threads, {machine['processor']}",
            agent={"@id": AGENT}, instrument={"@id": self.tools[script].id},
            object=refer([*objects, *self._params(job)]), result=refer(left),
            startTime=job["started"], endTime=job["ended"], actionStatus=DONE,
            resourceUsage=refer(_usage(self.crate, number, job)),
        )  # fmt: skip
        context(
            self.crate, f"#control/{number}", "ControlAction",
            name=f"Start of {job['rule']} for {first}", instrument={"@id": f"#step/{job['rule']}"},
            object={"@id": action.id}, actionStatus=DONE,
        )  # fmt: skip
        return action.id

    def _connect(self, pairs: Iterable[tuple[str, str]]) -> Any:
        """References to the connections from one parameter to another."""
        for source, target in pairs:
            if (source, target) not in self.connections:
                self.connections[source, target] = context(
                    self.crate, f"#connection/{len(self.connections)}", "ParameterConnection",
                    sourceParameter={"@id": source}, targetParameter={"@id": target},
                ).id  # fmt: skip
        return refer(self.connections[pair] for pair in pairs)

    def add_tools(self, environments: list[list[str]], version: str) -> None:
        """Say of each script what it takes, makes and needs."""
        for script, tool in self.tools.items():
            used = {job["environment"] for job in self.jobs if job["script"] == script}
            tool["name"], tool["version"], tool["url"] = script, version, f"{CODE}/{script}"
            tool["softwareRequirements"] = refer(
                sorted({package for number in used for package in environments[number]})
            )
            for part, some in self.asked[script].items():
                tool[part] = refer(some)

    def add_steps(self, workflow: Any) -> None:
        """Add the rules, in an order in which they can be run."""
        builds, rules = _build_files(self.crate), _rules(self.jobs, self.makers)
        for position, rule in enumerate(rules):
            own = [job for job in self.jobs if job["rule"] == rule]
            scripts = list(dict.fromkeys(job["script"] for job in own))
            context(
                self.crate, f"#step/{rule}", "HowToStep", name=rule, position=str(position),
                workExample=refer(self.tools[script].id for script in scripts),
                buildInstructions=refer(builds.get(job["conda"], builds[None]) for job in own),
                connection=self._connect([p for script in scripts for p in self.passed[script]]),
            )  # fmt: skip
        workflow["hasPart"] = refer(tool.id for tool in self.tools.values())
        workflow["step"] = refer(f"#step/{rule}" for rule in rules)
        workflow["buildInstructions"] = {"@id": builds[None]}

    def add_outputs(self, workflow: Any) -> None:
        """Say of the workflow what it makes: a part of the results each, and by which scripts."""
        last: dict[tuple[str, str], None] = {}
        for path in self.files:
            thing = self.things.of(path)
            part = Path(thing).parts[0]
            output = self.parameters.use(f"#output/{part}", f"{part} of the results", thing)
            if path in self.made_as:
                last[self.made_as[path], output] = None
        workflow["output"] = refer(output for _, output in last)
        workflow["connection"] = self._connect(last)


def add_jobs(
    crate: ROCrate,
    workflow: Any,
    run: Any,
    things: Things,
    manifest: Mapping[str, Any],
    environments: list[list[str]],
    *,
    engine: str,
    version: str,
) -> list[str]:
    """Add the tools, steps and actions of a run, and the engine that organised them.

    Parameters
    ----------
    workflow, run
        The entities of the workflow, and of its run as a whole.
    environments
        The packages of each environment of the manifest.
    engine
        Snakemake in the version that ran the jobs; it need not be in an environment of theirs.
    version
        Of the code.

    Returns
    -------
    The actions that the jobs are.
    """
    found = _Run(crate, things, manifest)
    actions = [found.add_action(number, job) for number, job in enumerate(found.jobs)]
    found.add_tools(environments, version)
    found.add_steps(workflow)
    found.add_outputs(workflow)
    found.parameters.finish()
    context(
        crate, "#organisation", "OrganizeAction", name=f"Run of Snakemake for {run['name']}",
        agent={"@id": AGENT}, instrument={"@id": engine},
        object=refer(f"#control/{number}" for number in range(len(actions))),
        result={"@id": run.id}, startTime=run["startTime"], endTime=run["endTime"],
        actionStatus=DONE,
    )  # fmt: skip
    return actions
